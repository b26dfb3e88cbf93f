"""Pages for people. A view translates a request to one reading or one service; it holds no rule."""

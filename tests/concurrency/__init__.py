"""Several processes at once on one database: SQLite in a file, and a real PostgreSQL."""

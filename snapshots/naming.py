"""Names in sentences for people. Every room above the rows may enter."""

from collections.abc import Sequence


def some_of(names: Sequence[str], most: int, count: int | None = None) -> str:
    """The first so many of the names, and how many more there are: "a, b and 3 more". `count` is how many there are, where
    not all of their names are given."""
    count = len(names) if count is None else count
    shown = ", ".join(names[:most])
    return f"{shown} and {count - most} more" if count > most else shown

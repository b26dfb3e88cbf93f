"""Names in sentences for people. Every room above the rows may enter."""

from collections.abc import Sequence


def some_of(names: Sequence[str], most: int, count: int | None = None) -> str:
    """The first so many of the names, and how many more there are: "a, b and 3 more". `count` is how many there are, where
    not all of their names are given."""
    count = len(names) if count is None else count
    shown = ", ".join(names[:most])
    return f"{shown} and {count - most} more" if count > most else shown


UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_in_words(count: int) -> str:
    """Bytes in the unit that suits them, powers of 1024: "1.5 GiB"."""
    amount, unit = float(count), 0
    while abs(amount) >= 1024 and unit < len(UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    if unit == 0:
        return f"{count} {'byte' if count == 1 else 'bytes'}"
    return f"{amount:.1f}".removesuffix(".0") + f" {UNITS[unit]}"

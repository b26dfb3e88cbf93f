"""Tables as CSV, line by line, so that a million rows need no more memory than one.

A spreadsheet takes a text that begins with one of a few characters for a formula and carries it out. Names are user text,
so such a text is given an apostrophe in front, which makes a spreadsheet show it as text.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


class _Echo:
    """A file that keeps nothing: what is written comes back."""

    def write(self, text: str) -> str:
        return text


def csv_lines(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The head and each row as a line of CSV (RFC 4180). Nothing is written for None."""
    writer = csv.writer(_Echo())
    yield writer.writerow(head)
    for row in rows:
        yield writer.writerow([cell(value) for value in row])


def cell(value: Any) -> Any:
    """A value as it stands in CSV: times in ISO 8601 and UTC, texts such that no spreadsheet takes them for a formula."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value

"""The numbers of a chart, and of the tables beside it, as CSV that a spreadsheet opens without carrying anything out."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain

from snapshots.reading.chart_shapes import Node, SeriesChart, TreeMap

Cell = str | int | float | datetime | None


def csv_of(chart: SeriesChart | TreeMap) -> Iterator[str]:
    """The table of a chart, line by line: plain numbers, times in UTC."""
    if isinstance(chart, TreeMap):
        yield from csv_lines(("path", "kind", chart.unit), _paths(chart.nodes, ()))
    else:
        rows = ((row.label, *row.values) for row in chart.rows)
        yield from csv_lines((chart.label_head, *(f"{row.name} ({chart.unit})" for row in chart.series)), rows)


def csv_lines(head: Iterable[str], rows: Iterable[Iterable[Cell]]) -> Iterator[str]:
    """Rows as lines of CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    for values in chain([head], rows):
        writer.writerow([_cell(value) for value in values])
        yield _taken(text)


def _taken(text: io.StringIO) -> str:
    line = text.getvalue()
    text.seek(0)
    text.truncate()
    return line


def _cell(value: Cell) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    # What begins like this is carried out as a formula by spreadsheets: names are other people's text.
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _paths(nodes: Iterable[Node], above: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    for node in nodes:
        path = (*above, node.name)
        yield " / ".join(path), node.kind, node.value
        yield from _paths(node.parts, path)

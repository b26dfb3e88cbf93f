"""The numbers of a chart as CSV, the same as in the table beside it."""

from collections.abc import Iterable, Iterator

from snapshots.reading.chart_shapes import Node, SeriesChart, TreeMap
from snapshots.reading.csv_lines import csv_lines


def csv_of(chart: SeriesChart | TreeMap) -> Iterator[str]:
    """The table of a chart, line by line: plain numbers, times in UTC. A part of a whole stands behind what it belongs to:
    "engineering / acme / web"."""
    if isinstance(chart, TreeMap):
        return csv_lines(("path", "kind", chart.unit), _paths(chart.nodes, ()))
    head = (chart.label_head, *(f"{row.name} ({chart.unit})" for row in chart.series))
    return csv_lines(head, ((row.label, *row.values) for row in chart.rows))


def _paths(nodes: Iterable[Node], above: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    for node in nodes:
        path = (*above, node.name)
        yield " / ".join(path), node.kind, node.value
        yield from _paths(node.parts, path)

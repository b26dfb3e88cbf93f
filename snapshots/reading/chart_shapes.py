"""Numbers in the shape that charts and the tables beside them read.

A page makes one of these shapes; the chart is drawn from its `payload` and the table from its `head` and `rows`, so that
both say the same. Nothing here knows how a chart is drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Unit = Literal["bytes", "byte-hours"]
Tone = Literal["volumes", "estimate", "measured", "free", "used", "other"]


@dataclass(frozen=True, slots=True)
class Series:
    """One row of numbers, one for each label, None where nothing is known.

    `drawn`: "band" and "bar" stand upon those before them, "line" and "mark" (for names, which no line joins) by
    themselves. One of these with `upon` is drawn above the series of that name, so that it can be held against the band
    that begins at the same height. `tone` is the colour of what it stands for.
    """

    name: str
    values: Sequence[int | float | None]
    tone: Tone
    drawn: Literal["band", "bar", "line", "mark"] = "band"
    upon: str = ""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A level that means something, drawn across the chart."""

    name: str
    value: int
    kind: Literal["warning", "over", "size"]


@dataclass(frozen=True, slots=True)
class SeriesChart:
    """Rows of numbers over times or over names.

    `key` is its id in the page. `about` says in one sentence what is seen, also to those who do not see it. `labels` are
    all times (UTC) or all texts; `addresses`, where given, are the pages that the labels lead to. `csv` is the address of
    the same numbers as CSV. `stepped`: a number holds until the next one.
    """

    key: str
    title: str
    about: str
    unit: Unit
    label_head: str
    labels: Sequence[datetime | str]
    series: Sequence[Series]
    thresholds: Sequence[Threshold] = ()
    addresses: Sequence[str] = ()
    zoom: bool = False
    csv: str = ""
    stepped: bool = False

    @property
    def numbers_id(self) -> str:
        """The id of its numbers in the page."""
        return f"{self.key}-numbers"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.labels

    @property
    def over_time(self) -> bool:
        """Whether its labels are times."""
        return bool(self.labels) and isinstance(self.labels[0], datetime)

    @property
    def payload(self) -> dict[str, Any]:
        """What the chart is drawn from."""
        return {
            "kind": "series",
            "about": self.about,
            "unit": self.unit,
            "time": self.over_time,
            "labels": [label.isoformat() if isinstance(label, datetime) else label for label in self.labels],
            "addresses": list(self.addresses),
            "zoom": self.zoom,
            "stepped": self.stepped,
            "series": [
                {"name": row.name, "values": list(row.values), "tone": row.tone, "drawn": row.drawn, "upon": row.upon}
                for row in self.series
            ],
            "thresholds": [{"name": line.name, "value": line.value, "kind": line.kind} for line in self.thresholds],
        }

    @property
    def head(self) -> list[str]:
        """The heads of the table's columns."""
        return [self.label_head, *(row.name for row in self.series)]

    @property
    def rows(self) -> Iterator["TableRow"]:
        """The table's rows."""
        for place, label in enumerate(self.labels):
            address = self.addresses[place] if self.addresses else ""
            yield TableRow(label, address, [row.values[place] for row in self.series])


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of the table: what it is about, where that leads to, its numbers."""

    label: datetime | str
    address: str
    values: list[int | float | None]


@dataclass(frozen=True, slots=True)
class Node:
    """One part of a whole, with its own parts. `kind` is the word for what it is; `address` its page, "" if it has none."""

    name: str
    value: int
    kind: str
    address: str = ""
    parts: Sequence["Node"] = ()


@dataclass(frozen=True, slots=True)
class TreeMap:
    """A whole that is shared out, and shared out again within each part."""

    key: str
    title: str
    about: str
    unit: Unit
    nodes: Sequence[Node]
    csv: str = ""

    @property
    def numbers_id(self) -> str:
        """The id of its numbers in the page."""
        return f"{self.key}-numbers"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(node.value for node in self.nodes)

    @property
    def payload(self) -> dict[str, Any]:
        """What the chart is drawn from."""
        return {
            "kind": "treemap",
            "about": self.about,
            "unit": self.unit,
            "nodes": [_drawn(node) for node in self.nodes],
        }

    @property
    def value_head(self) -> str:
        """The head of the table's column of numbers."""
        return self.unit.capitalize()

    @property
    def lines(self) -> Iterator[tuple[Node, int]]:
        """The table's rows: each part with its depth, 1 for the outermost, parts below what they belong to."""
        yield from _in_order(self.nodes, 1)


def _drawn(node: Node) -> dict[str, Any]:
    drawn: dict[str, Any] = {"name": node.name, "value": node.value, "kind": node.kind, "address": node.address}
    if node.parts:
        drawn["children"] = [_drawn(part) for part in node.parts]
    return drawn


def _in_order(nodes: Sequence[Node], level: int) -> Iterator[tuple[Node, int]]:
    for node in nodes:
        yield node, level
        yield from _in_order(node.parts, level + 1)

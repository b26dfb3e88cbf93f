"""A chart and the table beside it say the same numbers."""

import json
from datetime import UTC, datetime, timedelta

from snapshots.reading.chart_shapes import Node, Series, SeriesChart, Threshold, TreeMap

PETABYTE = 2**50
DAYS = [datetime(2028, 2, 28, tzinfo=UTC) + timedelta(days=number) for number in range(3)]


def over_time() -> SeriesChart:
    return SeriesChart(
        key="pool",
        title="Pool",
        about="The pool by day.",
        unit="bytes",
        label_head="Day",
        labels=DAYS,
        series=[
            Series("Volumes", [PETABYTE, 2 * PETABYTE, 3 * PETABYTE + 1], "volumes"),
            Series("Measured", [None, 1, 2], "measured", "line", "Volumes"),
        ],
        thresholds=[Threshold("Size", 9 * PETABYTE, "size")],
        zoom=True,
    )


def test_the_table_has_a_row_for_each_label_and_a_column_for_each_series() -> None:
    chart = over_time()
    assert chart.head == ["Day", "Volumes", "Measured"]
    assert [(row.label, row.values) for row in chart.rows] == [
        (DAYS[0], [PETABYTE, None]),
        (DAYS[1], [2 * PETABYTE, 1]),
        (DAYS[2], [3 * PETABYTE + 1, 2]),
    ]


def test_the_chart_is_drawn_from_the_numbers_of_the_table() -> None:
    chart = over_time()
    drawn = json.loads(json.dumps(chart.payload))
    assert drawn["labels"] == ["2028-02-28T00:00:00+00:00", "2028-02-29T00:00:00+00:00", "2028-03-01T00:00:00+00:00"]
    assert [row["values"] for row in drawn["series"]] == [list(row.values) for row in chart.series]
    assert drawn["series"][1]["upon"] == "Volumes"
    assert drawn["thresholds"] == [{"name": "Size", "value": 9 * PETABYTE, "kind": "size"}]


def test_a_label_leads_to_its_page() -> None:
    chart = SeriesChart(
        "m",
        "Machines",
        "By machine.",
        "bytes",
        "Machine",
        ["web"],
        [Series("All", [1], "other", "bar")],
        addresses=["/web/"],
    )
    assert [row.address for row in chart.rows] == ["/web/"]
    assert chart.payload["addresses"] == ["/web/"]
    assert not chart.over_time


def test_a_chart_without_labels_is_empty() -> None:
    assert SeriesChart("m", "Machines", "By machine.", "bytes", "Machine", [], []).is_empty
    assert not over_time().is_empty


def test_the_parts_of_a_whole_stand_below_it_in_the_table_and_inside_of_it_in_the_chart() -> None:
    snapshot = Node("before", 3, "VM snapshot", "/before/")
    whole = TreeMap(
        "tree",
        "Who",
        "Who holds it.",
        "bytes",
        [Node("ROOT", 3, "domain", "", [Node("web", 3, "machine", "", [snapshot])])],
    )
    assert [(node.name, level) for node, level in whole.lines] == [("ROOT", 1), ("web", 2), ("before", 3)]
    drawn = whole.payload["nodes"][0]["children"][0]["children"][0]
    assert drawn == {"name": "before", "value": 3, "kind": "VM snapshot", "address": "/before/"}


def test_a_whole_that_holds_nothing_is_empty() -> None:
    assert TreeMap("tree", "Who", "Who holds it.", "bytes", [Node("ROOT", 0, "domain")]).is_empty

"""The numbers of a chart as a table. Written here and not in a template: there are hundreds of rows, on every page that
charts, and a template would take most of the page's time for them."""

from collections.abc import Iterable
from datetime import datetime

from django.utils import timezone
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from snapshots.naming import size_in_words
from snapshots.reading.chart_shapes import SeriesChart, TreeMap

Chart = SeriesChart | TreeMap


def chart_table(chart: Chart) -> SafeString:
    """The table. Whatever stands in a chart is escaped."""
    if isinstance(chart, TreeMap):
        heads: Iterable[str] = ("What", "Kind", chart.value_head)
        numbers = {2}
        rows = _tree_rows(chart)
    else:
        heads = chart.head
        numbers = set(range(1, len(chart.head)))
        rows = _series_rows(chart)
    cells = [
        format_html('<th scope="col" class="number">{}</th>' if place in numbers else '<th scope="col">{}</th>', head)
        for place, head in enumerate(heads)
    ]
    return _joined(["<table><thead><tr>", *cells, "</tr></thead><tbody>", *rows, "</tbody></table>"])


def amount(value: float | None, chart: Chart) -> str:
    """A number of a chart with its unit: "1.5 GiB", "1.5 GiB hours"."""
    if value is None:
        return "not known"
    size = size_in_words(round(value))
    return f"{size} hours" if chart.unit == "byte-hours" else size


def _tree_rows(chart: TreeMap) -> Iterable[str]:
    for node, level in chart.lines:
        name = _named(node.name, node.address)
        size = amount(node.value, chart)
        yield (
            f'<tr><th scope="row" class="level-{level}">{name}</th><td>{conditional_escape(node.kind)}</td>'
            f'<td class="number">{conditional_escape(size)}</td></tr>'
        )


def _series_rows(chart: SeriesChart) -> Iterable[str]:
    for row in chart.rows:
        label = _moment(row.label) if isinstance(row.label, datetime) else _named(row.label, row.address)
        cells = "".join(f'<td class="number">{conditional_escape(amount(value, chart))}</td>' for value in row.values)
        yield f'<tr><th scope="row">{label}</th>{cells}</tr>'


def _named(name: str, address: str) -> str:
    words = f"<bdi>{conditional_escape(name)}</bdi>"
    return f'<a href="{conditional_escape(address)}">{words}</a>' if address else words


def _moment(at: datetime) -> str:
    local = timezone.localtime(at)
    shown = f"{local.day} {local:%b %Y, %H:%M:%S %Z}"
    return f'<time datetime="{at.isoformat(timespec="seconds")}">{conditional_escape(shown)}</time>'


def _joined(parts: Iterable[str]) -> SafeString:
    return mark_safe("".join(parts))  # noqa: S308  # every part is escaped above

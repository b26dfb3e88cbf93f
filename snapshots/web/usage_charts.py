"""The usage page's charts: which numbers stand in which of them, where their labels lead, and where they are as CSV."""

from collections.abc import Callable, Sequence
from datetime import date
from urllib.parse import urlencode

from django.urls import reverse

from snapshots.reading.chart_shapes import Series, SeriesChart
from snapshots.reading.usage_page import UsagePage, Use, UsedThing
from snapshots.usage_arithmetic import HOUR

DRAWN = 20


def month_words(month: date) -> str:
    """ "Mar 2026"."""
    return f"{month:%b %Y}"


def address(page: UsagePage, name: str = "usage", month: date | None = None, machine: UsedThing | None = None) -> str:
    """The page, or what is exported from it, about this account and month and machine."""
    parameters = {"account": str(page.account.uuid) if page.account else ""}
    if month is not None:
        parameters["month"] = f"{month:%Y-%m}"
    if machine is not None:
        parameters["machine"] = str(machine.uuid)
    return f"{reverse(name)}?{urlencode(parameters)}"


def machine_addresses(page: UsagePage) -> Callable[[UsedThing], str]:
    """What leads to each machine of the month that is shown. Of many machines, so that the rest is made once."""
    month = address(page, month=page.month)
    return lambda machine: f"{month}&machine={machine.uuid}"


def charts(page: UsagePage) -> list[SeriesChart]:
    """By month; of the chosen month by machine; and of one machine in it by VM snapshot."""
    if page.account is None or page.month is None:
        return []
    name, month = page.account.name, month_words(page.month)
    csv = f"{address(page, month=page.month, machine=page.machine)}&csv="
    of = f" of {page.machine.name}" if page.machine else ""
    return [
        _chart(
            "by-month",
            "By month",
            f"What the VM snapshots of {name} held in each of the last months, in bytes times hours.",
            "Month",
            [month_words(month) for month in page.months],
            list(page.months.values()),
            [address(page, month=month) for month in page.months],
            csv,
        ),
        _of_things(
            "by-machine",
            f"By machine, {month}",
            f"What the VM snapshots of each machine of {name} held in {month}, in bytes times hours.",
            "Machine",
            page.machines,
            machine_addresses(page),
            csv,
        ),
        _of_things(
            "by-snapshot",
            f"By VM snapshot{of}, {month}",
            f"What each VM snapshot{of} held in {month}, in bytes times hours.",
            "VM snapshot",
            page.snapshots,
            lambda snapshot: reverse("snapshot", args=[snapshot.uuid]) if snapshot.there else "",
            csv,
        ),
    ]


def _of_things(
    key: str,
    title: str,
    about: str,
    head: str,
    things: Sequence[UsedThing],
    leads_to: Callable[[UsedThing], str],
    csv: str,
) -> SeriesChart:
    drawn = things[:DRAWN]
    if len(drawn) < len(things):
        about += f" The {DRAWN} largest."
    addresses = [leads_to(thing) for thing in drawn]
    return _chart(key, title, about, head, [thing.name for thing in drawn], [t.use for t in drawn], addresses, csv)


def _chart(
    key: str,
    title: str,
    about: str,
    head: str,
    labels: Sequence[str],
    uses: Sequence[Use],
    addresses: Sequence[str],
    csv: str,
) -> SeriesChart:
    series = [Series("Estimated", [use.primary.allocated // HOUR for use in uses], "estimate", "bar")]
    if any(not use.open_primary.is_nothing for use in uses):
        waiting = [use.open_primary.allocated // HOUR for use in uses]
        series.append(Series("Estimated, not billed yet", waiting, "other", "bar"))
    series.append(Series("Measured", [use.all_primary.measured // HOUR for use in uses], "measured", "mark"))
    return SeriesChart(key, title, about, "byte-hours", head, labels, series, addresses=addresses, csv=csv + key)

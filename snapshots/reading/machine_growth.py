"""How the VM snapshots of one machine grew, from its usage events, as its chart reads it.

A machine may have had other owners. What it held then is theirs, so that it is shown to root admins alone; others see the
time in which the machine belonged to the account it belongs to now.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import BooleanField, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from snapshots.access import Person, is_root_admin
from snapshots.choices import UsageChange
from snapshots.models import OpenUsage, UsageEvent, VirtualMachine
from snapshots.reading.capacity_series import thinned
from snapshots.reading.chart_shapes import Series, SeriesChart

LENGTH = timedelta(days=365)
EVENTS_MOST = 3_000
BEGINNINGS = (UsageChange.CREATE, UsageChange.ADOPT)
"""Before these a VM snapshot was not billed."""

SIZES = ("estimated_bytes", "measured_bytes")

Total = tuple[int, int | None]


class _Entry(NamedTuple):
    """As much of a usage event, or of what is billed now, as is drawn. `held`: it is there from now on, and is shown."""

    snapshot_uuid: UUID
    estimated_bytes: int
    measured_bytes: int | None
    held: bool
    at: datetime
    change: str = ""


class _Held:
    """The sums of what is held, kept up to date as single VM snapshots change."""

    def __init__(self) -> None:
        self._sizes: dict[UUID, Total] = {}
        self._estimated = self._measured = self._known = 0

    def put(self, entry: _Entry) -> None:
        """The VM snapshot has this size from now on, or is not held."""
        snapshot = entry.snapshot_uuid
        size = (entry.estimated_bytes, entry.measured_bytes) if entry.held else None
        for one, sign in ((self._sizes.pop(snapshot, None), -1), (size, 1)):
            if one is not None:
                self._estimated += sign * one[0]
                self._measured += sign * (one[1] or 0)
                self._known += sign * (one[1] is not None)
        if size is not None:
            self._sizes[snapshot] = size

    @property
    def total(self) -> Total:
        """By the estimate, and as measured; None where nothing is."""
        return self._estimated, self._measured if self._known else None


def machine_chart(person: Person, machine: VirtualMachine, csv: str) -> SeriesChart:
    """A point wherever something changed within a year. Three queries at most, beside those that find out who the person
    is."""
    owner = machine.account.uuid if machine.account else None
    points = list(_points(machine, None if is_root_admin(person) else owner).items())
    rows = thinned(points)
    if rows:
        rows.append((timezone.now(), rows[-1][1]))
    return SeriesChart(
        key="machine-over-time",
        title="VM snapshots over time",
        about=(
            "What the VM snapshots of this machine hold that are counted: by the estimate, and as measured. The last "
            f"{LENGTH.days} days, or the newest {EVENTS_MOST:,} changes where there are more."
        ),
        unit="bytes",
        label_head="Time",
        labels=[at for at, _ in rows],
        series=[
            Series("Estimated", [estimated for _, (estimated, _) in rows], "estimate"),
            Series("Measured", [measured for _, (_, measured) in rows], "measured", "line"),
        ],
        zoom=True,
        csv=csv,
        stepped=True,
    )


def _points(machine: VirtualMachine, account: UUID | None) -> dict[datetime, Total]:
    """What was held after each second in which that changed, beginning with what was there already. Only what was this
    account's; None: anybody's."""
    begin, events = _events(machine, account)
    held = _Held()
    nothing = last = held.total
    for entry in _opening(machine, account, begin, events):
        held.put(entry)
    points: dict[datetime, Total] = {}
    if held.total != nothing:
        last = points[_second(begin)] = held.total
    for entry in events:
        held.put(entry)
        if held.total != last:
            # One request changes several VM snapshots, each some microseconds after the other.
            last = points[_second(entry.at)] = held.total
    return points


def _events(machine: VirtualMachine, account: UUID | None) -> tuple[datetime, list[_Entry]]:
    """The usage events after a time, oldest first, and that time."""
    begin = timezone.now() - LENGTH
    newest = _read(UsageEvent.objects.filter(machine_uuid=machine.uuid, at__gt=begin), account)
    events = [_Entry(*row) for row in newest.order_by("-at", "-id")[:EVENTS_MOST]][::-1]
    if len(events) == EVENTS_MOST:
        # Others of that very time may have been left out.
        begin = events[0].at
        events = [entry for entry in events if entry.at > begin]
    return begin, events


def _opening(machine: VirtualMachine, account: UUID | None, begin: datetime, events: list[_Entry]) -> Iterator[_Entry]:
    """What was billed at that time, before these events: what is billed unchanged since, and what those that changed were
    before."""
    first: dict[UUID, str] = {}
    for entry in events:
        first.setdefault(entry.snapshot_uuid, entry.change)
    lines = OpenUsage.objects.filter(machine=machine, since__lte=begin)
    shown = _shown(Q(pk__isnull=False), account)
    unchanged = lines.annotate(held=shown).values_list("snapshot_uuid", *SIZES, "held", "since")
    yield from (entry for entry in (_Entry(*row) for row in unchanged) if entry.snapshot_uuid not in first)
    there_before = [snapshot for snapshot, change in first.items() if change not in BEGINNINGS]
    if there_before:
        earlier = UsageEvent.objects.filter(machine_uuid=machine.uuid, at__lte=begin)
        newest = earlier.filter(snapshot_uuid=OuterRef("snapshot_uuid")).order_by("-at", "-id").values("pk")[:1]
        rows = earlier.filter(snapshot_uuid__in=there_before, pk=Subquery(newest))
        yield from (_Entry(*row) for row in _read(rows, account).order_by())


def _read(events: QuerySet[UsageEvent], account: UUID | None) -> Any:
    shown = _shown(Q(alive=True), account)
    return events.annotate(held=shown).values_list("snapshot_uuid", *SIZES, "held", "at", "change")


def _shown(there: Q, account: UUID | None) -> "ExpressionWrapper[Q]":
    # Compared by the database: to build the account's id for each row would take as long as all the rest.
    shown = there if account is None else there & Q(account_uuid=account)
    return ExpressionWrapper(shown, BooleanField())


def _second(at: datetime) -> datetime:
    return at.replace(microsecond=0)

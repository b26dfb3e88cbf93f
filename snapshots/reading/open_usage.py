"""Usage that is in no record yet: of the period that is still open, up to this moment.

Of most VM snapshots nothing was heard since the last closing: what they use is their sizes times the time since. So the
database adds up their sizes by machine, and only those of which something was heard are followed event by event.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, pairwise
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from snapshots.models import UsageEvent, UsagePeriod
from snapshots.models.usage import NAMES, PLACE, SIZES
from snapshots.reading.usage_totals import halved, put_together
from snapshots.usage_arithmetic import PriceList, Stay, stays
from snapshots.usage_lines import lines, price_list

MACHINE, ACCOUNT = PLACE.index("machine_uuid"), PLACE.index("account_uuid")


@dataclass(frozen=True, slots=True)
class OpenPeriod:
    """Since when usage of the account is not billed, until when it was looked at, and what was used: by those of which
    nothing was heard since, several on one machine and in one pool together; and by each of which something was heard.
    `start` is None while nothing was ever used."""

    account: UUID
    start: datetime | None
    until: datetime
    edges: list[datetime] = field(default_factory=list)
    prices: PriceList = field(default_factory=lambda: PriceList(()))
    unheard: list[Stay] = field(default_factory=list)
    heard: dict[UUID, list[Stay]] = field(default_factory=dict)

    @property
    def used(self) -> Iterator[Stay]:
        """All of it."""
        return chain(self.unheard, *self.heard.values())


def open_usage(account: UUID, cuts: Iterable[datetime] = ()) -> OpenPeriod:
    """What an account used since the last closed period, apart before and after each of the `cuts`.

    Corrections that wait for the next closing are not in it. Costs are rounded by stay, and so may be some billionths off
    what will be billed.
    """
    now = timezone.now()
    last = UsagePeriod.objects.order_by("number").last()
    start = last.end if last is not None else _new(now).aggregate(first=Min("at"))["first"]
    if start is None or start >= now:
        return OpenPeriod(account, start, now)
    edges = [start, *sorted(cut for cut in cuts if start < cut < now), now]
    found = OpenPeriod(account, start, now, edges, price_list())
    found.unheard.extend(_unheard(found))
    # Also what left the account since: it is followed to where it went, to know until when it was here.
    ours = Q(snapshot_uuid__in=_carried().filter(account_uuid=account).values("snapshot_uuid"))
    ours |= Q(snapshot_uuid__in=_new(now).filter(account_uuid=account).values("snapshot_uuid"))
    new = _new(now).filter(ours)
    for uuid, each in _followed(found, _carried().filter(snapshot_uuid__in=new.values("snapshot_uuid")), new):
        found.heard[uuid] = each
    return found


def open_usage_of_machine(found: OpenPeriod, machine: UUID) -> Iterator[tuple[UUID, Stay]]:
    """What each VM snapshot used on this machine of the account, apart as `found` is."""
    there = _carried().filter(account_uuid=found.account, machine_uuid=machine)
    unheard = ((uuid, each) for uuid, each in _followed(found, there) if uuid not in found.heard)
    for uuid, each in chain(found.heard.items(), unheard):
        yield from ((uuid, stay) for stay in each if stay.place[MACHINE] == machine)


def _carried() -> QuerySet[UsageEvent]:
    return UsageEvent.objects.filter(carried=True)


def _new(until: datetime) -> QuerySet[UsageEvent]:
    """What no closing has counted."""
    return UsageEvent.objects.filter(period=None, at__lt=until)


def _unheard(found: OpenPeriod) -> Iterator[Stay]:
    """The stays of those VM snapshots together that are as they were at the last closing."""
    again = _new(found.until).filter(snapshot_uuid=OuterRef("snapshot_uuid"))
    rows: Any = _carried().filter(~Exists(again), account_uuid=found.account).order_by()
    sums = {"name": Max("machine_name"), "counted": Count("pk"), "measured": Count("measured_bytes"), **halved(SIZES)}
    for row in rows.values("machine_uuid", "pool_uuid").annotate(**sums):
        place = (row["machine_uuid"], found.account, None, row["pool_uuid"], None)
        names = tuple(row["name"] if name == "machine_name" else "" for name in NAMES)
        volume, estimated, measured = (put_together(row, name) for name in SIZES)
        for begin, until in pairwise(found.edges):
            stay = Stay(place, begin, until, names, (volume, estimated, measured))
            stay.add_several(row["counted"], row["measured"], begin, until, found.prices)
            yield stay


def _followed(
    found: OpenPeriod, carried: QuerySet[UsageEvent], new: QuerySet[UsageEvent] | None = None
) -> Iterator[tuple[UUID, list[Stay]]]:
    """The stays in the account of each VM snapshot to which these events happened."""
    if not found.edges:
        return
    for line in lines(carried, UsageEvent.objects.none() if new is None else new, found.edges[0]):
        each = (stays(line.entries, begin, until, found.prices) for begin, until in pairwise(found.edges))
        yield (
            line.uuid,
            [stay for by_place in each for place, stay in by_place.items() if place[ACCOUNT] == found.account],
        )

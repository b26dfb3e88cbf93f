"""Usage events as lines: what happened to one VM snapshot after the other, so that memory does not grow with their number.

Who closes a period and who shows the open one read the same lines.
"""

from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db.models import Min, QuerySet

from snapshots.models import UsageEvent, UsageMonth, UsagePrice, UsageRecord
from snapshots.models.usage import NAMES, PLACE, SIZES
from snapshots.usage_arithmetic import BILLION, GIB_HOUR, KIB_HOUR, Amounts, Entry, Price, PriceList, whole_of

CHUNK = 2000
COLUMNS = ("snapshot_uuid", "at", "pk", "alive", *PLACE, *NAMES, *SIZES)
NAMES_AT = 4 + len(PLACE)
SIZES_AT = NAMES_AT + len(NAMES)


def lines(
    carried: QuerySet[UsageEvent], new: QuerySet[UsageEvent], start: datetime
) -> Iterator[tuple[UUID, list[Entry], datetime | None]]:
    """The events of each VM snapshot, in order: the one carried over from before `start`, and the new ones.

    For one with new events from before `start` it is all its events, since what was carried says nothing of a VM snapshot
    that was gone at `start`; the last value is then the time of the first new one.
    """
    late = first_late(new, start)
    streams = [_in_order(carried), _in_order(new)]
    if late:
        again = new.filter(at__lt=start).values("snapshot_uuid")
        streams.append(_in_order(UsageEvent.objects.filter(period__isnull=False, snapshot_uuid__in=again)))
    for uuid, rows in groupby(merge(*streams), key=itemgetter(0)):
        # One that stands in two streams comes twice in a row.
        yield uuid, [_entry(row) for row in dict.fromkeys(rows)], late.get(uuid)


def first_late(new: QuerySet[UsageEvent], start: datetime) -> dict[UUID, datetime]:
    """VM snapshots with new events from before `start`, with the time of the first of them."""
    return dict(new.filter(at__lt=start).order_by().values_list("snapshot_uuid").annotate(first=Min("at")))


def _in_order(rows: QuerySet[UsageEvent]) -> Iterator[tuple[Any, ...]]:
    return iter(rows.order_by("snapshot_uuid", "at", "pk").values_list(*COLUMNS).iterator(CHUNK))


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(row[1], row[3], row[4:NAMES_AT], row[NAMES_AT:SIZES_AT], row[SIZES_AT:])


def price_list() -> PriceList:
    """All prices there are."""
    return PriceList(
        Price(row.type, row.unit, row.pool_uuid, row.billionths, row.currency, row.valid_from, row.valid_until)
        for row in UsagePrice.objects.all()
    )


def amounts_of(row: UsageRecord) -> Amounts:
    """What a record says."""
    return Amounts(
        row.microseconds,
        whole_of(row.allocated_kib_hours, row.allocated_rest, KIB_HOUR),
        whole_of(row.measured_kib_hours, row.measured_rest, KIB_HOUR),
        row.unmeasured_microseconds,
        _cost(row),
    )


def amounts_of_month(row: UsageMonth) -> Amounts:
    """What the sum of a month says."""
    return Amounts(
        row.microseconds,
        whole_of(row.allocated_gib_hours, row.allocated_rest, GIB_HOUR),
        whole_of(row.measured_gib_hours, row.measured_rest, GIB_HOUR),
        row.unmeasured_microseconds,
        _cost(row),
    )


def _cost(row: UsageRecord | UsageMonth) -> int | None:
    if row.cost_whole is None or row.cost_rest is None:
        return None
    return whole_of(row.cost_whole, row.cost_rest, BILLION)

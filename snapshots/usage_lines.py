"""Usage events as lines: what happened to one VM snapshot after the other, so that memory does not grow with their number.

Who closes a period and who shows the open one read the same lines.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import CharField, Min, QuerySet
from django.db.models.functions import Cast

from snapshots.models import UsageEvent, UsageMonth, UsagePrice, UsageRecord
from snapshots.models.usage import NAMES, PLACE, SIZES
from snapshots.usage_arithmetic import BILLION, GIB_HOUR, KIB_HOUR, Amounts, Entry, Price, PriceList, parts, whole_of

CHUNK = 2000
KEY, CARRIED, PLACE_AT = 2, 4, 5
NAMES_AT = PLACE_AT + len(PLACE)
SIZES_AT = NAMES_AT + len(NAMES)


class Line(NamedTuple):
    """What happened to one VM snapshot: its events in order, and the time of the first new one from before the start, None
    where there is none such. Of the keys of its events: those that were carried over, and the one to carry on, if any."""

    uuid: UUID
    entries: list[Entry]
    late: datetime | None
    carried: list[int]
    carry: list[int]


def lines(carried: QuerySet[UsageEvent], new: QuerySet[UsageEvent], start: datetime) -> Iterator[Line]:
    """The events of each VM snapshot: the one carried over from before `start`, and the new ones.

    For one with new events from before `start` it is all its events, since what was carried says nothing of a VM snapshot
    that was gone at `start`.
    """
    late = first_late(new, start)
    streams = [_in_order(carried), _in_order(new)]
    if late:
        again = new.filter(at__lt=start).values("snapshot_uuid")
        streams.append(_in_order(UsageEvent.objects.filter(period__isnull=False, snapshot_uuid__in=again)))
    for text, rows in groupby(merge(*streams), key=itemgetter(0)):
        # One that stands in two streams comes twice in a row.
        events = {row[KEY]: row for row in rows}
        entries = list(_entries(events.values()))
        was_carried = [key for key, row in events.items() if row[CARRIED]]
        uuid, carry = UUID(text), [next(reversed(events))] if entries[-1].alive else []
        yield Line(uuid, entries, late.get(uuid), was_carried, carry)


def first_late(new: QuerySet[UsageEvent], start: datetime) -> dict[UUID, datetime]:
    """VM snapshots with new events from before `start`, with the time of the first of them."""
    return dict(new.filter(at__lt=start).order_by().values_list("snapshot_uuid").annotate(first=Min("at")))


def _in_order(rows: QuerySet[UsageEvent]) -> Iterator[tuple[Any, ...]]:
    """With ids as texts, which are in the same order: most of them are the same from one event to the next."""
    columns: Any = (_text("snapshot_uuid"), "at", "pk", "alive", "carried", *map(_text, PLACE), *NAMES, *SIZES)
    return iter(rows.order_by("snapshot_uuid", "at", "pk").values_list(*columns).iterator(CHUNK))


def _text(name: str) -> Cast:
    return Cast(name, CharField())


def _entries(rows: Iterable[tuple[Any, ...]]) -> Iterator[Entry]:
    texts: tuple[str | None, ...] = ()
    place: tuple[UUID | None, ...] = ()
    for row in rows:
        if row[PLACE_AT:NAMES_AT] != texts:
            texts = row[PLACE_AT:NAMES_AT]
            place = tuple(None if text is None else UUID(text) for text in texts)
        yield Entry(row[1], row[3], place, row[NAMES_AT:SIZES_AT], row[SIZES_AT:])


def price_list() -> PriceList:
    """All prices there are."""
    return PriceList(
        Price(row.type, row.unit, row.pool_uuid, row.billionths, row.currency, row.valid_from, row.valid_until)
        for row in UsagePrice.objects.all()
    )


def amounts_of(row: UsageRecord) -> Amounts:
    """What a record says."""
    return _amounts(row, "kib_hours", KIB_HOUR)


def amounts_of_month(row: UsageMonth) -> Amounts:
    """What the sum of a month says."""
    return _amounts(row, "gib_hours", GIB_HOUR)


def record_columns(amounts: Amounts) -> dict[str, int | None]:
    """The columns of a record that say this."""
    return _columns(amounts, "kib_hours", KIB_HOUR)


def month_columns(amounts: Amounts) -> dict[str, int | None]:
    """The columns of the sum of a month that say this."""
    return _columns(amounts, "gib_hours", GIB_HOUR)


def _amounts(row: UsageRecord | UsageMonth, name: str, unit: int) -> Amounts:
    cost = None
    if row.cost_whole is not None and row.cost_rest is not None:
        cost = whole_of(row.cost_whole, row.cost_rest, BILLION)
    return Amounts(
        row.microseconds,
        whole_of(getattr(row, f"allocated_{name}"), row.allocated_rest, unit),
        whole_of(getattr(row, f"measured_{name}"), row.measured_rest, unit),
        row.unmeasured_microseconds,
        cost,
    )


def _columns(amounts: Amounts, name: str, unit: int) -> dict[str, int | None]:
    allocated, allocated_rest = parts(amounts.allocated, unit)
    measured, measured_rest = parts(amounts.measured, unit)
    whole, rest = parts(amounts.cost, BILLION) if amounts.cost is not None else (None, None)
    return {
        "microseconds": amounts.microseconds,
        f"allocated_{name}": allocated,
        "allocated_rest": allocated_rest,
        f"measured_{name}": measured,
        "measured_rest": measured_rest,
        "unmeasured_microseconds": amounts.unmeasured,
        "cost_whole": whole,
        "cost_rest": rest,
    }

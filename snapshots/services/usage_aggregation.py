"""Closes the periods of usage: turns the usage events of a stretch of time into records that never change any more.

A period is closed in one transaction, in the order of time, and begins where the last closed one ends: so however late,
how often and on however many machines this runs, there is no gap and nothing is billed twice. Each event is counted in the
closing that first sees it. One that comes when its own period is closed already (because its transaction was committed
late, or the clock was set back) makes correction records: the difference between what was recorded and what is right.
"""

import logging
from array import array
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import transaction
from django.db.models import Min
from django.utils import timezone

from snapshots.choices import PeriodLength, UsageType
from snapshots.models import UsageEvent, UsagePeriod, UsageRecord
from snapshots.models.usage import NAMES, PLACE
from snapshots.services.billing_lock import lock_billing
from snapshots.services.usage_months import MonthSums
from snapshots.services.usage_names import NamesOfTheDay
from snapshots.services.usage_new_records import NewRecord, insert_records
from snapshots.usage_arithmetic import (
    NO_USE,
    Amounts,
    Entry,
    PriceList,
    Stay,
    month_of,
    period_end,
    period_start,
    stays,
)
from snapshots.usage_lines import Line, amounts_of, lines, price_list

KEYS = 500
CLOCK_WAS_AHEAD = (
    "Usage periods are closed until %s, which is to come: a clock was ahead. Usage until then is billed later."
)

log = logging.getLogger(__name__)

Place = tuple[UUID | None, ...]


class _Billed(NamedTuple):
    """What one VM snapshot used at one place in one period, of one type."""

    amounts: Amounts
    stay: Stay
    currency: str


def close_due_periods() -> list[UsagePeriod]:
    """Close all periods that are over since the time of grace (setting USAGE_CLOSE_AFTER_SECONDS), the oldest first.

    Answers those that were closed here, not those that another process closed meanwhile.
    """
    closed: list[UsagePeriod] = []
    while _due_period() is not None:
        with transaction.atomic():
            lock_billing()
            # Another process may have closed it while this one waited.
            period = _due_period()
            if period is not None:
                period.save(force_insert=True)
                _close(period)
                closed.append(period)
    return closed


def _due_period() -> UsagePeriod | None:
    """The next period, not saved yet; None while it is not over, and while there is nothing that could be billed. Where the
    last one ends in the future, that is logged as an error."""
    last = UsagePeriod.objects.order_by("number").last()
    length, zone, now = _length(), _zone(), timezone.now()
    if last is not None:
        start = last.end
        if start > now:
            log.error(CLOCK_WAS_AHEAD, start.isoformat())
    else:
        first = UsageEvent.objects.aggregate(first=Min("at"))["first"]
        if first is None:
            return None
        start = period_start(first, length, zone)
    end = period_end(start, length, zone)
    if end > now - timedelta(seconds=settings.USAGE_CLOSE_AFTER_SECONDS):
        return None
    number = 1 if last is None else last.number + 1
    return UsagePeriod(number=number, start=start, end=end, length=length, month=month_of(start, zone), closed_at=now)


def _length() -> PeriodLength:
    return PeriodLength(settings.USAGE_PERIOD)


def _zone() -> ZoneInfo:
    return ZoneInfo(settings.USAGE_TIME_ZONE)


def _close(period: UsagePeriod) -> None:
    UsageEvent.objects.filter(period=None, at__lt=period.end).update(period=period)
    late = UsageEvent.objects.filter(period=period, at__lt=period.start).aggregate(first=Min("at"))["first"]
    if late is not None:
        _begin_earlier(late, period)
    carried, months = _Carried(), MonthSums()
    records = NamesOfTheDay().given(_records(period, price_list(), carried))
    insert_records(months.added(records))
    months.write()
    carried.write()


def _begin_earlier(first: datetime, period: UsagePeriod) -> None:
    """Should an event lie before the first period of all, there are periods for that time too: closed, and empty but for
    the corrections that follow."""
    oldest = UsagePeriod.objects.earliest("number")
    length, zone = _length(), _zone()
    spans = []
    start = period_start(first, length, zone)
    while start < oldest.start:
        end = min(period_end(start, length, zone), oldest.start)
        spans.append((start, end))
        start = end
    UsagePeriod.objects.bulk_create(
        UsagePeriod(
            number=oldest.number - distance,
            start=begin,
            end=end,
            length=length,
            month=month_of(begin, zone),
            closed_at=period.closed_at,
        )
        for distance, (begin, end) in enumerate(reversed(spans), start=1)
    )


def _records(period: UsagePeriod, prices: PriceList, carried: "_Carried") -> Iterator[NewRecord]:
    before = UsageEvent.objects.filter(carried=True)
    counted = UsageEvent.objects.filter(period=period)
    for line in lines(before, counted, period.start):
        carried.add(line)
        if line.late is not None:
            yield from _corrections(period, line.uuid, line.entries, line.late, prices)
        for stay in stays(line.entries, period.start, period.end, prices).values():
            for kind in UsageType:
                yield NewRecord(period, None, line.uuid, stay, kind.value, stay.amounts(kind), stay.currency(kind))


def _corrections(
    period: UsagePeriod, uuid: UUID, entries: list[Entry], first: datetime, prices: PriceList
) -> Iterator[NewRecord]:
    """By what the records of earlier periods are wrong about one VM snapshot, now that more is known of it."""
    closed = UsagePeriod.objects.filter(end__gt=first, start__lt=period.start).order_by("number")
    recorded = _recorded(uuid)
    for earlier in closed:
        right: dict[tuple[Place, int], _Billed] = {
            (place, kind): _Billed(stay.amounts(kind), stay, stay.currency(kind))
            for place, stay in stays(entries, earlier.start, earlier.end, prices).items()
            for kind in UsageType
        }
        wrong = recorded.get(earlier.pk, {})
        for key in dict.fromkeys([*right, *wrong]):
            known = right.get(key) or wrong[key]
            is_right = right[key].amounts if key in right else NO_USE
            missing = is_right.minus(wrong[key].amounts if key in wrong else NO_USE)
            if not missing.is_nothing:
                currency = known.currency or (wrong[key].currency if key in wrong else "")
                yield NewRecord(period, earlier, uuid, known.stay, key[1], missing, currency)


def _recorded(uuid: UUID) -> dict[int, dict[tuple[Place, int], _Billed]]:
    """What stands in the records of a VM snapshot, with corrections: by the period it was used in, place and type."""
    found: dict[int, dict[tuple[Place, int], _Billed]] = {}
    for row in UsageRecord.objects.filter(snapshot_uuid=uuid).order_by("pk"):
        place = tuple(getattr(row, name) for name in PLACE)
        names = tuple(getattr(row, name) for name in NAMES)
        stay = Stay(place, row.start, row.end, names, (row.volume_bytes, row.estimated_bytes, row.measured_bytes))
        billed = found.setdefault(row.corrects_id or row.period_id, {})
        before = billed.get((place, row.type))
        amounts = amounts_of(row) if before is None else before.amounts.plus(amounts_of(row))
        billed[place, row.type] = _Billed(amounts, stay, row.currency or (before.currency if before else ""))
    return found


class _Carried:
    """The events with which the next closing begins: of each VM snapshot the last one so far, while it is there. Noted
    while lines are read, and written after it."""

    def __init__(self) -> None:
        self._before, self._now = array("q"), array("q")

    def add(self, line: Line) -> None:
        """Take this VM snapshot in."""
        if line.carried != line.carry:
            self._before.extend(line.carried)
            self._now.extend(line.carry)

    def write(self) -> None:
        """Mark the events, in the order of lines, which is that of an index of theirs."""
        for keys, mark in ((self._before, False), (self._now, True)):
            waiting = iter(keys)
            while batch := list(islice(waiting, KEYS)):
                UsageEvent.objects.filter(pk__in=batch).update(carried=mark)

"""Proves that the usage records say what the usage events say, by another calculation than the one that made them.

The aggregation walks from event to event and adds up what lay in between. Here every event counts by itself: each changes
by some step what a VM snapshot uses at a place, and a step that was made at t has added, by the end of a period, the step
times the time since t. So the use of a period is what all steps had added at its end, less what they had at its start.

The sums by month, which are kept beside the records, are compared with the records.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db.models import Max, Min
from django.db.models.functions import Coalesce

from snapshots.choices import UsageType
from snapshots.models import UsageEvent, UsageMonth, UsagePeriod, UsageRecord
from snapshots.models.usage import PLACE
from snapshots.reading.usage_totals import usage_sums_in_order
from snapshots.usage_lines import amounts_of_month

MICROSECONDS_OF_A_SECOND = 10**6
HOUR = 3600 * MICROSECONDS_OF_A_SECOND
RECORD_UNIT = 1024 * HOUR
"""What one of a record's `…_kib_hours` is in byte-microseconds."""
MOST_TOLD = 20
EVENT_COLUMNS = ("snapshot_uuid", "at", "alive", "volume_bytes", "estimated_bytes", "measured_bytes", *PLACE)

Sums = tuple[int, int, int, int]
"""Microseconds; byte-microseconds allocated and measured; microseconds without a measure."""
NOTHING: Sums = (0, 0, 0, 0)


@dataclass
class Proof:
    """What was compared, and where the two sides differ: in sentences, the first of them only."""

    start: datetime | None = None
    end: datetime | None = None
    periods: int = 0
    records: int = 0
    events: int = 0
    waiting: int = 0
    """Events of closed periods that the next closing will count."""
    months: int = 0
    """Sums by month that were compared with the records."""
    totals: dict[int, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0]))
    """By type, what events and records agree on, or the events where they do not."""
    wrong: int = 0
    differences: list[str] = field(default_factory=list)

    def differ(self, sentence: str) -> None:
        """Note a difference."""
        self.wrong += 1
        if len(self.differences) < MOST_TOLD:
            self.differences.append(sentence)


def prove(start: datetime | None = None, end: datetime | None = None) -> Proof:
    """Compare the records of all closed periods that lie between these times with the events, and the sums of the months in
    which these periods lie with the records. Memory is bounded by one VM snapshot and the periods."""
    chosen = UsagePeriod.objects.order_by("number")
    if start is not None:
        chosen = chosen.filter(start__gte=start)
    if end is not None:
        chosen = chosen.filter(end__lte=end)
    periods = list(chosen)
    proof = Proof(periods=len(periods))
    if not periods:
        return proof
    proof.start, proof.end = periods[0].start, periods[-1].end
    proof.waiting = UsageEvent.objects.filter(period=None, at__lt=periods[-1].end).count()
    _compare_borders(periods, proof)
    events = _by_snapshot(_events(periods[-1].end), proof, "events")
    records = _by_snapshot(_records(periods), proof, "records")
    for uuid, said, billed in _side_by_side(events, records):
        _compare(periods, uuid, _from_events(periods, said), _from_records(billed), proof)
    _compare_months({period.month for period in periods}, proof)
    return proof


def _compare_borders(periods: Sequence[UsagePeriod], proof: Proof) -> None:
    for earlier, later in pairwise(periods):
        if earlier.end != later.start:
            proof.differ(f"Between the periods {earlier} and {later} there is a gap, or they overlap.")


def _events(end: datetime) -> Iterator[tuple[Any, ...]]:
    rows = UsageEvent.objects.filter(period__isnull=False, at__lt=end).order_by("snapshot_uuid", "at", "pk")
    return iter(rows.values_list(*EVENT_COLUMNS).iterator())


def _records(periods: Sequence[UsagePeriod]) -> Iterator[tuple[Any, ...]]:
    rows: Any = UsageRecord.objects.filter(period__number__gte=periods[0].number)
    rows = rows.annotate(used_in=Coalesce("corrects", "period"))
    columns = (
        "snapshot_uuid",
        "used_in",
        "type",
        "microseconds",
        "allocated_kib_hours",
        "allocated_rest",
        "measured_kib_hours",
        "measured_rest",
        "unmeasured_microseconds",
        *PLACE,
    )
    chosen = {period.pk for period in periods}
    found = rows.order_by("snapshot_uuid", "pk").values_list(*columns).iterator()
    return (row for row in found if row[1] in chosen)


def _by_snapshot(
    rows: Iterator[tuple[Any, ...]], proof: Proof, count: str
) -> Iterator[tuple[UUID, list[tuple[Any, ...]]]]:
    for uuid, group in groupby(rows, key=itemgetter(0)):
        found = [row[1:] for row in group]
        setattr(proof, count, getattr(proof, count) + len(found))
        yield uuid, found


def _side_by_side(
    left: Iterator[tuple[Any, list[Any]]], right: Iterator[tuple[Any, list[Any]]]
) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """Both lists of each key that is on one of the sides. Both come in the order of their keys."""
    one, two = next(left, None), next(right, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[0] < two[0]):
            assert one is not None  # noqa: S101  # one of the two is there
            yield one[0], one[1], []
            one = next(left, None)
        elif one is None or two[0] < one[0]:
            yield two[0], [], two[1]
            two = next(right, None)
        else:
            yield one[0], one[1], two[1]
            one, two = next(left, None), next(right, None)


def _from_events(periods: Sequence[UsagePeriod], events: list[tuple[Any, ...]]) -> dict[Any, Sums]:
    """By period, type and place."""
    steps = _steps(events)
    if not steps:
        return {}
    first, last_alive = steps[0][0], events[-1][1]
    begin = max(bisect_right([period.start for period in periods], first) - 1, 0)
    found: dict[Any, Sums] = {}
    for period in periods[begin:]:
        if not last_alive and period.start >= events[-1][0]:
            break
        for (kind, place), added in _added(steps, period.start, period.end).items():
            if any(added):
                found[period.pk, kind, place] = added
    return found


def _steps(events: list[tuple[Any, ...]]) -> list[tuple[datetime, tuple[int, Any], Sums]]:
    """By how much each event changed what is used at which place, per microsecond: takes away what was, adds what is."""
    steps = []
    before: dict[tuple[int, Any], Sums] = {}
    for at, alive, volume, estimated, measured, *place in events:
        here = tuple(place)
        now: dict[tuple[int, Any], Sums] = {}
        if alive:
            now[UsageType.VM_SNAPSHOT, here] = (1, volume, 0, 0)
            now[UsageType.VM_SNAPSHOT_ON_PRIMARY, here] = (1, estimated, measured or 0, int(measured is None))
        steps += [(at, key, _times(-1, rates)) for key, rates in before.items()]
        steps += [(at, key, rates) for key, rates in now.items()]
        before = now
    return steps


def _added(
    steps: list[tuple[datetime, tuple[int, Any], Sums]], start: datetime, end: datetime
) -> dict[tuple[int, Any], Sums]:
    found: dict[tuple[int, Any], Sums] = defaultdict(lambda: NOTHING)
    for at, key, rates in steps:
        if at < end:
            since = end - max(at, start)
            held = (since.days * 86_400 + since.seconds) * MICROSECONDS_OF_A_SECOND + since.microseconds
            found[key] = _plus(found[key], _times(held, rates))
    return found


def _from_records(records: list[tuple[Any, ...]]) -> dict[Any, Sums]:
    found: dict[Any, Sums] = defaultdict(lambda: NOTHING)
    for used_in, kind, lasted, allocated, allocated_rest, measured, measured_rest, unmeasured, *place in records:
        key = (used_in, kind, tuple(place))
        sums = (
            lasted,
            allocated * RECORD_UNIT + allocated_rest,
            measured * RECORD_UNIT + measured_rest,
            unmeasured,
        )
        found[key] = _plus(found[key], sums)
    return found


def _compare(
    periods: Sequence[UsagePeriod], uuid: UUID, said: dict[Any, Sums], billed: dict[Any, Sums], proof: Proof
) -> None:
    for key in dict.fromkeys([*said, *billed]):
        right, found = said.get(key, NOTHING), billed.get(key, NOTHING)
        totals = proof.totals[key[1]]
        totals[:] = _plus((totals[0], totals[1], totals[2], totals[3]), right)
        if right != found:
            period = next(period for period in periods if period.pk == key[0])
            proof.differ(
                f"VM snapshot {uuid}, type {key[1]:d}, {period}: the events say {_words(right)}, "
                f"the records {_words(found)}."
            )


def _words(sums: Sums) -> str:
    return f"{sums[0]} µs, {sums[1]} and {sums[2]} byte-µs, {sums[3]} µs unmeasured"


def _plus(one: Sums, two: Sums) -> Sums:
    return (one[0] + two[0], one[1] + two[1], one[2] + two[2], one[3] + two[3])


def _times(factor: int, sums: Sums) -> Sums:
    return (factor * sums[0], factor * sums[1], factor * sums[2], factor * sums[3])


MONTH_KEY = ("account_uuid", "month", "machine_uuid", "type")


def _compare_months(months: set[date], proof: Proof) -> None:
    """Both sides come in the order of `MONTH_KEY`, so that memory does not grow with the machines."""
    for key, summed, written in _side_by_side(_from_records_of(months), _written(months)):
        proof.months += len(written)
        if summed != written:
            account, month, machine, kind = key
            proof.differ(
                f"Month {month:%Y-%m}, machine {machine}, account {account}, type {kind:d}: the records say "
                f"{_month_words(summed)}, the month {_month_words(written)}."
            )


def _from_records_of(months: set[date]) -> Iterator[tuple[Any, list[Any]]]:
    edges = UsagePeriod.objects.filter(month__in=months).aggregate(start=Min("start"), end=Max("end"))
    within: Any = UsageRecord.objects.filter(start__gte=edges["start"], start__lt=edges["end"])
    named = within.annotate(month=Coalesce("corrects__month", "period__month")).filter(month__in=months)
    for key, total in usage_sums_in_order(named.order_by(*MONTH_KEY), *MONTH_KEY):
        yield key, [(total.records, total.amounts)]


def _written(months: set[date]) -> Iterator[tuple[Any, list[Any]]]:
    for row in UsageMonth.objects.filter(month__in=months).order_by(*MONTH_KEY).iterator():
        yield tuple(getattr(row, name) for name in MONTH_KEY), [(row.records, amounts_of_month(row))]


def _month_words(sums: list[Any]) -> str:
    if not sums:
        return "nothing"
    records, (lasted, allocated, measured, unmeasured, cost) = sums[0]
    return f"{records} records, {_words((lasted, allocated, measured, unmeasured))}, {cost} billionths"


def from_events(start: datetime, end: datetime) -> dict[int, Sums]:
    """What was used between these times, by type, as the events alone say: also those that are in no record yet."""
    rows = UsageEvent.objects.filter(at__lt=end).order_by("snapshot_uuid", "at", "pk").values_list(*EVENT_COLUMNS)
    found: dict[int, Sums] = defaultdict(lambda: NOTHING)
    for _, group in groupby(rows.iterator(), key=itemgetter(0)):
        for (kind, _), added in _added(_steps([row[1:] for row in group]), start, end).items():
            found[kind] = _plus(found[kind], added)
    return dict(found)


def first_moment() -> datetime | None:
    """When the first period, or the first usage event, was; None when there is neither."""
    moments = [
        UsagePeriod.objects.aggregate(first=Min("start"))["first"],
        UsageEvent.objects.aggregate(first=Min("at"))["first"],
    ]
    return min((moment for moment in moments if moment is not None), default=None)

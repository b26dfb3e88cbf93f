"""The arithmetic of usage, without a query: where periods begin, how long each VM snapshot was where and how large, and
what that costs.

All of it is exact. Time is whole microseconds, size times time is byte-microseconds, cost is a fraction of which only the
end result is rounded, to a billionth of the currency. Python's integers have no bound; how they are kept in columns of 64
bits is `parts` and `whole_of`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from snapshots.choices import PeriodLength, PriceUnit, UsageType

MICROSECOND = timedelta(microseconds=1)
HOUR = 3_600_000_000
"""Microseconds."""
GIB = 2**30
KIB_HOUR = 2**10 * HOUR
"""Byte-microseconds. What one VM snapshot uses in a month fits into 64 bits of these whatever its size is."""
BILLION = 10**9
GIB_HOUR = GIB * HOUR
"""Byte-microseconds, which as a rest fit into 64 bits."""
QUARTER = timedelta(minutes=15)
"""All zones differ from UTC by whole quarters of an hour."""


def parts(amount: int, unit: int) -> tuple[int, int]:
    """The amount as whole units and the rest, which is never negative."""
    return divmod(amount, unit)


def whole_of(units: int, rest: int, unit: int) -> int:
    """The amount that has these parts, or these sums of parts."""
    return units * unit + rest


def microseconds(start: datetime, end: datetime) -> int:
    """How long it is from start to end."""
    return (end - start) // MICROSECOND


# Periods


def period_start(at: datetime, length: PeriodLength, zone: ZoneInfo) -> datetime:
    """When the period of this length that holds the moment began, in UTC."""
    if length == PeriodLength.HOUR:
        start = _quarter(at)
        while start.astimezone(zone).minute:
            start -= QUARTER
        return start
    day = at.astimezone(zone).date()
    return _midnight(day.replace(day=1) if length == PeriodLength.MONTH else day, zone)


def period_end(at: datetime, length: PeriodLength, zone: ZoneInfo) -> datetime:
    """When the period of this length that holds the moment ends, in UTC. A day is as long as the zone's clocks make it."""
    if length == PeriodLength.HOUR:
        end = _quarter(at) + QUARTER
        while end.astimezone(zone).minute:
            end += QUARTER
        return end
    day = at.astimezone(zone).date()
    if length == PeriodLength.MONTH:
        return _midnight(date(day.year + day.month // 12, day.month % 12 + 1, 1), zone)
    return _midnight(day + timedelta(days=1), zone)


def month_of(at: datetime, zone: ZoneInfo) -> date:
    """The first day of the month that holds the moment."""
    return at.astimezone(zone).date().replace(day=1)


def _quarter(at: datetime) -> datetime:
    at = at.astimezone(UTC)
    return at.replace(minute=at.minute - at.minute % 15, second=0, microsecond=0)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of the day. Where the clocks skip midnight it is the moment they do, where they show it twice the
    first of the two: that is what `fold=0` means."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


# Prices


@dataclass(frozen=True, slots=True)
class Price:
    """What a unit costs, in billionths, from one moment until another (None: for good). `pool` None: in all pools."""

    type: int
    unit: str
    pool: UUID | None
    billionths: int
    currency: str
    valid_from: datetime
    valid_until: datetime | None


class PriceList:
    """All prices. That of a pool comes before that of all pools; two for the same thing never hold at the same time."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._lines: dict[tuple[int, UUID | None], list[Price]] = {}
        for price in sorted(prices, key=lambda price: price.valid_from):
            self._lines.setdefault((price.type, price.pool), []).append(price)
        self._types = {kind for kind, _ in self._lines}

    def stretches(self, kind: int, pool: UUID | None, start: datetime, end: datetime) -> Iterator[tuple[int, Price]]:
        """The prices that hold from start to end, each with the microseconds for which it does."""
        if kind not in self._types:
            return
        lines = [self._lines.get((kind, pool), []), self._lines.get((kind, None), [])]
        cuts = {start, end}
        for line in (lines[0] + lines[1]) if pool is not None else lines[1]:
            cuts |= {cut for cut in (line.valid_from, line.valid_until) if cut is not None and start < cut < end}
        edges = sorted(cuts)
        for begin, until in pairwise(edges):
            price = _valid_at(lines[0], begin) or _valid_at(lines[1], begin)
            if price is not None:
                yield microseconds(begin, until), price


def _valid_at(lines: list[Price], at: datetime) -> Price | None:
    place = bisect_right(lines, at, key=lambda price: price.valid_from) - 1
    if place < 0:
        return None
    found = lines[place]
    return found if found.valid_until is None or at < found.valid_until else None


class Cost:
    """A sum of costs: exact until it is asked for its billionths."""

    __slots__ = ("currency", "numerator")

    def __init__(self) -> None:
        self.numerator: int | None = None
        self.currency = ""

    def add(self, price: Price, duration: int, allocated: int, measured: int | None, count: int = 1) -> None:
        """So many microseconds of a VM snapshot of this size, or of several of these sizes together, at this price."""
        match price.unit:
            case PriceUnit.ALLOCATED:
                size = allocated
            case PriceUnit.MEASURED:
                size = measured or 0
            case _:
                size = count * GIB
        self.numerator = (self.numerator or 0) + price.billionths * duration * size
        self.currency = price.currency

    @property
    def billionths(self) -> int | None:
        """Rounded to whole billionths, halves to the even one. None when there was no price."""
        if self.numerator is None:
            return None
        whole, rest = divmod(self.numerator, HOUR * GIB)
        twice = 2 * rest
        return whole + (twice > HOUR * GIB or (twice == HOUR * GIB and whole % 2))


# Stays


class Entry(NamedTuple):
    """One usage event of a VM snapshot, in the order of `UsageEvent`: from `at` on it is there, and so large."""

    at: datetime
    alive: bool
    place: tuple[UUID | None, ...]
    """As `models.usage.PLACE`."""
    names: tuple[str, ...]
    """As `models.usage.NAMES`."""
    sizes: tuple[int, int, int | None]
    """As `models.usage.SIZES`."""


POOL = 3
"""Where in a place the pool stands."""


class Amounts(NamedTuple):
    """How much was used: microseconds, byte-microseconds allocated and measured, microseconds in which nothing was
    measured, and the cost in billionths, None without a price."""

    microseconds: int
    allocated: int
    measured: int
    unmeasured: int
    cost: int | None

    def plus(self, other: "Amounts", sign: int = 1) -> "Amounts":
        """Both together."""
        cost = None if self.cost is None and other.cost is None else (self.cost or 0) + sign * (other.cost or 0)
        return Amounts(
            self.microseconds + sign * other.microseconds,
            self.allocated + sign * other.allocated,
            self.measured + sign * other.measured,
            self.unmeasured + sign * other.unmeasured,
            cost,
        )

    def minus(self, other: "Amounts") -> "Amounts":
        """What is missing from the other to this."""
        return self.plus(other, -1)

    @property
    def is_nothing(self) -> bool:
        """Whether it makes no difference."""
        return not any(self)


NO_USE = Amounts(0, 0, 0, 0, None)


@dataclass(slots=True)
class Stay:
    """What one VM snapshot, or several, used at one place within a stretch of time. Names and sizes are the last ones
    there."""

    place: tuple[UUID | None, ...]
    start: datetime
    end: datetime
    names: tuple[str, ...]
    sizes: tuple[int, int, int | None]
    microseconds: int = 0
    volume: int = 0
    estimated: int = 0
    measured: int = 0
    unmeasured: int = 0
    costs: dict[int, Cost] = field(default_factory=dict)

    def add(self, entry: Entry, start: datetime, end: datetime, prices: PriceList) -> None:
        """It was as the entry says from start to end."""
        duration = microseconds(start, end)
        volume, estimated, measured = entry.sizes
        self.end, self.names, self.sizes = end, entry.names, entry.sizes
        self.microseconds += duration
        self.volume += duration * volume
        self.estimated += duration * estimated
        if measured is None:
            self.unmeasured += duration
        else:
            self.measured += duration * measured
        for kind, allocated in ((UsageType.VM_SNAPSHOT, volume), (UsageType.VM_SNAPSHOT_ON_PRIMARY, estimated)):
            for held, price in prices.stretches(kind, entry.place[POOL], start, end):
                self.costs.setdefault(kind, Cost()).add(price, held, allocated, measured)

    def add_several(self, count: int, measured: int, start: datetime, end: datetime, prices: PriceList) -> None:
        """So many VM snapshots, so many of them measured, were there from start to end. `sizes` are those of all of them
        together."""
        duration = microseconds(start, end)
        volume, estimated, occupied = self.sizes
        self.microseconds += duration * count
        self.volume += duration * volume
        self.estimated += duration * estimated
        self.measured += duration * (occupied or 0)
        self.unmeasured += duration * (count - measured)
        for kind, allocated in ((UsageType.VM_SNAPSHOT, volume), (UsageType.VM_SNAPSHOT_ON_PRIMARY, estimated)):
            for held, price in prices.stretches(kind, self.place[POOL], start, end):
                self.costs.setdefault(kind, Cost()).add(price, held, allocated, occupied, count)

    def amounts(self, kind: UsageType) -> Amounts:
        """What it used of this type."""
        cost = self.costs.get(kind)
        billionths = cost.billionths if cost is not None else None
        if kind == UsageType.VM_SNAPSHOT:
            return Amounts(self.microseconds, self.volume, 0, 0, billionths)
        return Amounts(self.microseconds, self.estimated, self.measured, self.unmeasured, billionths)

    def currency(self, kind: UsageType) -> str:
        """The currency of its cost of this type, empty without a price."""
        cost = self.costs.get(kind)
        return cost.currency if cost is not None else ""


def stays(
    entries: Sequence[Entry], start: datetime, end: datetime, prices: PriceList
) -> dict[tuple[UUID | None, ...], Stay]:
    """What a VM snapshot used from start to end, by place. `entries` are its events in order: all before `end`, or at least
    the last one before `start` and those after."""
    found: dict[tuple[UUID | None, ...], Stay] = {}
    for number, entry in enumerate(entries):
        begin = max(entry.at, start)
        until = min(entries[number + 1].at, end) if number + 1 < len(entries) else end
        if not entry.alive or begin >= until:
            continue
        stay = found.get(entry.place)
        if stay is None:
            stay = found[entry.place] = Stay(entry.place, begin, until, entry.names, entry.sizes)
        stay.add(entry, begin, until, prices)
    return found

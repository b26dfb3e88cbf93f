"""Usage is exact: periods follow each other whatever the clocks do, and what is split up adds up to the whole."""

import uuid
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from snapshots.choices import PeriodLength, PriceUnit, UsageType
from snapshots.usage_arithmetic import (
    GIB,
    HOUR,
    KIB_HOUR,
    Cost,
    Entry,
    Price,
    PriceList,
    parts,
    period_end,
    period_start,
    stays,
    whole_of,
)
from tests.usage import at

BERLIN = ZoneInfo("Europe/Berlin")
NO_PRICES = PriceList(())
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Havana",
    "Pacific/Apia",
)
POOL = uuid.uuid4()
PLACE = (uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), POOL, uuid.uuid4())
NAMES = ("s", "m", "a", "d", "p", "h")
MOST = 2**63 - 1

moments = st.datetimes(
    at("2000-01-01").replace(tzinfo=None), at("2040-01-01").replace(tzinfo=None), timezones=st.just(UTC)
)


def hours_of(day: str, zone: ZoneInfo = BERLIN) -> float:
    start = period_start(at(f"{day} 12:00"), PeriodLength.DAY, zone)
    return (period_end(start, PeriodLength.DAY, zone) - start) / timedelta(hours=1)


def test_a_day_has_23_hours_when_summer_time_begins_and_25_when_it_ends() -> None:
    assert [hours_of(day) for day in ("2026-03-28", "2026-03-29", "2026-10-25")] == [24, 23, 25]


def test_an_hour_that_the_clocks_show_twice_is_two_periods() -> None:
    first = period_start(at("2026-10-25 00:30"), PeriodLength.HOUR, BERLIN)
    second = period_end(first, PeriodLength.HOUR, BERLIN)
    assert first.astimezone(BERLIN).hour == second.astimezone(BERLIN).hour == 2
    assert second - first == timedelta(hours=1)


def test_a_month_is_as_long_as_the_calendar_says_also_in_a_leap_year() -> None:
    def days(when: str) -> float:
        start = period_start(at(when), PeriodLength.MONTH, ZoneInfo("UTC"))
        return (period_end(start, PeriodLength.MONTH, ZoneInfo("UTC")) - start) / timedelta(days=1)

    assert [days(when) for when in ("2027-02-10", "2028-02-10", "2026-12-31 23:59", "2026-04-01")] == [28, 29, 31, 30]
    start = period_start(at("2028-02-29 05:00"), PeriodLength.DAY, ZoneInfo("UTC"))
    assert (start, period_end(start, PeriodLength.DAY, ZoneInfo("UTC"))) == (at("2028-02-29"), at("2028-03-01"))


def test_a_day_that_has_no_midnight_begins_when_the_clocks_jump() -> None:
    start = period_start(at("2026-03-08 16:00"), PeriodLength.DAY, ZoneInfo("America/Havana"))
    assert start == at("2026-03-08 05:00")


@given(moments, st.sampled_from(PeriodLength), st.sampled_from(ZONES))
def test_periods_follow_each_other_without_gap_in_any_zone(moment: datetime, length: PeriodLength, name: str) -> None:
    zone = ZoneInfo(name)
    start = period_start(moment, length, zone)
    assert start <= moment
    for _ in range(3):
        end = period_end(start, length, zone)
        assert start < end
        assert period_start(end - timedelta(microseconds=1), length, zone) == start
        assert period_start(end, length, zone) == end
        start = end
    assert period_start(moment, length, zone) <= moment < period_end(moment, length, zone)


@given(st.integers(-MOST, MOST), st.integers(-745 * HOUR, 745 * HOUR))
def test_the_parts_of_the_largest_use_fit_into_64_bits_and_make_up_the_whole(size: int, duration: int) -> None:
    units, rest = parts(size * duration, KIB_HOUR)
    assert -(2**63) <= units < 2**63
    assert 0 <= rest < 2**63
    assert whole_of(units, rest, KIB_HOUR) == size * duration


sizes = st.tuples(st.integers(0, MOST), st.integers(0, MOST), st.none() | st.integers(0, MOST))
places = st.sampled_from([PLACE, (*PLACE[:3], None, PLACE[4])])


@st.composite
def life(draw: st.DrawFn) -> list[Entry]:
    """The events of one VM snapshot, in order."""
    times = sorted(draw(st.lists(moments, min_size=1, max_size=8)))
    return [Entry(time, draw(st.booleans()), draw(places), NAMES, draw(sizes)) for time in times]


@given(life(), st.lists(moments, min_size=2, max_size=6, unique=True))
def test_what_is_billed_in_parts_adds_up_to_what_is_billed_at_once(entries: list[Entry], cuts: list[datetime]) -> None:
    cuts.sort()
    whole = stays(entries, cuts[0], cuts[-1], NO_PRICES)
    for kind in UsageType:
        for place, stay in whole.items():
            pieces = [stays(entries, start, end, NO_PRICES).get(place) for start, end in pairwise(cuts)]
            sums = [sum(column) for column in zip(*(piece.amounts(kind)[:4] for piece in pieces if piece), strict=True)]
            assert sums == list(stay.amounts(kind)[:4])


@given(life(), moments, moments)
def test_a_stay_is_what_each_microsecond_says(entries: list[Entry], one: datetime, two: datetime) -> None:
    start, end = min(one, two), max(one, two)
    expected: dict[object, int] = {}
    for number, entry in enumerate(entries):
        until = entries[number + 1].at if number + 1 < len(entries) else end
        overlap = (min(until, end) - max(entry.at, start)) // timedelta(microseconds=1)
        if entry.alive and overlap > 0:
            expected[entry.place] = expected.get(entry.place, 0) + overlap * entry.sizes[1]
    assert {place: stay.estimated for place, stay in stays(entries, start, end, NO_PRICES).items()} == expected


def price(billionths: int, since: str, until: str | None = None, **more: Any) -> Price:
    values: dict[str, Any] = {
        "type": UsageType.VM_SNAPSHOT_ON_PRIMARY,
        "unit": PriceUnit.ALLOCATED,
        "pool": None,
        **more,
    }
    valid_until = at(until) if until else None
    return Price(billionths=billionths, currency="EUR", valid_from=at(since), valid_until=valid_until, **values)


def cost_of(prices: list[Price], start: str, end: str) -> int | None:
    entry = Entry(at(start), True, PLACE, NAMES, (0, 2 * GIB, None))
    stay = stays([entry], at(start), at(end), PriceList(prices))[PLACE]
    return stay.amounts(UsageType.VM_SNAPSHOT_ON_PRIMARY).cost


def test_a_price_that_changes_within_a_stay_counts_from_its_own_moment() -> None:
    prices = [price(100, "2026-01-01", "2026-03-01 06:00"), price(200, "2026-03-01 06:00")]
    assert cost_of(prices, "2026-03-01", "2026-03-02") == 2 * (6 * 100 + 18 * 200)


def test_the_price_of_a_pool_comes_before_that_of_all_pools_only_while_it_is_valid() -> None:
    prices = [price(100, "2026-01-01"), price(500, "2026-03-01 12:00", "2026-03-01 18:00", pool=POOL)]
    assert cost_of(prices, "2026-03-01", "2026-03-02") == 2 * (18 * 100 + 6 * 500)


def test_what_has_no_price_has_no_cost_which_is_not_the_same_as_costing_nothing() -> None:
    assert cost_of([price(100, "2026-04-01")], "2026-03-01", "2026-03-02") is None
    assert cost_of([price(0, "2026-01-01")], "2026-03-01", "2026-03-02") == 0


@given(st.integers(0, 10**15), st.integers(1, 745 * HOUR), st.integers(0, 2**60))
def test_a_cost_is_rounded_once_to_the_nearest_billionth(billionths: int, duration: int, size: int) -> None:
    cost = Cost()
    cost.add(price(billionths, "2026-01-01"), duration, size, None)
    assert cost.billionths == round(Fraction(billionths * duration * size, HOUR * GIB))


def test_prices_are_for_hours_or_for_what_is_measured_as_they_say() -> None:
    for unit, expected in ((PriceUnit.HOUR, 100 * 2), (PriceUnit.MEASURED, 100 * 2 * 3)):
        cost = Cost()
        cost.add(price(100, "2026-01-01", unit=unit), 2 * HOUR, 7 * GIB, 3 * GIB)
        assert cost.billionths == expected

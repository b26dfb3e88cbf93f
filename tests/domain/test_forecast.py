"""When a pool will be full, and how sure that is."""

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from snapshots.reading.forecast import DAYS_LEAST, forecast, growth_per_day

START = datetime(2028, 2, 20, tzinfo=UTC)
GIB = 1024**3
PETABYTE = 1024**5


def days(*used: int, start: datetime = START) -> list[tuple[datetime, int]]:
    return [(start + timedelta(days=number), value) for number, value in enumerate(used)]


def test_steady_growth_leads_to_one_day() -> None:
    # 10 used after 10 days, 1 a day: 90 more days, across a leap day.
    found = forecast(days(*(number * GIB for number in range(1, 11))), 100 * GIB)
    assert (found.kind, found.per_day) == ("growing", GIB)
    assert found.likely == found.earliest == found.latest == (START + timedelta(days=99)).date()


def test_uneven_growth_leads_to_a_day_between_two() -> None:
    dice = random.Random(7)
    found = forecast(days(*(number * GIB + dice.randrange(4 * GIB) for number in range(30))), 100 * GIB)
    assert found.kind == "growing"
    assert found.earliest is not None
    assert found.likely is not None
    assert found.latest is not None
    assert found.earliest < found.likely < found.latest
    # 2 GiB on the average above the straight line.
    assert found.earliest <= (START + timedelta(days=98)).date() <= found.latest


def test_one_day_on_which_much_was_added_hardly_moves_the_forecast() -> None:
    steady = [number * GIB for number in range(20)]
    jumped = [value + (50 * GIB if number >= 19 else 0) for number, value in enumerate(steady)]
    assert forecast(days(*jumped), 500 * GIB).per_day == GIB


def test_growth_that_may_be_none_has_no_last_day() -> None:
    found = forecast(days(10, 14, 9, 13, 11, 15, 12, 16, 10, 17), 1000)
    assert found.kind == "growing"
    assert found.latest is None


def test_a_pool_that_shrinks_or_stands_still_is_not_growing() -> None:
    assert forecast(days(*range(100, 80, -1)), 200).kind == "not_growing"
    still = forecast(days(*[50] * 20), 200)
    assert (still.kind, still.per_day, still.likely, still.earliest) == ("not_growing", 0, None, None)


def test_too_few_days_are_said_to_be_too_few() -> None:
    assert forecast([], 100).kind == "too_few"
    assert forecast(days(*range(DAYS_LEAST - 1)), 100).kind == "too_few"
    assert forecast(days(*range(DAYS_LEAST)), 100).kind == "growing"


def test_a_full_pool_is_full_and_one_of_unknown_size_unknown() -> None:
    assert forecast(days(99, 100), 100).kind == "full"
    assert forecast(days(*range(20)), None).kind == "unknown"


def test_what_is_more_than_ten_years_away_is_far() -> None:
    found = forecast(days(*range(20)), 10**6)
    assert (found.kind, found.likely, found.latest) == ("far", None, None)


def test_only_the_last_thirty_days_count() -> None:
    assert forecast(days(*[0] * 60, *range(30)), 1000).per_day == 1


def test_petabytes_do_not_lose_a_day() -> None:
    used = [4000 * PETABYTE + number * PETABYTE for number in range(10)]
    assert forecast(days(*used), 4109 * PETABYTE).likely == (START + timedelta(days=109)).date()


@given(st.lists(st.integers(0, 2**62), min_size=2, max_size=20))
def test_the_interval_holds_the_median(used: list[int]) -> None:
    low, middle, high = growth_per_day(days(*used))
    assert low <= middle <= high

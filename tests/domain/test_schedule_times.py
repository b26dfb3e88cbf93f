"""When schedules are due: by the clocks of their zone, whatever those do, and always later than before."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshots.choices import Frequency
from snapshots.schedule_times import HOURS_APART, LAST_DAY, LATEST_DAY, in_words, next_time
from snapshots.services.schedule_rules import Terms

BERLIN = "Europe/Berlin"


def terms(frequency: str, zone: str = "UTC", **values: object) -> Terms:
    return Terms(**{"name": "s", "frequency": frequency, "minute": 30, "time_zone": zone, "keep": 1} | values)


def due(asked: Terms, after: datetime, count: int) -> list[datetime]:
    """The next so many times, in the zone of the schedule."""
    found = []
    for _ in range(count):
        after = next_time(asked, after)
        found.append(after.astimezone(ZoneInfo(asked.time_zone)))
    return found


def walls(asked: Terms, after: datetime, count: int) -> list[str]:
    """The same as clocks show it there, with the name of their time."""
    return [f"{at:%m-%d %H:%M %Z}" for at in due(asked, after, count)]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_every_day_is_due_at_its_time_and_never_at_the_moment_it_is_asked_for():
    daily = terms("daily", hour=2)
    assert next_time(daily, at(2026, 5, 1, 2, 29, 59)) == at(2026, 5, 1, 2, 30)
    assert next_time(daily, at(2026, 5, 1, 2, 30)) == at(2026, 5, 2, 2, 30)


def test_every_day_keeps_to_the_clocks_of_its_zone_over_both_changes():
    daily = terms("daily", BERLIN, hour=4)
    assert walls(daily, at(2026, 3, 27, 12), 3) == ["03-28 04:30 CET", "03-29 04:30 CEST", "03-30 04:30 CEST"]
    assert walls(daily, at(2026, 10, 23, 12), 3) == ["10-24 04:30 CEST", "10-25 04:30 CET", "10-26 04:30 CET"]


def test_a_time_that_is_skipped_is_due_as_much_later_as_is_skipped():
    daily = terms("daily", BERLIN, hour=2)
    assert walls(daily, at(2026, 3, 27, 12), 3) == ["03-28 02:30 CET", "03-29 03:30 CEST", "03-30 02:30 CEST"]


def test_a_time_that_comes_twice_is_due_once_the_first_time():
    daily = terms("daily", BERLIN, hour=2)
    assert walls(daily, at(2026, 10, 23, 12), 3) == ["10-24 02:30 CEST", "10-25 02:30 CEST", "10-26 02:30 CET"]


def test_every_hour_takes_both_hours_that_come_twice_and_not_the_one_that_is_skipped():
    hourly = terms("hourly", BERLIN)
    assert walls(hourly, at(2026, 10, 24, 23, 45), 4) == [
        "10-25 02:30 CEST", "10-25 02:30 CET", "10-25 03:30 CET", "10-25 04:30 CET",
    ]  # fmt: skip
    assert walls(hourly, at(2026, 3, 29, 0), 3) == ["03-29 01:30 CET", "03-29 03:30 CEST", "03-29 04:30 CEST"]


def test_every_few_hours_has_the_same_hours_each_day():
    every_six = terms("hourly", BERLIN, every_hours=6, minute=0)
    assert walls(every_six, at(2026, 3, 28, 12), 5) == [
        "03-28 18:00 CET", "03-29 00:00 CET", "03-29 06:00 CEST", "03-29 12:00 CEST", "03-29 18:00 CEST",
    ]  # fmt: skip


def test_every_few_hours_a_time_that_is_skipped_is_due_as_much_later():
    assert walls(terms("hourly", BERLIN, every_hours=2, minute=0), at(2026, 3, 28, 22), 4) == [
        "03-29 00:00 CET", "03-29 03:00 CEST", "03-29 04:00 CEST", "03-29 06:00 CEST",
    ]  # fmt: skip
    # Cairo puts its clocks forward at midnight.
    assert walls(terms("hourly", "Africa/Cairo", every_hours=12, minute=0), at(2026, 4, 23, 11), 2) == [
        "04-24 01:00 EEST", "04-24 12:00 EEST",
    ]  # fmt: skip


def test_minutes_past_the_hour_are_those_of_zones_that_lie_half_an_hour_or_a_quarter_off():
    for zone in ("Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"):
        assert [moment.minute for moment in due(terms("hourly", zone, minute=10), at(2026, 4, 4, 0), 48)] == [10] * 48


def test_where_clocks_change_by_half_an_hour_each_hour_comes_still():
    # Lord Howe puts its clocks back from 02:00 to 01:30 on 5 April 2026.
    assert walls(terms("hourly", "Australia/Lord_Howe", minute=45), at(2026, 4, 4, 13), 4) == [
        "04-05 00:45 +11", "04-05 01:45 +11", "04-05 01:45 +1030", "04-05 02:45 +1030",
    ]  # fmt: skip


def test_every_week_is_due_on_its_days():
    weekly = terms("weekly", weekdays=(1, 5), hour=22)
    assert [f"{moment:%a %d}" for moment in due(weekly, at(2026, 5, 1), 4)] == ["Fri 01", "Mon 04", "Fri 08", "Mon 11"]


def test_every_month_is_due_on_its_day_and_the_last_day_is_that_of_each_month():
    assert walls(terms("monthly", day=28), at(2026, 1, 30), 2) == ["02-28 00:30 UTC", "03-28 00:30 UTC"]
    last = terms("monthly", day=LAST_DAY)
    assert walls(last, at(2028, 1, 30), 4) == [
        "01-31 00:30 UTC",
        "02-29 00:30 UTC",
        "03-31 00:30 UTC",
        "04-30 00:30 UTC",
    ]


@st.composite
def rhythms(draw: st.DrawFn) -> Terms:
    return terms(
        draw(st.sampled_from(Frequency.values)),
        draw(st.sampled_from(sorted(available_timezones()))),
        minute=draw(st.integers(0, 59)),
        hour=draw(st.integers(0, 23)),
        every_hours=draw(st.sampled_from(HOURS_APART)),
        weekdays=tuple(sorted(draw(st.sets(st.integers(1, 7), min_size=1)))),
        day=draw(st.sampled_from([*range(1, LATEST_DAY + 1), LAST_DAY])),
    )


LONGEST = {
    "hourly": timedelta(hours=25),
    "daily": timedelta(hours=49),
    "weekly": timedelta(days=8),
    "monthly": timedelta(days=32),
}


@given(rhythms(), st.integers(0, 16 * 366 * 86_400))
def test_the_next_time_is_later_not_far_and_the_same_when_asked_from_any_moment_before_it(asked, seconds):
    after = at(2020, 1, 1) + timedelta(seconds=seconds)
    found = next_time(asked, after)
    assert after < found <= after + LONGEST[asked.frequency]
    halfway = after + (found - after) / 2
    assert next_time(asked, halfway) == found
    assert (found.second, found.microsecond, found.utcoffset()) == (0, 0, timedelta(0))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (terms("hourly", minute=0), "every hour on the hour, UTC"),
        (terms("hourly", minute=5), "every hour at 5 minutes past, UTC"),
        (terms("hourly", minute=0, every_hours=4), "every 4 hours from midnight on the hour, UTC"),
        (terms("daily", BERLIN, hour=2), "every day at 02:30, Europe/Berlin"),
        (terms("weekly", weekdays=(1, 2, 3, 4, 5)), "from Monday to Friday at 00:30, UTC"),
        (terms("weekly", weekdays=(7,)), "every Sunday at 00:30, UTC"),
        (terms("weekly", weekdays=(1, 3, 6)), "every Monday, Wednesday and Saturday at 00:30, UTC"),
        (terms("monthly", day=1), "on the 1st of every month at 00:30, UTC"),
        (terms("monthly", day=22), "on the 22nd of every month at 00:30, UTC"),
        (terms("monthly", day=13), "on the 13th of every month at 00:30, UTC"),
        (terms("monthly", day=LAST_DAY), "on the last day of every month at 00:30, UTC"),
    ],
)
def test_it_is_said_in_words(asked, words):
    assert in_words(asked) == words

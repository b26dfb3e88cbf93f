"""When a schedule is due, and the same in words. Plain arithmetic: nothing here is read or written.

Clocks that are put forward or back: what is due at a time that is skipped is due as much later as is skipped, and what is
due at a time that comes twice is due the first time (PEP 495). Of hours that come twice an hourly schedule takes both.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Protocol
from zoneinfo import ZoneInfo

from dateutil.rrule import DAILY, MONTHLY, WEEKLY, rrule

from snapshots.choices import Frequency

LAST_DAY = -1
"""The day of the month that is its last."""
LATEST_DAY = 28
"""The latest day of the month that every month has."""
HOURS_APART = (1, 2, 3, 4, 6, 8, 12)
"""What an hourly schedule may have: each day has the same hours then."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WORKDAYS = (1, 2, 3, 4, 5)


class Rhythm(Protocol):
    """What says when a schedule is due; the columns of `models.Schedule`."""

    frequency: str
    every_hours: int
    minute: int
    hour: int
    weekdays: list[int]
    day: int
    time_zone: str


def next_time(rhythm: Rhythm, after: datetime) -> datetime:
    """The first time that is due later than `after`, in UTC."""
    return next(at for at in _times(rhythm, after) if at > after)


def _times(rhythm: Rhythm, after: datetime) -> Iterator[datetime]:
    """Times that are due, in order, from some time up to `after` on."""
    zone = ZoneInfo(rhythm.time_zone)
    if rhythm.frequency == Frequency.HOURLY:
        yield from _hours(rhythm, after, zone)
        return
    # The clock may be put forward in between, so that one begins well before.
    first = after.astimezone(zone).replace(
        hour=rhythm.hour, minute=rhythm.minute, second=0, microsecond=0, tzinfo=None
    ) - timedelta(days=2)
    match rhythm.frequency:
        case Frequency.DAILY:
            days = rrule(DAILY, dtstart=first)
        case Frequency.WEEKLY:
            days = rrule(WEEKLY, dtstart=first, byweekday=[day - 1 for day in rhythm.weekdays])
        case Frequency.MONTHLY:
            days = rrule(MONTHLY, dtstart=first, bymonthday=rhythm.day)
        case unknown:
            raise ValueError(f"There is no frequency {unknown}.")
    for wall in days:
        yield wall.replace(tzinfo=zone).astimezone(UTC)


def _hours(rhythm: Rhythm, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Minute by minute: offsets from UTC need not be whole hours, and may change by less than one."""
    begin = after.astimezone(UTC).replace(second=0, microsecond=0)
    for distance in count():
        at = begin + timedelta(minutes=distance)
        wall = at.astimezone(zone)
        if wall.minute == rhythm.minute and wall.hour % rhythm.every_hours == 0:
            yield at


def in_words(rhythm: Rhythm) -> str:
    """When it is due: "every Monday and Friday at 02:30, Europe/Berlin"."""
    clock = f"at {rhythm.hour:02}:{rhythm.minute:02}"
    match rhythm.frequency:
        case Frequency.HOURLY:
            every = "every hour" if rhythm.every_hours == 1 else f"every {rhythm.every_hours} hours from midnight"
            when = f"{every} at {rhythm.minute} minutes past" if rhythm.minute else f"{every} on the hour"
        case Frequency.DAILY:
            when = f"every day {clock}"
        case Frequency.WEEKLY:
            when = f"{_days_in_words(rhythm.weekdays)} {clock}"
        case _:
            day = "last day" if rhythm.day == LAST_DAY else f"{_ordinal(rhythm.day)}"
            when = f"on the {day} of every month {clock}"
    return f"{when}, {rhythm.time_zone}"


def _days_in_words(weekdays: list[int]) -> str:
    if tuple(weekdays) == WORKDAYS:
        return "from Monday to Friday"
    names = [WEEKDAYS[day - 1] for day in weekdays]
    return "every " + (names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}")


def _ordinal(day: int) -> str:
    ending = "th" if 10 <= day % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"

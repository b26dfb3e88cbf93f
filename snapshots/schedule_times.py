"""When a schedule is due, and the same in words. Plain arithmetic: nothing here is read or written.

Clocks that are put forward or back: what is due at a time that is skipped is due as much later as is skipped, and what is
due at a time that comes twice is due the first time (PEP 495). Of hours that come twice an hourly schedule takes both.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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
    for wall in _walls(rhythm, after.astimezone(zone).replace(tzinfo=None)):
        first = wall.replace(tzinfo=zone).astimezone(UTC)
        yield first
        again = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
        # Of a time that is skipped `fold` chooses another one, which is none of the clock's that is meant.
        if rhythm.frequency == Frequency.HOURLY and again.astimezone(zone).replace(tzinfo=None) == wall:
            yield again


def _walls(rhythm: Rhythm, after: datetime) -> rrule:
    """What clocks show when it is due, from two days before `after` on: they may have been put forward since."""
    first = after.replace(hour=rhythm.hour, minute=rhythm.minute, second=0, microsecond=0) - timedelta(days=2)
    match rhythm.frequency:
        case Frequency.HOURLY:
            first = first.replace(hour=0)
            return rrule(DAILY, dtstart=first, byhour=range(0, 24, rhythm.every_hours), byminute=rhythm.minute)
        case Frequency.DAILY:
            return rrule(DAILY, dtstart=first)
        case Frequency.WEEKLY:
            return rrule(WEEKLY, dtstart=first, byweekday=[day - 1 for day in rhythm.weekdays])
        case Frequency.MONTHLY:
            return rrule(MONTHLY, dtstart=first, bymonthday=rhythm.day)
        case unknown:
            raise ValueError(f"There is no frequency {unknown}.")


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

"""What a schedule may ask for, and how many VM snapshots a machine's schedules may keep. Reads the given objects only:
services and pages ask the same.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cache
from zoneinfo import available_timezones

from hypervisors.capabilities import Ability
from snapshots.choices import UNLIMITED, Frequency, PowerState
from snapshots.models import Schedule, VirtualMachine
from snapshots.refusals import Invalid, InvalidState, LimitExceeded, Refusal
from snapshots.schedule_times import HOURS_APART, LAST_DAY, LATEST_DAY
from snapshots.services.snapshot_rules import clean_name, missing_refusal

NAME_LENGTH = 100
"""The names of the VM snapshots it takes begin with its own, and their time follows."""
KEEP_MOST = 1000
SCHEDULES_OF_A_MACHINE = 10


@dataclass(frozen=True, slots=True)
class Terms:
    """What a schedule is made of, as in `models.Schedule`: when it is due by which clocks, what its VM snapshots hold and
    how many of them are kept."""

    name: str
    frequency: str
    minute: int
    time_zone: str
    keep: int
    hour: int = 0
    every_hours: int = 1
    weekdays: tuple[int, ...] = ()
    day: int = 1
    memory: bool = False
    quiesce: bool = False


TERMS = tuple(field.name for field in fields(Terms))


def terms_of(schedule: Schedule) -> Terms:
    """What a stored one is made of."""
    return Terms(**{name: getattr(schedule, name) for name in TERMS} | {"weekdays": tuple(schedule.weekdays)})


def clean_terms(terms: Terms, machine: VirtualMachine, before: Schedule | None = None) -> Terms:
    """The terms as they are kept for the machine. Raises `Invalid` with all that is wrong, by field. Whether the machine
    can keep what is asked for is looked at where that is another than `before`: it may lack something just now."""
    wrong: dict[str, str] = {}
    name = terms.name
    try:
        name = clean_name(terms.name, most=NAME_LENGTH)
    except Invalid as refusal:
        wrong["name"] = refusal.detail
    wrong |= dict(_wrong_times(terms)) | dict(_wrong_contents(terms, machine, before))
    if wrong:
        raise Invalid(" ".join(wrong.values()), fields={field: [sentence] for field, sentence in wrong.items()})
    return replace(terms, name=name, weekdays=tuple(sorted(set(terms.weekdays))))


def _wrong_times(terms: Terms) -> Iterable[tuple[str, str]]:
    if terms.frequency not in Frequency.values:
        yield "frequency", f"Choose one of {', '.join(Frequency.values)}."
    if not 0 <= terms.minute <= 59:
        yield "minute", "Minutes go from 0 to 59."
    if not 0 <= terms.hour <= 23:
        yield "hour", "Hours go from 0 to 23."
    if terms.every_hours not in HOURS_APART:
        yield "every_hours", f"A day can be divided into steps of {', '.join(map(str, HOURS_APART))} hours."
    if not all(1 <= day <= 7 for day in terms.weekdays):
        yield "weekdays", "Days of the week go from 1 (Monday) to 7 (Sunday)."
    elif terms.frequency == Frequency.WEEKLY and not terms.weekdays:
        yield "weekdays", "Choose at least one day of the week."
    if terms.day != LAST_DAY and not 1 <= terms.day <= LATEST_DAY:
        yield "day", f"Days of the month go from 1 to {LATEST_DAY}, which every month has; {LAST_DAY} is the last day."
    if terms.time_zone not in _time_zones():
        yield "time_zone", f"There is no time zone {_shown(terms.time_zone)}."


def _wrong_contents(terms: Terms, machine: VirtualMachine, before: Schedule | None) -> Iterable[tuple[str, str]]:
    if not 1 <= terms.keep <= KEEP_MOST:
        yield "keep", f"Between 1 and {KEEP_MOST} VM snapshots can be kept."
    as_before = before is not None and (terms.memory, terms.quiesce) == (before.memory, before.quiesce)
    if terms.memory and terms.quiesce:
        yield "quiesce", "Choose either the memory or a quiesced guest: a kept memory continues exactly where it was."
    elif not as_before and (reason := why_not_hold(machine, memory=terms.memory, quiesce=terms.quiesce)):
        yield "quiesce" if terms.quiesce else "memory", reason


def why_not_hold(machine: VirtualMachine, *, memory: bool, quiesce: bool) -> str:
    """Why VM snapshots of the machine cannot hold this; empty when they can. Of disks alone: not of the machine as it is
    now, since a schedule that misses every time until the machine is switched off is none."""
    abilities = machine.abilities
    either: tuple[Ability, ...] = (abilities.disk_when_running, abilities.disk_when_stopped)
    if machine.power_state in (PowerState.RUNNING, PowerState.SUSPENDED):
        either = either[:1]
    if memory or quiesce:
        either = (abilities.memory if memory else abilities.quiesce,)
    return "" if any(ability.allowed for ability in either) else either[0].reason


@cache
def _time_zones() -> frozenset[str]:
    """All names there are. To look for them takes longer than all the rest."""
    return frozenset(available_timezones())


def _shown(text: str) -> str:
    """The text as it can stand in a sentence, whatever was sent."""
    kept = "".join(char for char in text[:64] if unicodedata.category(char)[0] != "C")
    return f"“{kept}”"


def why_not_schedule(machine: VirtualMachine) -> Refusal | None:
    """Whether VM snapshots of the machine can be scheduled at all."""
    if machine.missing_since is not None:
        return missing_refusal(machine)
    if machine.account_id is None:
        return InvalidState(
            f"{machine.name} belongs to no account, so nothing is taken of it by schedule. A root admin can assign it."
        )
    return None


def why_not_another(machine: VirtualMachine, others: Iterable[Schedule]) -> LimitExceeded | None:
    """Whether the machine can have one more schedule than these."""
    if len(list(others)) < SCHEDULES_OF_A_MACHINE:
        return None
    return LimitExceeded(
        f"{machine.name} has {SCHEDULES_OF_A_MACHINE} schedules, which is as many as a machine can have. Change or delete "
        "one of them.",
        limit=SCHEDULES_OF_A_MACHINE,
    )


def kept_by(schedules: Iterable[Schedule]) -> int:
    """How many VM snapshots those of them keep that are not paused."""
    return sum(schedule.keep for schedule in schedules if schedule.enabled)


def most_to_keep(others: Iterable[Schedule], most: int) -> int | None:
    """How many a schedule can keep beside these, on a machine that may have `most` VM snapshots; None: as many as it likes.
    One more has to fit in: the oldest goes only once the next is there."""
    return None if most == UNLIMITED else max(most - 1 - kept_by(others), 0)


def why_not_keep_so_many(
    machine: VirtualMachine, others: Iterable[Schedule], keep: int, most: int
) -> LimitExceeded | None:
    """Whether so many can be kept beside what the machine's other schedules that are not paused keep, when the machine may
    have `most` VM snapshots."""
    left = most_to_keep(others, most)
    if left is None or keep <= left:
        return None
    kept = kept_by(others)
    beside = f", and its other schedules keep {kept}" if kept else ""
    way_out = (
        f"Keep at most {left} here, or ask an admin for a higher limit."
        if left
        else "Let another schedule keep fewer, or ask an admin for a higher limit."
    )
    sentence = (
        f"{machine.name} may have {most} VM snapshot{'' if most == 1 else 's'}{beside}. One more is there for a moment: "
        f"the oldest is deleted once the next is taken. {way_out}"
    )
    return LimitExceeded(sentence, fields={"keep": [sentence]}, limit=most)

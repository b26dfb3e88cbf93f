"""The schedules of a machine as its page lists them: each with what can be done with it, and why not."""

from dataclasses import dataclass

from django.urls import reverse

from snapshots.access import looking_only
from snapshots.models import Schedule, VirtualMachine
from snapshots.refusals import Refusal, reason
from snapshots.services import schedule_rules as rules
from snapshots.web.offers import COMMON_REASON_ID, Offer, pointing_to_reasons


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """One schedule, with its buttons."""

    schedule: Schedule
    offers: list[Offer]


@dataclass(frozen=True, slots=True)
class ScheduleBoard:
    """All schedules of a machine and the button that adds one. `common_reason` is what stands against everything, empty
    when nothing does; `kept` is how many VM snapshots those that are not paused keep, of at most `most`."""

    rows: list[ScheduleRow]
    add: Offer
    common_reason: str
    kept: int
    most: int


def schedule_board(
    machine: VirtualMachine, schedules: list[Schedule], *, may_operate: bool, most: int
) -> ScheduleBoard:
    """What the page shows, for a machine that may have so many VM snapshots (-1: any number)."""
    common = "" if may_operate else looking_only(machine).detail

    def why_not(refusal: Refusal | None) -> str:
        return common or reason(refusal)

    refusal = rules.why_not_schedule(machine) or rules.why_not_another(machine, schedules)
    address = reverse("add_schedule", args=[machine.uuid])
    offered = [Offer("add-schedule", "Add a schedule", "plus", address, why_not(refusal))]
    for schedule in schedules:
        others = [other for other in schedules if other.pk != schedule.pk]
        refusal = rules.why_not_schedule(machine) or rules.why_not_keep_so_many(machine, others, schedule.keep, most)
        offered += _offers(schedule, why_not(None), why_not(refusal))
    (add, *of_rows), _ = pointing_to_reasons(offered, common, COMMON_REASON_ID if common else "")
    rows = [ScheduleRow(schedule, of_rows[3 * place : 3 * place + 3]) for place, schedule in enumerate(schedules)]
    return ScheduleBoard(rows, add, common, rules.kept_by(schedules), most)


def why_not_change(schedule: Schedule, *, may_operate: bool) -> str:
    """Why this person cannot change or delete it, empty when they can."""
    return "" if may_operate else looking_only(schedule.machine).detail


def _offers(schedule: Schedule, why_not: str, why_not_resume: str) -> list[Offer]:
    """Edit, pause or resume, delete."""

    def offer(verb: str, label: str, icon: str, refused: str, *, at_once: bool = False, danger: bool = False) -> Offer:
        address = reverse(f"{verb}_schedule", args=[schedule.uuid])
        key = f"{verb}-{schedule.uuid}"
        return Offer(key, label, icon, address, refused, at_once=at_once, danger=danger, about=schedule.name)

    return [
        offer("change", "Edit", "pencil", why_not),
        offer("pause", "Pause", "pause", why_not, at_once=True)
        if schedule.enabled
        else offer("resume", "Resume", "play", why_not_resume, at_once=True),
        offer("delete", "Delete", "trash", why_not, danger=True),
    ]

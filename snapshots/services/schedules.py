"""Making, changing, pausing and deleting schedules, and taking a VM snapshot out of one so that it stays. Whoever may act
on a machine may do so; what is due is done by `scheduled_snapshots`.

Every function may raise `NotVisible`, `Forbidden`, and the refusal of its rule in `schedule_rules`. The machine's row is
locked before its schedules.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.utils import timezone

from snapshots import tree
from snapshots.access import Actor
from snapshots.limit_levels import room_of
from snapshots.models import Schedule, VirtualMachine, VMSnapshot
from snapshots.refusals import NameTaken, NotVisible
from snapshots.schedule_times import in_words, next_time
from snapshots.services import events
from snapshots.services import schedule_rules as rules
from snapshots.services.jobs import active_job_of
from snapshots.services.locked_targets import heed, operable_machine, operable_snapshot
from snapshots.services.schedule_rules import TERMS, Terms, terms_of
from snapshots.services.snapshot_rules import why_not_keep

RHYTHM = ("frequency", "every_hours", "minute", "hour", "weekdays", "day", "time_zone")


@transaction.atomic
def add_schedule(actor: Actor, *, machine: VirtualMachine, terms: Terms) -> Schedule:
    """A new schedule of the machine. Its first VM snapshot is taken at the next time that is due. Also raises `Invalid`,
    `NameTaken` and `LimitExceeded`."""
    machine = operable_machine(actor, machine.pk)
    others = list(Schedule.objects.filter(machine=machine))
    heed(rules.why_not_schedule(machine) or rules.why_not_another(machine, others))
    schedule = Schedule(machine=machine, created_by=actor.user, **_kept(terms, machine, others))
    _require_room(actor, machine, others, schedule)
    schedule.next_at = next_time(schedule, timezone.now())
    schedule.save(force_insert=True)
    _record(actor, "added", schedule, machine)
    return schedule


@transaction.atomic
def change_schedule(actor: Actor, *, schedule: Schedule, terms: Terms) -> Schedule:
    """Other terms for a schedule. VM snapshots it took before are its own still: with fewer to keep, the oldest of them are
    deleted. Also raises `Invalid`, `NameTaken` and `LimitExceeded`."""
    schedule, machine = _operable(actor, schedule)
    others = _others(schedule)
    before, kept = _rhythm(schedule), schedule.keep
    for name, value in _kept(terms, machine, others, schedule).items():
        setattr(schedule, name, value)
    if schedule.enabled:
        # Limits may have been lowered since. What makes it no worse is possible always.
        if schedule.keep > kept:
            _require_room(actor, machine, others, schedule)
        if _rhythm(schedule) != before:
            schedule.next_at = next_time(schedule, timezone.now())
    schedule.save()
    _record(actor, "changed", schedule, machine)
    return schedule


@transaction.atomic
def pause_schedule(actor: Actor, *, schedule: Schedule) -> Schedule:
    """Let the schedule take and delete nothing until it is resumed. One that is paused stays so."""
    schedule, machine = _operable(actor, schedule)
    if schedule.enabled:
        schedule.enabled, schedule.next_at = False, None
        schedule.save()
        _record(actor, "paused", schedule, machine)
    return schedule


@transaction.atomic
def resume_schedule(actor: Actor, *, schedule: Schedule) -> Schedule:
    """Go on at the next time that is due; what was due meanwhile is not made up for. One that is not paused stays as it is.
    Also raises `LimitExceeded`."""
    schedule, machine = _operable(actor, schedule)
    if not schedule.enabled:
        heed(rules.why_not_schedule(machine))
        schedule.enabled, schedule.next_at = True, next_time(schedule, timezone.now())
        _require_room(actor, machine, _others(schedule), schedule)
        schedule.save()
        _record(actor, "resumed", schedule, machine)
    return schedule


@transaction.atomic
def amend_schedule(
    actor: Actor, *, schedule: Schedule, changes: Mapping[str, Any], enabled: bool | None = None
) -> Schedule:
    """Other values for some of the terms only, and paused or resumed as `enabled` says, None leaving that: all of it or
    nothing. The other terms are read under the lock, so that of two people who change different ones each gets theirs. Also
    raises `Invalid`, `NameTaken` and `LimitExceeded`."""
    schedule, _ = _operable(actor, schedule)
    # One that is paused keeps nothing, so that room is asked for only where it goes on with the new terms.
    if enabled is False:
        schedule = pause_schedule(actor, schedule=schedule)
    if changes:
        schedule = change_schedule(actor, schedule=schedule, terms=replace(terms_of(schedule), **changes))
    if enabled:
        schedule = resume_schedule(actor, schedule=schedule)
    return schedule


@transaction.atomic
def delete_schedule(actor: Actor, *, schedule: Schedule) -> None:
    """Forget a schedule. The VM snapshots it took stay, and are nobody's to delete but people's."""
    schedule, machine = _operable(actor, schedule)
    tree.release_from_schedule(machine.pk, schedule=schedule.pk)
    _record(actor, "deleted", schedule, machine)
    schedule.delete()


@transaction.atomic
def keep_snapshot(actor: Actor, *, snapshot: VMSnapshot) -> VMSnapshot:
    """Take a VM snapshot out of its schedule, which then neither counts nor deletes it. Raises `InvalidState` for one that
    no schedule took, and `VMBusy` for one that is being deleted."""
    snapshot, machine = operable_snapshot(actor, snapshot.pk)
    heed(why_not_keep(active_job_of(machine.pk), snapshot))
    schedule = snapshot.schedule
    assert schedule is not None  # noqa: S101  # the rule refused
    tree.release_from_schedule(machine.pk, pk=snapshot.pk)
    events.record(
        actor,
        "snapshot.kept",
        machine=machine,
        snapshot_uuid=snapshot.uuid,
        snapshot_name=snapshot.name,
        detail=f"The schedule “{schedule.name}” does not delete it any more.",
    )
    snapshot.schedule = None
    return snapshot


def _operable(actor: Actor, schedule: Schedule) -> tuple[Schedule, VirtualMachine]:
    """The schedule and its machine, both locked. A schedule that went meanwhile is `NotVisible`."""
    machine = operable_machine(actor, schedule.machine_id)
    row = Schedule.objects.filter(pk=schedule.pk).first()
    if row is None:
        raise NotVisible("There is no such schedule.")
    return row, machine


def _others(schedule: Schedule) -> list[Schedule]:
    return list(Schedule.objects.filter(machine=schedule.machine_id).exclude(pk=schedule.pk))


def _kept(
    terms: Terms, machine: VirtualMachine, others: list[Schedule], before: Schedule | None = None
) -> dict[str, Any]:
    """The columns of a schedule of these terms, which was as `before`, if it was. Raises `Invalid` and `NameTaken`."""
    cleaned = rules.clean_terms(terms, machine, before)
    if any(schedule.name == cleaned.name for schedule in others):
        sentence = f"{machine.name} has a schedule named “{cleaned.name}” already. Choose another name."
        raise NameTaken(sentence, fields={"name": [sentence]})
    return {name: getattr(cleaned, name) for name in TERMS} | {"weekdays": list(cleaned.weekdays)}


def _require_room(actor: Actor, machine: VirtualMachine, others: list[Schedule], schedule: Schedule) -> None:
    most = room_of(machine.account, actor.user).per_machine.value
    heed(rules.why_not_keep_so_many(machine, others, schedule.keep, most))


def _rhythm(schedule: Schedule) -> list[Any]:
    return [getattr(schedule, name) for name in RHYTHM]


def _record(actor: Actor, what: str, schedule: Schedule, machine: VirtualMachine) -> None:
    events.record(
        actor,
        f"schedule.{what}",
        machine=machine,
        detail=f"“{schedule.name}”: {in_words(schedule)}; {_contents(schedule)}; {_kept_in_words(schedule)}.",
    )


def _kept_in_words(schedule: Schedule) -> str:
    return "the newest is kept" if schedule.keep == 1 else f"the newest {schedule.keep} are kept"


def _contents(schedule: Schedule) -> str:
    if schedule.memory:
        return "disks and memory"
    return "disks, guest settled first" if schedule.quiesce else "disks"

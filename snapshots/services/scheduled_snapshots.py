"""Takes the VM snapshots that schedules are due for, and deletes those that they need not keep any more: runs on ticks.

It asks like anybody else, with all rules and limits. The row of a schedule says what was done: `next_at` is put forward in
the transaction that opens the job, so that nothing is taken twice, however many ticks there are and whenever one dies. A
machine that is busy is asked again until `SCHEDULE_LATE_SECONDS` have passed; what else refuses is told once, and the next
time is waited for. What was due while the product stood still is made up for once, within the same time.

A pass ends when the next one begins, so that what it leaves is looked at anew.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import Count, Exists, F, OuterRef, Q
from django.utils import timezone

from snapshots.access import Actor
from snapshots.choices import ACTIVE_JOB_STATES, GONE, PowerState, SnapshotState, Trigger
from snapshots.models import Event, Job, Schedule, VirtualMachine, VMSnapshot
from snapshots.refusals import NotVisible, Refusal, VMBusy
from snapshots.schedule_times import next_time
from snapshots.services import events
from snapshots.services import schedule_rules as rules
from snapshots.services.automatic_deletion import Doom, ask_for_one_of_each, free_to_go
from snapshots.services.locked_targets import heed, locked_machine
from snapshots.services.snapshot_actions import free_name, request_create

SCHEDULE = Actor(user=None, trigger=Trigger.SCHEDULE)
MISSED = "schedule.missed"
TOO_LATE = "Nothing could be taken in time: the machine was busy, VMSnap was not running, or had too much to do."
AN_ERROR = "An error in VMSnap; the log has the details."

log = logging.getLogger(__name__)
Item = TypeVar("Item")


# Taking


def take_due_snapshots() -> list[Job]:
    """One pass: a job for each of the schedules that can have one now, those that have been due longest first, and those
    that are too late for it after them."""
    now = timezone.now()
    busy = Job.objects.filter(machine=OuterRef("machine"), state__in=ACTIVE_JOB_STATES)
    due = (
        Schedule.objects.filter(enabled=True, next_at__lte=now)
        .order_by("next_at", "pk")
        .values_list("pk", "machine_id")
    )
    late = Q(next_at__lt=now - _late_after())
    jobs = []
    for pk, machine_pk in _as_time_allows([*due.filter(~late, ~Exists(busy)), *due.filter(late)]):
        try:
            job = _take(pk, machine_pk)
        except OperationalError as error:
            # The database was busy, or went away for a moment. The next pass comes back, until it is late.
            log.warning("Schedule %s is due and has to wait: %s", pk, error)
            continue
        if job is not None:
            jobs.append(job)
    return jobs


def _take(pk: int, machine_pk: int) -> Job | None:
    """The job for what this schedule is due for; None when it has to wait, is missed, or another pass was faster."""
    try:
        with transaction.atomic():
            machine, schedule = locked_machine(machine_pk), _due(pk)
            if schedule is None:
                return None
            if timezone.now() - _next_at(schedule) > _late_after():
                # What is due since, and not late, is not jumped over.
                _miss(schedule, machine, TOO_LATE, timezone.now() - _late_after())
                return None
            job = _ask(schedule, machine)
            _put_forward(schedule, timezone.now(), last_job=job)
            return job
    except NotVisible:
        return None  # The machine went meanwhile, and the schedule with it.
    except VMBusy:
        return None  # The next pass comes back, until it is late.
    except Refusal as refusal:
        _miss_now(pk, machine_pk, refusal.detail)
    except OperationalError:
        raise  # The database's matter, and no reason to miss anything: the caller goes on with the next schedule.
    except ZoneInfoNotFoundError as error:
        log.exception("The time zone of schedule %s is not known any more", pk)
        _give_up(pk, machine_pk, f"{error}. Choose another one.")
    except Exception:
        # One that cannot be taken must not keep those of all other machines; it is told of, and waits for its next time.
        log.exception("Schedule %s is due and could not be asked for", pk)
        _miss_now(pk, machine_pk, AN_ERROR)
    return None


def _ask(schedule: Schedule, machine: VirtualMachine) -> Job:
    heed(rules.why_not_schedule(machine))
    runs = machine.power_state != PowerState.STOPPED
    return request_create(
        SCHEDULE,
        machine=machine,
        name=free_name(machine, _name(schedule)),
        description=f"Taken by the schedule “{schedule.name}”.",
        # A machine that is off has no memory to keep, and its disks are at rest.
        memory=schedule.memory and runs,
        quiesce=schedule.quiesce and runs,
        schedule=schedule,
    )


def _name(schedule: Schedule) -> str:
    """The schedule's name and when it was due, by its clocks."""
    wall = _next_at(schedule).astimezone(ZoneInfo(schedule.time_zone))
    return f"{schedule.name} {wall:%Y-%m-%d %H:%M %Z}"


def _due(pk: int) -> Schedule | None:
    """The schedule as it is now, unless somebody took, missed, changed or paused it. Under its machine's lock."""
    return Schedule.objects.filter(pk=pk, enabled=True, next_at__lte=timezone.now()).first()


def _next_at(schedule: Schedule) -> datetime:
    assert schedule.next_at is not None  # noqa: S101  # a constraint of the table
    return schedule.next_at


def _late_after() -> timedelta:
    return timedelta(seconds=settings.SCHEDULE_LATE_SECONDS)


def _miss_now(pk: int, machine_pk: int, why: str) -> None:
    _in_its_own_transaction(pk, machine_pk, lambda schedule, machine: _miss(schedule, machine, why, timezone.now()))


def _give_up(pk: int, machine_pk: int, why: str) -> None:
    """Pause a schedule that no next time can be found for."""

    def pause(schedule: Schedule, machine: VirtualMachine) -> None:
        _tell_of_miss(schedule, machine, f"{why} The schedule is paused.")
        Schedule.objects.filter(pk=pk).update(enabled=False, next_at=None, missed=why, last_job=None)

    _in_its_own_transaction(pk, machine_pk, pause)


def _in_its_own_transaction(pk: int, machine_pk: int, then: Callable[[Schedule, VirtualMachine], None]) -> None:
    """Do it with the schedule if that is due still, since the transaction of the request was taken back."""
    try:
        with transaction.atomic():
            machine, schedule = locked_machine(machine_pk), _due(pk)
            if schedule is not None:
                then(schedule, machine)
    except NotVisible:
        return  # The machine went meanwhile, and the schedule with it.


def _miss(schedule: Schedule, machine: VirtualMachine, why: str, after: datetime) -> None:
    """Give up what is due, and tell why, unless the time before was missed for the same reason."""
    if schedule.missed != why:
        _tell_of_miss(schedule, machine, why)
    _put_forward(schedule, after, missed=why)


def _tell_of_miss(schedule: Schedule, machine: VirtualMachine, why: str) -> None:
    at = f"{_next_at(schedule):%Y-%m-%d at %H:%M} UTC"
    detail = f"“{schedule.name}” was due on {at}, and was missed. {why}"
    events.record(SCHEDULE, MISSED, level=Event.Level.WARNING, machine=machine, detail=detail)


def _put_forward(schedule: Schedule, after: datetime, *, last_job: Job | None = None, missed: str = "") -> None:
    Schedule.objects.filter(pk=schedule.pk).update(
        last_due_at=schedule.next_at, last_job=last_job, missed=missed, next_at=next_time(schedule, after)
    )


# Deleting


def prune_scheduled_snapshots() -> list[Job]:
    """One pass: a job for the oldest VM snapshot of each machine that a schedule took and need not keep, unless something
    else is under way on the machine. Of a schedule that is paused none is deleted.

    The newest Ready ones are kept. One whose taking failed goes once a newer one is Ready.
    """
    crowded = _crowded_schedules()
    # By chance: where many cannot be deleted, those behind them have their turn too.
    random.shuffle(crowded)
    doom = Doom(
        still=_is_beyond,
        why=_why_it_goes,
        should_go="Its schedule need not keep it",
        goes="snapshot.pruned",
        stays="snapshot.not_pruned",
    )
    return ask_for_one_of_each(SCHEDULE, map(_free_beyond, _as_time_allows(crowded)), doom)


def _crowded_schedules() -> list[int]:
    """Keys of the schedules that have more than they keep, and of those with one that failed before another one."""
    taken = VMSnapshot.objects.filter(schedule__isnull=False, schedule__enabled=True).order_by()
    too_many = (
        taken.filter(state=SnapshotState.READY)
        .values("schedule", "schedule__keep")
        .annotate(count=Count("pk"))
        .filter(count__gt=F("schedule__keep"))
        .values_list("schedule", flat=True)
    )
    newer = VMSnapshot.objects.filter(schedule=OuterRef("schedule"), state=SnapshotState.READY, pk__gt=OuterRef("pk"))
    failed = taken.filter(_never_taken(), Exists(newer)).values_list("schedule", flat=True)
    return list({*too_many, *failed})


def _never_taken() -> Q:
    """As `VMSnapshot.failed`."""
    return Q(state=SnapshotState.ERROR, native_id="") & ~Q(error_code__in=("", GONE))


def _free_beyond(schedule_pk: int) -> list[VMSnapshot]:
    schedule = Schedule.objects.filter(pk=schedule_pk, enabled=True).first()
    return [] if schedule is None else list(free_to_go(_beyond(schedule)).select_related("schedule").order_by("pk"))


def _beyond(schedule: Schedule) -> Any:
    """The VM snapshots it need not keep. The one that was asked for later is the newer one: clocks of hypervisors, which
    say when one was taken, may be wrong, and be put right."""
    taken = VMSnapshot.objects.filter(schedule=schedule)
    ready = taken.filter(state=SnapshotState.READY)
    newest = list(ready.order_by("-pk").values_list("pk", flat=True)[: schedule.keep])
    if not newest:
        return taken.none()
    too_many = Q(state=SnapshotState.READY, pk__lt=newest[-1])
    if len(newest) < schedule.keep:
        too_many = Q(pk__in=())
    return taken.filter(too_many | _never_taken() & Q(pk__lt=newest[0]))


def _is_beyond(snapshot: VMSnapshot) -> bool:
    """Whether it is so still: it may have been taken out of its schedule since, or that be paused, or keep more."""
    schedule = Schedule.objects.filter(pk=snapshot.schedule_id, enabled=True).first()
    return schedule is not None and bool(_beyond(schedule).filter(pk=snapshot.pk).exists())


def _why_it_goes(snapshot: VMSnapshot) -> str:
    schedule = snapshot.schedule
    assert schedule is not None  # noqa: S101  # only those that a schedule took are looked at
    if snapshot.state != SnapshotState.READY:
        return f"It could not be taken, and the schedule “{schedule.name}” has a newer one."
    newest = "only the newest" if schedule.keep == 1 else f"the newest {schedule.keep}"
    return f"The schedule “{schedule.name}” keeps {newest}, and this one is older."


def _as_time_allows(items: Iterable[Item]) -> Iterator[Item]:
    """These one after the other, at least one, until the next pass begins."""
    end = time.monotonic() + settings.RUN_SCHEDULES_EVERY_SECONDS
    for item in items:
        yield item
        if time.monotonic() > end:
            return

"""Takes the VM snapshots that schedules are due for, and deletes those that they need not keep any more: runs on ticks.

It asks like anybody else, with all rules and limits. The row of a schedule says what was done: `next_at` is put forward in
the transaction that opens the job, so that nothing is taken twice, however many ticks there are and whenever one dies. A
machine that is busy is asked again until `SCHEDULE_LATE_SECONDS` have passed; what else refuses is told once, and the next
time is waited for. What was due while the product stood still is made up for once, within the same time.
"""

import logging
import random
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import Exists, F, OuterRef, Q, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from snapshots.access import Actor
from snapshots.choices import ACTIVE_JOB_STATES, PowerState, SnapshotState, Trigger
from snapshots.models import Event, Job, Schedule, VirtualMachine, VMSnapshot
from snapshots.refusals import NotVisible, Refusal, VMBusy
from snapshots.schedule_times import next_time
from snapshots.services import events
from snapshots.services import schedule_rules as rules
from snapshots.services.automatic_deletion import Telling, ask_for_one, by_machine, free_to_go
from snapshots.services.locked_targets import heed, locked_machine
from snapshots.services.snapshot_actions import free_name, request_create

SCHEDULE = Actor(user=None, trigger=Trigger.SCHEDULE)
MISSED = "schedule.missed"
TOO_LATE = "Nothing could be taken in time: the machine was busy all the while, or VMSnap was not running."
AN_ERROR = "An error in VMSnap; the log has the details."
AT_ONCE = 200
"""How many schedules, or machines, one pass looks after: it is over in seconds, and leaves workers to what it asked for."""

log = logging.getLogger(__name__)


def take_due_snapshots() -> list[Job]:
    """One pass: a job for each of the schedules, `AT_ONCE` at most, that have been due longest and can have one now."""
    now = timezone.now()
    busy = Job.objects.filter(machine=OuterRef("machine"), state__in=ACTIVE_JOB_STATES)
    late = Q(next_at__lt=now - timedelta(seconds=settings.SCHEDULE_LATE_SECONDS))
    due = Schedule.objects.filter(late | ~Exists(busy), enabled=True, next_at__lte=now).order_by("next_at", "pk")
    jobs = []
    for schedule in list(due[:AT_ONCE]):
        try:
            job = _take(schedule)
        except Exception:
            # Not even its next time could be found, nor its being missed be written: that is one schedule's matter.
            log.exception("The schedule %s could not be put forward", schedule.uuid)
            continue
        if job is not None:
            jobs.append(job)
    return jobs


def _take(schedule: Schedule) -> Job | None:
    """The job for what this one is due for; None when it has to wait, is missed, or another pass was faster."""
    try:
        with transaction.atomic():
            machine = locked_machine(schedule.machine_id)
            if not _is_due_still(schedule):
                return None
            if _is_late(schedule):
                _miss(schedule, machine, TOO_LATE)
                return None
            job = _ask(schedule, machine)
            _put_forward(schedule, last_job=job, missed="")
            return job
    except NotVisible:
        return None  # The machine went meanwhile, and the schedule with it.
    except VMBusy:
        return None  # The next pass comes back, until it is late.
    except Refusal as refusal:
        _miss_now(schedule, refusal.detail)
    except OperationalError as error:
        # The database was busy, or went away for a moment. The next pass comes back, until it is late.
        log.warning("The schedule %s is due and has to wait: %s", schedule.uuid, error)
    except Exception:
        # One that cannot be taken must not keep those of all other machines; it is told of, and waits for its next time.
        log.exception("The schedule %s is due and could not be asked for", schedule.uuid)
        _miss_now(schedule, AN_ERROR)
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
    assert schedule.next_at is not None  # noqa: S101  # a constraint of the table
    wall = schedule.next_at.astimezone(ZoneInfo(schedule.time_zone))
    return f"{schedule.name} {wall:%Y-%m-%d %H:%M %Z}"


def _is_due_still(schedule: Schedule) -> bool:
    """Whether nobody took, missed, changed or paused it since it was read. Under the machine's lock."""
    return Schedule.objects.filter(pk=schedule.pk, enabled=True, next_at=schedule.next_at).exists()


def _is_late(schedule: Schedule) -> bool:
    """Whether it is too late to take what is due."""
    assert schedule.next_at is not None  # noqa: S101  # a constraint of the table
    return timezone.now() - schedule.next_at > timedelta(seconds=settings.SCHEDULE_LATE_SECONDS)


def _miss_now(schedule: Schedule, why: str) -> None:
    """What `_miss` does, in a transaction of its own, since that of the request was taken back."""
    try:
        with transaction.atomic():
            machine = locked_machine(schedule.machine_id)
            if _is_due_still(schedule):
                _miss(schedule, machine, why)
    except NotVisible:
        return  # The machine went meanwhile, and the schedule with it.


def _miss(schedule: Schedule, machine: VirtualMachine, why: str) -> None:
    """Give up what is due, and tell why, unless the time before was missed for the same reason."""
    if schedule.missed != why:
        detail = f"“{schedule.name}” was due {_at(schedule.next_at)}, and was missed. {why}"
        events.record(SCHEDULE, MISSED, level=Event.Level.WARNING, machine=machine, detail=detail)
    _put_forward(schedule, last_job=None, missed=why)


def _put_forward(schedule: Schedule, *, last_job: Job | None, missed: str) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(
        last_due_at=schedule.next_at, last_job=last_job, missed=missed, next_at=next_time(schedule, timezone.now())
    )


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f"on {moment:%Y-%m-%d} at {moment:%H:%M} UTC"


def prune_scheduled_snapshots() -> list[Job]:
    """One pass: a job for the oldest VM snapshot of each machine, of `AT_ONCE` at most, that a schedule took and need not
    keep, unless something else is under way on the machine. Of a schedule that is paused none is deleted."""
    newest_first = Window(RowNumber(), partition_by=F("schedule"), order_by=[F("created_at").desc(), F("pk").desc()])
    kept_too_long = (
        VMSnapshot.objects.filter(schedule__isnull=False, schedule__enabled=True, state=SnapshotState.READY)
        .annotate(number=newest_first)
        .filter(number__gt=F("schedule__keep"))
        .values("pk")
    )
    rows = free_to_go(VMSnapshot.objects.filter(pk__in=kept_too_long)).select_related("schedule")
    telling = Telling("snapshot.pruned", "snapshot.not_pruned", "Its schedule need not keep it", _why_it_goes)
    machines = by_machine(rows)
    # By chance: where many cannot be deleted, those behind them have their turn too.
    chosen = random.sample(machines, min(AT_ONCE, len(machines)))
    jobs = []
    for of_one_machine in chosen:
        job = ask_for_one(SCHEDULE, of_one_machine, telling)
        if job is not None:
            jobs.append(job)
    return jobs


def _why_it_goes(snapshot: VMSnapshot) -> str:
    schedule = snapshot.schedule
    assert schedule is not None  # noqa: S101  # only those that a schedule took are looked at
    newest = "only the newest" if schedule.keep == 1 else f"the newest {schedule.keep}"
    return f"The schedule “{schedule.name}” keeps {newest}, and this one is older."

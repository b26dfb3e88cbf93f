"""Opening, cancelling and ending jobs: the only room that changes a job's state.

A job is opened in the same transaction as the rules were checked in, under the machine's row lock; two requests at once
from two processes cannot both pass, and the unique constraint stands behind that.
"""

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from hypervisors.models import Hypervisor
from snapshots import tree
from snapshots.access import Actor, is_root_admin, require_operate, require_root_admin
from snapshots.choices import ACTIVE_JOB_STATES, JobAction, JobState, SnapshotState, Trigger
from snapshots.dispatch import send_after_commit
from snapshots.models import Event, Job, VirtualMachine, VMSnapshot, Volume
from snapshots.refusals import NotVisible, VMBusy
from snapshots.services import events
from snapshots.services.snapshot_rules import busy_refusal, why_not_cancel

# The dotted names of events, by action.
EVENT_NAMES: dict[str, str] = {
    JobAction.CREATE_SNAPSHOT: "snapshot.create",
    JobAction.REVERT_SNAPSHOT: "snapshot.revert",
    JobAction.DELETE_SNAPSHOT: "snapshot.delete",
    JobAction.DELETE_SNAPSHOT_TREE: "snapshot.delete_tree",
    JobAction.DELETE_ALL_SNAPSHOTS: "snapshot.delete_all",
    JobAction.RENAME_SNAPSHOT: "snapshot.rename",
    JobAction.START_MACHINE: "machine.start",
    JobAction.STOP_MACHINE: "machine.stop",
    JobAction.ATTACH_VOLUME: "volume.attach",
    JobAction.DETACH_VOLUME: "volume.detach",
    JobAction.CONSOLIDATE_DISKS: "machine.consolidate",
    JobAction.SYNC_MACHINE: "machine.sync",
    JobAction.SYNC_HYPERVISOR: "hypervisor.sync",
    JobAction.CHECK_CONNECTION: "hypervisor.check",
}

OUTCOME_UNKNOWN = "outcome_unknown"

IN_BETWEEN = (SnapshotState.ALLOCATED, SnapshotState.CREATING, SnapshotState.REVERTING, SnapshotState.EXPUNGING)

# The regular reading changes nothing by itself: what it finds, and an endpoint that comes or goes, have events of their
# own. A reading that somebody asked for leaves its events like any other action.
QUIET_ACTIONS = (JobAction.SYNC_MACHINE, JobAction.SYNC_HYPERVISOR, JobAction.CHECK_CONNECTION)


def is_quiet(job: Job) -> bool:
    """Whether the job leaves no events of its own."""
    return job.action in QUIET_ACTIONS and job.trigger == Trigger.SYSTEM


def active_job_of(machine_pk: int) -> Job | None:
    """The job that holds the machine, or None, as nearly always."""
    return Job.objects.filter(machine_id=machine_pk, state__in=ACTIVE_JOB_STATES).order_by().first()


def open_job(
    actor: Actor,
    action: JobAction,
    *,
    machine: VirtualMachine,
    snapshot: VMSnapshot | None = None,
    volume: Volume | None = None,
    arguments: dict[str, Any] | None = None,
    detail: str = "",
) -> Job:
    """Write the job row and its event, and ring the bell after the commit. Call inside the transaction that holds the
    machine's lock. `detail` is for the event: what was asked for, where the job's own facts do not say it. Raises
    `VMBusy`."""
    return _insert(
        actor,
        Job(
            action=action,
            hypervisor_id=machine.hypervisor_id,
            machine=machine,
            machine_name=machine.name,
            snapshot=snapshot,
            snapshot_uuid=snapshot.uuid if snapshot else None,
            snapshot_name=snapshot.name if snapshot else "",
            volume=volume,
            arguments=arguments or {},
            requested_by=actor.user,
            trigger=actor.trigger,
        ),
        detail,
    )


@transaction.atomic
def open_hypervisor_job(actor: Actor, action: JobAction, hypervisor: Hypervisor) -> Job:
    """A job on a whole endpoint. When the same one is under way already, that one is returned instead."""
    require_root_admin(actor)
    running = Job.objects.filter(hypervisor=hypervisor, machine=None, action=action, state__in=ACTIVE_JOB_STATES)
    if (job := running.first()) is not None:
        return job
    try:
        return _insert(actor, Job(action=action, hypervisor=hypervisor, requested_by=actor.user, trigger=actor.trigger))
    except VMBusy:
        # Another process has asked for the same in this moment.
        if (job := running.first()) is not None:
            return job
        raise


def _insert(actor: Actor, job: Job, detail: str = "") -> Job:
    # The bell is rung as soon as the row is there. Should this process end in between, the sweeper rings.
    job.sent_at = timezone.now()
    try:
        with transaction.atomic():
            job.save(force_insert=True)
    except IntegrityError:
        holder = active_job_of(job.machine_id) if job.machine_id else None
        raise (
            busy_refusal(holder) if holder else VMBusy(f"{job.hypervisor} is busy. Try again in a moment.")
        ) from None
    if not is_quiet(job):
        events.record(actor, f"{EVENT_NAMES[job.action]}.requested", job=job, detail=detail)
    send_after_commit(job)
    return job


@transaction.atomic
def request_cancel(actor: Actor, job: Job) -> Job:
    """Cancel a job. A queued one ends at once; a running one is asked to stop where the hypervisor can.

    Raises `InvalidState` when it has ended, `NotSupported` when it cannot be stopped any more, and as `require_operate`;
    `NotVisible` for a job on a whole endpoint unless root admins ask.
    """
    if job.machine is not None:
        # The machine's lock before the job's row, in the order in which a worker takes them.
        require_operate(actor, tree.lock_machine(job.machine.pk))
    elif actor.user is not None and not is_root_admin(actor.user):
        raise NotVisible("There is no such job.")
    job = Job.objects.select_for_update(of=("self",)).select_related("machine", "snapshot").get(pk=job.pk)
    if (refusal := why_not_cancel(job)) is not None:
        raise refusal
    if job.state == JobState.QUEUED:
        events.record(actor, f"{EVENT_NAMES[job.action]}.cancel_requested", job=job)
        finish(job, JobState.CANCELLED, code="cancelled", detail="It was cancelled before it began.")
        job.refresh_from_db()
        return job
    if job.cancel_requested_at is None:
        Job.objects.filter(pk=job.pk).update(cancel_requested_at=timezone.now())
        events.record(actor, f"{EVENT_NAMES[job.action]}.cancel_requested", job=job)
        job.refresh_from_db()
    return job


class TakenOver(Exception):
    """The job is not this worker's any more; whatever it was about to write must not be written."""


def require_owned(job: Job) -> None:
    """Raise `TakenOver` unless the job still carries this claim; from here to the end of the transaction nobody can take
    it. The machine's lock, where it is needed, comes before."""
    if not owned(job).select_for_update().order_by().values_list("pk"):
        raise TakenOver


def owned(job: Job) -> QuerySet[Job]:
    """The job's row, as long as it has not ended and still carries the same claim: writes through it are fenced."""
    return Job.objects.filter(pk=job.pk, claim=job.claim, state__in=ACTIVE_JOB_STATES)


def finish(job: Job, state: JobState, *, code: str = "", detail: str = "") -> bool:
    """End the job and write the event. Returns False, with nothing written, when the job is not this claim's any more.

    Call inside the transaction that writes what the job led to.
    """
    changed = owned(job).update(
        state=state,
        progress=100 if state == JobState.SUCCEEDED else job.progress,
        finished_at=timezone.now(),
        settling_since=None,
        phase="",
        error_code=code,
        error_detail=detail,
    )
    if not changed:
        return False
    if not is_quiet(job):
        level = {JobState.FAILED: Event.Level.ERROR, JobState.CANCELLED: Event.Level.WARNING}.get(
            state, Event.Level.INFO
        )
        actor = Actor(job.requested_by, Trigger(job.trigger))
        events.record(actor, f"{EVENT_NAMES[job.action]}.{state.value}", job=job, detail=detail, level=level)
    if state != JobState.SUCCEEDED and job.machine_id is not None:
        release_snapshots(job.machine_id, cancelled=state == JobState.CANCELLED, code=code, detail=detail)
    return True


def release_snapshots(machine_pk: int, *, cancelled: bool, code: str, detail: str) -> None:
    """No VM snapshot stays in between once its machine's job has ended without success.

    One that was never begun goes away, as does one whose taking was cancelled; one whose taking failed stays as Error and
    says why; one that was to be reverted to or deleted is what it was before, unless its fate is not known.
    """
    for row in VMSnapshot.objects.filter(machine_id=machine_pk, state__in=IN_BETWEEN):
        if row.state == SnapshotState.ALLOCATED or (row.state == SnapshotState.CREATING and cancelled):
            tree.remove(row.pk)
        elif row.state == SnapshotState.CREATING or (row.state == SnapshotState.EXPUNGING and code == OUTCOME_UNKNOWN):
            tree.set_state(row.pk, SnapshotState.ERROR, code=code, detail=detail)
        else:
            failed_before = row.error_code != ""
            tree.set_state(row.pk, SnapshotState.ERROR if failed_before else SnapshotState.READY)

"""Carries out a job once, and finds out by looking what became of it when that is not known.

The way: claim the row by one conditional update → read the machine's tree, write down what others did to it, look whether
the job still makes sense, write that it began → call the driver, outside any transaction → write what came of it, in one
transaction, only while the claim still holds. Whatever dies in between leaves a running row whose
heartbeat stops; the sweeper then has it settled here: the hypervisor is asked, nothing is repeated.
"""

import logging
import os
import socket
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from hypervisors.connections import open_driver
from hypervisors.driver import HypervisorDriver
from hypervisors.errors import Cancelled, HypervisorError, NotFound
from hypervisors.records import SnapshotForest
from hypervisors.storable import line
from snapshots import tree, tree_resync
from snapshots.choices import JobState
from snapshots.models import Job, VirtualMachine
from snapshots.refusals import Refusal
from snapshots.services import endpoint_health, inventory_sync, tree_sync
from snapshots.services.inventory_sync import MachineReading
from snapshots.services.job_actions import MACHINE_JOBS, read_endpoint
from snapshots.services.job_watch import Heartbeat, JobWatch
from snapshots.services.jobs import OUTCOME_UNKNOWN, TakenOver, finish, owned, require_owned
from snapshots.services.machine_job import MachineJob, TargetGone
from snapshots.services.usable_records import usable_forest

log = logging.getLogger(__name__)

WORKER_LOST = "worker_lost"


def run_job(job_pk: int) -> None:
    """Carry out the job if it waits, settle it if its worker was lost, do nothing if neither is so."""
    job = _claim(job_pk)
    carry_out = _carry_out
    if job is None:
        job = _claim_lost(job_pk)
        carry_out = _settle
    if job is None:
        return
    # Reading and changing may both take long. Without signs of life another worker would take the job away, again and
    # again.
    with Heartbeat(job):
        try:
            carry_out(job)
        except TakenOver:
            log.warning("Job %s was taken over meanwhile; its result is left to the one who took it", job.uuid)


def _mark() -> str:
    return f"{socket.gethostname()[:24]}:{os.getpid()}:{uuid.uuid4().hex[:16]}"


def _claim(job_pk: int) -> Job | None:
    now, mark = timezone.now(), _mark()
    claimed = Job.objects.filter(pk=job_pk, state=JobState.QUEUED).update(
        state=JobState.RUNNING, claim=mark, started_at=now, heartbeat_at=now
    )
    return _load(job_pk) if claimed else None


def _claim_lost(job_pk: int) -> Job | None:
    now, mark = timezone.now(), _mark()
    claimed = Job.objects.filter(lost_jobs(), pk=job_pk).update(
        claim=mark, heartbeat_at=now, settling_since=Coalesce(F("settling_since"), now)
    )
    return _load(job_pk) if claimed else None


def lost_jobs() -> Q:
    """Running jobs whose worker is silent, and those whose outcome is being found out and are due for another look."""
    now = timezone.now()
    silent = Q(heartbeat_at__lt=now - timedelta(seconds=settings.JOB_LOST_AFTER_SECONDS))
    due = Q(settling_since__isnull=False, heartbeat_at__lt=now - timedelta(seconds=settings.JOB_HEARTBEAT_SECONDS))
    return Q(state=JobState.RUNNING) & (silent | due)


def _load(job_pk: int) -> Job:
    return Job.objects.select_related("machine", "snapshot", "volume", "requested_by").get(pk=job_pk)


def _carry_out(job: Job) -> None:
    if job.machine_id is None:
        _read_endpoint(job)
        return
    try:
        _change_machine(job, MACHINE_JOBS[job.action](job))
    except TargetGone as gone:
        _fail(job, "not_found", str(gone))


def _read_endpoint(job: Job) -> None:
    watch = JobWatch(job, settings.JOB_DEADLINE_SECONDS)
    try:
        with open_driver(job.hypervisor_id) as driver:
            told = read_endpoint(job, driver, watch)
    except HypervisorError as error:
        endpoint_health.note_error(job.hypervisor_id, error)
        _fail(job, error.code, error.detail)
    except Exception:
        _fail(job, "internal_error", "The product failed while reading. The log of the worker tells more.")
        raise
    else:
        with transaction.atomic():
            finish(job, JobState.SUCCEEDED, detail=told)


def _change_machine(job: Job, action: MachineJob) -> None:
    seen: MachineReading | None = None
    try:
        with open_driver(job.hypervisor_id) as driver:
            if not _begin(job, action, None if action.only_looks else _forest_before(driver, action)):
                return
            try:
                action.perform(driver, JobWatch(job, action.deadline_seconds))
            except HypervisorError as error:
                if error.outcome_known:
                    seen = _look_after(driver, action)
                raise
            seen = (
                inventory_sync.read_machine(action.machine, driver)
                if action.only_looks
                else _look_after(driver, action)
            )
    except Cancelled as cancelled:
        _end(job, JobState.CANCELLED, cancelled.code, cancelled.detail, action, seen)
    except HypervisorError as error:
        endpoint_health.note_error_of_machine(job.hypervisor_id, error)
        if isinstance(error, _MachineGone):
            seen = MachineReading(error.began, None)
        if action.can_do_without(error):
            _succeed(job, action, seen)
        elif error.outcome_known:
            _end(job, JobState.FAILED, error.code, error.detail, action, seen)
        else:
            _begin_settling(job, error.code, error.detail)
    except (TargetGone, TakenOver):
        raise
    except Exception:
        # Ours to mend; but the hypervisor may have done what was asked, so look before saying anything.
        log.exception("Job %s failed inside the product", job.uuid)
        _begin_settling(job, "internal_error", "The product failed on the way. The log of the worker tells more.")
    else:
        _succeed(job, action, seen)
        endpoint_health.note_answer(job.hypervisor_id)


def _begin(job: Job, action: MachineJob, forest: SnapshotForest | None) -> bool:
    """Write down in what the machine's tree, as just read, differs, and that the job began; False when it ended here,
    because with what was found it makes no sense any more. Raises `TakenOver`."""
    with transaction.atomic():
        machine = tree.lock_machine(action.machine.pk)
        require_owned(job)
        try:
            with transaction.atomic():
                if forest is not None:
                    if _write_differences(machine, forest):
                        action.look_again(machine)
                    action.check(forest)
        except (HypervisorError, Refusal) as reason:
            finish(job, JobState.FAILED, code=reason.code, detail=reason.detail)
            # Only now, since what the job had reserved, such as a name, is free again.
            _write_differences(machine, forest)
            return False
        action.begin()
        return True


def _write_differences(machine: VirtualMachine, forest: SnapshotForest | None) -> bool:
    """Write down in what the tree differs; whether it did."""
    if forest is None or not tree_resync.tree_differs(tree_resync.rows_to_compare([machine.pk])[machine.pk], forest):
        return False
    tree_sync.apply_forest(machine, forest)
    return True


class _MachineGone(NotFound):
    """The machine was not on its hypervisor at the first look; `began` is when that began."""

    def __init__(self, detail: str, began: datetime) -> None:
        super().__init__(detail)
        self.began = began


def _forest_before(driver: HypervisorDriver, action: MachineJob) -> SnapshotForest:
    """The machine's tree before anything is asked for. An error here leaves no doubt about the outcome, whatever its kind:
    nothing was asked for yet."""
    began = timezone.now()
    try:
        forest = driver.list_forests([action.machine.native_id]).get(action.machine.native_id)
    except HypervisorError as error:
        error.outcome_known = True
        raise
    if forest is None:
        raise _MachineGone(f"{action.machine.name} is not on its hypervisor any more.", began)
    return usable_forest(forest)


def _look_after(driver: HypervisorDriver, action: MachineJob) -> MachineReading | None:
    """The machine and its tree right after the action; None when they could not be read. What the action did, or did not
    do, stands even then: the next sync compares."""
    try:
        return inventory_sync.read_machine(action.machine, driver)
    except HypervisorError as error:
        log.warning("Job %s: the machine could not be read afterwards: %s", action.job.uuid, error)
    except Exception:
        log.exception("Job %s: the machine could not be read afterwards", action.job.uuid)
    return None


def _succeed(job: Job, action: MachineJob, seen: MachineReading | None) -> None:
    """Write what the action led to and end the job, in one transaction. Raises `TakenOver`."""
    machine_pk = action.machine.pk
    with transaction.atomic():
        tree.hold_machine(machine_pk)
        require_owned(job)
        action.record()
        if seen is not None:
            _write_down(job, machine_pk, seen)
        finish(job, JobState.SUCCEEDED)


def _write_down(job: Job, machine_pk: int, seen: MachineReading) -> None:
    """Write what was seen after the action. Were that to fail, the job's own outcome still stands."""
    try:
        with transaction.atomic():
            inventory_sync.apply_machine(machine_pk, seen)
    except Exception:
        log.exception("Job %s: what was seen afterwards could not be written; the next sync compares", job.uuid)


def _end(job: Job, state: JobState, code: str, detail: str, action: MachineJob, seen: MachineReading | None) -> None:
    """End a job that the hypervisor did not carry out, with what was seen of the machine afterwards. Raises
    `TakenOver`."""
    machine_pk = action.machine.pk
    with transaction.atomic():
        tree.hold_machine(machine_pk)
        require_owned(job)
        if seen is not None:
            if seen.found is not None:
                action.record_part(seen.found[1])
            _write_down(job, machine_pk, seen)
        finish(job, state, code=code, detail=detail)


def _fail(job: Job, code: str, detail: str) -> None:
    with transaction.atomic():
        if job.machine_id is not None:
            tree.hold_machine(job.machine_id)
        require_owned(job)
        finish(job, JobState.FAILED, code=code, detail=detail)


def _begin_settling(job: Job, code: str, detail: str) -> None:
    now = timezone.now()
    job.error_code, job.error_detail, job.settling_since = code, detail, now
    still_ours = owned(job).update(error_code=code, error_detail=detail, settling_since=now, heartbeat_at=now)
    if still_ours:
        _settle(job)


def _settle(job: Job) -> None:
    """Find out by looking what became of the job. When that is not possible yet, the sweeper asks again; after
    SETTLE_WITHIN_SECONDS the job ends as failed with the code `outcome_unknown`."""
    if not job.error_code:
        job.error_code = WORKER_LOST
        job.error_detail = "The worker that carried this out stopped before it could say what came of it."
    if job.machine_id is None:
        _fail(job, job.error_code, f"{job.error_detail} Nothing was changed; ask again.")
        return
    action = MACHINE_JOBS[job.action](job)
    try:
        with open_driver(job.hypervisor_id) as driver:
            busy_with = _in_flight(driver, action)
            if busy_with is not None:
                _wait_or_give_up(job, f"The hypervisor is still at work: {busy_with}.")
                return
            action.clear_away(driver, JobWatch(job, settings.SETTLE_WITHIN_SECONDS))
            seen = inventory_sync.read_machine(action.machine, driver)
        _conclude(job, action, seen)
    except HypervisorError as error:
        endpoint_health.note_error_of_machine(job.hypervisor_id, error)
        _wait_or_give_up(job, f"The hypervisor cannot be asked: {error.detail}")
    except TakenOver:
        raise
    except Exception:
        # Whatever is wrong with us, the job must not stay in between for ever.
        log.exception("Job %s: finding out what became of it failed", job.uuid)
        _wait_or_give_up(job, "The product failed while looking. The log of the worker tells more.")
    else:
        endpoint_health.note_answer(job.hypervisor_id)


def _in_flight(driver: HypervisorDriver, action: MachineJob) -> str | None:
    try:
        return driver.operation_in_flight(action.machine.native_id)
    except NotFound:
        return None


def _conclude(job: Job, action: MachineJob, seen: MachineReading) -> None:
    """Write what the look at the hypervisor showed."""
    machine_pk = action.machine.pk
    with transaction.atomic():
        tree.hold_machine(machine_pk)
        require_owned(job)
        done: bool | None = False
        try:
            done = seen.found is not None and action.was_done(*seen.found)
            if done:
                action.record()
            elif seen.found is not None:
                action.record_part(seen.found[1])
        except TargetGone:
            done = None
        inventory_sync.apply_machine(machine_pk, seen)
        if done:
            finish(job, JobState.SUCCEEDED, detail=f"{job.error_detail} The hypervisor shows that it was done.")
        elif done is None:
            detail = f"{job.error_detail} The hypervisor does not show whether it was done. Look at the machine."
            finish(job, JobState.FAILED, code=OUTCOME_UNKNOWN, detail=detail)
        else:
            detail = f"{job.error_detail} The hypervisor shows that it was not done."
            finish(job, JobState.FAILED, code=job.error_code, detail=detail)


def _wait_or_give_up(job: Job, why: str) -> None:
    since = job.settling_since or timezone.now()
    if timezone.now() - since < timedelta(seconds=settings.SETTLE_WITHIN_SECONDS):
        owned(job).update(phase=line(why, 255), error_code=job.error_code, error_detail=job.error_detail)
        return
    _fail(
        job,
        OUTCOME_UNKNOWN,
        f"{job.error_detail} What became of it could not be found out in time. {why} Sync the machine and look again.",
    )

"""Deleting VM snapshots that nobody asks to delete one by one: those that are too old (`expiry`), and those that schedules
need not keep (`scheduled_snapshots`).

Each is asked for like any other deletion, one of a machine at a time, so that it is deleted alone and its children move up.
What cannot be deleted now is left to a later pass and keeps no other from being deleted, neither of another machine nor of
its own; why it stays is told once.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from snapshots.access import Actor
from snapshots.choices import ACTIVE_JOB_STATES, JobAction, JobState
from snapshots.models import Event, Job, VMSnapshot
from snapshots.refusals import NotVisible, Refusal, VMBusy
from snapshots.services import events
from snapshots.services.locked_targets import locked_machine
from snapshots.services.snapshot_actions import request_delete

log = logging.getLogger(__name__)

TRY_AGAIN_AFTER = timedelta(days=1)
"""So long one is left alone whose deletion failed, and the next oldest of its machine takes its turn."""


@dataclass(frozen=True, slots=True)
class Doom:
    """Why VM snapshots go. `still` asks once more, under the machine's lock, whether one of them is to go; `why` says it in
    words, and `should_go` the same of one that stays, in the beginning of a sentence. `goes` and `stays` are the events."""

    still: Callable[[VMSnapshot], bool]
    why: Callable[[VMSnapshot], str]
    should_go: str
    goes: str
    stays: str


def free_to_go(rows: Any) -> Any:
    """Of these VM snapshots those that can be asked to go now: on a machine that is there and on which nothing is under
    way, and not tried in vain a short time ago."""
    about = Job.objects.filter(machine=OuterRef("machine"))
    failed = about.filter(
        snapshot=OuterRef("pk"),
        action=JobAction.DELETE_SNAPSHOT,
        state=JobState.FAILED,
        finished_at__gt=timezone.now() - TRY_AGAIN_AFTER,
    )
    return rows.filter(
        ~Exists(about.filter(state__in=ACTIVE_JOB_STATES)),
        ~Exists(failed),
        machine__missing_since=None,
        machine__hypervisor__enabled=True,
    )


def ask_for_one_of_each(actor: Actor, machines: Iterable[list[VMSnapshot]], doom: Doom) -> list[Job]:
    """A job for the first of each machine's that may go now."""
    jobs = []
    for of_one_machine in machines:
        try:
            job = _ask_for_one(actor, of_one_machine, doom)
        except OperationalError as error:
            # The database was busy, or went away for a moment; the next pass comes back.
            log.warning("VM snapshots of one machine are to be deleted and have to wait: %s", error)
            continue
        if job is not None:
            jobs.append(job)
    return jobs


def _ask_for_one(actor: Actor, of_one_machine: list[VMSnapshot], doom: Doom) -> Job | None:
    for snapshot in of_one_machine:
        try:
            with transaction.atomic():
                locked_machine(snapshot.machine_id)
                if not doom.still(snapshot):
                    continue  # Somebody decided otherwise meanwhile.
                job = request_delete(actor, snapshot=snapshot)
                events.record(actor, doom.goes, job=job, detail=doom.why(snapshot))
                return job
        except VMBusy:
            return None  # Somebody was faster; the next pass comes back.
        except NotVisible:
            continue  # It went meanwhile.
        except Refusal as refusal:
            _tell_that_it_stays(actor, snapshot, doom, refusal.detail)
        except OperationalError:
            raise  # The database's matter, and no reason that this one stays: the caller goes on with the next machine.
        except Exception:
            # One that cannot go must not keep those of all other machines; it is told of once, and tried again.
            if _tell_that_it_stays(actor, snapshot, doom, "An error in VMSnap; the log has the details."):
                log.exception("VM snapshot %s is to be deleted and could not be asked to go", snapshot.uuid)
    return None


def _tell_that_it_stays(actor: Actor, snapshot: VMSnapshot, doom: Doom, why: str) -> bool:
    """Tell it in the history, unless that was told of this machine before: a pass comes every few minutes. Whether it was
    news."""
    machine = snapshot.machine
    detail = f"{doom.should_go}, and stays. {why}"
    if Event.objects.filter(machine=machine, action=doom.stays, detail=detail).exists():
        return False
    events.record(
        actor,
        doom.stays,
        level=Event.Level.WARNING,
        machine=machine,
        snapshot_uuid=snapshot.uuid,
        snapshot_name=snapshot.name,
        detail=detail,
    )
    return True

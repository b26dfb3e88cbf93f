"""Deleting VM snapshots that nobody asks to delete one by one: those that are too old (`expiry`), and those that schedules
need not keep (`scheduled_snapshots`).

Each is asked for like any other deletion, one of a machine at a time, so that it is deleted alone and its children move up.
What cannot be deleted now is left to a later pass and keeps no other from being deleted, neither of another machine nor of
its own; why it stays is told once.
"""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from snapshots.access import Actor
from snapshots.choices import ACTIVE_JOB_STATES, JobAction, JobState, SnapshotState
from snapshots.models import Event, Job, VMSnapshot
from snapshots.refusals import NotVisible, Refusal, VMBusy
from snapshots.services import events
from snapshots.services.snapshot_actions import request_delete

log = logging.getLogger(__name__)

TRY_AGAIN_AFTER = timedelta(days=1)
"""So long one is left alone whose deletion failed, and the next oldest of its machine takes its turn."""


@dataclass(frozen=True, slots=True)
class Telling:
    """How the history tells of it: `goes` and `stays` are the events, `why` says why one goes, and `should_go` the same of
    one that stays, in the beginning of a sentence."""

    goes: str
    stays: str
    should_go: str
    why: Callable[[VMSnapshot], str]


def free_to_go(rows: Any) -> Any:
    """Of these VM snapshots those that can be asked to go now: Ready, on a machine that is there and on which nothing is
    under way."""
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
        state=SnapshotState.READY,
        machine__missing_since=None,
        machine__hypervisor__enabled=True,
    )


def by_machine(rows: Any) -> list[list[VMSnapshot]]:
    """These VM snapshots by machine, the oldest first."""
    found: dict[int, list[VMSnapshot]] = defaultdict(list)
    for row in rows.order_by("machine_id", "created_at", "pk").iterator(chunk_size=500):
        found[row.machine_id].append(row)
    return list(found.values())


def ask_for_one(actor: Actor, of_one_machine: list[VMSnapshot], telling: Telling) -> Job | None:
    """A job for the first of these that may go now."""
    for snapshot in of_one_machine:
        try:
            with transaction.atomic():
                job = request_delete(actor, snapshot=snapshot)
                events.record(actor, telling.goes, job=job, detail=telling.why(snapshot))
                return job
        except VMBusy:
            return None  # Somebody was faster; the next pass comes back.
        except NotVisible:
            continue  # It went meanwhile.
        except Refusal as refusal:
            _tell_that_it_stays(actor, snapshot, telling, refusal.detail)
        except Exception:
            # One that cannot go must not keep those of all other machines; it is told of once, and tried again.
            if _tell_that_it_stays(actor, snapshot, telling, "An error in VMSnap; the log has the details."):
                log.exception("VM snapshot %s is to be deleted and could not be asked to go", snapshot.uuid)
    return None


def _tell_that_it_stays(actor: Actor, snapshot: VMSnapshot, telling: Telling, why: str) -> bool:
    """Tell it in the history, unless that was told of this machine before: a pass comes every few minutes. Whether it was
    news."""
    machine = snapshot.machine
    detail = f"{telling.should_go}, and stays. {why}"
    if Event.objects.filter(machine=machine, action=telling.stays, detail=detail).exists():
        return False
    events.record(
        actor,
        telling.stays,
        level=Event.Level.WARNING,
        machine=machine,
        snapshot_uuid=snapshot.uuid,
        snapshot_name=snapshot.name,
        detail=detail,
    )
    return True

"""Deletes VM snapshots that are older than the account, or a domain above it, allows: runs on a tick.

It asks like anybody else, one VM snapshot of a machine at a time, so that each is deleted alone and its children move up.
What cannot be deleted now is left to a later pass and keeps no other from being deleted, neither of another machine nor
of its own; why it stays is told once.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from snapshots.access import SYSTEM
from snapshots.choices import ACTIVE_JOB_STATES, JobAction, JobState, SnapshotState
from snapshots.limit_levels import OLDEST_DAYS, Place, Setting, rooms_of
from snapshots.models import Account, Event, Job, VMSnapshot
from snapshots.refusals import NotVisible, Refusal, VMBusy
from snapshots.services import events
from snapshots.services.snapshot_actions import request_delete

STAYS = "snapshot.not_expired"
log = logging.getLogger(__name__)

TRY_AGAIN_AFTER = timedelta(days=1)
"""So long one is left alone whose deletion failed, and the next oldest of its machine takes its turn."""


def expire_snapshots() -> list[Job]:
    """One pass: a job for the oldest VM snapshot of each machine that has one too old and nothing else under way. Those
    that nobody adopted, or that are lost, or whose machine is missing or belongs to nobody, are not touched."""
    by_policy: dict[Setting, list[int]] = defaultdict(list)
    for pk, room in rooms_of(Account.objects.select_related("domain"), None).items():
        if 0 <= room.age_days.value <= OLDEST_DAYS:
            # With the place as members of the account may read it in its history.
            by_policy[room.for_members().age_days].append(pk)
    jobs = []
    for policy, accounts in by_policy.items():
        for too_old in _expired(policy.value, accounts):
            job = _ask_for_one(too_old, policy)
            if job is not None:
                jobs.append(job)
    return jobs


def _expired(days: int, account_pks: Iterable[int]) -> list[list[VMSnapshot]]:
    """The too old ones of each machine of these accounts, the oldest first."""
    now = timezone.now()
    limit = now - timedelta(days=days)
    about = Job.objects.filter(machine=OuterRef("machine"))
    failed = about.filter(
        snapshot=OuterRef("pk"),
        action=JobAction.DELETE_SNAPSHOT,
        state=JobState.FAILED,
        finished_at__gt=now - TRY_AGAIN_AFTER,
    )
    rows = (
        VMSnapshot.objects.counted()
        .filter(
            # What others made is as old here as its adoption: nobody loses what they have just taken over.
            Q(adopted_at=None) | Q(adopted_at__lt=limit),
            ~Exists(about.filter(state__in=ACTIVE_JOB_STATES)),
            ~Exists(failed),
            state=SnapshotState.READY,
            created_at__lt=limit,
            machine__account__in=account_pks,
            machine__missing_since=None,
            machine__hypervisor__enabled=True,
        )
        .order_by("machine_id", "created_at", "pk")
    )
    found: dict[int, list[VMSnapshot]] = defaultdict(list)
    for row in rows.iterator(chunk_size=500):
        found[row.machine_id].append(row)
    return list(found.values())


def _ask_for_one(too_old: list[VMSnapshot], policy: Setting) -> Job | None:
    """A job for the oldest of these, which are one machine's, that may go now."""
    for snapshot in too_old:
        try:
            with transaction.atomic():
                job = request_delete(SYSTEM, snapshot=snapshot)
                events.record(SYSTEM, "snapshot.expired", job=job, detail=_told(policy))
                return job
        except VMBusy:
            return None  # Somebody was faster; the next pass comes back.
        except NotVisible:
            continue  # It went meanwhile.
        except Refusal as refusal:
            _tell_that_it_stays(snapshot, refusal.detail)
        except Exception:
            # One that cannot go must not keep those of all other machines; it is told of once, and tried again.
            if _tell_that_it_stays(snapshot, "An error in VMSnap; the log has the details."):
                log.exception("VM snapshot %s is too old and could not be asked to go", snapshot.uuid)
    return None


def _tell_that_it_stays(snapshot: VMSnapshot, why: str) -> bool:
    """Tell it in the history, unless that was told of this machine before: a pass comes every few minutes. Whether it was
    news."""
    machine = snapshot.machine
    detail = f"It is too old, and stays. {why}"
    if Event.objects.filter(machine=machine, action=STAYS, detail=detail).exists():
        return False
    events.record(
        SYSTEM,
        STAYS,
        level=Event.Level.WARNING,
        machine=machine,
        snapshot_uuid=snapshot.uuid,
        snapshot_name=snapshot.name,
        detail=detail,
    )
    return True


def _told(policy: Setting) -> str:
    days, source = policy
    if source.place == Place.DEFAULT:
        of = "by default"
    elif source.seen:
        of = f"by the limit of the {source.place} {source.name}"
    else:
        of = "by the limit of a domain above"
    return f"It is older than {days} day{'' if days == 1 else 's'}, the most {of}."

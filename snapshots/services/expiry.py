"""Deletes VM snapshots that are older than the account, or a domain above it, allows: runs on a tick. How they are asked to
go is a matter of `automatic_deletion`."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from django.db.models import Q
from django.utils import timezone

from snapshots.access import SYSTEM
from snapshots.choices import SnapshotState
from snapshots.limit_levels import OLDEST_DAYS, Place, Setting, rooms_of
from snapshots.models import Account, Job, VMSnapshot
from snapshots.services.automatic_deletion import Doom, ask_for_one_of_each, free_to_go


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
        too_old = _too_old(policy.value, accounts)
        doom = Doom(
            still=partial(_is_among, too_old),
            why=partial(_told, policy),
            should_go="It is too old",
            goes="snapshot.expired",
            stays="snapshot.not_expired",
        )
        jobs += ask_for_one_of_each(SYSTEM, _by_machine(free_to_go(too_old)), doom)
    return jobs


def _too_old(days: int, account_pks: Iterable[int]) -> Any:
    limit = timezone.now() - timedelta(days=days)
    return VMSnapshot.objects.counted().filter(
        # What others made is as old here as its adoption: nobody loses what they have just taken over.
        Q(adopted_at=None) | Q(adopted_at__lt=limit),
        state=SnapshotState.READY,
        created_at__lt=limit,
        machine__account__in=account_pks,
    )


def _by_machine(rows: Any) -> list[list[VMSnapshot]]:
    """These VM snapshots by machine, the oldest first."""
    found: dict[int, list[VMSnapshot]] = defaultdict(list)
    for row in rows.order_by("machine_id", "created_at", "pk").iterator(chunk_size=500):
        found[row.machine_id].append(row)
    return list(found.values())


def _is_among(rows: Any, snapshot: VMSnapshot) -> bool:
    return bool(rows.filter(pk=snapshot.pk).exists())


def _told(policy: Setting, _: VMSnapshot) -> str:
    days, source = policy
    if source.place == Place.DEFAULT:
        of = "by default"
    elif source.seen:
        of = f"by the limit of the {source.place} {source.name}"
    else:
        of = "by the limit of a domain above"
    return f"It is older than {days} day{'' if days == 1 else 's'}, the most {of}."

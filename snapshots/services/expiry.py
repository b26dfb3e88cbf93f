"""Deletes VM snapshots that are older than the account, or a domain above it, allows: runs on a tick. How they are asked to
go is a matter of `automatic_deletion`."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from django.db.models import Q
from django.utils import timezone

from snapshots.access import SYSTEM
from snapshots.limit_levels import OLDEST_DAYS, Place, Setting, rooms_of
from snapshots.models import Account, Job, VMSnapshot
from snapshots.services.automatic_deletion import Telling, ask_for_one, by_machine, free_to_go


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
        telling = Telling("snapshot.expired", "snapshot.not_expired", "It is too old", partial(_told, policy))
        for too_old in _expired(policy.value, accounts):
            job = ask_for_one(SYSTEM, too_old, telling)
            if job is not None:
                jobs.append(job)
    return jobs


def _expired(days: int, account_pks: Iterable[int]) -> list[list[VMSnapshot]]:
    """The too old ones of each machine of these accounts, the oldest first."""
    limit = timezone.now() - timedelta(days=days)
    rows = VMSnapshot.objects.counted().filter(
        # What others made is as old here as its adoption: nobody loses what they have just taken over.
        Q(adopted_at=None) | Q(adopted_at__lt=limit),
        created_at__lt=limit,
        machine__account__in=account_pks,
    )
    return by_machine(free_to_go(rows))


def _told(policy: Setting, _: VMSnapshot) -> str:
    days, source = policy
    if source.place == Place.DEFAULT:
        of = "by default"
    elif source.seen:
        of = f"by the limit of the {source.place} {source.name}"
    else:
        of = "by the limit of a domain above"
    return f"It is older than {days} day{'' if days == 1 else 's'}, the most {of}."

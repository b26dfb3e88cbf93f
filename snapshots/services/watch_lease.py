"""Which process is told by an endpoint what changes there: one at a time, found out by one conditional update.

A process has one claim for all its endpoints and says every few seconds that it lives. When it falls silent, the next that
asks takes the endpoint over. Were two to work on one for a moment (one was frozen and woke up), nothing breaks: what they
write is a reading like any other. `snapshots.management.watchers` enters.
"""

import os
import socket
import uuid
from collections.abc import Collection
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from hypervisors.models import Hypervisor


def new_claim() -> str:
    """A claim of this process, that no other has or had."""
    return f"{socket.gethostname()[:48]}:{os.getpid()}:{uuid.uuid4().hex[:16]}"


def take(hypervisor_pk: int, claim: str) -> bool:
    """Take an endpoint that nobody watches, or whose watcher is silent. Whether it is this claim's now."""
    now = timezone.now()
    silent = Q(watch_beat_at=None) | Q(watch_beat_at__lt=now - timedelta(seconds=settings.WATCH_LOST_AFTER_SECONDS))
    free = Q(watch_claim="") | Q(watch_claim=claim) | silent
    taken = Hypervisor.objects.filter(free, pk=hypervisor_pk, enabled=True).update(watch_claim=claim, watch_beat_at=now)
    return bool(taken)


def beat(claim: str) -> set[int]:
    """Say that the process lives; answers the keys of the endpoints that are still its own."""
    mine = Hypervisor.objects.filter(watch_claim=claim)
    mine.update(watch_beat_at=timezone.now())
    return set(mine.values_list("pk", flat=True))


def give_back(claim: str, hypervisor_pks: Collection[int] | None = None) -> None:
    """Leave these endpoints (None: all of the claim) to others at once."""
    mine = Hypervisor.objects.filter(watch_claim=claim)
    if hypervisor_pks is not None:
        mine = mine.filter(pk__in=hypervisor_pks)
    mine.update(watch_claim="", watch_beat_at=None)

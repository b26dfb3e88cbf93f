"""Orders the regular reading of every endpoint that is switched on."""

from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from hypervisors.errors import LoginRefused
from hypervisors.models import Hypervisor
from snapshots.access import SYSTEM
from snapshots.choices import JobAction, JobState
from snapshots.models import Event, Job
from snapshots.services.jobs import open_hypervisor_job

REFUSED_PAUSE_SECONDS = 300.0
"""So long nobody but a person tries a login again that was refused: servers lock accounts that are tried too often. A
changed endpoint is tried at once."""

TICKS_BETWEEN_REPAIRS = 10
"""An endpoint that tells what changes is read as a whole only at every so manieth tick, to repair what it did not tell:
such a reading is work for a large vCenter, which searches all its datastores for loose volumes."""


def order_due_syncs() -> list[Job]:
    """A sync job for each endpoint; one that is being read already keeps its job. One that refused the login of late is
    left alone for `REFUSED_PAUSE_SECONDS`, unless it was changed since, or answered; one that is watched, for
    `TICKS_BETWEEN_REPAIRS` ticks since its last whole reading."""
    return [
        open_hypervisor_job(SYSTEM, JobAction.SYNC_HYPERVISOR, hypervisor)
        for hypervisor in Hypervisor.objects.filter(~Exists(_refusals()), ~_up_to_date(), enabled=True)
    ]


def _up_to_date() -> Q:
    """Endpoints whose changes are told to a watcher, and that were read as a whole not long ago."""
    now = timezone.now()
    return Q(
        state=Hypervisor.State.REACHABLE,
        watch_beat_at__gt=now - timedelta(seconds=settings.WATCH_LOST_AFTER_SECONDS),
        synced_at__isnull=False,
        synced_at__gt=now - timedelta(seconds=TICKS_BETWEEN_REPAIRS * settings.SYNC_EVERY_SECONDS),
    )


def _refusals() -> QuerySet[Job]:
    """Jobs of an endpoint whose login it refused of late, and with which it has not been changed since."""
    refused = Job.objects.filter(
        hypervisor=OuterRef("pk"),
        hypervisor__state=Hypervisor.State.UNREACHABLE,
        machine=None,
        state=JobState.FAILED,
        error_code=LoginRefused.code,
        finished_at__gt=timezone.now() - timedelta(seconds=REFUSED_PAUSE_SECONDS),
    )
    changed = Event.objects.filter(
        hypervisor=OuterRef("hypervisor"), action="hypervisor.changed", at__gt=OuterRef("finished_at")
    )
    return refused.filter(~Exists(changed))

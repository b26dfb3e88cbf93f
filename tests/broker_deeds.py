"""Deeds about the broker, and about messages and workers that are lost, in the same way as those in `deeds`."""

import os
import subprocess
import sys
from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.utils import timezone

from snapshots import dispatch, tree
from snapshots.choices import JobState, SnapshotState
from snapshots.models import Job


def ring(job: str) -> bool:
    """Hand the job to the broker now; answers whether the broker took it."""
    return dispatch.send(Job.objects.get(uuid=job).pk)


def ring_at(job: str, broker_url: str) -> bool:
    """Hand the job to another broker, in a program of its own, since a broker is chosen at the start."""
    code = (
        "import django, sys; django.setup(); from snapshots import dispatch; "
        "sys.exit(10 if dispatch.send(int(sys.argv[1])) else 20)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Job.objects.get(uuid=job).pk)],
        env={**os.environ, "VMSNAP_BROKER_URL": broker_url},
        capture_output=True,
        check=False,
    )
    assert done.returncode in {10, 20}, done.stderr.decode()
    return done.returncode == 10


def lose_message(job: str) -> None:
    """As if the message of the job had been lost long ago."""
    Job.objects.filter(uuid=job).update(
        sent_at=timezone.now() - timedelta(seconds=settings.JOB_RESEND_AFTER_SECONDS + 60)
    )


def lose_messages() -> int:
    """Throw away what waits in the queue; answers how many messages that were."""
    with current_app.connection_for_write() as connection:
        thrown: int = connection.default_channel.queue_purge(settings.CELERY_TASK_DEFAULT_QUEUE)
    return thrown


def lose_worker(job: str) -> None:
    """As if a worker had claimed the job and died before it called the hypervisor, long ago."""
    long_ago = timezone.now() - timedelta(seconds=settings.JOB_LOST_AFTER_SECONDS + 60)
    Job.objects.filter(uuid=job, state=JobState.QUEUED).update(
        state=JobState.RUNNING, claim="gone", started_at=long_ago, heartbeat_at=long_ago, sent_at=long_ago
    )
    tree.set_state(Job.objects.get(uuid=job).snapshot_id, SnapshotState.CREATING)


def process_of(job: str) -> int:
    """The process id of the worker process that has claimed the job."""
    return int(Job.objects.get(uuid=job).claim.split(":")[1])

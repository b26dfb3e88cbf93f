"""Looks after jobs that nobody looks after: runs on a tick, and is safe to run twice at once.

It only rings again; claiming decides who does the work.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from snapshots import dispatch, tree
from snapshots.choices import ACTIVE_JOB_STATES, FINAL_JOB_STATES, JobState, Trigger
from snapshots.models import IdempotencyKey, Job, VMSnapshot
from snapshots.services.job_runner import lost_jobs
from snapshots.services.jobs import IN_BETWEEN, QUIET_ACTIONS, active_job_of, release_snapshots

log = logging.getLogger(__name__)

KEEP_QUIET_JOBS = timedelta(days=1)
# In units of the setting JOB_RESEND_AFTER_SECONDS.
RESEND_AT_LEAST_EVERY = 10


def sweep() -> None:
    """One round."""
    _ring_again()
    _free_stray_snapshots()
    _forget_old_rows()


def _ring_again() -> None:
    """For queued jobs whose message may have been lost, and running ones whose worker may have been."""
    now = timezone.now()
    unheard = now - timedelta(seconds=settings.JOB_RESEND_AFTER_SECONDS)
    waiting = Q(state=JobState.QUEUED) & (Q(sent_at=None) | Q(sent_at__lt=unheard))
    recently_rung = Q(state=JobState.RUNNING, sent_at__gte=unheard, settling_since__isnull=False)
    jobs = Job.objects.filter(waiting | (lost_jobs() & ~recently_rung)).order_by("pk")
    for job in jobs.only("state", "sent_at", "created_at"):
        if _may_still_be_heard(job, now):
            continue
        if not dispatch.send_again(job.pk):
            return  # the broker is away; the next round tries again


def _may_still_be_heard(job: Job, now: datetime) -> bool:
    """Whether a waiting job's last message is younger than the job was when it was sent. So the time between two messages
    doubles, up to a bound, and a long queue before busy workers does not fill with repetitions."""
    if job.state != JobState.QUEUED or job.sent_at is None:
        return False
    longest = timedelta(seconds=RESEND_AT_LEAST_EVERY * settings.JOB_RESEND_AFTER_SECONDS)
    return now - job.sent_at < min(job.sent_at - job.created_at, longest)


def _free_stray_snapshots() -> None:
    """A snapshot that is in between although no job holds its machine can only come from rows changed by hand."""
    held = Exists(Job.objects.filter(machine=OuterRef("machine"), state__in=ACTIVE_JOB_STATES))
    stray = VMSnapshot.objects.filter(~held, state__in=IN_BETWEEN, parent__isnull=False)
    for machine_pk in set(stray.values_list("machine_id", flat=True)):
        log.error("Machine %s has VM snapshots in between without a job", machine_pk)
        with transaction.atomic():
            tree.hold_machine(machine_pk)
            if active_job_of(machine_pk) is None:
                release_snapshots(
                    machine_pk, cancelled=False, code="outcome_unknown", detail="No job was found that works on it."
                )


def _forget_old_rows() -> None:
    now = timezone.now()
    IdempotencyKey.objects.filter(created_at__lt=now - timedelta(hours=settings.IDEMPOTENCY_KEEP_HOURS)).delete()
    # Those of an endpoint that is down for long fail every minute; that it is down stands in its row and in an event.
    Job.objects.filter(
        action__in=QUIET_ACTIONS,
        trigger=Trigger.SYSTEM,
        state__in=FINAL_JOB_STATES,
        finished_at__lt=now - KEEP_QUIET_JOBS,
    ).delete()

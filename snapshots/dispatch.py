"""Rings the bell for a job once its row is committed: the only room that knows the queue.

The task is found by name, so that services need not import tasks. A broker that cannot be reached is no reason to fail:
the row says that the job is wanted, and the sweeper rings again.
"""

import logging
import time

from celery import current_app
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from snapshots.models import Job

RUN_JOB = "snapshots.run_job"
AT_ONCE_SECONDS = 1.0

log = logging.getLogger(__name__)


def send_after_commit(job: Job) -> None:
    """Hand the job, whose row was written with `sent_at`, to a worker once the surrounding transaction has been committed;
    never when it is rolled back."""
    transaction.on_commit(lambda: send(job.pk))


def send_again(job_pk: int) -> bool:
    """As `send`, with the time of it written before."""
    Job.objects.filter(pk=job_pk).update(sent_at=timezone.now())
    return send(job_pk)


def send(job_pk: int) -> bool:
    """Hand the job to a worker now. Returns whether the broker took it; a job that it did not take counts as not sent."""
    began = time.monotonic()

    def before_the_second_try(error: Exception, _interval: float) -> None:
        # A connection that broke since its last use shows at once, and a new one helps. A silent broker would only hold
        # up the request once more.
        if time.monotonic() - began > AT_ONCE_SECONDS:
            raise error

    try:
        current_app.tasks[RUN_JOB].apply_async(
            args=(job_pk,), retry_policy={"max_retries": 1, "errback": before_the_second_try}
        )
    except _broker_errors() as error:
        log.warning("Job %s could not be handed to the broker, it will be sent again: %s", job_pk, error)
        Job.objects.filter(pk=job_pk).update(sent_at=None)
        return False
    return True


def _broker_errors() -> tuple[type[BaseException], ...]:
    """How a broker that is away shows. A connection that was open before raises the client library's own errors."""
    connection = current_app.connection_for_write()
    return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)

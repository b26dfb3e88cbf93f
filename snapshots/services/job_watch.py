"""A job's signs of life while it is carried out: heartbeat, progress, and whether somebody asked to stop it."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from hypervisors.storable import line
from snapshots.models import Job
from snapshots.services.jobs import owned

log = logging.getLogger(__name__)

# Pages ask about once a second; writing or asking more often would only load the database.
WRITE_EVERY_SECONDS = 0.5


class JobWatch:
    """Given to the driver with each call: writes progress, asks whether to stop, both rarely enough to be cheap."""

    def __init__(self, job: Job, deadline_seconds: float) -> None:
        self.job = job
        self.deadline_seconds = deadline_seconds
        self._written = (-1, "")
        self._written_at = 0.0
        self._asked_at = 0.0
        self._stop = False

    def report(self, percent: int, phase: str) -> None:
        """Write how far it has come; a new phase is written at once. The end is not: the job's own follows."""
        if percent >= 100:
            return
        now = time.monotonic()
        state = (max(0, percent), line(phase, 255))
        if state == self._written or (state[1] == self._written[1] and now - self._written_at < WRITE_EVERY_SECONDS):
            return
        self._written, self._written_at = state, now
        self.job.progress, self.job.phase = state
        owned(self.job).update(progress=state[0], phase=state[1], heartbeat_at=timezone.now())

    def cancel_requested(self) -> bool:
        """Whether somebody asked to stop the job, or it is not ours any more."""
        now = time.monotonic()
        if not self._stop and now - self._asked_at >= WRITE_EVERY_SECONDS:
            self._asked_at = now
            row = owned(self.job).values_list("cancel_requested_at", flat=True)
            asked = list(row)
            self._stop = not asked or asked[0] is not None
        return self._stop


class Heartbeat:
    """Says "still alive" in the job's row, from a thread of its own, since a hypervisor call may be silent for long.

    A beat that cannot be written is logged and tried again at the next: being taken for dead is safe, since all writes of
    the job are fenced by its claim.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat of job {job.pk}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        try:
            while not self._ended.wait(settings.JOB_HEARTBEAT_SECONDS):
                try:
                    owned(self._job).update(heartbeat_at=timezone.now())
                except DatabaseError:
                    log.exception("The heartbeat of job %s could not be written", self._job.pk)
                    connection.close()
        finally:
            connection.close()

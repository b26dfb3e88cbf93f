"""Keeps one endpoint up to date by being told what changed there, between the regular readings of everything.

`snapshots.management.watchers` enters, with a driver that tells changes. What was told is remembered until it has been
written: a machine on which a job of ours is under way waits until the job has ended, because the job may have looked at it
before the change. When everything has to be read (at the start, or when the hypervisor lost count) the ordinary sync job
does that.
"""

import logging
import time
from datetime import datetime

from django.db import Error as DatabaseFailure
from django.utils import timezone

from hypervisors.driver import HypervisorDriver
from hypervisors.errors import HypervisorError, LoginRefused, NotPermitted, OutOfReach, Unreachable
from hypervisors.models import Hypervisor
from snapshots.access import SYSTEM
from snapshots.choices import ACTIVE_JOB_STATES, JobAction, JobState
from snapshots.models import Job
from snapshots.services import inventory_sync
from snapshots.services.jobs import open_hypervisor_job

log = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""How long one question waits for news. Stopping waits for it, so it is short."""

RETRY_SECONDS = 1.0
"""How long a question waits while something told earlier is still to be written."""

REST_SECONDS = 1.0
"""The least time from one piece of news to the next question: changes gather meanwhile, and a hypervisor that tells of
changes all the time cannot keep us busy."""

MOST_AT_ONCE = 100
"""More changed machines than this are read by a sync of everything, which reads in bulk."""

TRIES = 3
"""After so many failures of reading what was told, it is left to the regular sync of everything."""

ORDER_EVERY_SECONDS = 15.0
"""A sync of everything is ordered no more often. A hypervisor that keeps losing count is read by the regular one."""


class ChangeWatch:
    """One endpoint, with an open driver. Not shared between threads."""

    def __init__(self, hypervisor_pk: int, driver: HypervisorDriver) -> None:
        self._hypervisor_pk = hypervisor_pk
        self._driver = driver
        self._cursor = ""
        self._machines: set[str] = set()
        self._pools = False
        self._everything_since: datetime | None = None
        self._asked_for_everything = False
        self._ordered_at: float | None = None
        self._failures = 0

    @property
    def settled(self) -> bool:
        """Whether all that was told has been written, or is left to a sync job that waits for its turn."""
        return not self._machines and not self._pools and (self._everything_since is None or self._asked_for_everything)

    def turn(self, wait_seconds: float = WAIT_SECONDS) -> float:
        """Ask once, waiting for news up to so long, and write down what was told and can be written now. Answers for how
        many seconds to rest before the next turn.

        Raises `Unreachable` and `LoginRefused` when the endpoint is away: open a new driver and begin anew. Raises
        `DatabaseFailure` with nothing forgotten: take another turn.
        """
        began = time.monotonic()
        waited = wait_seconds if self.settled else min(wait_seconds, RETRY_SECONDS)
        self._hear(waited)
        heard = time.monotonic()
        self._write()
        if heard - began >= waited and self.settled:
            return 0.0
        return max(0.0, heard + REST_SECONDS - time.monotonic())

    def _hear(self, wait_seconds: float) -> None:
        changes = self._driver.wait_for_changes(self._cursor, wait_seconds)
        self._cursor = changes.cursor
        self._pools |= changes.pools
        if changes.machine_ids is None:
            self._want_everything()
        else:
            self._machines |= changes.machine_ids

    def _want_everything(self) -> None:
        """A reading that begins from now on knows all that has been told so far."""
        self._everything_since, self._asked_for_everything = timezone.now(), False
        self._machines.clear()
        self._pools = False

    def _write(self) -> None:
        try:
            self._write_what_was_told()
        except (NotPermitted, OutOfReach) as error:
            self._failed(error)  # One machine, not the endpoint.
        except (LoginRefused, DatabaseFailure):
            raise
        except Unreachable as error:
            # A server that makes no sense of one machine is there all the same. When it is the endpoint, this raises.
            self._driver.describe()
            self._failed(error)
        except Exception as error:
            self._failed(error)  # Logged and tried again there, a few times.
        else:
            self._failures = 0
        self._see_to_everything()

    def _failed(self, error: Exception) -> None:
        """What was told is tried again a few times: one machine that cannot be read or written must not end the watch."""
        self._failures += 1
        unknown = not isinstance(error, HypervisorError)
        log.warning("Endpoint %s: what it told could not be written: %s", self._hypervisor_pk, error, exc_info=unknown)
        if self._failures >= TRIES:
            self._failures = 0
            self._machines.clear()
            self._pools = False

    def _write_what_was_told(self) -> None:
        if len(self._machines) > MOST_AT_ONCE:
            self._want_everything()
        if ready := self._machines - self._held():
            left = inventory_sync.sync_machines(self._hypervisor_pk, self._driver, ready)
            self._machines = (self._machines - ready) | left
        if self._pools:
            inventory_sync.sync_pools(self._hypervisor_pk, self._driver)
            self._pools = False

    def _held(self) -> set[str]:
        """Those of the machines on which a job of ours is under way."""
        if not self._machines:
            return set()
        jobs = Job.objects.filter(machine__hypervisor=self._hypervisor_pk, state__in=ACTIVE_JOB_STATES)
        return set(jobs.values_list("machine__native_id", flat=True)) & self._machines

    def _see_to_everything(self) -> None:
        """Have everything read once by a sync that begins after it was wanted. Should that one fail, the regular one that
        follows does it."""
        if self._everything_since is None:
            return
        hypervisor = Hypervisor.objects.get(pk=self._hypervisor_pk)
        if hypervisor.synced_at is not None and hypervisor.synced_at >= self._everything_since:
            self._everything_since = None
            return
        if self._asked_for_everything:
            return
        now = time.monotonic()
        if self._ordered_at is not None and now - self._ordered_at < ORDER_EVERY_SECONDS:
            return
        syncs = Job.objects.filter(hypervisor=hypervisor, machine=None, action=JobAction.SYNC_HYPERVISOR)
        running = syncs.filter(state__in=ACTIVE_JOB_STATES).exclude(state=JobState.QUEUED)
        # One that runs may have begun before.
        if not running.filter(started_at__lt=self._everything_since).exists():
            open_hypervisor_job(SYSTEM, JobAction.SYNC_HYPERVISOR, hypervisor)
            self._asked_for_everything, self._ordered_at = True, now

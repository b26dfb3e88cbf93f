"""The process that watches endpoints: one thread for each whose driver tells what changes. The command
`watch_hypervisors` enters.

Endpoints that are added, changed, switched off or removed while it runs are noticed within seconds. Every thread has a
driver and a database connection of its own; nothing is shared, and the process never forks. Threads are asked to end and
waited for as long as one question lasts; after that the process ends without them.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import Error as DatabaseFailure
from django.db import close_old_connections, connection, connections

from hypervisors.connections import login_for, open_driver
from hypervisors.driver import HypervisorDriver
from hypervisors.encrypted_text import CredentialKeyMissing
from hypervisors.errors import DriverMissing, HypervisorError, LoginRefused
from hypervisors.models import Hypervisor
from hypervisors.registry import load_driver
from snapshots.services import change_watch, endpoint_health, watch_lease
from snapshots.services.change_watch import ChangeWatch
from snapshots.services.sync_schedule import REFUSED_PAUSE_SECONDS

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often the rows of endpoints are looked at, and how often the process says that it lives."""

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
"""Between two attempts to reach an endpoint that is away; it doubles from the first to the longest."""

STEADY_SECONDS = 120.0
"""A connection that held for so long, and then broke, is made again soon."""

END_SECONDS = change_watch.WAIT_SECONDS + 3.0


class Watcher:
    """The thread of one endpoint, with the facts of its row that matter to it."""

    def __init__(self, hypervisor: Hypervisor, facts: int) -> None:
        self.hypervisor_pk = hypervisor.pk
        self.name = hypervisor.name
        self.facts = facts
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {hypervisor.name}", daemon=True)
        self._thread.start()

    def ask_to_end(self) -> None:
        """Returns at once."""
        self._end.set()

    def ended(self, within_seconds: float = 0.0) -> bool:
        """Whether the thread has ended, waiting for it up to so long."""
        self._thread.join(within_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        try:
            while not self._end.is_set():
                began = time.monotonic()
                try:
                    with open_driver(self.hypervisor_pk) as driver:
                        self._follow(driver)
                except Hypervisor.DoesNotExist:
                    return
                except HypervisorError as error:
                    log.warning("Watching %s ended: %s", self.name, error.detail)
                    self._note(error)
                    refused = isinstance(error, LoginRefused | DriverMissing)
                    self._end.wait(REFUSED_PAUSE_SECONDS if refused else pause)
                except Exception:
                    # Whatever it was, an endpoint that nobody watches any more would not be noticed: begin anew.
                    log.exception("Watching %s failed", self.name)
                    self._end.wait(pause)
                # One that lets us in and drops us at once is tried as seldom as one that is away.
                steady = time.monotonic() - began > STEADY_SECONDS
                pause = FIRST_PAUSE_SECONDS if steady else min(2 * pause, LONGEST_PAUSE_SECONDS)
                close_old_connections()
        finally:
            connections.close_all()

    def _follow(self, driver: HypervisorDriver) -> None:
        """Turn after turn, until the endpoint is away or the end is wanted."""
        watch = ChangeWatch(self.hypervisor_pk, driver)
        pause = FIRST_PAUSE_SECONDS
        answered = False
        while not self._end.is_set():
            try:
                rest = watch.turn()
                if not answered:
                    endpoint_health.note_answer(self.hypervisor_pk)
                    log.info("Watching %s", self.name)
                    answered = True
                pause = FIRST_PAUSE_SECONDS
            except DatabaseFailure:
                log.exception("What %s told cannot be written now; it is tried again", self.name)
                rest, pause = pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
            # While it waits for news it needs none, and there may be many endpoints.
            connection.close()
            self._end.wait(rest)

    def _note(self, error: HypervisorError) -> None:
        try:
            # One that was switched off meanwhile is not away.
            if Hypervisor.objects.filter(pk=self.hypervisor_pk, enabled=True).exists():
                endpoint_health.note_error(self.hypervisor_pk, error)
        except DatabaseFailure:
            log.exception("That %s is away could not be written", self.name)
            connection.close()


@dataclass
class Watchers:
    """All threads of one process."""

    claim: str = field(default_factory=watch_lease.new_claim)
    _running: dict[int, Watcher] = field(default_factory=dict)
    _ending: list[Watcher] = field(default_factory=list)
    _without_driver: set[str] = field(default_factory=set)
    _looked: bool = False
    _told: tuple[int, int] | None = None

    def run(self, ended_within: Callable[[float], bool]) -> None:
        """Look after the threads until the end is wanted, then end them and leave their endpoints to others.
        `ended_within` waits up to so many seconds for the wish to end, and answers whether it came."""
        try:
            while not ended_within(LOOK_SECONDS if self._looked else 0.0):
                self._looked = True
                try:
                    self.look()
                except Exception:
                    # The database is away, or one endpoint's row is beyond understanding: the others are watched on.
                    log.exception("Looking after the endpoints failed; it is tried again")
                    connection.close()
        finally:
            self._end_all()

    def look(self) -> None:
        """One look: say that this process lives, end what is not wanted any more, begin what is."""
        close_old_connections()
        mine = watch_lease.beat(self.claim)
        wanted = {h.pk: h for h in Hypervisor.objects.filter(enabled=True) if self._tells_changes(h)}
        self._ending = [watcher for watcher in self._ending if not watcher.ended()]
        for pk, watcher in list(self._running.items()):
            hypervisor = wanted.get(pk)
            if hypervisor is None or pk not in mine or watcher.facts != _facts(hypervisor) or watcher.ended():
                self._part_with(watcher)
        watch_lease.give_back(self.claim, mine - wanted.keys())
        still_ending = {watcher.hypervisor_pk for watcher in self._ending}
        for pk, hypervisor in wanted.items():
            if pk not in self._running and pk not in still_ending and watch_lease.take(pk, self.claim):
                self._running[pk] = Watcher(hypervisor, _facts(hypervisor))
        if (seen := (len(self._running), len(wanted))) != self._told:
            self._told = seen
            log.info("Watching %s of the %s endpoints that tell what changes", *seen)

    def _part_with(self, watcher: Watcher) -> None:
        watcher.ask_to_end()
        self._ending.append(self._running.pop(watcher.hypervisor_pk))

    def _tells_changes(self, hypervisor: Hypervisor) -> bool:
        try:
            return load_driver(hypervisor.kind).tells_changes
        except DriverMissing as missing:
            if hypervisor.kind not in self._without_driver:
                self._without_driver.add(hypervisor.kind)
                log.warning("%s is not watched: %s", hypervisor.name, missing.detail)
            return False

    def _end_all(self) -> None:
        for watcher in list(self._running.values()):
            self._part_with(watcher)
        until = time.monotonic() + END_SECONDS
        for watcher in self._ending:
            if not watcher.ended(max(0.0, until - time.monotonic())):
                log.warning("%s has not answered yet; the process ends without waiting for it", watcher.name)
        try:
            watch_lease.give_back(self.claim)
        except DatabaseFailure:
            log.exception("The endpoints could not be given back; others take them over when they miss us")
        connections.close_all()


def _facts(hypervisor: Hypervisor) -> int:
    """Another number when a new connection is necessary."""
    try:
        return hash((hypervisor.kind, login_for(hypervisor)))
    except CredentialKeyMissing:
        return hash((hypervisor.kind, hypervisor.address))

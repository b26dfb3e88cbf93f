"""Following a task of the server to its end: progress, cancelling, questions that hold it up, and what became of it.

A task goes on at the server whatever happens to this connection. So while it is followed a broken connection is made anew
for a while, and only when that fails the outcome is not known. It is not known either when the server no longer has the
task: it forgets finished ones after some minutes, and all of them when it starts anew. Tasks are looked at by leaf paths,
never as `task.info`, of which some servers send an object that the library does not take.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from pyVmomi import vim, vmodl

from hypervisors.driver import Watch
from hypervisors.drivers.vmware.connection import Connection
from hypervisors.drivers.vmware.errors import moref, said, translated
from hypervisors.drivers.vmware.machines import IDENTITY, QUESTION, question_text
from hypervisors.drivers.vmware.properties import Paths, Seen, only, retrieve
from hypervisors.errors import (
    ConnectionLost,
    HypervisorError,
    LoginRefused,
    NotFound,
    TimedOut,
    Unreachable,
    outcome_unknown,
)

log = logging.getLogger(__name__)

_PATHS = ("info.state", "info.progress", "info.error", "info.result", "info.cancelable")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.03, 1.0


@dataclass(slots=True)
class Work:
    """A task under way: what it is about, who watches it, and the time of `time.monotonic` at which waiting ends."""

    connection: Connection
    machine: Any
    watch: Watch
    until: float
    phase: str
    percent: int = 0
    question: str = ""
    _asked_to_stop: bool = False

    def carry_out(self, begin: Callable[[], Any]) -> Any:
        """Send the call that begins a task, once, and follow it to its end: gives its result, or raises as the contract's
        changing calls."""
        self.watch.report(self.percent, self.phase)
        task = self.connection.change(begin, self.until)
        if task is None:
            raise outcome_unknown("vSphere took the call, but gave no task for it.")
        return self._follow(task)

    def _follow(self, task: Any) -> Any:
        pause = _FIRST_PAUSE
        while True:
            seen = self._look(task)
            state = str(seen.get("info.state"))
            if state == "success":
                return seen.get("info.result")
            if state == "error":
                self._fail(seen)
            self._tell(seen)
            self._stop_if_wanted(task, seen)
            if time.monotonic() + pause > self.until:
                raise TimedOut(self._too_late())
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.4)

    def _look(self, task: Any) -> Seen:
        """The task as it is now. Raises when it, or the machine, is gone; what it did is then not known."""
        first_failure: float | None = None
        while True:
            try:
                found = self.connection.read(lambda: self._retrieved(task), self._reading_ends())
                break
            except LoginRefused as error:
                error.outcome_known = False
                raise
            except (Unreachable, TimedOut) as error:
                first_failure = time.monotonic() if first_failure is None else first_failure
                now = time.monotonic()
                if now - first_failure > self.connection.timeout or now + _LONGEST_PAUSE > self.until:
                    raise _lost(error) from error
                time.sleep(_LONGEST_PAUSE / 2)
        seen = found.get(moref(task))
        if seen is not None and seen.get("info.state") is not None:
            machine = found.get(moref(self.machine))
            self.question = question_text(machine.get(QUESTION)) if machine is not None else ""
            return seen
        if moref(self.machine) not in found:
            raise NotFound("The machine was removed from vSphere while it was worked on.")
        raise outcome_unknown("vSphere no longer knows the task, so nobody can say how it ended.")

    def _retrieved(self, task: Any) -> dict[str, Seen]:
        objects = only([task, self.machine])
        paths: Paths = {vim.Task: _PATHS, vim.VirtualMachine: (IDENTITY, QUESTION)}
        try:
            return {moref(seen.managed): seen for seen in retrieve(self.connection, objects, paths)}
        except vmodl.fault.ManagedObjectNotFound:
            # Some servers refuse the whole call for one object that is gone.
            found: dict[str, Seen] = {}
            for managed in (task, self.machine):
                try:
                    found |= {moref(seen.managed): seen for seen in retrieve(self.connection, only([managed]), paths)}
                except vmodl.fault.ManagedObjectNotFound:
                    continue
            return found

    def _reading_ends(self) -> float:
        """At least a second, so that the last look is not cut off."""
        return max(self.connection.until(self.until), time.monotonic() + 1.0)

    def _tell(self, seen: Seen) -> None:
        progress = seen.get("info.progress")
        if progress is not None:
            self.percent = max(self.percent, min(99, int(progress)))
        held_up = f"vSphere waits for an answer: {self.question}" if self.question else ""
        self.watch.report(self.percent, held_up or self.phase)

    def _stop_if_wanted(self, task: Any, seen: Seen) -> None:
        if self._asked_to_stop or seen.get("info.cancelable") is not True or not self.watch.cancel_requested():
            return
        self._asked_to_stop = True
        try:
            self.connection.change(task.Cancel, self.until)
        except HypervisorError as error:
            # It is a wish: the task has ended meanwhile or goes on, and its state says which.
            log.info("Task %s was not cancelled: %s", moref(task), error.detail)

    def _fail(self, seen: Seen) -> NoReturn:
        fault = seen.get("info.error")
        if fault is None:
            raise outcome_unknown("The task failed, and vSphere does not say why.")
        log.info("Task %s failed: %s %s", moref(seen.managed), type(fault).__name__, said(fault))
        raise translated(fault) from fault

    def _too_late(self) -> str:
        if self.question:
            return f"vSphere waits for an answer about the machine, to be given in vSphere: {self.question}"
        return "The task has not ended in the time allowed; vSphere is still working on it."


def _lost(error: HypervisorError) -> ConnectionLost:
    return ConnectionLost(f"The connection was lost while vSphere worked on the task. {error.detail}")

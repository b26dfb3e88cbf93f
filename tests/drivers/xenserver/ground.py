"""What the tests of the XenServer driver stand on: shorthands, and work in a thread of its own.

Nothing in these tests depends on who is faster: work is held still at a step while something happens to it.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypervisors import errors
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.records import PowerAfterRevert, SnapshotForest, SnapshotRecord

from ..contract import Watching, request

AS_IT_WAS = PowerAfterRevert.AS_SNAPSHOT
OFF = PowerAfterRevert.STOPPED
WAIT_SECONDS = 60.0


def forest(driver: XenServerDriver, machine_id: str) -> SnapshotForest:
    return driver.list_forests([machine_id])[machine_id]


def take(driver: XenServerDriver, machine_id: str, name: str = "a snapshot", memory: bool = False) -> SnapshotRecord:
    return driver.create_snapshot(machine_id, request(name, memory=memory), Watching())


@dataclass
class Meanwhile:
    """Something that goes on in a thread of its own; `result` waits for its end."""

    work: Callable[[], Any]
    outcome: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome.append(self.work())
        except errors.HypervisorError as error:
            self.outcome.append(error)

    def result(self) -> Any:
        self._thread.join(WAIT_SECONDS)
        assert self.outcome, "it does not end"
        return self.outcome[0]

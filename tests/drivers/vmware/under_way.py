"""A changing call under way in a thread of its own, held by the server, while a test does something else."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypervisors.driver import Login
from hypervisors.drivers.vmware.driver import VMwareDriver
from hypervisors.errors import (
    HypervisorError,
)
from tests.vsphere_simulator.commands import HeldTask
from tests.vsphere_simulator.server import VsphereSimulator

from ..contract import Watching, request
from .vsphere_ground import login_to

CREATE = "CreateSnapshot_Task"


@dataclass
class Job:
    """A changing call under way in a thread of its own, with a driver of its own."""

    work: Callable[[VMwareDriver, Watching], Any]
    login: Login
    watch: Watching = field(default_factory=lambda: Watching(deadline_seconds=60))
    error: BaseException | None = None
    result: Any = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with VMwareDriver(self.login) as driver:
                self.result = self.work(driver, self.watch)
        except BaseException as error:  # Looked at by the test.
            self.error = error

    def ended(self) -> "Job":
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self

    def failed(self, kind: type[HypervisorError]) -> HypervisorError:
        self.ended()
        assert isinstance(self.error, kind), repr(self.error)
        return self.error


def taking(server: VsphereSimulator, machine_id: str) -> tuple[Job, HeldTask]:
    """A snapshot under way, held by the server."""
    job = Job(
        lambda driver, watching: driver.create_snapshot(machine_id, request("under way", memory=True), watching),
        login_to(server),
    )
    return job, server.held_task()

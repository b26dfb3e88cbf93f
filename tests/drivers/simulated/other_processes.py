"""What tests of the simulated hypervisor have other processes do, and how they wait for it."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.drivers.simulated.world import (
    World,
)
from hypervisors.errors import (
    Busy,
    HypervisorError,
    TimedOut,
)
from hypervisors.records import (
    SnapshotRequest,
)

from ..contract import (
    Watching,
)

LONG = 3600.0
"""Seconds that no test waits for: what is under way for so long is ended by the test itself."""


EXIT: dict[type[HypervisorError], int] = {Busy: 11, TimedOut: 12}


def spawn(target: Callable[..., None], world: World, **more: float) -> multiprocessing.context.SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(target=target, args=(str(world.path),), kwargs=more)
    process.start()
    return process


def read_pools(path: str) -> None:
    with SimulatedDriver(World(Path(path)).login()) as driver:
        driver.list_pools()


def take_snapshot(path: str, deadline: float = LONG) -> None:
    world = World(Path(path))
    asked = SnapshotRequest(token="theirs", name="from another process")
    with SimulatedDriver(world.login()) as driver:
        try:
            driver.create_snapshot(world.machine_id("web-1"), asked, Watching(deadline_seconds=deadline))
        except HypervisorError as error:
            os._exit(EXIT[type(error)])


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for another process to get there. Fails after this long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)

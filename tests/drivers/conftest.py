"""Worlds of the simulated hypervisor, and labs of their own, for the tests of drivers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.drivers.simulated.world import World, make_world
from hypervisors.lab import Lab


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A fresh world with the demo's machines."""
    return make_world(tmp_path / "world.sqlite3")


@pytest.fixture
def simulated(world: World) -> Iterator[SimulatedDriver]:
    """A driver connected to that world."""
    with SimulatedDriver(world.login()) as driver:
        yield driver


@pytest.fixture(scope="module")
def driver_lab(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab for one test file alone, its daemons up, without machines: some tests stop the daemon or read everything.

    The shared one is only asked for so that a computer without labs skips here too.
    """
    del lab
    own = Lab(tmp_path_factory.mktemp("lab"))
    try:
        own.up([])
        yield own
    finally:
        own.reset()

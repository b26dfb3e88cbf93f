"""A pool for the tests of one file, a driver connected to it, and machines of their own for each test."""

from collections.abc import Iterator

import pytest

from hypervisors.drivers.xenserver import tasks
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.xen_simulator.process import XenSimulator
from tests.vsphere_simulator.certificates import Certificates, make_certificates

from ..contract_ground import Clock
from .pool import add_machine, login_to


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XenSimulator]:
    folder = tmp_path_factory.mktemp("xenserver")
    with XenSimulator(folder, world="empty", wait_seconds=0.2) as started:
        yield started


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A server's certificates that are in order, of another authority than the pool's."""
    return make_certificates(tmp_path_factory.mktemp("trusted"))


@pytest.fixture
def driver(pool: XenSimulator) -> Iterator[XenServerDriver]:
    pool.control.clear()
    with XenServerDriver(login_to(pool)) as connected:
        yield connected
    pool.control.clear()


@pytest.fixture
def machine(pool: XenSimulator, driver: XenServerDriver) -> str:
    """A machine that is off."""
    return add_machine(pool)


@pytest.fixture
def running(pool: XenSimulator, driver: XenServerDriver) -> str:
    """A machine that runs."""
    return add_machine(pool, power="Running")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tasks, "time", clock)
    return clock

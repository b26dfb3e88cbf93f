"""A simulator for the tests of one file, a driver connected to it, and a server whose answers a test writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.vmware.driver import VMwareDriver
from tests.vsphere_simulator.server import VsphereSimulator

from .hostile_vsphere import HostileServer, hostile_server
from .vsphere_ground import WORLD, Administrator, administrator_at, login_to, named


@pytest.fixture(scope="module")
def running_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VsphereSimulator]:
    """One server for a file, with the file's `WORLD` where it has one of its own."""
    world = getattr(request.module, "WORLD", WORLD)
    with VsphereSimulator(tmp_path_factory.mktemp("vsphere"), world) as started:
        yield started


@pytest.fixture
def lasting_server(running_server: VsphereSimulator) -> Iterator[VsphereSimulator]:
    """That server; afterwards nothing goes wrong in it any more, and its machines stay as they are."""
    yield running_server
    running_server.clear()


@pytest.fixture
def server(running_server: VsphereSimulator) -> Iterator[VsphereSimulator]:
    """That server, begun anew after each test. A file whose tests leave little behind says `lasting_server` instead."""
    yield running_server
    running_server.restart()


@pytest.fixture
def driver(server: VsphereSimulator) -> Iterator[VMwareDriver]:
    with VMwareDriver(login_to(server)) as connected:
        yield connected


@pytest.fixture
def web(driver: VMwareDriver) -> str:
    """The native id of the running machine `web`."""
    return named(driver, "web")


@pytest.fixture
def administrator(server: VsphereSimulator) -> Iterator[Administrator]:
    """Somebody else at the same server."""
    with administrator_at(server) as somebody:
        yield somebody


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[HostileServer]:
    """A server whose answers the test writes."""
    with hostile_server(tmp_path) as listening:
        yield listening


@pytest.fixture
def odd_driver(odd: HostileServer) -> Iterator[VMwareDriver]:
    login = Login(odd.address, "u", "p", timeout_seconds=30.0, ca_certificate=odd.certificates.authority_pem())
    with VMwareDriver(login) as connected:
        yield connected

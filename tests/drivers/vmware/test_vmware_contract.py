"""The vSphere driver keeps the contract: over a vCenter and over a standalone ESXi host, both of the simulator's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.vmware.driver import VMwareDriver
from tests.vsphere_simulator.server import VsphereSimulator
from tests.vsphere_simulator.world import LooseDisk, World

from ..contract import AsksForALogin, DriverContract, HasLooseVolumes, TellsOfComingAndGoing
from .vsphere_ground import Administrator, administrator_at, login_to, named, needs_simulator

LOOSE = (LooseDisk("[LocalDS_0] spare/spare.vmdk"), LooseDisk("[LocalDS_0] spare/ümläut & more.vmdk"))


@dataclass(frozen=True)
class Place:
    """A server and the native ids of its two machines."""

    server: VsphereSimulator
    stopped: str
    running: str


@contextmanager
def place(folder: Path, model: str) -> Iterator[Place]:
    with VsphereSimulator(folder, World(model=model, loose_disks=LOOSE)) as server:
        with VMwareDriver(login_to(server)) as driver:
            stopped, running = named(driver, "stopped"), named(driver, "running")
        yield Place(server, stopped, running)


@pytest.fixture(scope="module")
def vcenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("vcenter"), "vcenter") as there:
        yield there


@pytest.fixture(scope="module")
def esxi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("esxi"), "esxi") as there:
        yield there


class OverASimulator(DriverContract, AsksForALogin, HasLooseVolumes, TellsOfComingAndGoing):
    driver_class = VMwareDriver

    @pytest.fixture
    def there(self) -> Place:
        """The server under test."""
        raise NotImplementedError

    @pytest.fixture
    def login(self, there: Place) -> Login:
        return login_to(there.server)

    @pytest.fixture
    def stopped_machine(self, there: Place) -> str:
        return there.stopped

    @pytest.fixture
    def running_machine(self, there: Place) -> str:
        return there.running

    @pytest.fixture
    def elsewhere(self, there: Place) -> Iterator[Administrator]:
        with administrator_at(there.server) as administrator:
            yield administrator

    @pytest.fixture
    def come(self, elsewhere: Administrator) -> Iterator[Callable[[], str]]:
        made: list[str] = []

        def came() -> str:
            made.append(elsewhere.make(f"comes and goes {len(made)}"))
            return made[-1]

        yield came
        for machine_id in made:
            elsewhere.destroy(machine_id)

    @pytest.fixture
    def go(self, elsewhere: Administrator) -> Callable[[str], None]:
        return elsewhere.destroy

    @pytest.fixture
    def unreachable_login(self, login: Login) -> Login:
        return replace(login, address="https://127.0.0.1:1")

    @pytest.fixture
    def refused_login(self, login: Login) -> Login:
        return replace(login, password="wrong one")


@needs_simulator
class TestTheContractOverVCenter(OverASimulator):
    @pytest.fixture
    def there(self, vcenter: Place) -> Place:
        return vcenter


@needs_simulator
class TestTheContractOverAnESXiHost(OverASimulator):
    @pytest.fixture
    def there(self, esxi: Place) -> Place:
        return esxi

"""The XenServer driver keeps the contract, over the XenAPI server that is shipped with the product."""

import socket
from collections.abc import Callable, Iterator

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.xen_simulator.process import XenSimulator

from ..contract import AsksForALogin, DriverContract, Elsewhere, HasLooseVolumes, TellsOfComingAndGoing
from .pool import ElsewhereInThePool, login_to, uuids_by_name

MIB = 1 << 20
WORLD = {
    "name": "Contract pool",
    "repositories": [
        {"name": "Local storage", "size": 64 << 30},
        {"name": "ISO library", "size": 1 << 30, "content_type": "iso"},
    ],
    "machines": [
        {
            "name": name,
            "memory": 64 * MIB,
            "power": power,
            "disks": [{"repository": "Local storage", "size": 1 << 30, "written": 4096}],
            **more,
        }
        for name, power, more in (
            ("runs", "Running", {"tags": ["b", "a"], "folder": "/shop"}),
            ("halted", "Halted", {}),
            ("template", "Halted", {"template": True}),
            ("passthrough", "Running", {"pci": True}),
            ("usb", "Running", {"usb": True}),
            ("graphics", "Running", {"vgpu": True}),
            ("locked", "Halted", {"blocked": {"snapshot": "KEYS", "checkpoint": "KEYS"}}),
            ("without tools", "Running", {"tools": False}),
        )
    ],
    "loose": [{"name": "spare", "repository": "Local storage", "size": 1 << 30}],
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XenSimulator]:
    with XenSimulator(tmp_path_factory.mktemp("xenserver"), world=WORLD) as started:
        yield started


@pytest.fixture(scope="module")
def machines(pool: XenSimulator) -> dict[str, str]:
    """The uuids of the pool's machines by their names."""
    return uuids_by_name(pool)


class TestTheContractOverXenAPI(DriverContract, AsksForALogin, HasLooseVolumes, TellsOfComingAndGoing):
    driver_class = XenServerDriver

    @pytest.fixture
    def login(self, pool: XenSimulator) -> Login:
        return login_to(pool)

    @pytest.fixture
    def running_machine(self, machines: dict[str, str]) -> str:
        return machines["runs"]

    @pytest.fixture
    def stopped_machine(self, machines: dict[str, str]) -> str:
        return machines["halted"]

    @pytest.fixture
    def elsewhere(self, pool: XenSimulator) -> Iterator[Elsewhere]:
        somebody = ElsewhereInThePool(pool)
        yield somebody
        somebody.close()

    @pytest.fixture
    def unreachable_login(self, pool: XenSimulator) -> Iterator[Login]:
        with socket.socket() as taken:
            # Bound, so that nobody else takes it, and not listening.
            taken.bind(("127.0.0.1", 0))
            yield login_to(pool, address=f"127.0.0.1:{taken.getsockname()[1]}")

    @pytest.fixture
    def refused_login(self, pool: XenSimulator) -> Login:
        return login_to(pool, password="not the password")

    @pytest.fixture
    def come(self, pool: XenSimulator) -> Iterator[Callable[[], str]]:
        made: list[str] = []

        def came() -> str:
            disk = {"repository": "Local storage", "size": MIB, "written": 0}
            made.append(pool.control.add_machine({"name": "comes and goes", "memory": MIB, "disks": [disk]})["uuid"])
            return made[-1]

        yield came
        left = made and set(made).intersection(uuids_by_name(pool).values())
        for machine_id in left:
            pool.control.vanish(machine_id)

    @pytest.fixture
    def go(self, pool: XenSimulator) -> Callable[[str], None]:
        return lambda machine_id: pool.control.vanish(machine_id)

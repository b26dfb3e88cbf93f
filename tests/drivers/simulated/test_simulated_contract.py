"""The simulated hypervisor keeps the contract, and a machine on it that cannot do much does too."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.drivers.simulated.world import (
    Machine,
    World,
    make_world,
)
from hypervisors.records import (
    PowerState,
)

from ..contract import (
    AsksForALogin,
    DriverContract,
    Elsewhere,
    GuestsCount,
    HasLooseVolumes,
    TellsOfComingAndGoing,
)


class OtherAdministrator:
    """Somebody else at the same simulated hypervisor."""

    def __init__(self, world: World) -> None:
        self.world = world

    def take(self, machine_id: str, name: str) -> None:
        self.world.take_elsewhere(machine_id, name)

    def delete(self, machine_id: str, snapshot_id: str) -> None:
        self.world.delete_elsewhere(machine_id, snapshot_id)


class TestSimulatedKeepsTheContract(DriverContract, AsksForALogin, GuestsCount, HasLooseVolumes, TellsOfComingAndGoing):
    driver_class = SimulatedDriver

    @pytest.fixture
    def login(self, world: World) -> Login:
        world.require_password("operator", "right")
        return world.login(username="operator", password="right")

    @pytest.fixture
    def stopped_machine(self, world: World) -> str:
        return world.machine_id("build-1")

    @pytest.fixture
    def running_machine(self, world: World) -> str:
        return world.machine_id("web-1")

    @pytest.fixture
    def elsewhere(self, world: World) -> Elsewhere:
        return OtherAdministrator(world)

    @pytest.fixture
    def counter(self, world: World) -> Callable[[str], int]:
        return world.counter

    @pytest.fixture
    def let_run(self, world: World) -> Callable[[str], None]:
        return lambda machine_id: world.let_run(machine_id, seconds=60)

    @pytest.fixture
    def come(self, world: World) -> Callable[[], str]:
        return lambda: world.define(Machine("newcomer", power=PowerState.STOPPED))

    @pytest.fixture
    def go(self, world: World) -> Callable[[str], None]:
        return world.undefine

    @pytest.fixture
    def unreachable_login(self, login: Login) -> Login:
        return replace(login, address="nowhere")

    @pytest.fixture
    def refused_login(self, login: Login) -> Login:
        return replace(login, password="guessed")


class TestAMachineThatCannotDoMuchKeepsTheContract(TestSimulatedKeepsTheContract):
    """The same promises where abilities are missing, so that each refusal is met."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        missing = ("disk_when_running", "quiesce", "power_choice", "rename", "attach", "detach", "cancel")
        reasons = tuple((name, f"This version cannot do it ({name}).") for name in missing)
        return make_world(
            tmp_path / "poor.sqlite3",
            [Machine("web-1", missing=reasons), Machine("build-1", power=PowerState.STOPPED, missing=reasons)],
        )

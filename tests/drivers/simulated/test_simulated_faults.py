"""The simulated hypervisor goes wrong as it is told to."""

import pytest

from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.drivers.simulated.world import (
    World,
)
from hypervisors.errors import (
    Busy,
    ConnectionLost,
    HypervisorError,
    LoginRefused,
    OutOfSpace,
    Rejected,
    TimedOut,
    Unreachable,
    Unsupported,
)
from hypervisors.records import (
    PowerState,
    SnapshotForest,
)

from ..contract import (
    Watching,
    request,
    shape,
)
from .other_processes import LONG


class TestFaults:
    @pytest.mark.parametrize(
        "error", [Unreachable, ConnectionLost, TimedOut, LoginRefused, Busy, Unsupported, Rejected, OutOfSpace]
    )
    def test_a_refusal_comes_before_anything_is_done_and_as_often_as_told(
        self, world: World, simulated: SimulatedDriver, error: type[HypervisorError]
    ) -> None:
        machine = world.machine_id("web-1")
        world.refuse("create_snapshot", error, "Because.", times=2)
        for _ in range(2):
            with pytest.raises(error, match=r"^Because\.$") as refusal:
                simulated.create_snapshot(machine, request(), Watching())
            assert type(refusal.value) is error
        assert simulated.list_forests([machine])[machine] == SnapshotForest()
        simulated.create_snapshot(machine, request(), Watching())

    def test_a_fault_without_a_number_stays_until_it_is_cleared(self, world: World, simulated: SimulatedDriver) -> None:
        world.refuse("list_pools", Busy, times=None)
        for _ in range(5):
            with pytest.raises(Busy):
                simulated.list_pools()
        world.clear_faults()
        assert simulated.list_pools()

    def test_a_fault_can_strike_one_machine_alone(self, world: World, simulated: SimulatedDriver) -> None:
        web, build = world.machine_id("web-1"), world.machine_id("build-1")
        world.refuse("create_snapshot", Rejected, machine_id=web)
        simulated.create_snapshot(build, request(), Watching())
        with pytest.raises(Rejected):
            simulated.create_snapshot(web, request(), Watching())

    def test_a_lost_answer_hides_what_was_done_and_the_token_finds_it(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        machine = world.machine_id("web-1")
        world.lose_answer("create_snapshot")
        asked = request()
        with pytest.raises(ConnectionLost) as outcome:
            simulated.create_snapshot(machine, asked, Watching())
        assert not outcome.value.outcome_known
        assert simulated.list_forests([machine])[machine].by_token(asked.token)

    @pytest.mark.parametrize("times", [1, 2])
    def test_done_late_the_change_appears_after_the_caller_was_let_go(
        self, world: World, simulated: SimulatedDriver, times: int
    ) -> None:
        machine = world.machine_id("build-1")
        world.finish_late("start", LONG, times=times)
        for _ in range(times):
            with pytest.raises(TimedOut) as outcome:
                simulated.start(machine, Watching())
            assert not outcome.value.outcome_known
            assert simulated.operation_in_flight(machine) == "starting the machine"
            assert world.power(machine) == PowerState.STOPPED
            world.finish_operations()
            assert world.power(machine) == PowerState.RUNNING
            world.set_power(machine, PowerState.STOPPED)

    def test_an_endpoint_that_is_down_cannot_be_reached_and_comes_back(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        machine = world.machine_id("web-1")
        world.set_down(True)
        with pytest.raises(Unreachable):
            SimulatedDriver(world.login())
        with pytest.raises(Unreachable):
            simulated.list_machines()
        with pytest.raises(Unreachable) as outcome:
            simulated.create_snapshot(machine, request(), Watching())
        assert outcome.value.outcome_known
        world.set_down(False)
        assert simulated.list_forests([machine])[machine] == SnapshotForest()

    def test_an_endpoint_that_goes_down_in_the_middle_leaves_the_outcome_open(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        machine = world.machine_id("web-1")
        world.delay("create_snapshot", LONG)

        class Meanwhile(Watching):
            def report(self, percent: int, phase: str) -> None:
                world.set_down(True)

        with pytest.raises(ConnectionLost) as outcome:
            simulated.create_snapshot(machine, request("survives"), Meanwhile())
        assert not outcome.value.outcome_known
        world.set_down(False)
        world.finish_operations()
        assert shape(simulated.list_forests([machine])[machine]) == {"survives": None}

    def test_login_faults_strike_while_connecting(self, world: World) -> None:
        world.refuse("connect", LoginRefused)
        with pytest.raises(LoginRefused):
            SimulatedDriver(world.login())
        SimulatedDriver(world.login()).close()

    def test_a_read_that_is_too_slow_times_out(self, world: World) -> None:
        with SimulatedDriver(world.login(timeout_seconds=0.05)) as driver:
            world.delay("list_machines", LONG, times=1)
            with pytest.raises(TimedOut):
                driver.list_machines()
            assert driver.list_machines()

    def test_a_read_whose_answer_is_lost_says_so(self, world: World, simulated: SimulatedDriver) -> None:
        world.lose_answer("list_forests")
        with pytest.raises(ConnectionLost):
            simulated.list_forests()

    def test_renaming_obeys_the_timeout_of_the_login(self, world: World) -> None:
        machine = world.machine_id("web-1")
        snapshot = world.take_elsewhere(machine, "old")
        world.delay("rename_snapshot", LONG)
        with SimulatedDriver(world.login(timeout_seconds=0.05)) as driver, pytest.raises(TimedOut):
            driver.rename_snapshot(machine, snapshot, "new", "")
        assert world.snapshot_names(machine) == {snapshot: "old"}
        world.finish_operations()
        assert world.snapshot_names(machine) == {snapshot: "new"}

    def test_a_fault_for_an_unknown_operation_is_an_error_in_the_test_itself(self, world: World) -> None:
        with pytest.raises(ValueError, match="list_pools"):
            world.refuse("list_polls", Busy)
        with pytest.raises(ValueError, match="at least once"):
            world.refuse("list_pools", Busy, times=0)

"""Operations of the simulated hypervisor that take time: who waits, who is refused meanwhile, and who gives up."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hypervisors.driver import HypervisorDriver
from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.drivers.simulated.world import (
    World,
)
from hypervisors.errors import (
    Busy,
    Cancelled,
    NotFound,
    TimedOut,
)
from hypervisors.records import (
    PowerAfterRevert,
    PowerState,
    SnapshotForest,
)

from ..contract import (
    Watching,
    request,
    shape,
)
from .other_processes import EXIT, LONG, spawn, take_snapshot, until


@dataclass(frozen=True)
class Aim:
    """What a changing call is pointed at."""

    driver: HypervisorDriver
    machine: str
    snapshot: str
    volume: str


class TestOperationsThatTakeTime:
    def test_progress_is_reported_until_it_is_done(self, world: World, simulated: SimulatedDriver) -> None:
        world.delay("create_snapshot", LONG)

        class UntilSeenThreeTimes(Watching):
            def report(self, percent: int, phase: str) -> None:
                super().report(percent, phase)
                if len(self.reports) == 3:
                    world.finish_operations()

        watch = UntilSeenThreeTimes()
        simulated.create_snapshot(world.machine_id("web-1"), request(), watch)
        percents = [percent for percent, _ in watch.reports]
        assert len(percents) == 4
        assert percents == sorted(percents)
        assert percents[-1] == 100
        assert {phase for _, phase in watch.reports} == {"taking a snapshot"}

    def test_after_the_deadline_the_caller_is_let_go_and_the_hypervisor_goes_on(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        machine = world.machine_id("web-1")
        world.delay("create_snapshot", LONG)
        with pytest.raises(TimedOut) as outcome:
            simulated.create_snapshot(machine, request("late"), Watching(deadline_seconds=0.01))
        assert not outcome.value.outcome_known
        assert simulated.operation_in_flight(machine) == "taking a snapshot"
        assert simulated.list_forests([machine])[machine] == SnapshotForest()
        world.finish_operations()
        assert simulated.operation_in_flight(machine) is None
        assert shape(simulated.list_forests([machine])[machine]) == {"late": None}

    @pytest.mark.parametrize(
        "call",
        [
            lambda at: at.driver.create_snapshot(at.machine, request("more"), Watching()),
            lambda at: at.driver.revert_to(at.machine, at.snapshot, PowerAfterRevert.STOPPED, Watching()),
            lambda at: at.driver.delete_snapshot(at.machine, at.snapshot, Watching()),
            lambda at: at.driver.delete_with_descendants(at.machine, at.snapshot, Watching()),
            lambda at: at.driver.delete_all(at.machine, Watching()),
            lambda at: at.driver.rename_snapshot(at.machine, at.snapshot, "x", ""),
            lambda at: at.driver.start(at.machine, Watching()),
            lambda at: at.driver.stop(at.machine, True, Watching()),
            lambda at: at.driver.stop(at.machine, False, Watching()),
            lambda at: at.driver.attach_volume(at.machine, at.volume),
            lambda at: at.driver.detach_volume(at.machine, at.volume, Watching()),
        ],
        ids=[
            "create",
            "revert",
            "delete",
            "delete below",
            "delete all",
            "rename",
            "start",
            "force",
            "stop",
            "attach",
            "detach",
        ],
    )
    def test_meanwhile_the_machine_is_busy(
        self,
        world: World,
        simulated: SimulatedDriver,
        call: Callable[[Aim], object],
    ) -> None:
        machine = world.machine_id("web-1")
        first = simulated.create_snapshot(machine, request("first"), Watching())
        world.finish_late("create_snapshot", LONG)
        with pytest.raises(TimedOut):
            simulated.create_snapshot(machine, request("second"), Watching())
        before = simulated.read_machine(machine)
        volume = simulated.list_loose_volumes()[0].native_id
        with pytest.raises(Busy, match="taking a snapshot"):
            call(Aim(simulated, machine, first.native_id, volume))
        assert simulated.read_machine(machine) == before
        assert shape(simulated.list_forests([machine])[machine]) == {"first": None}

    def test_other_machines_are_not_busy(self, world: World, simulated: SimulatedDriver) -> None:
        world.finish_late("create_snapshot", LONG)
        with pytest.raises(TimedOut):
            simulated.create_snapshot(world.machine_id("web-1"), request(), Watching())
        simulated.create_snapshot(world.machine_id("build-1"), request(), Watching())

    def test_cancelled_half_way_it_leaves_nothing(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("web-1")
        world.delay("create_snapshot", LONG)

        class Impatient(Watching):
            def cancel_requested(self) -> bool:
                return len(self.reports) >= 2

        with pytest.raises(Cancelled):
            simulated.create_snapshot(machine, request(), Impatient())
        assert simulated.operation_in_flight(machine) is None
        world.finish_operations()
        assert simulated.list_forests([machine])[machine] == SnapshotForest()

    def test_the_world_may_change_before_it_is_done(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("web-1")
        snapshot = simulated.create_snapshot(machine, request("going"), Watching())
        world.delay("revert_to", LONG)

        class Meanwhile(Watching):
            def report(self, percent: int, phase: str) -> None:
                world.delete_elsewhere(machine, snapshot.native_id)
                world.finish_operations()

        with pytest.raises(NotFound):
            simulated.revert_to(machine, snapshot.native_id, PowerAfterRevert.AS_SNAPSHOT, Meanwhile())
        assert world.power(machine) == PowerState.RUNNING

    def test_a_machine_undefined_meanwhile_is_not_found(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("web-1")
        world.delay("create_snapshot", LONG)

        class Meanwhile(Watching):
            def report(self, percent: int, phase: str) -> None:
                world.undefine(machine)
                world.finish_operations()

        with pytest.raises(NotFound):
            simulated.create_snapshot(machine, request(), Meanwhile())
        assert machine not in simulated.list_forests()

    def test_a_killed_process_does_not_stop_the_hypervisor(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("web-1")
        world.delay("create_snapshot", LONG)
        process = spawn(take_snapshot, world)
        until(lambda: simulated.operation_in_flight(machine) is not None)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
        assert simulated.operation_in_flight(machine) == "taking a snapshot"
        world.finish_operations()
        assert shape(simulated.list_forests([machine])[machine]) == {"from another process": None}

    def test_of_two_processes_at_once_one_gets_the_machine(self, world: World, simulated: SimulatedDriver) -> None:
        world.delay("create_snapshot", LONG)
        machine = world.machine_id("web-1")
        processes = [spawn(take_snapshot, world, deadline=0.2) for _ in range(2)]
        for process in processes:
            process.join(30)
        assert sorted(process.exitcode or 0 for process in processes) == [EXIT[Busy], EXIT[TimedOut]]
        world.finish_operations()
        assert shape(simulated.list_forests([machine])[machine]) == {"from another process": None}

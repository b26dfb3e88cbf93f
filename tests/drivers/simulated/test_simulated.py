"""Connecting to the simulated hypervisor, its guests and its sizes."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.drivers.simulated.world import (
    GIB,
    MIB,
    Disk,
    Machine,
    Pool,
    World,
    make_world,
)
from hypervisors.errors import (
    LoginRefused,
    OutOfSpace,
    Rejected,
    TimedOut,
    Unreachable,
    Unsupported,
)
from hypervisors.records import (
    PowerAfterRevert,
    PowerState,
    SnapshotForest,
    SnapshotKind,
    SnapshotRecord,
)
from hypervisors.registry import KINDS, load_driver

from ..contract import (
    Watching,
    request,
)
from .other_processes import LONG, read_pools, spawn


class TestConnecting:
    def test_the_registry_knows_it_and_labels_it_as_simulated(self) -> None:
        assert load_driver("simulated") is SimulatedDriver
        assert KINDS["simulated"].simulated

    @pytest.mark.parametrize("address", ["", "../world", "a/b", ".hidden", "a b", "world.sqlite3", "a" * 65, "é"])
    def test_an_address_that_is_no_plain_name_is_refused(self, world: World, address: str) -> None:
        with pytest.raises(Unreachable, match="letters, digits"):
            SimulatedDriver(replace(world.login(), address=address))

    def test_without_a_folder_it_says_what_is_missing(self) -> None:
        with pytest.raises(Unreachable, match="state_dir"):
            SimulatedDriver(Login(address="demo"))

    def test_a_missing_world_is_made_only_on_request(self, tmp_path: Path) -> None:
        login = Login(address="demo", options=(("state_dir", str(tmp_path / "new folder")),))
        with pytest.raises(Unreachable, match="demo"):
            SimulatedDriver(login)
        asking = replace(login, options=(*login.options, ("create", "yes")))
        with SimulatedDriver(asking) as first:
            machines = first.list_machines()
        assert machines
        with SimulatedDriver(asking) as second:
            assert second.list_machines() == machines
        assert os.listdir(tmp_path / "new folder") == ["demo.sqlite3"]

    def test_a_world_is_never_made_over_another(self, world: World) -> None:
        before = world.machine_ids()
        with pytest.raises(FileExistsError):
            make_world(world.path)
        assert world.machine_ids() == before
        assert [path.name for path in world.path.parent.iterdir()] == [world.path.name]

    @pytest.mark.parametrize("content", [b"", b"{}", b"no database at all" * 100])
    def test_a_file_that_is_something_else_is_unreachable(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "broken.sqlite3").write_bytes(content)
        with pytest.raises(Unreachable, match="broken"):
            SimulatedDriver(Login(address="broken", options=(("state_dir", str(tmp_path)),)))

    def test_another_user_name_is_refused_too(self, world: World) -> None:
        world.require_password("operator", "right")
        with pytest.raises(LoginRefused):
            SimulatedDriver(world.login(username="root", password="right"))

    def test_the_password_is_not_in_the_file(self, world: World) -> None:
        world.require_password("operator", "correct horse battery")
        assert b"correct horse" not in world.path.read_bytes()

    def test_a_closed_driver_reaches_nothing(self, world: World) -> None:
        driver = SimulatedDriver(world.login())
        driver.close()
        with pytest.raises(Unreachable):
            driver.list_pools()

    def test_calls_are_counted_for_all_processes_together(self, world: World) -> None:
        for _ in range(2):
            process = spawn(read_pools, world)
            process.join(30)
        assert world.calls() == {"connect": 2, "list_pools": 2}
        world.forget_calls()
        assert not world.calls()


class TestGuests:
    def test_memory_counts_while_the_machine_runs_and_disks_go_back(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        machine = world.machine_id("web-1")
        world.write_disk(machine, "before")
        then = world.counter(machine)  # before the snapshot: it goes on counting as soon as that is taken
        snapshot = simulated.create_snapshot(machine, request(memory=True), Watching())
        world.let_run(machine, LONG)
        world.write_disk(machine, "after")
        later = world.counter(machine)
        assert later > then
        simulated.revert_to(machine, snapshot.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
        assert then <= world.counter(machine) < later
        assert world.disk_content(machine) == "before"

    def test_a_disk_revert_boots_anew(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("web-1")
        world.let_run(machine, LONG)
        snapshot = simulated.create_snapshot(machine, request(), Watching())
        before = world.counter(machine)
        simulated.revert_to(machine, snapshot.native_id, PowerAfterRevert.RUNNING, Watching())
        assert world.counter(machine) < before

    def test_a_suspended_machine_stands_still_and_goes_on_where_it_was(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        machine = world.machine_id("web-1")
        world.let_run(machine, LONG)
        world.set_power(machine, PowerState.SUSPENDED)
        stands = world.counter(machine)
        world.let_run(machine, LONG)
        assert world.counter(machine) == stands
        snapshot = simulated.create_snapshot(machine, request(memory=True), Watching())
        simulated.start(machine, Watching())
        assert world.power(machine) == PowerState.RUNNING
        assert world.counter(machine) >= stands
        simulated.revert_to(machine, snapshot.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
        assert (world.power(machine), world.counter(machine)) == (PowerState.SUSPENDED, stands)

    def test_a_stopped_machine_forgets_its_count(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("web-1")
        world.let_run(machine, LONG)
        simulated.stop(machine, False, Watching())
        assert world.counter(machine) == 0

    def test_a_guest_that_does_not_hear_times_out_and_runs_on(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("jump-1")
        with pytest.raises(TimedOut, match="force"):
            simulated.stop(machine, False, Watching(deadline_seconds=0.01))
        assert world.power(machine) == PowerState.RUNNING
        assert simulated.operation_in_flight(machine) is None
        simulated.stop(machine, True, Watching())
        assert world.power(machine) == PowerState.STOPPED

    def test_a_guest_with_an_agent_can_be_quiesced_while_it_runs(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        machine = world.machine_id("db-1")
        assert simulated.create_snapshot(machine, request(quiesce=True), Watching()).kind == SnapshotKind.DISK
        simulated.stop(machine, True, Watching())
        with pytest.raises(Rejected, match="does not run"):
            simulated.create_snapshot(machine, request(quiesce=True), Watching())

    def test_a_raw_disk_forbids_snapshots_and_is_named(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("legacy-1")
        with pytest.raises(Unsupported, match="Disk vda is raw"):
            simulated.create_snapshot(machine, request(), Watching())

    def test_the_disk_it_starts_from_stays(self, world: World, simulated: SimulatedDriver) -> None:
        machine = simulated.read_machine(world.machine_id("web-1"))
        with pytest.raises(Rejected, match="starts from"):
            simulated.detach_volume(machine.native_id, machine.volumes[0].native_id, Watching())


class TestSizes:
    def test_a_snapshot_measures_what_was_written_and_its_memory(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        machine = world.machine_id("build-1")
        plain = simulated.create_snapshot(machine, request("plain"), Watching())
        world.write_disk(machine, "much", size_bytes=7 * MIB)
        larger = simulated.create_snapshot(machine, request("larger"), Watching())
        assert plain.measured_bytes is not None
        assert larger.measured_bytes == plain.measured_bytes + 7 * MIB
        simulated.start(machine, Watching())
        memory = simulated.create_snapshot(machine, request("memory", memory=True), Watching())
        assert memory.measured_bytes == plain.measured_bytes + GIB // 4

    @pytest.mark.parametrize("all_at_once", [False, True])
    def test_the_pool_has_less_with_each_snapshot_and_as_much_as_before_after_the_last(
        self, world: World, simulated: SimulatedDriver, all_at_once: bool
    ) -> None:
        machine = world.machine_id("build-1")

        def free() -> int:
            return simulated.list_pools()[0].free_bytes or 0

        def used() -> int:
            return simulated.read_machine(machine).volumes[0].used_bytes or 0

        before, began_with = free(), used()
        snapshots = [simulated.create_snapshot(machine, request(f"{n}"), Watching()) for n in range(3)]
        taken = sum(snapshot.measured_bytes or 0 for snapshot in snapshots)
        assert taken > 0
        assert (free(), used()) == (before - taken, began_with + taken)
        if all_at_once:
            simulated.delete_all(machine, Watching())
        else:
            simulated.delete_with_descendants(machine, snapshots[1].native_id, Watching())
            simulated.delete_snapshot(machine, snapshots[0].native_id, Watching())
        assert (free(), used()) == (before, began_with)

    def test_a_full_pool_refuses_and_nothing_is_left_behind(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("jump-1")
        world.leave_free(world.pool_id(), 100 * MIB)
        with pytest.raises(OutOfSpace, match="default"):
            simulated.create_snapshot(machine, request(memory=True), Watching())
        assert simulated.list_forests([machine]) == {machine: SnapshotForest()}
        assert simulated.list_pools()[0].free_bytes == 100 * MIB
        simulated.create_snapshot(machine, request(), Watching())

    def test_an_inactive_pool_has_no_sizes(self, tmp_path: Path) -> None:
        world = make_world(
            tmp_path / "w.sqlite3", [], [Pool(), Pool("tape", active=False)], [Disk(pool="tape", name="reel")]
        )
        with SimulatedDriver(world.login()) as driver:
            tape = driver.list_pools()[1]
            assert (tape.name, tape.active, tape.total_bytes, tape.free_bytes) == ("tape", False, None, None)

    def test_a_machine_that_writes_makes_larger_snapshots_the_longer_it_runs(self, tmp_path: Path) -> None:
        world = make_world(tmp_path / "w.sqlite3", [Machine("a", write_bytes_per_second=MIB, disks=(Disk(GIB, MIB),))])
        machine = world.machine_id("a")
        with SimulatedDriver(world.login()) as driver:
            world.let_run(machine, 100)
            assert (driver.create_snapshot(machine, request("a"), Watching()).measured_bytes or 0) >= 100 * MIB
            world.let_run(machine, 365 * 86400)
            assert (driver.create_snapshot(machine, request("b"), Watching()).measured_bytes or 0) < 2 * GIB


def test_a_driver_may_be_used_from_another_thread_than_the_one_that_opened_it(world: World) -> None:
    made: list[SnapshotRecord] = []
    with SimulatedDriver(world.login()) as driver:
        thread = threading.Thread(
            target=lambda: made.append(driver.create_snapshot(world.machine_id("web-1"), request(), Watching()))
        )
        thread.start()
        thread.join(30)
    assert made


def test_capabilities_survive_the_way_through_json(simulated: SimulatedDriver) -> None:
    for machine in simulated.list_machines():
        stored = json.loads(json.dumps(machine.capabilities.as_json()))
        assert type(machine.capabilities).from_json(stored) == machine.capabilities

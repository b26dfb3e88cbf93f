"""What others do at the simulated hypervisor shows and is told; any order of actions gives the tree that rules give."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.drivers.simulated.world import (
    GIB,
    Disk,
    Machine,
    Taken,
    World,
    make_world,
    many_machines,
)
from hypervisors.errors import (
    HypervisorError,
    NotFound,
    TimedOut,
    Unreachable,
)
from hypervisors.records import (
    PowerAfterRevert,
    PowerState,
    SnapshotForest,
)

from ..contract import (
    Watching,
    current,
    request,
    shape,
)


class TestOtherAdministrators:
    def test_a_machine_defined_elsewhere_appears_and_an_undefined_one_leaves_its_volumes(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        made = world.define(Machine("new-1", snapshots=[Taken("base"), Taken("more", parent=0)]))
        assert shape(simulated.list_forests([made])[made]) == {"base": None, "more": "base"}
        volume = simulated.read_machine(made).volumes[0].native_id
        world.undefine(made)
        with pytest.raises(NotFound):
            simulated.read_machine(made)
        assert volume in {loose.native_id for loose in simulated.list_loose_volumes()}

    def test_reverts_and_renames_made_elsewhere_are_seen(self, world: World, simulated: SimulatedDriver) -> None:
        machine = world.machine_id("web-1")
        root = world.take_elsewhere(machine, "root", memory=True)
        world.take_elsewhere(machine, "leaf", description="by hand")
        world.revert_elsewhere(machine, root)
        world.rename_elsewhere(machine, root, "base", "renamed")
        forest = simulated.list_forests([machine])[machine]
        assert shape(forest) == {"base": None, "leaf": "base"}
        assert current(forest) == "base"
        assert forest.by_id()[root].description == "renamed"
        world.delete_elsewhere(machine, root, descendants=True)
        assert simulated.list_forests([machine])[machine] == SnapshotForest()

    def test_what_others_do_is_no_call_of_ours(self, world: World) -> None:
        world.take_elsewhere(world.machine_id("web-1"), "theirs")
        assert not world.calls()

    def test_a_rename_of_the_machine_an_agent_and_a_new_volume_are_seen(
        self, world: World, simulated: SimulatedDriver
    ) -> None:
        machine = world.machine_id("web-1")
        world.rename_machine(machine, "www-1")
        world.set_agent(machine, True)
        volume = world.add_loose(Disk(name="new.qcow2"))
        seen = simulated.read_machine(machine)
        assert (seen.name, seen.capabilities.quiesce.allowed) == ("www-1", True)
        assert simulated.attach_volume(machine, volume).target == "vdc"

    def test_a_world_that_cannot_be_is_not_made(self, tmp_path: Path) -> None:
        for number, machine in enumerate(
            [
                Machine("a", disks=()),
                Machine("a", disks=(Disk(pool="nowhere"),)),
                Machine("a", missing=(("flying", "Pigs."),)),
            ]
        ):
            with pytest.raises(ValueError, match=r"disk|pool|ability"):
                make_world(tmp_path / f"w{number}.sqlite3", [machine])
        assert not list(tmp_path.iterdir())

    def test_a_world_for_benchmarks_has_as_many_machines_and_snapshots_as_asked_for(self, tmp_path: Path) -> None:
        world = make_world(tmp_path / "many.sqlite3", many_machines(30, snapshots_each=9))
        with SimulatedDriver(world.login()) as driver:
            forests = driver.read_inventory().forests
        assert len(forests) == 30
        assert {len(forest.snapshots) for forest in forests.values()} == {9}
        assert len({len(set(shape(forest).values())) for forest in forests.values()}) == 1


# Each example makes a world: on a busy computer that may take its time.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_order_of_actions_gives_the_tree_that_the_rules_give(data: st.DataObject) -> None:
    """Against a plain dict of name to parent's name."""
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder) / "w.sqlite3", [Machine("a", power=PowerState.STOPPED)])
        machine = world.machine_id("a")
        tree: dict[str, str | None] = {}
        ids: dict[str, str] = {}
        here: str | None = None
        with SimulatedDriver(world.login()) as driver:
            for number in range(data.draw(st.integers(1, 25))):
                action = data.draw(st.sampled_from(["create", "create", "create", "revert", "delete", "prune", "all"]))
                if action == "create" or not tree:
                    name = f"s{number}"
                    ids[name] = driver.create_snapshot(machine, request(name), Watching()).native_id
                    tree[name], here = here, name
                    continue
                if action == "all":
                    driver.delete_all(machine, Watching())
                    tree, here = {}, None
                    continue
                name = data.draw(st.sampled_from(sorted(tree)))
                if action == "revert":
                    driver.revert_to(machine, ids[name], PowerAfterRevert.AS_SNAPSHOT, Watching())
                    here = name
                elif action == "delete":
                    driver.delete_snapshot(machine, ids[name], Watching())
                    parent = tree.pop(name)
                    tree = {child: parent if above == name else above for child, above in tree.items()}
                    here = parent if here == name else here
                else:
                    driver.delete_with_descendants(machine, ids[name], Watching())
                    parent, gone = tree[name], {name}
                    while more := {child for child, above in tree.items() if above in gone} - gone:
                        gone |= more
                    tree = {child: above for child, above in tree.items() if child not in gone}
                    here = parent if here in gone else here
            forest = driver.list_forests([machine])[machine]
            assert shape(forest) == tree
            assert current(forest) == here
            seen: set[str | None] = {None}
            for snapshot in forest.snapshots:
                assert snapshot.parent_id in seen, "parents come before children"
                seen.add(snapshot.native_id)


# What changed


def test_everything_another_administrator_does_to_a_machine_is_told(simulated: SimulatedDriver, world: World) -> None:
    machine_id = world.machine_id("web-1")
    deeds: tuple[Callable[[], object], ...] = (
        lambda: world.rename_machine(machine_id, "web-2"),
        lambda: world.set_agent(machine_id, True),
        lambda: world.set_power(machine_id, PowerState.SUSPENDED),
        lambda: world.write_disk(machine_id, "something"),
        lambda: world.take_elsewhere(machine_id, "elsewhere"),
    )
    cursor = simulated.wait_for_changes("", 0).cursor
    for deed in deeds:
        deed()
        changes = simulated.wait_for_changes(cursor, 0)
        cursor = changes.cursor
        assert changes.machine_ids == {machine_id}


def test_a_deed_that_changes_nothing_to_be_seen_is_not_told(simulated: SimulatedDriver, world: World) -> None:
    machine_id = world.machine_id("web-1")
    cursor = simulated.wait_for_changes("", 0).cursor
    world.rename_machine(machine_id, "web-1")
    world.let_run(machine_id, 60)
    world.forget_calls()
    changes = simulated.wait_for_changes(cursor, 0)
    assert (changes.machine_ids, changes.pools) == (frozenset(), False)


def test_pools_and_loose_volumes_are_told_apart_from_machines(simulated: SimulatedDriver, world: World) -> None:
    cursor = simulated.wait_for_changes("", 0).cursor
    for deed in (lambda: world.add_loose(Disk(name="new.qcow2")), lambda: world.leave_free(world.pool_id(), GIB)):
        deed()
        changes = simulated.wait_for_changes(cursor, 0)
        cursor = changes.cursor
        assert (changes.machine_ids, changes.pools) == (frozenset(), True)


def test_an_operation_that_becomes_due_ends_the_waiting(simulated: SimulatedDriver, world: World) -> None:
    machine_id = world.machine_id("web-1")
    world.finish_late("create_snapshot", 0.2, machine_id)
    cursor = simulated.wait_for_changes("", 0).cursor
    with pytest.raises(TimedOut):
        simulated.create_snapshot(machine_id, request("late"), Watching())
    # Nobody but the one who waits looks at the file meanwhile.
    assert simulated.wait_for_changes(cursor, 30.0).machine_ids == {machine_id}
    assert [s.name for s in simulated.list_forests([machine_id])[machine_id].snapshots] == ["late"]


def test_an_endpoint_that_goes_down_ends_the_waiting(simulated: SimulatedDriver, world: World) -> None:
    cursor = simulated.wait_for_changes("", 0).cursor
    failures: list[HypervisorError] = []

    def wait() -> None:
        try:
            simulated.wait_for_changes(cursor, 60.0)
        except HypervisorError as error:
            failures.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    world.set_down(True)
    waiting.join(30.0)
    assert [type(failure) for failure in failures] == [Unreachable]

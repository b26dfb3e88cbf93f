"""Odd trees, sizes, and power and limits of VM snapshots, checked on pyvmomi's objects built from recorded facts."""

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest
from pyVmomi import vim

from hypervisors import errors
from hypervisors.drivers.vmware import snapshots
from hypervisors.drivers.vmware.abilities import abilities
from hypervisors.drivers.vmware.forest import forest_from, levels_above_next, node_of
from hypervisors.drivers.vmware.machines import (
    machine_forest,
)
from hypervisors.drivers.vmware.properties import Seen
from hypervisors.drivers.vmware.sizes import disk_sizes, snapshot_sizes
from hypervisors.records import PowerAfterRevert, PowerState, SnapshotForest, SnapshotKind

from ..contract_ground import request, shape
from .recorded import Layout, Tree, info, node, seen, snapshot


class TestForests:
    def test_no_snapshots_is_an_empty_forest(self) -> None:
        assert forest_from(None) == SnapshotForest()

    def test_several_roots_stand_beside_each_other(self) -> None:
        forest = forest_from(info(node("a", node("a1"), node("a2", node("a21"))), node("b"), current="a2"))
        assert shape(forest) == {"a": None, "a1": "a", "a2": "a", "a21": "a2", "b": None}
        assert [one.native_id for one in forest.snapshots] == ["a", "a1", "a2", "a21", "b"]
        assert forest.current_id == "a2"

    def test_times_are_told_in_utc(self) -> None:
        (record,) = forest_from(info(node("a"))).snapshots
        assert record.created_at == datetime(2026, 3, 1, 10, 0, tzinfo=UTC)

    def test_a_machine_that_works_at_the_root_has_no_current_snapshot(self) -> None:
        assert forest_from(info(node("a"))).current_id is None

    def test_a_current_snapshot_that_is_not_in_the_tree_counts_as_none(self) -> None:
        assert forest_from(info(node("a"), current="gone")).current_id is None

    def test_children_of_a_node_without_reference_hang_below_its_parent(self) -> None:
        lost = Tree(name="lost", childSnapshotList=[node("child")])
        assert shape(forest_from(info(node("root", lost, node("other"))))) == {
            "root": None,
            "child": "root",
            "other": "root",
        }
        assert shape(forest_from(info(lost))) == {"child": None}

    def test_a_reference_that_comes_twice_counts_once(self) -> None:
        forest = forest_from(info(node("a", node("b")), node("b")))
        assert shape(forest) == {"a": None, "b": "a"}

    def test_a_thousand_snapshots_one_below_the_other_need_no_recursion(self) -> None:
        tree = node("s-999")
        for number in reversed(range(999)):
            tree = node(f"s-{number}", tree)
        whole = info(tree, current="s-999")
        tracemalloc.start()
        forest = forest_from(whole)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(forest.snapshots) == 1000
        assert levels_above_next(forest) == 1000
        assert node_of(whole, "s-500").name == "s-500"
        assert forest.snapshots[-1].parent_id == "s-998"
        assert peak < 4 << 20

    def test_a_thousand_snapshots_side_by_side(self) -> None:
        forest = forest_from(info(node("root", *(node(f"s-{number}") for number in range(999)))))
        assert {one.parent_id for one in forest.snapshots[1:]} == {"root"}

    @pytest.mark.parametrize(
        ("state", "asked", "kind"),
        [
            ("poweredOff", "disk", SnapshotKind.DISK),
            ("poweredOff", "", SnapshotKind.DISK),
            ("poweredOn", "memory", SnapshotKind.DISK_AND_MEMORY),
            ("poweredOn", "", SnapshotKind.DISK_AND_MEMORY),
            ("suspended", "", SnapshotKind.DISK_AND_MEMORY),
            ("suspended", "disk", SnapshotKind.DISK_AND_MEMORY),
            # The packaged simulator library tells the state at that time, whatever was asked for.
            ("poweredOn", "disk", SnapshotKind.DISK),
        ],
    )
    def test_the_state_tells_whether_memory_is_kept(self, state: str, asked: str, kind: SnapshotKind) -> None:
        description = f"[vmsnap t {asked}]" if asked else ""
        (record,) = forest_from(info(node("a", state=state, description=description))).snapshots
        assert record.kind is kind


def file(key: int, size: int, unique: int | None = None, accessible: bool | None = True) -> Any:
    return Layout.FileInfo(
        key=key, name=f"[a] {key}", type="diskExtent", size=size, uniqueSize=unique, accessible=accessible
    )


def disk_chain(*units: int, key: int = 2000) -> Any:
    return Layout.DiskLayout(key=key, chain=[Layout.DiskUnit(fileKey=[unit]) for unit in units])


def layout(name: str, data: int, memory: int, *disks: Any) -> Any:
    return Layout.SnapshotLayout(key=snapshot(name), dataKey=data, memoryKey=memory, disk=list(disks))


class TestSizes:
    """A chain a, b, c: base file 1, deltas 2, 3, 4; memory of b in 12; data files 21 to 23."""

    forest = forest_from(info(node("a", node("b", node("c"))), current="c"))
    files = [
        file(1, 1000),
        file(2, 20),
        file(3, 30, unique=25),
        file(4, 40),
        file(12, 512),
        *(file(n, 3) for n in (21, 22, 23)),
    ]
    snapshots = [
        layout("a", 21, -1, disk_chain(1)),
        layout("b", 22, 12, disk_chain(1, 2)),
        layout("c", 23, -1, disk_chain(1, 2, 3)),
    ]
    disks = [disk_chain(1, 2, 3, 4)]

    def test_a_snapshot_costs_its_own_files_and_the_deltas_that_come_after_it(self) -> None:
        sizes = snapshot_sizes(self.forest, self.files, self.snapshots, self.disks)
        assert sizes == {"a": 3 + 20, "b": 3 + 512 + 25, "c": 3 + 40}

    def test_a_snapshot_with_two_branches_costs_both(self) -> None:
        forest = forest_from(info(node("a", node("b"), node("c")), current="c"))
        snapshots = [
            layout("a", 21, -1, disk_chain(1)),
            layout("b", 22, -1, disk_chain(1, 2)),
            layout("c", 23, -1, disk_chain(1, 3)),
        ]
        sizes = snapshot_sizes(forest, self.files, snapshots, [disk_chain(1, 3, 4)])
        assert sizes == {"a": 3 + 20 + 25, "b": 3, "c": 3 + 40}

    def test_a_file_that_cannot_be_reached_makes_the_sum_unknown(self) -> None:
        files = [one for one in self.files if one.key != 2] + [file(2, 20, accessible=False)]
        sizes = snapshot_sizes(self.forest, files, self.snapshots, self.disks)
        assert sizes == {"a": None, "b": 3 + 512 + 25, "c": 3 + 40}

    def test_a_file_that_is_not_listed_makes_the_sum_unknown(self) -> None:
        files = [one for one in self.files if one.key != 12]
        assert snapshot_sizes(self.forest, files, self.snapshots, self.disks)["b"] is None

    def test_a_file_that_older_servers_say_nothing_of_counts_as_reachable(self) -> None:
        files = [one for one in self.files if one.key != 2] + [file(2, 20, accessible=None)]
        assert snapshot_sizes(self.forest, files, self.snapshots, self.disks)["a"] == 23

    def test_without_a_layout_nothing_is_known(self) -> None:
        assert snapshot_sizes(self.forest, None, None, None) == {}
        record = machine_forest(seen(snapshot=info(node("a")))).snapshots[0]
        assert record.measured_bytes is None

    def test_the_forest_carries_the_sizes(self) -> None:
        machine = Seen(
            vim.VirtualMachine("vm-1", None),
            {
                "snapshot": info(node("a", node("b", node("c"))), current="c"),
                "layoutEx.file": self.files,
                "layoutEx.snapshot": self.snapshots,
                "layoutEx.disk": self.disks,
            },
        )
        assert [one.measured_bytes for one in machine_forest(machine).snapshots] == [23, 540, 43]

    def test_a_disk_occupies_its_whole_chain(self) -> None:
        assert disk_sizes(self.files, self.disks) == {2000: 1000 + 20 + 25 + 40}


class TestPowerAfterARevert:
    @pytest.mark.parametrize(
        ("power", "kind", "state", "then"),
        [
            (PowerAfterRevert.AS_SNAPSHOT, SnapshotKind.DISK, "poweredOff", PowerState.STOPPED),
            (PowerAfterRevert.AS_SNAPSHOT, SnapshotKind.DISK_AND_MEMORY, "poweredOn", PowerState.RUNNING),
            (PowerAfterRevert.AS_SNAPSHOT, SnapshotKind.DISK_AND_MEMORY, "suspended", PowerState.SUSPENDED),
            (PowerAfterRevert.STOPPED, SnapshotKind.DISK_AND_MEMORY, "poweredOn", PowerState.STOPPED),
            (PowerAfterRevert.RUNNING, SnapshotKind.DISK, "poweredOff", PowerState.RUNNING),
        ],
    )
    def test_the_wish_decides_and_else_the_snapshot(
        self, power: PowerAfterRevert, kind: SnapshotKind, state: str, then: PowerState
    ) -> None:
        assert snapshots._power_wanted(power, kind, state) is then

    def test_a_snapshot_that_was_not_quiesced_although_asked_for_says_so(self) -> None:
        assert "not brought to rest" in snapshots._taken(request(quiesce=True), quiesced=False)
        assert "not" not in snapshots._taken(request(quiesce=True), quiesced=True)
        assert "not" not in snapshots._taken(request(), quiesced=False)

    def test_a_suspended_machine_keeps_its_memory_in_every_snapshot(self) -> None:
        machine = seen(capability__diskOnlySnapshotOnSuspendedVMSupported=False)
        can = abilities(machine, [])
        with pytest.raises(errors.Rejected) as refusal:
            snapshots._refuse_impossible(can, PowerState.SUSPENDED, machine, request(memory=False))
        assert "with the memory" in refusal.value.detail
        snapshots._refuse_impossible(can, PowerState.SUSPENDED, machine, request(memory=True))
        able = seen(capability__diskOnlySnapshotOnSuspendedVMSupported=True)
        snapshots._refuse_impossible(can, PowerState.SUSPENDED, able, request(memory=False))

    def test_quiesce_is_only_for_a_running_guest(self) -> None:
        """The server would take the snapshot without it, and say nothing."""
        can = abilities(seen(), [])
        with pytest.raises(errors.Rejected):
            snapshots._refuse_impossible(can, PowerState.STOPPED, seen(), request(quiesce=True))

    def test_thirty_two_levels_are_the_most(self) -> None:
        tree = node("s-31")
        for number in reversed(range(31)):
            tree = node(f"s-{number}", tree)
        full, one_left = forest_from(info(tree, current="s-31")), forest_from(info(tree, current="s-30"))
        with pytest.raises(errors.Rejected):
            snapshots._refuse_in_this_forest(full, request())
        snapshots._refuse_in_this_forest(one_left, request())

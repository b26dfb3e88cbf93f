"""One reading at a time: the tree in the database becomes what the hypervisor lists."""

import pytest
from django.db import transaction

from hypervisors.records import SnapshotForest
from snapshots import tree, tree_resync
from snapshots.choices import Origin, SnapshotState, SnapshotType
from snapshots.models import VirtualMachine, VMSnapshot
from tests.builders import current_name, drawn
from tests.domain.forests import forest, read, read_ours, record, rows_of


def test_snapshots_made_elsewhere_appear_with_that_origin(machine):
    found = read(machine, forest(record("a"), record("b", "a"), record("c", "a"), current="c"))
    assert drawn(machine) == {"a": None, "b": "a", "c": "a"}
    assert found == [("appeared", "a"), ("appeared", "b"), ("appeared", "c"), ("current", "c")]
    assert {row.origin for row in rows_of(machine) if not row.is_anchor} == {Origin.ELSEWHERE}


def test_a_machine_may_have_several_roots(machine):
    read(machine, forest(record("a"), record("b"), record("c", "b"), current="a"))
    assert drawn(machine) == {"a": None, "b": None, "c": "b"}


def test_a_snapshot_whose_parent_is_not_listed_stands_at_the_root_and_stays_quiet(machine):
    read(machine, forest(record("a", "missing")))
    assert drawn(machine) == {"a": None}


def test_a_current_snapshot_that_is_not_listed_leaves_the_machine_at_its_beginning(machine):
    read(machine, forest(record("a"), current="nowhere"))
    assert current_name(machine) is None


def test_a_whole_branch_that_is_gone_stays_as_error_and_its_children_move_to_what_is_left(machine):
    read_ours(machine, forest(record("a"), record("b", "a"), record("c", "b"), record("d", "c"), current="d"))
    found = read(machine, forest(record("a"), record("d", "a"), current="d"))
    assert set(found) == {("vanished", "b"), ("vanished", "c"), ("moved", "d")}
    assert drawn(machine) == {"a": None, "b": "a", "c": "b", "d": "a"}
    lost = VMSnapshot.objects.get(machine=machine, name="b")
    assert (lost.state, lost.error_code) == (SnapshotState.ERROR, "gone_on_hypervisor")


def test_the_marker_leaves_a_current_snapshot_that_is_gone(machine):
    read_ours(machine, forest(record("a"), record("b", "a"), current="b"))
    read(machine, forest(record("a"), current="a"))
    assert current_name(machine) == "a"
    read(machine, forest())
    assert current_name(machine) is None


def test_a_marker_left_on_a_lost_snapshot_counts_as_a_difference(machine):
    read_ours(machine, forest(record("a"), current="a"))
    with transaction.atomic():
        tree.set_state(VMSnapshot.objects.get(name="a").pk, SnapshotState.ERROR, code="outcome_unknown", detail="?")
    assert tree_resync.tree_differs(rows_of(machine), forest())
    assert read(machine, forest()) == [("vanished", "a"), ("current", "")]


def test_new_snapshots_never_hang_below_a_lost_one_after_a_reading(machine):
    read_ours(machine, forest(record("a"), current="a"))
    read(machine, forest())
    with transaction.atomic():
        row, _ = tree.allocate(
            machine.pk, name="new", description="", type=SnapshotType.DISK, memory_bytes=0, created_by=None
        )
    assert row.parent.is_anchor


def test_a_snapshot_that_comes_back_is_ready_again(machine):
    read_ours(machine, forest(record("a"), record("b", "a"), current="b"))
    read(machine, forest(record("a"), current="a"))
    found = read(machine, forest(record("a"), record("b", "a"), current="b"))
    assert found == [("returned", "b"), ("current", "b")]
    row = VMSnapshot.objects.get(machine=machine, name="b")
    assert (row.state, row.error_code, row.error_detail) == (SnapshotState.READY, "", "")


def test_a_parent_that_moved_is_followed(machine):
    read(machine, forest(record("a"), record("b", "a"), record("c", "b")))
    assert read(machine, forest(record("c"), record("a", "c"), record("b", "a"))) == [("moved", "c"), ("moved", "a")]
    assert drawn(machine) == {"c": None, "a": "c", "b": "a"}


def test_a_name_changed_elsewhere_is_taken_over_and_told(machine):
    read(machine, forest(record("a")))
    assert read(machine, forest(record("a", name="z"))) == [("renamed", "a")]
    assert drawn(machine) == {"z": None}


def test_names_swapped_elsewhere_are_swapped_here(machine):
    read(machine, forest(record("a"), record("b", "a")))
    read(machine, forest(record("a", name="b"), record("b", "a", name="a")))
    assert {row.native_id: row.name for row in rows_of(machine) if row.native_id} == {"native-a": "b", "native-b": "a"}


def test_equal_names_made_elsewhere_are_numbered_and_stay_so(machine):
    seen = forest(record("a", name="same"), record("b", name="same"), record("c", name="same"))
    read(machine, seen)
    assert sorted(drawn(machine)) == ["same", "same (2)", "same (3)"]


def test_a_numbered_name_becomes_plain_once_the_other_is_gone_for_good(machine):
    read_ours(machine, forest(record("a", name="same"), record("b", name="same")))
    read(machine, forest(record("b", name="same")))
    with transaction.atomic():
        tree.remove(VMSnapshot.objects.get(machine=machine, native_id="native-a").pk)
    read(machine, forest(record("b", name="same")))
    assert drawn(machine) == {"same": None}


def test_a_name_that_only_looks_numbered_is_not_taken_for_one(machine):
    read(machine, forest(record("a", name="plan (final)")))
    assert read(machine, forest(record("a", name="plan"))) == [("renamed", "plan (final)")]
    assert drawn(machine) == {"plan": None}


@pytest.mark.parametrize("length", [240, 241, 255, 256, 300])
def test_long_foreign_names_are_kept_as_far_as_they_fit_and_told_apart(machine, length):
    seen = forest(record("a", name="x" * length), record("b", name="x" * length))
    read(machine, seen)
    names = sorted(drawn(machine))
    assert all(len(name) <= 255 for name in names)
    assert max(names, key=len) == "x" * min(length, 255) or length < 244
    assert "x" * min(length, 255) in names
    assert len(names) == 2


def test_foreign_snapshots_without_a_name_can_be_told_apart(machine):
    read(machine, forest(record("a", name=""), record("b", name="")))
    assert sorted(drawn(machine)) == ["(no name)", "(no name) (2)"]
    read(machine, forest(record("a", name=""), record("b", name="named")))
    assert sorted(drawn(machine)) == ["(no name)", "named"]


def test_a_foreign_name_equal_to_one_that_waits_here_gets_a_number(machine):
    with transaction.atomic():
        tree.allocate(machine.pk, name="a", description="", type=SnapshotType.DISK, memory_bytes=0, created_by=None)
    read(machine, forest(record("a")))
    assert {row.native_id: row.name for row in rows_of(machine) if not row.is_anchor} == {"": "a", "native-a": "a (2)"}


def test_one_being_taken_is_recognised_by_its_token_and_left_alone_while_it_is_not_there(machine):
    with transaction.atomic():
        row, _ = tree.allocate(
            machine.pk, name="ours", description="", type=SnapshotType.DISK, memory_bytes=0, created_by=None
        )
        tree.set_state(row.pk, SnapshotState.CREATING)
    assert read(machine, forest()) == []
    with transaction.atomic():
        tree_resync.resync(machine.pk, forest(record("ours", token=str(row.uuid)), current="ours"))
    row.refresh_from_db()
    assert (row.state, row.native_id, row.current, row.origin) == ("Ready", "native-ours", True, Origin.VMSNAP)


def test_a_copy_with_the_same_token_is_another_snapshot(machine):
    with transaction.atomic():
        row, _ = tree.allocate(
            machine.pk, name="ours", description="", type=SnapshotType.DISK, memory_bytes=0, created_by=None
        )
    token = str(row.uuid)
    read(machine, forest(record("ours", token=token)))
    found = read(machine, forest(record("copy", token=token), record("ours", token=token)))
    assert found == [("appeared", "copy")]


def test_a_chain_of_many_hundred_snapshots_can_be_read_and_deleted(machine):
    names = [f"n{number}" for number in range(1200)]
    pairs = zip(names, [None, *names], strict=False)
    read_once = forest(*(record(name, parent) for name, parent in pairs), current=names[-1])
    with transaction.atomic():
        tree_resync.resync(machine.pk, read_once)
    assert VirtualMachine.objects.get(pk=machine.pk).snapshot_count == 1200
    assert tree.damaged_machines() == []
    with transaction.atomic():
        branch = tree.descendants_of(VMSnapshot.objects.get(machine=machine, name="n1"))
        tree.remove_all_of(machine.pk, [row.pk for row in branch])
    assert len(branch) == 1199
    assert drawn(machine) == {"n0": None}
    assert current_name(machine) == "n0"


def test_reading_takes_the_same_number_of_queries_whatever_the_size_of_the_tree(machine, django_assert_num_queries):
    def seen(count: int) -> SnapshotForest:
        return forest(record("root"), *(record(f"n{number}", "root") for number in range(count)), current="root")

    read(machine, seen(1))
    with transaction.atomic(), django_assert_num_queries(16, exact=False):
        tree_resync.resync(machine.pk, seen(90))
    with transaction.atomic(), django_assert_num_queries(5, exact=False):
        tree_resync.resync(machine.pk, seen(90))

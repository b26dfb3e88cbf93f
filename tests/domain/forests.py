"""Forests as a hypervisor lists them, readings of them, and what holds of every tree in the database."""

from dataclasses import replace
from datetime import UTC, datetime

from django.db import transaction

from hypervisors.records import SnapshotForest, SnapshotKind, SnapshotRecord
from snapshots import tree, tree_resync
from snapshots.choices import GONE
from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.services import drift_actions
from tests.builders import acting

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def rows_of(machine: VirtualMachine) -> list[VMSnapshot]:
    return list(VMSnapshot.objects.filter(machine=machine))


def assert_whole(machine: VirtualMachine) -> None:
    """The tree's own promises, which hold at every moment."""
    rows = rows_of(machine)
    by_pk = {row.pk: row for row in rows}
    anchor = [row for row in rows if row.parent_id is None]
    assert len(anchor) == 1
    assert [row.current for row in rows].count(True) == 1
    assert tree.damaged_machines() == []
    counted = VirtualMachine.objects.get(pk=machine.pk)
    assert counted.snapshot_count == len(rows) - 1
    assert counted.unadopted_count == sum(not row.counts for row in rows)
    assert counted.lost_count == sum(row.error_code == GONE for row in rows)
    assert sorted(number for row in rows for number in (row.lft, row.rght)) == list(range(1, 2 * len(rows) + 1))
    for row in rows:
        below = {other.pk for other in rows if _is_below(other, row, by_pk)}
        assert {found.pk for found in row.get_descendants()} == below
        assert {found.pk for found in tree.descendants_of(row)} == below | {row.pk}


def _is_below(row: VMSnapshot, top: VMSnapshot, by_pk: dict[int, VMSnapshot]) -> bool:
    while row.parent_id is not None:
        row = by_pk[row.parent_id]
        if row.pk == top.pk:
            return True
    return False


def record(key: str, parent: str | None = None, **values: object) -> SnapshotRecord:
    """A snapshot as a hypervisor lists it, named by its key unless told."""
    made = SnapshotRecord(
        native_id=f"native-{key}",
        name=key,
        description="",
        parent_id=f"native-{parent}" if parent else None,
        created_at=AT,
        kind=SnapshotKind.DISK,
    )
    return replace(made, **values)


def forest(*records: SnapshotRecord, current: str | None = None) -> SnapshotForest:
    return SnapshotForest(records, f"native-{current}" if current else None)


def read(machine: VirtualMachine, seen: SnapshotForest) -> list[tuple[str, str]]:
    """Compare and write; what differed, as (kind, name). A second comparison must find nothing."""
    told = tree_resync.tree_differs(rows_of(machine), seen)
    before = list(VMSnapshot.objects.filter(machine=machine).order_by("pk").values())
    with transaction.atomic():
        differences = tree_resync.resync(machine.pk, seen)
    after = list(VMSnapshot.objects.filter(machine=machine).order_by("pk").values())
    assert told == (before != after), "what was asked beforehand is what was written"
    assert told or not differences
    assert not tree_resync.tree_differs(rows_of(machine), seen)
    with transaction.atomic():
        assert tree_resync.resync(machine.pk, seen) == []
    assert_whole(machine)
    return [(difference.kind, difference.snapshot_name) for difference in differences]


def read_ours(machine: VirtualMachine, seen: SnapshotForest) -> None:
    """These were made elsewhere, and adopted."""
    read(machine, seen)
    drift_actions.adopt_machine(acting(None), machine=machine)

"""A first reading of many machines writes their trees at once: the same trees as one by one, at a fraction of the cost."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from hypervisors.drivers.simulated.world import Machine, Taken, make_world, many_machines
from hypervisors.records import SnapshotForest, SnapshotKind, SnapshotRecord
from snapshots import tree, tree_planting, tree_resync
from snapshots.models import Event, VirtualMachine, VMSnapshot
from snapshots.services import machine_actions, tree_sync
from tests.builders import Cloud, acting, drawn
from tests.domain.scenes import read_again

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NAMES = ("same", "", "x" * 300, "one", "two", "three")


def any_forest(chance: random.Random) -> SnapshotForest:
    """A forest as a hypervisor may list it: equal, empty and long names, several roots, parents that are not listed."""
    records: list[SnapshotRecord] = []
    for number in range(chance.randint(1, 12)):
        parents = [None, "not listed", *(record.native_id for record in records)]
        records.append(
            SnapshotRecord(
                native_id=f"native-{number}",
                name=chance.choice(NAMES),
                description=chance.choice(("", "text")),
                parent_id=chance.choice(parents),
                created_at=AT + timedelta(seconds=number),
                kind=chance.choice(list(SnapshotKind)),
                token=chance.choice((None, "a token of nobody's")),
                measured_bytes=chance.choice((None, 7)),
            )
        )
    current = chance.choice([None, "not listed", *(record.native_id for record in records)])
    return SnapshotForest(tuple(records), current)


COLUMNS = [
    field.attname
    for field in VMSnapshot._meta.concrete_fields
    if field.attname not in ("id", "uuid", "machine_id", "parent_id", "tree_id")
]


def written(machine: VirtualMachine) -> tuple[object, ...]:
    """All there is of a tree but its keys."""
    rows = VMSnapshot.objects.filter(machine=machine).order_by("lft")
    columns = [*COLUMNS, "parent__native_id", "parent__lft"]
    values = list(rows.values(*columns))
    values[0].pop("created_at")
    row = VirtualMachine.objects.get(pk=machine.pk)
    return values, row.snapshot_count, row.unadopted_count, row.lost_count


@pytest.mark.parametrize("seed", range(40))
def test_trees_planted_at_once_are_those_written_one_by_one(db, seed):
    forest = any_forest(random.Random(seed))
    cloud = Cloud((Machine("planted"), Machine("beside"), Machine("alone")))
    planted, beside, alone = (cloud.machine(name) for name in ("planted", "beside", "alone"))
    with transaction.atomic():
        told = tree_planting.plant([planted, beside], {planted.pk: forest, beside.pk: forest})
        told_alone = tree_resync.resync(alone.pk, forest)
    assert written(planted) == written(beside) == written(alone)
    assert [(one.kind, one.snapshot_name, one.detail) for one in told[planted.pk]] == [
        (one.kind, one.snapshot_name, one.detail) for one in told_alone
    ]
    uuids = {one.snapshot_uuid for one in told[planted.pk]}
    assert uuids <= set(VMSnapshot.objects.filter(machine=planted).values_list("uuid", flat=True))
    assert tree.damaged_machines() == []
    assert not tree_resync.tree_differs(tree_resync.rows_to_compare([planted.pk])[planted.pk], forest)


def first_reading(count: int, snapshots_each: int = 3) -> Cloud:
    """An endpoint that is known, and whose machines are not read yet."""
    cloud = Cloud(())
    cloud.world.path.unlink()
    make_world(cloud.world.path, many_machines(count, snapshots_each))
    return cloud


def test_a_first_reading_of_many_machines_costs_a_few_batches_more_than_one_of_few(db):
    def queries(count: int) -> int:
        cloud = first_reading(count)
        with CaptureQueriesContext(connection) as found:
            cloud.sync()
        assert VMSnapshot.objects.real().filter(machine__hypervisor=cloud.hypervisor).count() == 3 * count
        return len(found)

    few = queries(tree_sync.FEW)
    assert queries(60) - few < 20
    assert few < 60


def test_machines_that_have_something_already_are_written_one_by_one_beside(people):
    cloud = first_reading(5)
    cloud.sync()
    for machine in VirtualMachine.objects.all():
        cloud.world.take_elsewhere(machine.native_id, "later")
    read_again(cloud)
    assert all(set(drawn(machine)) >= {"later", "snapshot 0000"} for machine in VirtualMachine.objects.all())
    assert Event.objects.filter(action="snapshot.appeared").count() == 5 * 4


def test_a_tree_too_deep_is_written_by_itself(db, monkeypatch):
    monkeypatch.setattr(tree_planting, "DEEPEST", 2)
    cloud = first_reading(4)
    deep = cloud.world.define(
        Machine("deep", snapshots=tuple(Taken(f"s{n}", parent=None if n == 0 else n - 1) for n in range(5)))
    )
    cloud.sync()
    assert drawn(VirtualMachine.objects.get(native_id=deep)) == {
        "s0": None,
        "s1": "s0",
        "s2": "s1",
        "s3": "s2",
        "s4": "s3",
    }
    assert VMSnapshot.objects.real().count() == 4 * 3 + 5
    assert tree.damaged_machines() == []


def test_when_writing_at_once_fails_each_tree_is_tried_by_itself(db, monkeypatch):
    def fail(*_: object) -> None:
        raise DatabaseError("a value that does not fit")

    monkeypatch.setattr(tree_planting, "plant", fail)
    cloud = first_reading(4)
    assert cloud.sync().state == "succeeded"
    assert VMSnapshot.objects.real().count() == 12


def test_a_machine_with_a_job_is_left_to_the_next_reading(db):
    cloud = first_reading(4, snapshots_each=0)
    cloud.sync()
    machines = list(VirtualMachine.objects.order_by("pk"))
    for machine in machines:
        cloud.world.take_elsewhere(machine.native_id, "theirs")
    machine_actions.request_sync(acting(None), machine=machines[0])
    cloud.sync()
    assert [drawn(machine) for machine in machines] == [{}, *[{"theirs": None}] * 3]

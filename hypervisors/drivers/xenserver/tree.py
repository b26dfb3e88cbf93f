"""The tree of a machine's snapshots, from XenServer's records.

In XenServer the machine itself is a leaf of the tree: `VM.parent` is the snapshot it stems from. A snapshot's parent may
be missing (it was another machine's, or someone destroyed it on a server that left the reference): then it is a root.
There may be several roots.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from hypervisors.drivers.xenserver.marks import label_of
from hypervisors.drivers.xenserver.records import NULL, Contents, Record, Records, whole_number
from hypervisors.records import SnapshotForest, SnapshotKind, SnapshotRecord

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def snapshots_by_machine(machines: Records) -> dict[str, Records]:
    """The snapshots of each machine, by the machine's reference. Those of machines that are gone are there too."""
    found: dict[str, Records] = defaultdict(dict)
    for ref, record in machines.items():
        if record["is_a_snapshot"]:
            found[record["snapshot_of"]][ref] = record
    return found


def forest_of(contents: Contents, machine: Record, snapshots: Mapping[str, Record]) -> SnapshotForest:
    """The forest of one machine, parents before children and older ones before younger."""
    parents = {ref: record["parent"] if record["parent"] in snapshots else NULL for ref, record in snapshots.items()}
    records = [
        _record(contents, snapshots[ref], snapshots.get(parents[ref])) for ref in _parents_first(snapshots, parents)
    ]
    stands_on = snapshots.get(machine["parent"])
    return SnapshotForest(tuple(records), stands_on["uuid"] if stands_on else None)


def _parents_first(snapshots: Mapping[str, Record], parents: dict[str, str]) -> list[str]:
    """References in the order of a walk from the roots. What hangs on itself in a circle becomes a root as well."""
    children: dict[str, list[str]] = defaultdict(list)
    for ref in sorted(snapshots, key=lambda ref: (str(snapshots[ref]["snapshot_time"]), snapshots[ref]["uuid"])):
        children[parents[ref]].append(ref)
    order = _walk(children, reversed(children[NULL]))
    if len(order) < len(snapshots):
        reached = set(order)
        for ref in snapshots:
            if ref not in reached:
                children[parents[ref]].remove(ref)
                parents[ref] = NULL
                below = _walk(children, [ref])
                order += below
                reached.update(below)
    return order


def _walk(children: Mapping[str, list[str]], begin: Iterable[str]) -> list[str]:
    order = []
    waiting = list(begin)
    while waiting:
        ref = waiting.pop()
        order.append(ref)
        waiting.extend(reversed(children.get(ref, ())))
    return order


def descendants_first(forest: SnapshotForest, snapshot_id: str) -> list[str]:
    """This snapshot and all below it, each after its children."""
    wanted = {snapshot_id}
    doomed = []
    for snapshot in forest.snapshots:
        if snapshot.native_id == snapshot_id or snapshot.parent_id in wanted:
            wanted.add(snapshot.native_id)
            doomed.append(snapshot.native_id)
    return doomed[::-1]


def holds_memory(record: Record) -> bool:
    """Whether a snapshot's record says that it holds memory: a machine is resumed from it, not started."""
    return bool(record["power_state"] == "Suspended")


def _record(contents: Contents, record: Record, parent: Record | None) -> SnapshotRecord:
    label = label_of(record)
    return SnapshotRecord(
        native_id=record["uuid"],
        name=label.name,
        description=label.description,
        parent_id=parent["uuid"] if parent else None,
        created_at=moment(record["snapshot_time"]),
        kind=SnapshotKind.DISK_AND_MEMORY if holds_memory(record) else SnapshotKind.DISK,
        token=label.token,
        measured_bytes=_occupied(contents, record),
    )


def _occupied(contents: Contents, record: Record) -> int | None:
    """What the snapshot's own leaves and its memory image occupy: the data it shares with others belongs to no single
    snapshot and shows in its pool. None when something of it is not known."""
    disks = [slot["VDI"] for slot in contents.slots_of(record)]
    if record["suspend_VDI"] in contents.disks:
        disks.append(record["suspend_VDI"])
    sizes = [whole_number(contents.disks[ref]["physical_utilisation"]) for ref in disks]
    return sum(sizes) if all(size >= 0 for size in sizes) else None


def moment(text: object) -> datetime:
    """A time as XenAPI writes it, 20260101T12:00:00Z, some releases with dashes or a fraction."""
    plain = str(text).replace("-", "").partition(".")[0].rstrip("Z")
    try:
        return datetime.strptime(plain, "%Y%m%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return _BEGINNING

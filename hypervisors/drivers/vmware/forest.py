"""A machine's snapshot tree in vSphere, as the rest of the product knows it. No recursion: trees can be a thousand deep.

vSphere nests the nodes in each other, several roots beside each other, and names the one below which the next would be
taken. All of it is a stranger's data: a node without a reference is passed over (its children hang below its parent), a
reference that comes twice counts once, and a current one that is not in the tree counts as none.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypervisors.drivers.vmware.errors import moref
from hypervisors.drivers.vmware.footer import unpacked
from hypervisors.records import SnapshotForest, SnapshotKind, SnapshotRecord

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def forest_from(info: Any, sizes: Mapping[str, int | None] | None = None) -> SnapshotForest:
    """The forest in a machine's `snapshot` property (None: it has none), parents before children. `sizes` are the bytes
    by native id; see `sizes`."""
    if info is None:
        return SnapshotForest()
    records: dict[str, SnapshotRecord] = {}
    waiting: list[tuple[Any, str | None]] = [(node, None) for node in reversed(info.rootSnapshotList)]
    while waiting:
        node, parent_id = waiting.pop()
        if node.snapshot is not None:
            native_id = moref(node.snapshot)
            if native_id not in records:
                records[native_id] = _record(node, native_id, parent_id, (sizes or {}).get(native_id))
            parent_id = native_id
        waiting.extend((child, parent_id) for child in reversed(node.childSnapshotList))
    current = moref(info.currentSnapshot) if info.currentSnapshot is not None else None
    return SnapshotForest(tuple(records.values()), current if current in records else None)


def node_of(info: Any, native_id: str) -> Any:
    """The node with this id in a machine's `snapshot` property, or None."""
    waiting = list(info.rootSnapshotList) if info is not None else []
    while waiting:
        node = waiting.pop()
        if node.snapshot is not None and moref(node.snapshot) == native_id:
            return node
        waiting.extend(node.childSnapshotList)
    return None


def levels_above_next(forest: SnapshotForest) -> int:
    """How many snapshots stand above the one that would be taken next."""
    by_id = forest.by_id()
    at, levels = forest.current_id, 0
    while at is not None:
        levels += 1
        at = by_id[at].parent_id
    return levels


def _record(node: Any, native_id: str, parent_id: str | None, size: int | None) -> SnapshotRecord:
    note = unpacked(node.name or "", node.description or "")
    created = node.createTime or _LONG_AGO
    return SnapshotRecord(
        native_id=native_id,
        name=note.name,
        description=note.description,
        parent_id=parent_id,
        created_at=created,
        kind=_kind(str(node.state), note.memory),
        token=note.token,
        measured_bytes=size,
    )


def _kind(state: str, asked_for_memory: bool | None) -> SnapshotKind:
    """The state tells in which power state a revert leaves the machine, and that is other than off only when memory is
    kept. A server that instead tells the state at the time the snapshot was taken is not believed about one of ours that
    was taken without memory; a suspended machine always keeps it."""
    if state == "poweredOff" or (state == "poweredOn" and asked_for_memory is False):
        return SnapshotKind.DISK
    return SnapshotKind.DISK_AND_MEMORY

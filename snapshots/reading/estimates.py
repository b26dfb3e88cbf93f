"""The estimated allocation of a machine's VM snapshots, and how much of it one of them accounts for.

Pure arithmetic, no query: pages, REST and later the capacity records all ask here, so that they show one figure. The
formula is the design's own:

    allocated size of all volumes × max(root-to-leaf paths − 1, 0) + memory of each VM snapshot that holds one

The hidden anchor above the roots is not a VM snapshot and counts nowhere. Every other row counts, in whatever state: what
is being taken is reserved already, and of a failed one nobody knows what it left behind until its row is deleted. All
sizes are bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from snapshots.choices import SnapshotType
from snapshots.models import VMSnapshot


@dataclass(frozen=True, slots=True)
class MachineEstimate:
    """What the VM snapshots of one machine are estimated to occupy. `freed_bytes` says, by the primary key of each VM
    snapshot, by how much `total_bytes` would fall if that one alone were deleted."""

    disk_bytes: int
    memory_bytes: int
    freed_bytes: Mapping[int, int]

    @property
    def total_bytes(self) -> int:
        """Disk part and memory part together."""
        return self.disk_bytes + self.memory_bytes


def disk_part(volume_bytes: int, paths: int) -> int:
    """The disk part for volumes of this allocated size and a tree with this many root-to-leaf paths."""
    return volume_bytes * max(paths - 1, 0)


def memory_held(snapshot_type: str, memory_bytes: int, machine_memory_bytes: int) -> int:
    """The memory a VM snapshot holds. One made elsewhere says only that it holds memory, not how much: the machine's
    memory size stands in for it."""
    if snapshot_type != SnapshotType.DISK_AND_MEMORY:
        return 0
    return memory_bytes or machine_memory_bytes


def freed_by_delete(*, volume_bytes: int, paths: int, ends_a_path: bool, memory_bytes: int) -> int:
    """By how much the estimate falls when one VM snapshot is deleted and its children move to its parent.

    `ends_a_path`: it is a leaf, and its parent does not become a leaf in its place. `memory_bytes` is what it holds.
    """
    fewer = disk_part(volume_bytes, paths) - disk_part(volume_bytes, paths - 1) if ends_a_path else 0
    return fewer + memory_bytes


def ends_a_path(row_is_leaf: bool, parent_is_anchor: bool, siblings: int) -> bool:
    """Whether deleting a VM snapshot leaves one root-to-leaf path fewer.

    `siblings` are the other children of its parent.
    """
    return row_is_leaf and (parent_is_anchor or siblings > 0)


def estimate_machine(rows: Iterable[VMSnapshot], *, volume_bytes: int, machine_memory_bytes: int) -> MachineEstimate:
    """The estimate of one machine from all its rows (the anchor may be among them or not).

    `volume_bytes` is the allocated size of the machine's volumes together.
    """
    snapshots = [row for row in rows if not row.is_anchor]
    real = {row.pk for row in snapshots}
    children: dict[int, int] = {}
    for row in snapshots:
        children[row.parent_id] = children.get(row.parent_id, 0) + 1
    paths = sum(1 for row in snapshots if row.pk not in children)
    held = {row.pk: memory_held(row.type, row.memory_bytes, machine_memory_bytes) for row in snapshots}
    freed = {
        row.pk: freed_by_delete(
            volume_bytes=volume_bytes,
            paths=paths,
            ends_a_path=ends_a_path(
                row.pk not in children, row.parent_id not in real, children.get(row.parent_id, 1) - 1
            ),
            memory_bytes=held[row.pk],
        )
        for row in snapshots
    }
    return MachineEstimate(disk_part(volume_bytes, paths), sum(held.values()), freed)

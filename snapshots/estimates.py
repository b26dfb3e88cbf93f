"""The estimated allocation of a machine's VM snapshots, how much of it each of them accounts for, and what another one
would add.

Pure arithmetic, no query: the books, the rules, pages and REST all ask here, so that there is one figure. The formula is
the design's own:

    allocated size of all volumes × max(root-to-leaf paths − 1, 0) + memory of each VM snapshot that holds one

The hidden anchor above the roots is not a VM snapshot and counts nowhere, nor does one that is lost: what hangs below a
lost one counts as hanging below what is above it. Every other row counts, in whatever state: what is being taken is
reserved already, and of a failed one nobody knows what it left behind until its row is deleted. All sizes are bytes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from snapshots.choices import SnapshotType

NEW = 0
"""The key of a VM snapshot that has no row yet."""


class EstimatedRow(Protocol):
    """As much of a VM snapshot's row as an estimate reads."""

    @property
    def pk(self) -> int:
        """Its key; younger rows have larger ones."""

    @property
    def parent_id(self) -> int | None:
        """The key of the row above; None for the anchor."""

    @property
    def type(self) -> str:
        """Whether it holds memory."""

    @property
    def memory_bytes(self) -> int:
        """How much memory it holds, 0 when that is not known."""

    @property
    def present(self) -> bool:
        """Whether it is not lost."""


@dataclass(frozen=True, slots=True)
class MachineEstimate:
    """What the VM snapshots of one machine are estimated to occupy, with `paths` root-to-leaf paths.

    By the primary key of each VM snapshot: `freed_bytes` says by how much `total_bytes` would fall if that one alone were
    deleted; `shares` shares `total_bytes` out: each holds its own memory, and the end of each path but the oldest holds the
    volumes once.
    """

    paths: int
    disk_bytes: int
    memory_bytes: int
    freed_bytes: Mapping[int, int]
    shares: Mapping[int, int]

    @property
    def total_bytes(self) -> int:
        """Disk part and memory part together."""
        return self.disk_bytes + self.memory_bytes


@dataclass(frozen=True, slots=True)
class Growth:
    """By how much the estimate of a machine grows: altogether, of that memory, and what of it counts in limits (which can
    also be less than nothing, when shares move to VM snapshots that do not count)."""

    total_bytes: int
    memory_bytes: int
    counted_bytes: int

    @property
    def disk_bytes(self) -> int:
        """The disk part."""
        return self.total_bytes - self.memory_bytes


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


def estimate_machine(rows: Iterable[EstimatedRow], *, volume_bytes: int, machine_memory_bytes: int) -> MachineEstimate:
    """The estimate of one machine from all its rows (the anchor may be among them or not).

    `volume_bytes` is the allocated size of the machine's volumes together.
    """
    shape = _Shape(rows)
    held = {row.pk: memory_held(row.type, row.memory_bytes, machine_memory_bytes) for row in shape.rows}
    paths, oldest = len(shape.leaves), min(shape.leaves, default=None)
    freed = dict.fromkeys(shape.lost, 0)
    shares = dict.fromkeys(shape.lost, 0)
    for row in shape.rows:
        above, leaf = shape.parents[row.pk], row.pk in shape.leaves
        freed[row.pk] = freed_by_delete(
            volume_bytes=volume_bytes,
            paths=paths,
            ends_a_path=ends_a_path(leaf, above is None, shape.children[above] - 1),
            memory_bytes=held[row.pk],
        )
        shares[row.pk] = held[row.pk] + (volume_bytes if leaf and row.pk != oldest else 0)
    return MachineEstimate(paths, disk_part(volume_bytes, paths), sum(held.values()), freed, shares)


def growth_by_take(
    rows: Sequence[EstimatedRow],
    *,
    below: int,
    counted: Collection[int],
    memory: bool,
    volume_bytes: int,
    machine_memory_bytes: int,
    before: MachineEstimate | None = None,
) -> Growth:
    """What one more VM snapshot adds, taken below the row with the key `below` (the anchor's, for a first one), and with
    memory or without. `counted` are the keys of those that count in limits, `before` is the estimate of the rows, if it is
    known."""
    sizes = {"volume_bytes": volume_bytes, "machine_memory_bytes": machine_memory_bytes}
    kind = SnapshotType.DISK_AND_MEMORY if memory else SnapshotType.DISK
    if before is None:
        before = estimate_machine(rows, **sizes)
    # The youngest of all, as its row will be.
    new = _Wanted(max((row.pk for row in rows), default=NEW) + 1, below, kind, machine_memory_bytes if memory else 0)
    after = estimate_machine([*rows, new], **sizes)
    return Growth(
        total_bytes=after.total_bytes - before.total_bytes,
        memory_bytes=after.memory_bytes - before.memory_bytes,
        counted_bytes=share_of(after, [*counted, new.pk]) - share_of(before, counted),
    )


def share_of(estimate: MachineEstimate, keys: Iterable[int]) -> int:
    """What these VM snapshots account for together."""
    return sum(estimate.shares.get(key, 0) for key in keys)


@dataclass(frozen=True, slots=True)
class _Wanted:
    pk: int
    parent_id: int
    type: str
    memory_bytes: int
    present: bool = True


class _Shape:
    """The tree without its anchor and without what is lost. `parents` has None for roots; `children` counts them."""

    def __init__(self, rows: Iterable[EstimatedRow]) -> None:
        snapshots = [row for row in rows if row.parent_id is not None]
        above = {row.pk: row.parent_id for row in snapshots}
        self.lost = [row.pk for row in snapshots if not row.present]
        gone = set(self.lost)
        self.rows = [row for row in snapshots if row.present]
        self.parents: dict[int, int | None] = {}
        self.children: dict[int | None, int] = {}
        for row in self.rows:
            parent = row.parent_id
            while parent in gone:
                parent = above[parent]
            known = parent if parent in above else None
            self.parents[row.pk] = known
            self.children[known] = self.children.get(known, 0) + 1
        self.leaves = {row.pk for row in self.rows if row.pk not in self.children}

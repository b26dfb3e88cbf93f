"""What VM snapshots and disks occupy, worked out from the list of files that vSphere keeps of each machine.

`layoutEx.snapshot` has, for each snapshot, its own files (data, and memory where it holds some) and per disk the chain of
files as it stood when the snapshot was taken. What is written after it goes into a new file at the end of the chain. So a
snapshot costs its own files and, per disk, those that come after its chain: in the chains of its children, and in the
present chain if it is the current one.

`uniqueSize` is what would come free; older datastores tell only `size`. Where a file of the sum cannot be reached, the
sum is not known. The server computes the figures now and then and keeps them; nothing is recomputed for this.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from hypervisors.drivers.vmware.errors import moref
from hypervisors.records import SnapshotForest

_NONE = -1


def snapshot_sizes(forest: SnapshotForest, files: Any, snapshots: Any, disks: Any) -> dict[str, int | None]:
    """Bytes by native id, of those in the forest that the layout knows."""
    layouts = {moref(layout.key): layout for layout in snapshots or () if layout.key is not None}
    if not layouts:
        return {}
    by_key = {file.key: file for file in files or ()}
    chains = {native_id: _chains(layout.disk) for native_id, layout in layouts.items()}
    later: dict[str, list[dict[int, frozenset[int]]]] = {}
    for record in forest.snapshots:
        if record.parent_id is not None and record.native_id in chains:
            later.setdefault(record.parent_id, []).append(chains[record.native_id])
    if forest.current_id is not None:
        later.setdefault(forest.current_id, []).append(_chains(disks))
    sizes = {}
    for record in forest.snapshots:
        layout = layouts.get(record.native_id)
        if layout is not None:
            own = [key for key in (layout.dataKey, layout.memoryKey) if key is not None and key != _NONE]
            after = _after(chains[record.native_id], later.get(record.native_id, ()))
            sizes[record.native_id] = _total({*own, *after}, by_key)
    return sizes


def disk_sizes(files: Any, disks: Any) -> dict[int, int | None]:
    """What each disk's present chain occupies, by the key of its device."""
    by_key = {file.key: file for file in files or ()}
    return {key: _total(chain, by_key) for key, chain in _chains(disks).items()}


def _chains(disks: Any) -> dict[int, frozenset[int]]:
    """The keys of the files in each disk's chain, by the key of the disk. Their order does not matter here."""
    return {disk.key: frozenset(key for unit in disk.chain for key in unit.fileKey) for disk in disks or ()}


def _after(then: Mapping[int, frozenset[int]], later: Iterable[Mapping[int, frozenset[int]]]) -> set[int]:
    """The files that were added to the chains of a snapshot."""
    added: set[int] = set()
    for chains in later:
        for disk, chain in then.items():
            added |= chains.get(disk, frozenset()) - chain
    return added


def _total(keys: Iterable[int], by_key: Mapping[int, Any]) -> int | None:
    total = 0
    for key in keys:
        file = by_key.get(key)
        if file is None or file.accessible is False:
            return None
        size = file.size if file.uniqueSize is None else file.uniqueSize
        if size is None:
            return None
        total += int(size)
    return total

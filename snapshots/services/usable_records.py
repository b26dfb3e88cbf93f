"""Leaves out of a reading what cannot be known again: things without an id, with one that no column can hold, and the
second of two things with the same id. One such thing must not keep all others from being read, so it is logged and passed
over. `inventory_sync` enters, and the watch by it.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from hypervisors.records import Inventory, MachineRecord, PoolRecord, SnapshotForest, SnapshotRecord, VolumeRecord
from hypervisors.storable import usable_id
from snapshots.models import StoragePool, VirtualMachine, VMSnapshot, Volume

log = logging.getLogger(__name__)

Record = TypeVar("Record", MachineRecord, PoolRecord, SnapshotRecord, VolumeRecord)


def _longest(model: type[VirtualMachine | StoragePool | VMSnapshot | Volume]) -> int:
    return int(model._meta.get_field("native_id").max_length or 0)


MACHINE_ID = _longest(VirtualMachine)
POOL_ID = _longest(StoragePool)
SNAPSHOT_ID = _longest(VMSnapshot)
VOLUME_ID = _longest(Volume)


def usable(inventory: Inventory) -> Inventory:
    """The inventory without what cannot be known again."""
    machines = usable_machines(inventory.machines)
    known = {record.native_id for record in machines}
    return replace(
        inventory,
        pools=tuple(usable_pools(inventory.pools)),
        machines=tuple(machines),
        loose_volumes=tuple(_apart(inventory.loose_volumes, VOLUME_ID)),
        forests={key: usable_forest(forest) for key, forest in inventory.forests.items() if key in known},
    )


def usable_pools(records: Iterable[PoolRecord]) -> list[PoolRecord]:
    """The pools without those that cannot be known again."""
    return _apart(records, POOL_ID)


def usable_machines(records: Iterable[MachineRecord]) -> list[MachineRecord]:
    """The machines without those that cannot be known again, each without such volumes."""
    return [usable_machine(record) for record in _apart(records, MACHINE_ID)]


def usable_machine(record: MachineRecord) -> MachineRecord:
    """The machine without the volumes that cannot be known again."""
    volumes = _apart(record.volumes, VOLUME_ID)
    return record if len(volumes) == len(record.volumes) else replace(record, volumes=tuple(volumes))


def usable_forest(forest: SnapshotForest) -> SnapshotForest:
    """The forest without the snapshots that cannot be known again; what stands below one of those is a root."""
    snapshots = _apart(forest.snapshots, SNAPSHOT_ID)
    return forest if len(snapshots) == len(forest.snapshots) else replace(forest, snapshots=tuple(snapshots))


def usable_machine_ids(native_ids: Iterable[str]) -> set[str]:
    """Those of the ids by which a machine can be known."""
    return {native_id for native_id in native_ids if usable_id(native_id, MACHINE_ID)}


def _apart(records: Iterable[Record], most: int) -> list[Record]:
    kept: dict[str, Record] = {}
    for record in records:
        if not usable_id(record.native_id, most):
            _tell(record, "its id cannot be kept")
        elif record.native_id in kept:
            _tell(record, "another has the same id")
        else:
            kept[record.native_id] = record
    return list(kept.values())


def _tell(record: Record, why: str) -> None:
    log.warning("%s %r is passed over: %s: %r", type(record).__name__, record.name, why, record.native_id[:100])

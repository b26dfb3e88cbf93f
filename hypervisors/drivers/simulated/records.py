"""The rows of a simulated hypervisor as what its driver answers. Only the driver enters."""

import json
import sqlite3
from datetime import UTC, datetime

from hypervisors.drivers.simulated import facts
from hypervisors.records import MachineRecord, PowerState, SnapshotKind, SnapshotRecord, VolumeRecord


def machine_record(machine: sqlite3.Row, volumes: list[sqlite3.Row]) -> MachineRecord:
    """A machine with its volumes."""
    return MachineRecord(
        native_id=machine["native_id"],
        name=machine["name"],
        power_state=PowerState(machine["power"]),
        memory_bytes=machine["memory_bytes"],
        volumes=tuple(volume_record(volume, machine) for volume in volumes),
        capabilities=facts.capabilities_of(machine, volumes),
        folder=machine["folder"],
        resource_pool=machine["resource_pool"],
        tags=tuple(json.loads(machine["tags"])),
        needs_consolidation=bool(machine["needs_consolidation"]),
        question=machine["question"],
    )


def volume_record(volume: sqlite3.Row, machine: sqlite3.Row | None = None) -> VolumeRecord:
    """A volume, given the machine it is attached to. The machine's snapshots lie in its first one and count as that
    one's."""
    snapshots = machine["snapshot_bytes"] + machine["dirty_bytes"] if machine and volume["target"] == "vda" else 0
    return VolumeRecord(
        native_id=volume["native_id"],
        name=volume["name"],
        format=volume["format"],
        capacity_bytes=volume["capacity_bytes"],
        used_bytes=volume["used_bytes"] + snapshots,
        pool_id=volume["pool_id"],
        target=volume["target"],
    )


def snapshot_record(row: sqlite3.Row) -> SnapshotRecord:
    """A snapshot."""
    return SnapshotRecord(
        native_id=row["native_id"],
        name=row["name"],
        description=row["description"],
        parent_id=row["parent_id"],
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        kind=SnapshotKind(row["kind"]),
        token=row["token"],
        measured_bytes=row["measured_bytes"],
    )

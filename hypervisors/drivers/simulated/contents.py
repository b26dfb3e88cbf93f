"""What a simulated hypervisor can hold, as values to write down, and the demo's and benchmark's worlds in them.

`world` hands these on to tests, the demo and benchmarks; only it enters here.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from uuid import uuid4

from hypervisors.capabilities import Capabilities
from hypervisors.drivers.simulated import facts
from hypervisors.records import PowerState, SnapshotKind

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume to make. `pool` is a pool's name."""

    capacity_bytes: int = 10 * GIB
    used_bytes: int = 1 * GIB
    format: str = "qcow2"
    pool: str = "default"
    name: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """A storage pool to make. `other_bytes` is what lies in it besides the volumes."""

    name: str = "default"
    total_bytes: int = 500 * GIB
    other_bytes: int = 0
    kind: str = "dir"
    active: bool = True


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot that a machine has from the start. `parent` is an earlier one's place in the list, None a root."""

    name: str
    parent: int | None = None
    memory: bool = False
    description: str = ""
    token: str | None = None
    age_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine to make; its last snapshot is current.

    `missing` takes abilities away: field names of `Capabilities` with the reason. `ignores_shutdown`: the guest does
    not hear when it is asked to shut down. `write_bytes_per_second` is what it writes while it runs. An empty
    `native_id` is filled in. `folder`, `resource_pool` and `tags` say where its administrators filed it.
    """

    name: str
    power: PowerState = PowerState.RUNNING
    memory_bytes: int = 1 * GIB
    disks: tuple[Disk, ...] = (Disk(),)
    agent: bool = False
    ignores_shutdown: bool = False
    missing: tuple[tuple[str, str], ...] = ()
    write_bytes_per_second: int = 0
    snapshots: Sequence[Taken] = ()
    native_id: str = ""
    folder: str = ""
    resource_pool: str = ""
    tags: tuple[str, ...] = ()


DEMO_MACHINES = (
    Machine("web-1", disks=(Disk(20 * GIB, 3 * GIB), Disk(40 * GIB, 1 * GIB)), write_bytes_per_second=MIB),
    Machine(
        "db-1", memory_bytes=4 * GIB, disks=(Disk(80 * GIB, 22 * GIB),), agent=True, write_bytes_per_second=4 * MIB
    ),
    Machine("build-1", power=PowerState.STOPPED, disks=(Disk(60 * GIB, 9 * GIB),)),
    Machine("legacy-1", disks=(Disk(30 * GIB, 30 * GIB, format="raw"),)),
    Machine("jump-1", memory_bytes=512 * MIB, disks=(Disk(8 * GIB, 2 * GIB),), ignores_shutdown=True),
)
"""One of each: two disks, a guest agent, powered off, a raw disk, a guest that does not hear."""

DEMO_LOOSE = (Disk(5 * GIB, 1 * MIB, name="spare-1.qcow2"), Disk(15 * GIB, 1 * MIB, name="spare-2.qcow2"))


def many_machines(count: int, snapshots_each: int, branch_every: int = 4) -> Iterable[Machine]:
    """Machines for a benchmark, each with a tree of this size; every so many snapshots a new branch leaves the root."""
    tree = [
        Taken(
            f"snapshot {place:04}",
            parent=None if place == 0 else (0 if place % branch_every == 0 else place - 1),
            memory=place % 3 == 0,
            age_seconds=60.0 * (snapshots_each - place),
        )
        for place in range(snapshots_each)
    ]
    for number in range(count):
        yield Machine(f"machine-{number:05}", snapshots=tree)


def add_machine(db: sqlite3.Connection, machine: Machine, pools: dict[str, str], now: float) -> str:
    """Write the machine down; answers its native id. Raises `ValueError` for one that cannot be."""
    unknown = {name for name, _ in machine.missing} - {field.name for field in fields(Capabilities)}
    if unknown:
        raise ValueError(f"No ability is called {', '.join(sorted(unknown))}.")
    if not machine.disks:
        raise ValueError("A machine starts from its first disk, so it needs one.")
    native_id = machine.native_id or str(uuid4())
    snapshots = [f"snapshot-{uuid4()}" for _ in machine.snapshots]
    db.execute(
        """
        INSERT INTO machine (native_id, name, power, memory_bytes, agent, ignores_shutdown, missing_abilities,
                             current_id, ticks, folded_at, disk_content, dirty_bytes, write_bytes_per_second,
                             folder, resource_pool, tags)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, '', 0, ?, ?, ?, ?)
        """,
        (
            native_id,
            machine.name,
            machine.power,
            machine.memory_bytes,
            machine.agent,
            machine.ignores_shutdown,
            json.dumps(dict(machine.missing)),
            snapshots[-1] if snapshots else None,
            now,
            machine.write_bytes_per_second,
            machine.folder,
            machine.resource_pool,
            json.dumps(machine.tags),
        ),
    )
    for target, disk in zip(facts.TARGETS, machine.disks, strict=False):
        add_disk(db, disk, disk.name or f"{machine.name}-{target}.{disk.format}", pools, native_id, target)
    _add_snapshots(db, machine, native_id, snapshots, now)
    return native_id


def _add_snapshots(
    db: sqlite3.Connection, machine: Machine, machine_id: str, native_ids: Sequence[str], now: float
) -> None:
    db.executemany(
        """
        INSERT INTO snapshot (native_id, machine_id, name, description, parent_id, created_at, kind, token,
                              measured_bytes, power, ticks, disk_content)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')
        """,
        [
            (
                native_ids[place],
                machine_id,
                taken.name,
                taken.description,
                None if taken.parent is None else native_ids[:place][taken.parent],
                now - taken.age_seconds,
                SnapshotKind.DISK_AND_MEMORY if taken.memory else SnapshotKind.DISK,
                taken.token,
                facts.snapshot_bytes(machine.memory_bytes if taken.memory else 0),
                PowerState.RUNNING if taken.memory else PowerState.STOPPED,
                0.0 if taken.memory else None,
            )
            for place, taken in enumerate(machine.snapshots)
        ],
    )


def add_disk(
    db: sqlite3.Connection, disk: Disk, name: str, pools: dict[str, str], machine_id: str | None, target: str
) -> str:
    """Write the volume down; answers its native id. Raises `ValueError` when its pool is not there."""
    if disk.pool not in pools:
        raise ValueError(f"There is no pool called {disk.pool!r}.")
    native_id = str(uuid4())
    db.execute(
        """
        INSERT INTO volume (native_id, name, format, capacity_bytes, used_bytes, pool_id, machine_id, target)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (native_id, name, disk.format, disk.capacity_bytes, disk.used_bytes, pools[disk.pool], machine_id, target),
    )
    return native_id

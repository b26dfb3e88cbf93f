"""Frozen values that cross the border between drivers and the rest: what a hypervisor says is there.

They hold plain data only: no connection, no row, no behaviour beyond reading. All sizes are bytes, all times are
aware datetimes in UTC. A native id is the hypervisor's own name for a thing, unique within its endpoint.

What a hypervisor says is a stranger's data: whatever a driver puts into a record, texts, sizes and times that come out of
it can be stored and shown (see `storable`). Native ids are left as they are, since a changed one names nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from hypervisors import storable
from hypervisors.capabilities import Capabilities


def _hold(record: object, name: str, value: object) -> None:
    """Set a field of a record that is just being made, and frozen from then on."""
    object.__setattr__(record, name, value)


class PowerState(StrEnum):
    """Power state of a machine, in the words of the REST contract."""

    RUNNING = "running"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


class SnapshotKind(StrEnum):
    """What a VM snapshot holds: all disks, or all disks and the memory."""

    DISK = "Disk"
    DISK_AND_MEMORY = "DiskAndMemory"


class PowerAfterRevert(StrEnum):
    """What the user wants of the machine after a revert.

    `AS_SNAPSHOT` resumes a memory snapshot where it was taken and leaves the machine stopped after a disk snapshot.
    `RUNNING` starts it from the reverted disks if the snapshot holds no memory. `STOPPED` leaves it off.
    """

    AS_SNAPSHOT = "as_snapshot"
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class HostRecord:
    """The endpoint itself: its own id, the product and version it reports, and whether it says that it is a simulator,
    which every page then says too."""

    native_id: str
    name: str
    product: str
    version: str
    simulator: bool = False

    def __post_init__(self) -> None:
        _hold(self, "name", storable.line(self.name))
        _hold(self, "product", storable.line(self.product))
        _hold(self, "version", storable.line(self.version))


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """A storage pool. `total_bytes` and `free_bytes` are None while the pool is inactive."""

    native_id: str
    name: str
    kind: str
    total_bytes: int | None
    free_bytes: int | None
    active: bool

    def __post_init__(self) -> None:
        _hold(self, "name", storable.line(self.name))
        _hold(self, "kind", storable.line(self.kind))
        _hold(self, "total_bytes", storable.size(self.total_bytes))
        _hold(self, "free_bytes", storable.size(self.free_bytes))


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A disk. `target` is its place in the machine ("vda"), empty when it is attached to none.

    `capacity_bytes` is what the guest sees, `used_bytes` what it occupies on the pool (None when not measured).
    """

    native_id: str
    name: str
    format: str
    capacity_bytes: int
    used_bytes: int | None = None
    pool_id: str | None = None
    target: str = ""

    def __post_init__(self) -> None:
        _hold(self, "name", storable.line(self.name))
        _hold(self, "format", storable.line(self.format))
        _hold(self, "target", storable.line(self.target))
        _hold(self, "capacity_bytes", storable.size(self.capacity_bytes) or 0)
        _hold(self, "used_bytes", storable.size(self.used_bytes))


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """A virtual machine with its volumes and what can be done with it.

    `folder` is where its administrators filed it ("/datacenter/vm/web"), `resource_pool` the pool whose resources it uses,
    `tags` their marks on it; empty where the hypervisor has no such thing. `needs_consolidation` says that removed
    snapshots left disks behind; `question` is what the hypervisor waits to be told before it goes on with the machine.
    """

    native_id: str
    name: str
    power_state: PowerState
    memory_bytes: int
    volumes: tuple[VolumeRecord, ...]
    capabilities: Capabilities
    folder: str = ""
    resource_pool: str = ""
    tags: tuple[str, ...] = ()
    needs_consolidation: bool = False
    question: str = ""

    def __post_init__(self) -> None:
        _hold(self, "name", storable.line(self.name))
        _hold(self, "memory_bytes", storable.size(self.memory_bytes) or 0)
        _hold(self, "folder", storable.line(self.folder))
        _hold(self, "resource_pool", storable.line(self.resource_pool))
        _hold(self, "tags", tuple(storable.line(tag) for tag in self.tags[: storable.MOST_TAGS]))
        _hold(self, "question", storable.lines(self.question))


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """What to take. `token` is the caller's own mark (a UUID in text): the driver stores it with the snapshot, so that
    after a lost answer the snapshot can be recognised in `list_forests`.

    `name` and `description` are the user's text, any Unicode without control characters; memory and quiesce exclude
    each other.
    """

    token: str
    name: str
    description: str = ""
    memory: bool = False
    quiesce: bool = False


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """One VM snapshot on the hypervisor. `parent_id` is None for a root; `token` is None when it was made elsewhere.

    `measured_bytes` is what the hypervisor says the snapshot occupies, None where it cannot say.
    """

    native_id: str
    name: str
    description: str
    parent_id: str | None
    created_at: datetime
    kind: SnapshotKind
    token: str | None = None
    measured_bytes: int | None = None

    def __post_init__(self) -> None:
        _hold(self, "name", storable.line(self.name))
        _hold(self, "description", storable.lines(self.description))
        _hold(self, "created_at", storable.time(self.created_at))
        _hold(self, "measured_bytes", storable.size(self.measured_bytes))


@dataclass(frozen=True, slots=True)
class SnapshotForest:
    """All VM snapshots of one machine, parents before children, and where the machine stands.

    `current_id` is None when the machine does not stem from any snapshot.
    """

    snapshots: tuple[SnapshotRecord, ...] = ()
    current_id: str | None = None

    def by_id(self) -> dict[str, SnapshotRecord]:
        """The same snapshots, keyed by native id."""
        return {snapshot.native_id: snapshot for snapshot in self.snapshots}

    def by_token(self, token: str) -> SnapshotRecord | None:
        """The snapshot that carries this token, or None."""
        return next((snapshot for snapshot in self.snapshots if snapshot.token == token), None)


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything an endpoint holds, read in bulk.

    `loose_volumes` are those in its pools that are attached to no machine. `forests` has an entry for every machine.
    """

    host: HostRecord
    pools: tuple[PoolRecord, ...]
    machines: tuple[MachineRecord, ...]
    loose_volumes: tuple[VolumeRecord, ...]
    forests: dict[str, SnapshotForest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a hypervisor said has changed. `cursor` is for the next question. `machine_ids` are the machines that appeared,
    vanished, or changed in themselves or in their forest; None says that everything has to be read, as at the start and
    whenever the hypervisor lost count. `pools` says that a pool or a loose volume changed.
    """

    cursor: str
    machine_ids: frozenset[str] | None
    pools: bool = False

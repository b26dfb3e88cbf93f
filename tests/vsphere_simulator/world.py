"""What a simulator holds at its start, in plain values. All sizes are bytes, except a machine's memory (MiB, as vSphere has
it)."""

from dataclasses import dataclass, field

GIB = 2**30


@dataclass(frozen=True)
class Datastore:
    """A datastore; they are called LocalDS_0, LocalDS_1 and so on. Sizes in bytes."""

    capacity_bytes: int = 500 * GIB
    free_bytes: int = 300 * GIB


@dataclass(frozen=True)
class Machine:
    """A virtual machine. `folder` is below the datacenter's folder for machines ("web/production"), `pool` a resource pool
    of the cluster, `fields` are custom attributes (a standalone host has none of these but the pool); `tools` says that
    VMware Tools are installed in the guest; `snapshots` is how many it begins with, each below the one before."""

    name: str
    running: bool = False
    memory_mib: int = 512
    disk_bytes: tuple[int, ...] = (4 * GIB,)
    folder: str = ""
    pool: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    tools: bool = True
    snapshots: int = 0


@dataclass(frozen=True)
class LooseDisk:
    """A disk file that no machine uses; `path` as vSphere writes it: "[LocalDS_0] spare/spare.vmdk"."""

    path: str
    bytes: int = GIB


@dataclass(frozen=True)
class World:
    """What the server holds. `model` is "vcenter", or "esxi" for a host without vCenter."""

    machines: tuple[Machine, ...] = (Machine("stopped"), Machine("running", running=True))
    loose_disks: tuple[LooseDisk, ...] = ()
    datastores: tuple[Datastore, ...] = (Datastore(),)
    model: str = "vcenter"
    hosts: int = 1
    username: str = "operator@vsphere.local"
    password: str = "a made-up password"
    instance_uuid: str = ""
    session_idle_seconds: float = 0.0
    task_seconds: float = 0.0
    remember: str = ""
    trace: bool = False

"""The lab's machines and storage pools as data: the one place where they are listed."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class DiskSpec:
    """One disk of a machine: a volume `<machine>-<role>.<format>` in `pool`, `size` bytes as the guest sees it."""

    role: str
    size: int
    format: str = "qcow2"
    pool: str = "default"


@dataclass(frozen=True)
class MachineSpec:
    """One machine of the lab.

    `starts` says whether it runs after the first `up`. `writes_each_tick` makes the guest store its counter in the
    first sector of its first disk at every tick, otherwise only once after boot. `agent` adds a QEMU guest agent and a
    mounted file system, so that the machine can be quiesced.
    """

    name: str
    disks: tuple[DiskSpec, ...]
    memory: int = 96 * MIB
    starts: bool = True
    writes_each_tick: bool = True
    agent: bool = False

    def volume_name(self, disk: DiskSpec) -> str:
        """The file name of `disk` in its pool."""
        return f"{self.name}-{disk.role}.{disk.format}"


@dataclass(frozen=True)
class PoolSpec:
    """A directory pool. `size` in bytes makes it a file system of its own, small enough to fill."""

    name: str
    size: int | None = None


def _two_qcow2() -> tuple[DiskSpec, ...]:
    return (DiskSpec("system", 64 * MIB), DiskSpec("data", 32 * MIB))


POOLS: tuple[PoolSpec, ...] = (
    PoolSpec("default"),
    # One memory image of tiny-1 takes about 75 MiB: two fit, a third does not; `Lab.fill_small_pool` makes it sooner.
    PoolSpec("small", size=192 * MIB),
)

MACHINES: tuple[MachineSpec, ...] = (
    MachineSpec("web-1", _two_qcow2()),
    MachineSpec("web-2", _two_qcow2()),
    MachineSpec("db-1", _two_qcow2()),
    MachineSpec("files-1", (DiskSpec("system", 64 * MIB), DiskSpec("share", 32 * MIB, format="raw"))),
    MachineSpec("batch-1", _two_qcow2(), starts=False),
    # A guest that writes all the time is paused by QEMU when its pool is full; this one stays still, so that a test
    # of the full pool sees only what the snapshot itself did.
    MachineSpec("tiny-1", (DiskSpec("system", 16 * MIB, pool="small"),), writes_each_tick=False),
    # The only one that can be quiesced; its second disk carries a mounted file system.
    MachineSpec("agent-1", _two_qcow2(), memory=128 * MIB, agent=True),
)

"""What the books of a machine should say, as its rows have it, and what they do say: how many VM snapshots there are, what
counts in limits, what is allocated in each storage pool, and what is billed.

Writes nothing: `ledger` makes the books so, `services.book_check` compares, and whoever has had them settled goes on with
the rows that were read for it.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from snapshots.choices import Origin, SnapshotState
from snapshots.estimates import MachineEstimate, disk_part, estimate_machine, share_of
from snapshots.models import Account, MachineAllocation, VirtualMachine, VMSnapshot, Volume

TAKEN = (SnapshotState.READY, SnapshotState.REVERTING, SnapshotState.EXPUNGING)


class Counts(NamedTuple):
    """How many VM snapshots a machine has, how many of them were made elsewhere and are not adopted, how many are lost, and
    of how many the taking failed; as the columns of `VirtualMachine`."""

    snapshot_count: int
    unadopted_count: int
    lost_count: int
    failed_count: int


class Booking(NamedTuple):
    """What counts in limits: VM snapshots that are ours, not lost, and not such as could not be taken; and the bytes they
    are estimated to hold."""

    snapshots: int
    estimated_bytes: int


class Allocated(NamedTuple):
    """What a machine has in one pool, in bytes; as the columns of `MachineAllocation`."""

    volume_bytes: int
    disk_bytes: int
    memory_bytes: int
    measured_bytes: int | None


NOTHING = Booking(0, 0)


@dataclass
class MachineBooks:
    """The books of one machine as its rows say they should be, and these rows: its VM snapshots, and its volumes in their
    order, with their pools."""

    machine: VirtualMachine
    snapshots: list[VMSnapshot]
    volumes: list[Volume]
    counts: Counts
    booking: Booking
    allocated: dict[int | None, Allocated]
    billed: dict[UUID, "Billed"]
    """By public id."""


class Billed(NamedTuple):
    """A VM snapshot that counts. `taken`: it is on its hypervisor for sure, so that its billing may begin; once it has
    begun it goes on until the row is lost or gone."""

    facts: dict[str, Any]
    taken: bool
    adopted: bool


def books_of(machine_pks: Collection[int]) -> list[MachineBooks]:
    """What the books of these machines should say. Three queries; writes nothing."""
    machines = VirtualMachine.objects.filter(pk__in=machine_pks).select_related("hypervisor", "account__domain")
    snapshots: dict[int, list[VMSnapshot]] = defaultdict(list)
    for row in VMSnapshot.objects.filter(machine__in=machine_pks, parent__isnull=False).order_by("machine_id", "pk"):
        snapshots[row.machine_id].append(row)
    volumes: dict[int | None, list[Volume]] = defaultdict(list)
    attached = Volume.objects.filter(machine__in=machine_pks).select_related("pool")
    for volume in attached.order_by("machine_id", "target", "name", "pk"):
        volumes[volume.machine_id].append(volume)
    return [_books(machine, snapshots[machine.pk], volumes[machine.pk]) for machine in machines.order_by("pk")]


def _books(machine: VirtualMachine, snapshots: list[VMSnapshot], volumes: list[Volume]) -> MachineBooks:
    counts = _counts(snapshots)
    if machine.missing_since is not None:
        # Nobody could delete its VM snapshots, so nobody pays for them or has less room. Both come back with it.
        return MachineBooks(machine, snapshots, volumes, counts, NOTHING, {}, {})
    estimate = estimate_machine(
        snapshots,
        volume_bytes=sum(volume.capacity_bytes for volume in volumes),
        machine_memory_bytes=machine.memory_bytes,
    )
    ours = [row for row in snapshots if row.counts and row.present]
    counted = [row.pk for row in ours if row.limited]
    return MachineBooks(
        machine,
        snapshots,
        volumes,
        counts,
        Booking(len(counted), share_of(estimate, counted)),
        _allocated(snapshots, volumes, estimate),
        _billed(machine, machine.account, ours, volumes, estimate) if machine.account else {},
    )


def _counts(snapshots: list[VMSnapshot]) -> Counts:
    return Counts(
        len(snapshots),
        sum(not row.counts for row in snapshots),
        sum(not row.present for row in snapshots),
        sum(row.failed for row in snapshots),
    )


def _billed(
    machine: VirtualMachine,
    account: Account,
    ours: list[VMSnapshot],
    volumes: list[Volume],
    estimate: MachineEstimate,
) -> dict[UUID, Billed]:
    pool = volumes[0].pool if volumes else None
    same = {
        "machine_uuid": machine.uuid,
        "machine_name": machine.name,
        "account_uuid": account.uuid,
        "account_name": account.name,
        "domain_uuid": account.domain.uuid,
        "domain_name": account.domain.name,
        "pool_uuid": pool.uuid if pool else None,
        "pool_name": pool.name if pool else "",
        "hypervisor_uuid": machine.hypervisor.uuid,
        "hypervisor_name": machine.hypervisor.name,
        "volume_bytes": sum(volume.capacity_bytes for volume in volumes),
    }
    return {
        row.uuid: Billed(
            {
                **same,
                "snapshot_uuid": row.uuid,
                "snapshot_name": row.name,
                "estimated_bytes": estimate.shares[row.pk],
                "measured_bytes": row.measured_bytes,
            },
            taken=row.state in TAKEN and not row.failed,
            adopted=row.origin == Origin.ELSEWHERE,
        )
        for row in ours
    }


def _allocated(
    snapshots: list[VMSnapshot], volumes: list[Volume], estimate: MachineEstimate
) -> dict[int | None, Allocated]:
    """By pool: each volume in its own, memory and what is measured in that of the first volume."""
    first = volumes[0].pool_id if volumes else None
    sizes: dict[int | None, int] = defaultdict(int)
    for volume in volumes:
        sizes[volume.pool_id] += volume.capacity_bytes
    if snapshots and not volumes:
        sizes[None] = 0
    measured = [row.measured_bytes for row in snapshots if row.present and row.measured_bytes is not None]
    paths = estimate.paths
    return {
        pool: Allocated(
            size,
            disk_part(size, paths),
            estimate.memory_bytes if pool == first else 0,
            sum(measured) if measured and pool == first else None,
        )
        for pool, size in sizes.items()
    }


def counts_of(machine: VirtualMachine) -> Counts:
    """What stands written."""
    return Counts(*(getattr(machine, name) for name in Counts._fields))


def allocated_of(row: MachineAllocation) -> Allocated:
    """What stands written."""
    return Allocated(*(getattr(row, name) for name in Allocated._fields))

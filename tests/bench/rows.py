"""The rows that pages are measured over: people, and machines with trees as a reading of a hypervisor brings them.

The hypervisor does not exist, so a page that called one would fail.
"""

from datetime import UTC, datetime, timedelta

import time_machine
from django.db import transaction

from hypervisors.capabilities import Capabilities
from hypervisors.models import Hypervisor
from hypervisors.records import (
    HostRecord,
    Inventory,
    MachineRecord,
    PoolRecord,
    PowerState,
    SnapshotForest,
    SnapshotKind,
    SnapshotRecord,
    VolumeRecord,
)
from snapshots import ledger
from snapshots.access import SYSTEM
from snapshots.choices import Role
from snapshots.models import Account, User, VirtualMachine, VMSnapshot
from snapshots.services import endpoints, tenancy
from snapshots.services.inventory_sync import apply_inventory

GIB = 1024**3
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def read_in(name: str, trees: dict[str, int]) -> Hypervisor:
    """A hypervisor of this name with these machines, each with a tree of so many VM snapshots."""
    hypervisor = endpoints.add_endpoint(SYSTEM, name=name, kind="simulated", address=name)
    inventory = Inventory(
        host=HostRecord(name, name, "Bench", "1"),
        pools=(PoolRecord("pool", "pool", "dir", 10_000 * GIB, 5_000 * GIB, True),),
        machines=tuple(_machine(machine) for machine in trees),
        loose_volumes=(),
        forests={machine: _forest(count) for machine, count in trees.items()},
    )
    apply_inventory(hypervisor.pk, inventory, datetime.now(UTC))
    return hypervisor


def give(account: Account, **which: object) -> None:
    """Give machines to an account. Thousands of assignments one by one, with an event each, would measure nothing."""
    VirtualMachine.objects.filter(**which).update(account=account)


def own(account: Account, since: datetime, **which: object) -> None:
    """The same with all that is kept of it: their VM snapshots are adopted at this time, and the books are settled, so that
    they count in limits and are billed."""
    machines = VirtualMachine.objects.filter(**which)
    keys = list(machines.values_list("pk", flat=True))
    with time_machine.travel(since, tick=False), transaction.atomic():
        VMSnapshot.objects.filter(machine__in=machines, parent__isnull=False).update(adopted_at=since)
        machines.update(account=account, unadopted_count=0)
        ledger.settle(keys)


def operator(name: str, account: Account) -> User:
    """A user who may operate the account's machines."""
    user = tenancy.create_user(SYSTEM, username=name, password="only-for-this-measurement")
    tenancy.grant_role(SYSTEM, user=user, role=Role.OPERATOR, account=account)
    return user


def _machine(name: str) -> MachineRecord:
    volumes = tuple(
        VolumeRecord(f"/{name}/{target}", f"{name}-{target}", "qcow2", 10 * GIB, GIB, "pool", target)
        for target in ("vda", "vdb")
    )
    return MachineRecord(name, name, PowerState.RUNNING, 4 * GIB, volumes, Capabilities())


def _forest(count: int) -> SnapshotForest:
    """A trunk with a side branch at every fifth snapshot."""
    records: list[SnapshotRecord] = []
    trunk: str | None = None
    for number in range(count):
        side = number % 5 == 4
        record = SnapshotRecord(
            native_id=f"snapshot-{number}",
            name=f"Before change {number}",
            description="Taken by the nightly run",
            parent_id=trunk,
            created_at=BEGAN + timedelta(hours=number),
            kind=SnapshotKind.DISK if side else SnapshotKind.DISK_AND_MEMORY,
            measured_bytes=GIB,
        )
        records.append(record)
        trunk = trunk if side else record.native_id
    return SnapshotForest(tuple(records), trunk)

"""The books of the VM snapshots: what counts in limits, what is billed, and what is allocated in each storage pool.

`settle` makes the books of some machines equal to their rows, and is called by whatever changes a tree, a volume, or whose
a machine is, in the same transaction and under the machines' locks. So the books never wait for anybody to count, and
counting again finds the same (`services.book_check`).

Locks are taken in this order, whoever takes them: machines, the use of accounts, the use of domains, each by their keys.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from snapshots.choices import Origin, SnapshotState, UsageChange
from snapshots.estimates import MachineEstimate, disk_part, estimate_machine, share_of
from snapshots.models import (
    Account,
    LimitUse,
    MachineAllocation,
    OpenUsage,
    UsageEvent,
    VirtualMachine,
    VMSnapshot,
    Volume,
)
from snapshots.models.usage import FACTS, PLACE, SIZES

BATCH = 500
TAKEN = (SnapshotState.READY, SnapshotState.REVERTING, SnapshotState.EXPUNGING)


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
    """The books of one machine as its rows say they should be."""

    machine: VirtualMachine
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


def settle(machine_pks: Collection[int]) -> None:
    """Make the books of these machines equal to their rows. Call inside the transaction, under the machines' locks."""
    keys = sorted(set(machine_pks))
    for start in range(0, len(keys), BATCH):
        _settle(keys[start : start + BATCH])


def note_revert(snapshot: VMSnapshot) -> None:
    """A usage event: the machine was reverted to this VM snapshot. What is billed does not change by it."""
    line = OpenUsage.objects.filter(snapshot_uuid=snapshot.uuid).first()
    if line is not None:
        line.since = _not_before(line.since)
        line.save(update_fields=["since"])
        UsageEvent.objects.create(
            at=line.since, change=UsageChange.REVERT, alive=True, **{name: getattr(line, name) for name in FACTS}
        )


def _settle(machine_pks: list[int]) -> None:
    books = books_of(machine_pks)
    _book_use(books)
    _write_allocations(books)
    _write_usage(books)


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
    estimate = estimate_machine(
        snapshots,
        volume_bytes=sum(volume.capacity_bytes for volume in volumes),
        machine_memory_bytes=machine.memory_bytes,
    )
    ours = [row for row in snapshots if row.counts and row.present]
    counted = [row.pk for row in ours if row.limited]
    return MachineBooks(
        machine,
        Booking(len(counted), share_of(estimate, counted)),
        _allocated(snapshots, volumes, estimate),
        _billed(machine, machine.account, ours, volumes, estimate) if machine.account else {},
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


# What counts in limits


def lock_use(account_pks: Collection[int]) -> dict[int, LimitUse]:
    """The use of these accounts, locked, by account. Rows that are not there yet are made. Come here before
    `lock_domain_use`."""
    found = _locked_use(Q(account__in=account_pks), "account_id")
    if missing := set(account_pks) - set(found):
        # Another process may be doing the same.
        LimitUse.objects.bulk_create([LimitUse(account_id=pk) for pk in sorted(missing)], ignore_conflicts=True)
        found = _locked_use(Q(account__in=account_pks), "account_id")
    return found


def lock_domain_use(domain_pks: Collection[int]) -> dict[int, LimitUse]:
    """The same of domains. While the use of an account is locked it does not move, so its domains are to be asked for
    after `lock_use`."""
    found = _locked_use(Q(domain__in=domain_pks), "domain_id")
    if missing := set(domain_pks) - set(found):
        LimitUse.objects.bulk_create([LimitUse(domain_id=pk) for pk in sorted(missing)], ignore_conflicts=True)
        found = _locked_use(Q(domain__in=domain_pks), "domain_id")
    return found


def _locked_use(which: Q, key: str) -> dict[int, LimitUse]:
    rows = LimitUse.objects.select_for_update().filter(which).order_by(key)
    return {getattr(row, key): row for row in rows}


def shift_use(by_account: Mapping[int, Booking]) -> None:
    """Add to the use of these accounts, and of all domains above them."""
    changed = {pk: booking for pk, booking in by_account.items() if booking != NOTHING}
    if not changed:
        return
    accounts = lock_use(changed)
    paths = Account.objects.filter(pk__in=changed).values_list("pk", "domain__path")
    above = {pk: [int(part) for part in path.split("/") if part] for pk, path in paths}
    domains = lock_domain_use({domain for parts in above.values() for domain in parts})
    for pk, booking in changed.items():
        for use in (accounts[pk], *(domains[domain] for domain in above[pk])):
            use.snapshots += booking.snapshots
            use.estimated_bytes += booking.estimated_bytes
    LimitUse.objects.bulk_update([*accounts.values(), *domains.values()], ("snapshots", "estimated_bytes"), BATCH)


def move_use(account_pks: Collection[int], old: Collection[int], new: Collection[int]) -> None:
    """The accounts are about to move: what they use is taken from the domains `old` above them and added to the domains
    `new`; it stays with the accounts and with the domains that are in both. Locks both."""
    accounts = lock_use(account_pks)
    domains = lock_domain_use({*old, *new})
    for pks, sign in ((set(old) - set(new), -1), (set(new) - set(old), 1)):
        for pk in pks:
            domains[pk].snapshots += sign * sum(use.snapshots for use in accounts.values())
            domains[pk].estimated_bytes += sign * sum(use.estimated_bytes for use in accounts.values())
    LimitUse.objects.bulk_update(domains.values(), ("snapshots", "estimated_bytes"), BATCH)


def _book_use(books: Iterable[MachineBooks]) -> None:
    shifts: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    changed = []
    for book in books:
        machine = book.machine
        booked = (machine.booked_account_id, machine.booked_snapshots, machine.booked_bytes)
        owner = machine.account_id
        wanted = (owner, *book.booking) if owner is not None else (None, *NOTHING)
        if booked == wanted:
            continue
        for (account, snapshots, size), sign in ((booked, -1), (wanted, 1)):
            if account is not None:
                shifts[account][0] += sign * snapshots
                shifts[account][1] += sign * size
        machine.booked_account_id, machine.booked_snapshots, machine.booked_bytes = wanted
        changed.append(machine)
    shift_use({account: Booking(*shift) for account, shift in shifts.items()})
    VirtualMachine.objects.bulk_update(changed, ("booked_account", "booked_snapshots", "booked_bytes"), BATCH)


# What is allocated


def _write_allocations(books: list[MachineBooks]) -> None:
    there = {
        (row.machine_id, row.pool_id): row
        for row in MachineAllocation.objects.filter(machine__in=[book.machine.pk for book in books])
    }
    new, changed = [], []
    for book in books:
        for pool, allocated in book.allocated.items():
            row = there.pop((book.machine.pk, pool), None)
            if row is None:
                new.append(MachineAllocation(machine=book.machine, pool_id=pool, **allocated._asdict()))
            elif allocated_of(row) != allocated:
                for name, value in allocated._asdict().items():
                    setattr(row, name, value)
                changed.append(row)
    if there:
        MachineAllocation.objects.filter(pk__in=[row.pk for row in there.values()]).delete()
    MachineAllocation.objects.bulk_create(new, BATCH)
    MachineAllocation.objects.bulk_update(changed, Allocated._fields, BATCH)


def allocated_of(row: MachineAllocation) -> Allocated:
    """What stands written."""
    return Allocated(*(getattr(row, name) for name in Allocated._fields))


# What is billed


def _write_usage(books: list[MachineBooks]) -> None:
    """Open, change and close what is billed, with a usage event for each."""
    lines = {row.snapshot_uuid: row for row in OpenUsage.objects.filter(machine__in=[b.machine.pk for b in books])}
    events: list[UsageEvent] = []
    opened: list[OpenUsage] = []
    changed: list[OpenUsage] = []
    for book in books:
        for key, billed in book.billed.items():
            line = lines.pop(key, None)
            if line is None:
                if billed.taken:
                    line = OpenUsage(machine=book.machine, since=timezone.now(), **billed.facts)
                    opened.append(line)
                    events.append(_event(line, UsageChange.ADOPT if billed.adopted else UsageChange.CREATE))
            elif change := _change(line, billed.facts):
                _write_facts(line, book.machine, billed.facts)
                changed.append(line)
                events.append(_event(line, change))
    for line in lines.values():
        line.since = _not_before(line.since)
        events.append(_event(line, UsageChange.DELETE, alive=False))
    OpenUsage.objects.filter(pk__in=[line.pk for line in lines.values()]).delete()
    OpenUsage.objects.bulk_create(opened, BATCH)
    OpenUsage.objects.bulk_update(changed, ("machine", "since", *FACTS), BATCH)
    UsageEvent.objects.bulk_create(events, BATCH)


def _change(line: OpenUsage, facts: dict[str, Any]) -> UsageChange | None:
    """What kind of change the facts are. A new name alone is none: records are given the name of the day."""
    if any(getattr(line, name) != facts[name] for name in PLACE):
        return UsageChange.TRANSFER
    if any(getattr(line, name) != facts[name] for name in SIZES):
        return UsageChange.RESIZE
    return None


def _write_facts(line: OpenUsage, machine: VirtualMachine, facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        setattr(line, name, value)
    line.machine, line.since = machine, _not_before(line.since)


def _event(line: OpenUsage, change: UsageChange, *, alive: bool = True) -> UsageEvent:
    return UsageEvent(at=line.since, change=change, alive=alive, **{name: getattr(line, name) for name in FACTS})


def _not_before(earlier: datetime) -> datetime:
    """Now, or that time if the clock was set back since."""
    return max(timezone.now(), earlier)

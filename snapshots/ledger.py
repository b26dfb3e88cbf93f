"""The books of the VM snapshots: how many there are, what counts in limits, what is billed, and what is allocated in each
storage pool.

`settle` makes the books of some machines equal to their rows, and is called by whatever changes a tree, a volume, or whose
a machine is, in the same transaction and under the machines' locks. So the books never wait for anybody to count, and
counting again finds the same (`services.book_check`).

Locks are taken in this order, whoever takes them: machines, the use of accounts, the use of domains, the policies of pools,
each by their keys.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Max, Model, Q
from django.utils import timezone

from snapshots.choices import UsageChange
from snapshots.machine_books import (
    NOTHING,
    Allocated,
    Booking,
    Counts,
    MachineBooks,
    allocated_of,
    books_of,
    counts_of,
)
from snapshots.models import Account, LimitUse, MachineAllocation, OpenUsage, UsageEvent, VirtualMachine, VMSnapshot
from snapshots.models.usage import FACTS, PLACE, SIZES

BATCH = 500

Row = TypeVar("Row", bound=Model)


def settle(machine_pks: Collection[int]) -> None:
    """Make the books of these machines equal to their rows. Call inside the transaction, under the machines' locks, and at
    its end where several machines are settled: whoever holds the use of an account waits for no machine."""
    keys = sorted(set(machine_pks))
    shifts = _Shifts()
    for start in range(0, len(keys), BATCH):
        _write(books_of(keys[start : start + BATCH]), shifts)
    # All at once, so that no account is locked after a domain.
    shifts.write()


def settle_one(machine_pk: int) -> MachineBooks:
    """`settle` one machine; answers its books, for those who go on with the same rows. Its account, if what that uses
    changed by this, is as it stands while its use is locked."""
    books, shifts = books_of([machine_pk]), _Shifts()
    _write(books, shifts)
    accounts = shifts.write()
    (book,) = books
    if book.machine.account_id in accounts:
        book.machine.account = accounts[book.machine.account_id]
    return book


def _write(books: list[MachineBooks], shifts: "_Shifts") -> None:
    _write_machines(books, shifts)
    _write_allocations(books)
    _write_usage(books)


def note_revert(snapshot: VMSnapshot) -> None:
    """A usage event: the machine was reverted to this VM snapshot. What is billed does not change by it."""
    line = OpenUsage.objects.filter(snapshot_uuid=snapshot.uuid).first()
    if line is not None:
        line.since = _not_before(line.since)
        line.save(update_fields=["since"])
        UsageEvent.objects.create(
            at=line.since, change=UsageChange.REVERT, alive=True, **{name: getattr(line, name) for name in FACTS}
        )


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


def shift_use(by_account: Mapping[int, Booking]) -> dict[int, Account]:
    """Add to the use of these accounts, and of all domains above them. Answers the accounts for which that is more or less
    than before, with their domains, as they stand while their use is locked."""
    changed = {pk: booking for pk, booking in by_account.items() if booking != NOTHING}
    if not changed:
        return {}
    uses = lock_use(changed)
    accounts = Account.objects.select_related("domain").in_bulk(changed)
    above = {pk: account.domain.ancestor_ids for pk, account in accounts.items()}
    domains = lock_domain_use({domain for path in above.values() for domain in path})
    for pk, booking in changed.items():
        for use in (uses[pk], *(domains[domain] for domain in above[pk])):
            use.snapshots += booking.snapshots
            use.estimated_bytes += booking.estimated_bytes
    _rewrite([*uses.values(), *domains.values()], Booking._fields)
    return accounts


def move_use(account_pks: Collection[int], old: Collection[int], new: Collection[int]) -> None:
    """The accounts are about to move: what they use is taken from the domains `old` above them and added to the domains
    `new`; it stays with the accounts and with the domains that are in both. Locks both."""
    accounts = lock_use(account_pks)
    domains = lock_domain_use({*old, *new})
    for pks, sign in ((set(old) - set(new), -1), (set(new) - set(old), 1)):
        for pk in pks:
            domains[pk].snapshots += sign * sum(use.snapshots for use in accounts.values())
            domains[pk].estimated_bytes += sign * sum(use.estimated_bytes for use in accounts.values())
    _rewrite(domains.values(), Booking._fields)


class _Shifts:
    """By how much the use of accounts changes, added up over several machines."""

    def __init__(self) -> None:
        self._sums: dict[int, Booking] = defaultdict(lambda: NOTHING)

    def add(self, account_pk: int | None, snapshots: int, estimated_bytes: int) -> None:
        """What a machine has more, less than nothing for less. A machine of nobody uses nothing."""
        if account_pk is not None:
            before = self._sums[account_pk]
            self._sums[account_pk] = Booking(before.snapshots + snapshots, before.estimated_bytes + estimated_bytes)

    def write(self) -> dict[int, Account]:
        """As `shift_use`."""
        return shift_use(self._sums)


def _write_machines(books: Iterable[MachineBooks], shifts: _Shifts) -> None:
    """Write how many VM snapshots each machine has and what is booked of it, and add up by how much the use of its account
    changes by that."""
    changed = []
    for book in books:
        machine = book.machine
        booked = (machine.booked_account_id, machine.booked_snapshots, machine.booked_bytes)
        owner = machine.account_id
        wanted = (owner, *book.booking) if owner is not None else (None, *NOTHING)
        if booked == wanted and counts_of(machine) == book.counts:
            continue
        shifts.add(booked[0], -booked[1], -booked[2])
        shifts.add(*wanted)
        machine.booked_account_id, machine.booked_snapshots, machine.booked_bytes = wanted
        for name, value in book.counts._asdict().items():
            setattr(machine, name, value)
        changed.append(machine)
    _rewrite(changed, ("booked_account", "booked_snapshots", "booked_bytes", *Counts._fields))


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
    _rewrite(changed, Allocated._fields)


# What is billed


def _write_usage(books: list[MachineBooks]) -> None:
    """Open, change and close what is billed, with a usage event for each."""
    lines = {row.snapshot_uuid: row for row in OpenUsage.objects.filter(machine__in=[b.machine.pk for b in books])}
    events: list[UsageEvent] = []
    opened: list[tuple[OpenUsage, bool]] = []
    changed: list[OpenUsage] = []
    for book in books:
        for key, billed in book.billed.items():
            line = lines.pop(key, None)
            if line is None:
                if billed.taken:
                    opened.append((OpenUsage(machine=book.machine, **billed.facts), billed.adopted))
            elif change := _change(line, billed.facts):
                _write_facts(line, book.machine, billed.facts)
                changed.append(line)
                events.append(_event(line, change))
    for line in lines.values():
        line.since = _not_before(line.since)
        events.append(_event(line, UsageChange.DELETE, alive=False))
    if lines:
        OpenUsage.objects.filter(pk__in=[line.pk for line in lines.values()]).delete()
    events += _open(opened)
    _rewrite(changed, ("machine", "since", *FACTS))
    UsageEvent.objects.bulk_create(events, BATCH)


def _open(opened: list[tuple[OpenUsage, bool]]) -> list[UsageEvent]:
    """Write these lines, each with whether it was made elsewhere; answers their events, to be written."""
    if not opened:
        return []
    keys = [line.snapshot_uuid for line, _ in opened]
    # One may have been billed before: its machine belonged to nobody meanwhile, or it was lost.
    earlier = UsageEvent.objects.filter(snapshot_uuid__in=keys).order_by().values_list("snapshot_uuid")
    ended = dict(earlier.annotate(last=Max("at")))
    for line, _ in opened:
        line.since = _not_before(ended.get(line.snapshot_uuid))
    OpenUsage.objects.bulk_create([line for line, _ in opened], BATCH)
    return [_event(line, UsageChange.ADOPT if adopted else UsageChange.CREATE) for line, adopted in opened]


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


def _not_before(earlier: datetime | None) -> datetime:
    """Now, or that time if the clock was set back since."""
    now = timezone.now()
    return now if earlier is None else max(now, earlier)


def _rewrite(rows: Collection[Row], columns: Collection[str]) -> None:
    """Write these columns of rows that were read under their locks, by an insert that finds each of them there.

    Not `bulk_update`: it puts each value into a CASE of its own, which takes Django several times as long as all the rest.
    """
    if not rows:
        return
    model = type(next(iter(rows)))
    model._base_manager.bulk_create(rows, BATCH, update_conflicts=True, unique_fields=("pk",), update_fields=columns)

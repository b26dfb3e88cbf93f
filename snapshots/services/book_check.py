"""Counts everything again that the books say, tells of every difference, and puts it right. On a tick, and by the command
`check_books`; after an upgrade it fills books of rows that were there before them.

The rows of the machines are the truth. Where books and rows differ, something wrote rows past the services: an event tells
of it. What is booked of machines comes first and leaves alone what their accounts use, which is compared afterwards: it may
be right where the machine's booking is not, and nobody passes a limit meanwhile.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from snapshots import ledger, tree
from snapshots.access import SYSTEM
from snapshots.machine_books import NOTHING, Allocated, Booking, MachineBooks, allocated_of, books_of, counts_of
from snapshots.models import (
    Account,
    Domain,
    Event,
    LimitUse,
    MachineAllocation,
    OpenUsage,
    VirtualMachine,
)
from snapshots.models.usage import PLACE, SIZES
from snapshots.services import events

MACHINES_AT_ONCE = 200
TOLD_ONE_BY_ONE = 20
COMPARED = (*PLACE, *SIZES)


@dataclass(frozen=True, slots=True)
class Difference:
    """What the books said of one machine, account or domain, and what was counted. `what` says which book; `plain`: the
    figures mean something to the members of the account."""

    what: str
    of: str
    said: str
    counted: str
    plain: bool
    machine: VirtualMachine | None = None
    account: Account | None = None

    @property
    def words(self) -> str:
        """The difference as a sentence, for those who run the installation."""
        return f"{self.what} of {self.of}: the books said {self.said}, counted were {self.counted}."

    @property
    def told(self) -> str:
        """The same for the history, once it is put right."""
        return self.words if self.plain else f"The {self.what[:1].lower()}{self.what[1:]} of {self.of} was put right."


def check_books(*, repair: bool) -> list[Difference]:
    """Compare all books with the rows: first, a few at a time, what is booked of machines with their rows, then what
    accounts and domains use with what was counted. With `repair` put right what differs, in the same order, and tell of it
    in the history."""
    found: list[Difference] = []
    keys = list(VirtualMachine.objects.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), MACHINES_AT_ONCE):
        found += _check_machines(keys[start : start + MACHINES_AT_ONCE])
    wrong = sorted({one.machine.pk for one in found if one.machine is not None})
    if repair:
        for machine_pk in wrong:
            _repair_machine(machine_pk)
    found += _check_use([] if repair else wrong, repair=repair)
    if repair:
        _tell(found)
    return found


@transaction.atomic
def _repair_machine(machine_pk: int) -> None:
    """Make the books of a machine what its rows say. What its account uses stays as it is."""
    # As the tree locks it; taking more of a lock later could wait for one who waits for this.
    if not VirtualMachine.objects.select_for_update().filter(pk=machine_pk):
        return
    (book,) = books_of([machine_pk])
    account, snapshots, size = _wanted(book)
    booked = {"booked_account": account, "booked_snapshots": snapshots, "booked_bytes": size}
    VirtualMachine.objects.filter(pk=machine_pk).update(**booked)
    tree.repair(machine_pk)


def _locked_books(machine_pks: Collection[int]) -> list[MachineBooks]:
    """What the books of those that are still there should say, which nobody changes before the transaction ends."""
    list(VirtualMachine.objects.select_for_update(no_key=True).filter(pk__in=machine_pks).order_by("pk"))
    return books_of(machine_pks)


@transaction.atomic
def _check_machines(machine_pks: Collection[int]) -> list[Difference]:
    books = _locked_books(machine_pks)
    allocations: dict[int, dict[int | None, Allocated]] = defaultdict(dict)
    for row in MachineAllocation.objects.filter(machine__in=machine_pks):
        allocations[row.machine_id][row.pool_id] = allocated_of(row)
    lines: dict[int, dict[UUID, OpenUsage]] = defaultdict(dict)
    for line in OpenUsage.objects.filter(machine__in=machine_pks):
        lines[line.machine_id][line.snapshot_uuid] = line
    found: list[Difference] = []
    for book in books:
        machine = book.machine
        booked, wanted = _booked(machine), _wanted(book)
        if booked != wanted:
            told, right = _booked_in_words(machine, *booked), _booked_in_words(machine, *wanted)
            found.append(Difference("Use of limits", machine.name, told, right, plain=True, machine=machine))
        for what, said, counted in (
            ("Count of VM snapshots", tuple(counts_of(machine)), tuple(book.counts)),
            ("Allocation", _sizes(allocations[machine.pk]), _sizes(book.allocated)),
            ("Open usage", *_usage(book, lines[machine.pk])),
        ):
            if said != counted:
                found.append(Difference(what, machine.name, str(said), str(counted), plain=False, machine=machine))
    return found


def _booked(machine: VirtualMachine) -> tuple[int | None, int, int]:
    return machine.booked_account_id, machine.booked_snapshots, machine.booked_bytes


def _wanted(book: MachineBooks) -> tuple[int | None, int, int]:
    owner = book.machine.account_id
    return (owner, *book.booking) if owner is not None else (None, *NOTHING)


def _booked_in_words(machine: VirtualMachine, account: int | None, snapshots: int, size: int) -> str:
    """Without the name of an account that is not the machine's."""
    of = "" if account == machine.account_id else " for no account" if account is None else " for another account"
    return f"{_told(Booking(snapshots, size))}{of}"


def _sizes(by_pool: Mapping[int | None, Allocated]) -> list[tuple[int | None, tuple[int | None, ...]]]:
    return sorted(((pool, tuple(sizes)) for pool, sizes in by_pool.items()), key=repr)


def _usage(book: MachineBooks, lines: Mapping[UUID, OpenUsage]) -> tuple[list[str], list[str]]:
    """What is billed, and what should be, where the two differ. Names may differ: they are those of the last change."""
    said, counted = [], []
    for key in sorted({*lines, *book.billed}, key=str):
        line, billed = lines.get(key), book.billed.get(key)
        if line is None and billed is not None and not billed.taken:
            continue
        of_line = None if line is None else [getattr(line, name) for name in COMPARED]
        wanted = None if billed is None else [billed.facts[name] for name in COMPARED]
        if of_line != wanted:
            said.append(f"{key} {of_line}")
            counted.append(f"{key} {wanted}")
    return said, counted


@transaction.atomic
def _check_use(wrong: Sequence[int], *, repair: bool) -> list[Difference]:
    """What accounts and domains use, against what stands booked with the machines; of those that are `wrong` against what
    should. The use of all is locked meanwhile, so that nothing can be booked in between."""
    amends: list[tuple[int | None, int, int]] = []
    for start in range(0, len(wrong), MACHINES_AT_ONCE):
        for book in _locked_books(wrong[start : start + MACHINES_AT_ONCE]):
            account, snapshots, size = _booked(book.machine)
            amends += [(account, -snapshots, -size), _wanted(book)]
    accounts = ledger.lock_use(Account.objects.values_list("pk", flat=True))
    domains = ledger.lock_domain_use(Domain.objects.values_list("pk", flat=True))
    booked = VirtualMachine.objects.filter(booked_account__isnull=False).order_by().values_list("booked_account")
    sums = booked.annotate(count=Sum("booked_snapshots"), size=Sum("booked_bytes"))
    of_accounts = {pk: Booking(snapshots, size) for pk, snapshots, size in sums}
    for pk, snapshots, size in amends:
        if pk is not None:
            before = of_accounts.get(pk, NOTHING)
            of_accounts[pk] = Booking(before.snapshots + snapshots, before.estimated_bytes + size)
    of_domains: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    rows = {account.pk: account for account in Account.objects.select_related("domain")}
    for pk, booking in of_accounts.items():
        for domain in rows[pk].domain.ancestor_ids:
            of_domains[domain][0] += booking.snapshots
            of_domains[domain][1] += booking.estimated_bytes
    names = dict(Domain.objects.values_list("pk", "name"))
    found = []
    for pk, use in accounts.items():
        if pk in rows and (told := _wrong(use, of_accounts.get(pk, NOTHING))):
            found.append(
                Difference("Use of limits", f"the account {rows[pk].name}", *told, plain=True, account=rows[pk])
            )
    for pk, use in domains.items():
        if pk in names and (told := _wrong(use, Booking(*of_domains.get(pk, NOTHING)))):
            found.append(Difference("Use of limits", f"the domain {names[pk]}", *told, plain=True))
    if repair and found:
        LimitUse.objects.bulk_update(
            [*accounts.values(), *domains.values()], ("snapshots", "estimated_bytes"), batch_size=500
        )
    return found


def _wrong(use: LimitUse, counted: Booking) -> tuple[str, str] | None:
    """What the row said and what was counted, where that differs; the row, not saved, has the right figures afterwards."""
    said = Booking(use.snapshots, use.estimated_bytes)
    if said == counted:
        return None
    use.snapshots, use.estimated_bytes = counted
    return _told(said), _told(counted)


def _told(booking: Booking) -> str:
    return f"{booking.snapshots} VM snapshots and {booking.estimated_bytes} bytes"


def _tell(found: Sequence[Difference]) -> None:
    told = [
        events.prepared(
            SYSTEM,
            "books.differed",
            level=Event.Level.WARNING,
            machine=one.machine,
            account=one.account,
            detail=one.told,
        )
        for one in found[:TOLD_ONE_BY_ONE]
    ]
    if len(found) > TOLD_ONE_BY_ONE:
        more = f"{len(found) - TOLD_ONE_BY_ONE} more differences between the books and the rows were put right."
        told.append(events.prepared(SYSTEM, "books.differed", level=Event.Level.WARNING, detail=more))
    events.record_all(told)

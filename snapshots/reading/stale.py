"""VM snapshots that were perhaps forgotten: old ones, and machines that have many. The number of queries is constant; that
of the whole lists, which are written as CSV, grows with their batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from snapshots.access import Person, visible_machines, visible_snapshots
from snapshots.models import MachineAllocation, VirtualMachine, VMSnapshot
from snapshots.pool_room import Held, sums_by
from snapshots.reading import rest_lists

SHOWN = 50
COUNTED_MOST = 1000
BATCH = 500
OLD_COLUMNS = ("VM snapshot", "id", "machine", "account", "taken", "deleting frees (bytes)", "measured (bytes)")
MANY_COLUMNS = ("machine", "id", "account", "VM snapshots", "volumes (bytes)", "estimated (bytes)", "measured (bytes)")


@dataclass(frozen=True, slots=True)
class Stale:
    """Old VM snapshots, oldest first, each with its `estimated_bytes` (what deleting it gives back); how many there are, at
    most `COUNTED_MOST` + 1; and the machines with the most, each with what they hold."""

    old: list[VMSnapshot]
    old_count: int
    many: list[tuple[VirtualMachine, Held]]
    many_count: int
    after_days: int
    per_machine: int

    @property
    def old_words(self) -> str:
        """How many are old."""
        return f"more than {COUNTED_MOST:,}" if self.old_count > COUNTED_MOST else f"{self.old_count:,}"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing stale."""
        return not self.old and not self.many

    @property
    def freed_bytes(self) -> int:
        """What deleting those that are shown would give back, one by one."""
        return sum(row.estimated_bytes for row in self.old)


def stale(person: Person, most: int = SHOWN) -> Stale:
    """What the person sees of it, at most so many of each. Seven queries at most."""
    rows = list(_old(person)[:most])
    rest_lists.add_estimates(rows)
    machines = _with_many(person)
    many = list(machines[:most])
    held = sums_by(MachineAllocation.objects.filter(machine__in=[row.pk for row in many]), "machine_id")
    return Stale(
        old=rows,
        old_count=len(rows) if len(rows) < most else _count(person),
        many=[(row, held[row.pk]) for row in many],
        many_count=len(many) if len(many) < most else machines.count(),
        after_days=settings.STALE_AFTER_DAYS,
        per_machine=settings.STALE_PER_MACHINE,
    )


def old_lines(person: Person) -> Iterator[tuple[Any, ...]]:
    """All old VM snapshots that the person sees, as `OLD_COLUMNS`, the oldest first. Three queries for each batch, four
    with lost ones."""
    rows = _old(person).select_related("machine__account").iterator(BATCH)
    while batch := list(islice(rows, BATCH)):
        rest_lists.add_estimates(batch)
        for row in batch:
            account = row.machine.account.name if row.machine.account else None
            place = (row.name, row.uuid, row.machine.name, account)
            yield (*place, row.created_at, row.estimated_bytes, row.measured_bytes)


def many_lines(person: Person) -> Iterator[tuple[Any, ...]]:
    """All machines that the person sees with too many, as `MANY_COLUMNS`, those with the most first. A query for each
    batch."""
    rows = _with_many(person).iterator(BATCH)
    while batch := list(islice(rows, BATCH)):
        held = sums_by(MachineAllocation.objects.filter(machine__in=[row.pk for row in batch]), "machine_id")
        for row in batch:
            account = row.account.name if row.account else None
            yield (row.name, row.uuid, account, row.snapshot_count, *held[row.pk])


def _is_old() -> Q:
    return Q(created_at__lt=timezone.now() - timedelta(days=settings.STALE_AFTER_DAYS))


def _old(person: Person) -> Any:
    return rest_lists.snapshots(person).filter(_is_old()).select_related("machine").order_by("created_at", "pk")


def _count(person: Person) -> int:
    count: int = visible_snapshots(person).filter(_is_old())[: COUNTED_MOST + 1].count()
    return count


def _with_many(person: Person) -> QuerySet[VirtualMachine]:
    machines = visible_machines(person).filter(snapshot_count__gt=settings.STALE_PER_MACHINE)
    return machines.select_related("account").defer("capabilities").order_by("-snapshot_count", "name", "pk")

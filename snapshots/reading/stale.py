"""VM snapshots that were perhaps forgotten: old ones, and machines that have many. The number of queries is constant."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from snapshots.access import Person, visible_machines, visible_snapshots
from snapshots.models import MachineAllocation, VirtualMachine, VMSnapshot
from snapshots.pool_room import Held, sums_by
from snapshots.reading import rest_lists

SHOWN = 50
COUNTED_MOST = 1000


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
    old = Q(created_at__lt=timezone.now() - timedelta(days=settings.STALE_AFTER_DAYS))
    rows = list(rest_lists.snapshots(person).filter(old).select_related("machine").order_by("created_at", "pk")[:most])
    rest_lists.add_estimates(rows)
    machines = visible_machines(person).filter(snapshot_count__gt=settings.STALE_PER_MACHINE)
    many = list(machines.select_related("account").defer("capabilities").order_by("-snapshot_count", "name")[:most])
    held = sums_by(MachineAllocation.objects.filter(machine__in=[row.pk for row in many]), "machine_id")
    return Stale(
        old=rows,
        old_count=len(rows) if len(rows) < most else visible_snapshots(person).filter(old)[: COUNTED_MOST + 1].count(),
        many=[(row, held[row.pk]) for row in many],
        many_count=len(many) if len(many) < most else machines.count(),
        after_days=settings.STALE_AFTER_DAYS,
        per_machine=settings.STALE_PER_MACHINE,
    )

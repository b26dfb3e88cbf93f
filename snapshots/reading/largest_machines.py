"""The machines that hold most of what is looked at, with what they hold."""

from dataclasses import dataclass

from django.db.models import Count, F, QuerySet, RowRange, Sum, Window

from snapshots.models import MachineAllocation, VirtualMachine
from snapshots.pool_room import HELD, Held


@dataclass(frozen=True, slots=True)
class MachineHeld:
    """What one machine holds. `memory_bytes` is the part of the estimate that is memory."""

    machine: VirtualMachine
    held: Held
    memory_bytes: int

    @property
    def allocated_bytes(self) -> int:
        """Volumes and the estimate of VM snapshots."""
        return self.held.allocated_bytes


def largest_machines(
    rows: QuerySet[MachineAllocation], most: int, *, some_of_each_account: bool = False
) -> list[MachineHeld]:
    """At most so many, the largest first. `some_of_each_account`: the largest of each account go before the others where
    not all can be taken. Two queries."""
    sums = (
        rows.order_by()
        .values_list("machine_id", "machine__account_id")
        .annotate(**HELD, memory=Sum("memory_bytes"), size=Sum(F("volume_bytes") + F("disk_bytes") + F("memory_bytes")))
    )
    first = []
    if some_of_each_account:
        # It and the one before it in its account: 1 for the largest, 2 for the others.
        both = RowRange(start=-1, end=0)
        order = (F("size").desc(), "machine_id")
        sums = sums.annotate(place=Window(Count("*"), partition_by="machine__account_id", order_by=order, frame=both))
        first = ["place"]
    found = {
        pk: (Held(volumes, estimated, measured), memory)
        for pk, _, volumes, estimated, measured, memory, *_ in sums.order_by(*first, "-size", "machine_id")[:most]
    }
    machines = VirtualMachine.objects.select_related("account__domain").defer("capabilities").in_bulk(found)
    largest = [MachineHeld(machines[pk], held, memory) for pk, (held, memory) in found.items()]
    return sorted(largest, key=lambda row: (-row.allocated_bytes, row.machine.pk))

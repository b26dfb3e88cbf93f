"""The first trees of many machines at once, for those that have nothing but their anchor. Only `tree_sync` enters.

What comes out is what `tree_resync.resync` would make of each; but a first reading of a thousand machines costs some
dozens of statements, not dozens of thousands.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping

from hypervisors.records import SnapshotForest
from snapshots import ledger
from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.tree_comparison import APPEARED, STANDS_ELSEWHERE, Comparison, Difference, compare, new_row
from snapshots.tree_numbers import numbered

# Each level of depth is an insert of its own; what is deeper is written tree by tree.
DEEPEST = 50
BATCH = 500


class _Sapling:
    """The rows of one machine's tree, complete but for their parents' keys, which are known once those are inserted."""

    def __init__(self, found: Comparison[VMSnapshot]) -> None:
        self.found = found
        self.rows: dict[str | None, VMSnapshot] = {None: found.anchor}
        children: dict[str | None, list[str | None]] = defaultdict(list)
        for place in found.places:
            self.rows[place.record.native_id] = new_row(place, found.anchor)
            children[place.parent_id].append(place.record.native_id)
        for native_id, numbers in numbered(children, [None]):
            row = self.rows[native_id]
            row.lft, row.rght, row.level = numbers
        self.current = self.rows[found.current_id]
        found.anchor.current = False
        self.current.current = True

    @property
    def depth(self) -> int:
        """How many snapshots lie one below the other at most."""
        deepest: int = max(row.level for row in self.rows.values())
        return deepest

    def at(self, level: int) -> list[VMSnapshot]:
        """The rows of this level, each below its parent, which is inserted by now."""
        found = []
        for place in self.found.places:
            row = self.rows[place.record.native_id]
            if row.level == level:
                row.parent_id = self.rows[place.parent_id].pk
                found.append(row)
        return found

    def differences(self) -> list[Difference]:
        """As `tree_resync.resync` tells them."""
        new = [self.rows[place.record.native_id] for place in self.found.places]
        told = [Difference("appeared", row.uuid, row.name, APPEARED) for row in new]
        if self.current is not self.found.anchor:
            told.append(Difference("current", self.current.uuid, self.current.name, STANDS_ELSEWHERE))
        return told


def plant(machines: Collection[VirtualMachine], forests: Mapping[int, SnapshotForest]) -> dict[int, list[Difference]]:
    """Write the trees of those of these machines that have none yet, unless their forest, by the machine's key, is empty or
    too deep; answers what differed, by machine, for those that were written. Call inside a transaction that holds the
    machines' locks, taken in the order of their keys."""
    bare: dict[int, list[VMSnapshot]] = defaultdict(list)
    for row in VMSnapshot.objects.filter(machine__in=[machine.pk for machine in machines]):
        bare[row.machine_id].append(row)
    saplings = {
        pk: _Sapling(compare(rows, forests[pk]))
        for pk, rows in bare.items()
        if len(rows) == 1 and forests[pk].snapshots
    }
    saplings = {pk: sapling for pk, sapling in saplings.items() if sapling.depth <= DEEPEST}
    anchors = [sapling.found.anchor for sapling in saplings.values()]
    VMSnapshot.objects.bulk_update(anchors, ("current", "rght"), batch_size=BATCH)
    for level in range(1, 1 + max((sapling.depth for sapling in saplings.values()), default=0)):
        rows = [row for sapling in saplings.values() for row in sapling.at(level)]
        VMSnapshot.objects.bulk_create(rows, batch_size=BATCH)
    ledger.settle(list(saplings))
    return {pk: sapling.differences() for pk, sapling in saplings.items()}

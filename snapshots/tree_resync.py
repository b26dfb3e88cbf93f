"""Makes the rows of a machine's tree equal to what its hypervisor holds, in few queries however large the tree is.

A part of `tree`, by whose locks and rules it writes: what differs is found by `tree_comparison`, and told to whoever asked.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable

from hypervisors.records import SnapshotForest
from snapshots.choices import GONE, SnapshotState
from snapshots.models import VMSnapshot
from snapshots.tree import hold_machine, make_current, remove_all_of
from snapshots.tree_comparison import (
    APPEARED,
    STANDS_ELSEWHERE,
    Difference,
    Place,
    Row,
    SnapshotRow,
    compare,
    new_row,
)
from snapshots.tree_numbers import renumber

WRITTEN_BY_RESYNC = (
    "parent",
    "native_id",
    "name",
    "description",
    "type",
    "measured_bytes",
    "created_at",
    "state",
    "error_code",
    "error_detail",
)


def rows_to_compare(machine_pks: Collection[int]) -> dict[int, list[SnapshotRow]]:
    """What `tree_differs` needs of all rows of these machines, by machine. One query."""
    found: dict[int, list[SnapshotRow]] = defaultdict(list)
    rows = VMSnapshot.objects.filter(machine__in=machine_pks).order_by("machine_id", "lft")
    for row in rows.values_list(*SnapshotRow._fields):
        found[row[0]].append(SnapshotRow._make(row))
    return found


def tree_differs(rows: Iterable[Row], forest: SnapshotForest) -> bool:
    """Whether `resync` would have to change anything, given all rows of the machine (anchor included). Reads nothing."""
    return compare(rows, forest).differs()


def resync(machine_pk: int, forest: SnapshotForest) -> list[Difference]:
    """Make the rows equal to the hypervisor's forest and say what differed.

    Snapshots made elsewhere appear with that origin, and their rows go when they are gone and nobody adopted them; ours
    that are gone become Error with the code `gone_on_hypervisor` and stay until somebody acknowledges that; parents and
    the current marker follow the hypervisor. Rows of snapshots being taken become Ready when they are there and are left
    alone when they are not.
    """
    hold_machine(machine_pk)
    return _Resync(machine_pk, forest).run()


class _Resync:
    """One pass of `resync`, under the machine's lock. The number of queries does not grow with the tree."""

    def __init__(self, machine_pk: int, forest: SnapshotForest) -> None:
        self.machine_pk = machine_pk
        self.found = compare(VMSnapshot.objects.filter(machine_id=machine_pk), forest)
        self.changed: dict[int, VMSnapshot] = {}
        self.renamed: list[int] = []
        self.differences: list[Difference] = []

    def run(self) -> list[Difference]:
        if not self.found.differs():
            # So it is after nearly every action of ours, since the job has just written what it led to.
            return []
        for row in self.found.lost:
            self._give_up(row)
        for row in self.found.not_ours:
            self.renamed.append(row.pk)
            self._note("removed_elsewhere", row, "It was made elsewhere, deleted there, and had not been adopted.")
        for place in self.found.places:
            if place.row is not None:
                self._change(place.row, place)
        self._free_names()
        present = self._add_new()
        self._hang(present)
        VMSnapshot.objects.bulk_update(self.changed.values(), WRITTEN_BY_RESYNC, batch_size=200)
        self._move_marker(present)
        if self.found.not_ours:
            # What was found hangs where the hypervisor says by now; rows that failed may still hang below these.
            remove_all_of(self.machine_pk, [row.pk for row in self.found.not_ours])
        else:
            renumber(self.machine_pk)
        return self.differences

    def _give_up(self, row: VMSnapshot) -> None:
        detail = "It is no longer on the hypervisor; somebody deleted it outside this product."
        row.state, row.error_code, row.error_detail, row.measured_bytes = SnapshotState.ERROR, GONE, detail, None
        self.changed[row.pk] = row
        self._note("vanished", row, detail)

    def _change(self, row: VMSnapshot, place: Place[VMSnapshot]) -> None:
        changes = place.changes()
        if not changes:
            return
        if row.error_code:
            self._note("returned", row, "It is on the hypervisor after all.")
        if "name" in changes:
            self.renamed.append(row.pk)
            self._note("renamed", row, f"It was renamed outside this product, from {row.name} to {place.name}.")
        for column, value in changes.items():
            setattr(row, column, value)
        self.changed[row.pk] = row

    def _free_names(self) -> None:
        """Two snapshots may have swapped their names; names are unique at every moment, so both go through another."""
        for pk in self.renamed:
            VMSnapshot.objects.filter(pk=pk).update(name=str(uuid.uuid4()))

    def _add_new(self) -> dict[str | None, VMSnapshot]:
        """Make rows for what has none, below the anchor for now; answers all rows by native id, the anchor under None."""
        present: dict[str | None, VMSnapshot] = {None: self.found.anchor}
        new: list[VMSnapshot] = []
        for place in self.found.places:
            row = place.row
            if row is None:
                row = new_row(place, self.found.anchor)
                # A bulk insert passes by mptt: the numbers only say "after all others" until `renumber` writes the right
                # ones.
                row.lft = self.found.anchor.rght + 2 * len(new)
                row.rght = row.lft + 1
                new.append(row)
                self._note("appeared", row, APPEARED)
            present[place.record.native_id] = row
        if new:
            # Freed and changed names have to be in place before new rows may take what was theirs.
            VMSnapshot.objects.bulk_update(self.changed.values(), WRITTEN_BY_RESYNC, batch_size=200)
            VMSnapshot.objects.bulk_create(new, batch_size=200)
            for row in new:
                self.changed[row.pk] = row
        return present

    def _hang(self, present: dict[str | None, VMSnapshot]) -> None:
        """Follow the hypervisor's parents."""
        known = {place.record.native_id for place in self.found.places if place.row is not None}
        for place in self.found.places:
            row, parent = present[place.record.native_id], present[place.parent_id]
            if row.parent_id == parent.pk:
                continue
            row.parent_id = parent.pk
            self.changed[row.pk] = row
            if place.record.native_id in known:
                self._note("moved", row, f"It now stems from {parent.name or 'no other VM snapshot'}.")

    def _move_marker(self, present: dict[str | None, VMSnapshot]) -> None:
        current = present[self.found.current_id]
        if not current.current:
            make_current(self.machine_pk, current.pk)
            self._note("current", current, STANDS_ELSEWHERE)

    def _note(self, kind: str, row: VMSnapshot, detail: str) -> None:
        self.differences.append(Difference(kind, row.uuid, row.name, detail))

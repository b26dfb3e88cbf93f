"""Makes the trees equal to the forests of a hypervisor, and writes down what differed. `inventory_sync` and the job runner
enter.

What differs is told by events. Above `TOLD_ONE_BY_ONE` differences of a kind on one machine they share one event, so that
the first reading of a tree of a thousand does not bury all else; those that vanished were ours, and are named each.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from django.db import transaction

from hypervisors.records import SnapshotForest
from snapshots import tree, tree_planting, tree_resync
from snapshots.access import SYSTEM
from snapshots.models import Event, VirtualMachine
from snapshots.naming import some_of
from snapshots.services import drift_actions, events
from snapshots.services.machine_identity import Placed, unsettled_since
from snapshots.tree_comparison import Difference

log = logging.getLogger(__name__)

MACHINES_AT_ONCE = 200
# As few machines as are written one by one.
FEW = 3
TOLD_ONE_BY_ONE = 20
NAMED_IN_A_SUMMARY = 5

SUMMARIES = {
    "appeared": "VM snapshots taken outside this product were found",
    "removed_elsewhere": "VM snapshots made elsewhere, and never adopted, were deleted there",
    "returned": "VM snapshots are on the hypervisor after all",
    "moved": "VM snapshots stem from others than was known here",
    "renamed": "VM snapshots were renamed outside this product",
}


def apply_forests(
    placed: Placed, forests: dict[str, SnapshotForest], read_from: datetime, *, adopt: bool = False
) -> None:
    """Bring the trees that differ up to date, each in a transaction of its own, so that one that cannot be written does
    not keep the others from it; with `adopt` what was made elsewhere is adopted as far as the limits go. Raises the first
    failure at the end."""
    failed: list[Exception] = []
    for machines in _some_at_once([native_id for native_id in forests if placed.settled(native_id)]):
        rows = tree_resync.rows_to_compare([placed.rows[native_id].pk for native_id in machines])
        bare = [native_id for native_id in machines if len(rows[placed.rows[native_id].pk]) == 1]
        planted = set() if adopt else _plant(placed, {key: forests[key] for key in bare}, read_from)
        for native_id in machines:
            machine = placed.rows[native_id]
            if machine.pk in planted:
                continue
            differs = tree_resync.tree_differs(rows[machine.pk], forests[native_id])
            if not differs and not (adopt and machine.unadopted_count):
                continue
            try:
                _apply(machine.pk, forests[native_id], read_from, adopt=adopt)
            except Exception as error:
                # The other trees are written all the same; the caller is told.
                log.exception("The tree of machine %s could not be written", machine.pk)
                failed.append(error)
    if failed:
        raise failed[0]


def apply_forest(machine: VirtualMachine, forest: SnapshotForest) -> None:
    """Bring one tree up to date. Call inside a transaction that holds the machine's lock."""
    differences = tree_resync.resync(machine.pk, forest)
    if differences:
        events.record_all(_told(machine, differences))


def _plant(placed: Placed, forests: dict[str, SnapshotForest], read_from: datetime) -> set[int]:
    """Write the first trees of machines that have none, all at once; answers the keys of those that were written. Should
    that fail, each is tried by itself."""
    wanted = {placed.rows[native_id].pk: forest for native_id, forest in forests.items() if forest.snapshots}
    if len(wanted) < FEW:
        return set()
    try:
        with transaction.atomic():
            rows = VirtualMachine.objects.select_for_update().filter(pk__in=wanted).order_by("pk")
            machines = {machine.pk: machine for machine in rows}
            for pk in unsettled_since(read_from, machines.values()):
                del machines[pk]
            planted = tree_planting.plant(machines.values(), wanted)
            told = [event for pk, differences in planted.items() for event in _told(machines[pk], differences)]
            events.record_all(told)
    except Exception:
        log.exception("The first trees of %s machines could not be written at once", len(wanted))
        return set()
    return set(planted)


def _apply(machine_pk: int, forest: SnapshotForest, read_from: datetime, *, adopt: bool) -> None:
    with transaction.atomic():
        machine = tree.lock_machine(machine_pk)
        if unsettled_since(read_from, [machine]):
            return
        apply_forest(machine, forest)
        if adopt:
            drift_actions.adopt_found(machine)


def _some_at_once(native_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Few machines at a time: their rows together have to fit into memory."""
    for start in range(0, len(native_ids), MACHINES_AT_ONCE):
        yield native_ids[start : start + MACHINES_AT_ONCE]


def _told(machine: VirtualMachine, differences: Iterable[Difference]) -> Iterator[Event]:
    kinds: dict[str, list[Difference]] = defaultdict(list)
    for difference in differences:
        kinds[difference.kind].append(difference)
    for kind, alike in kinds.items():
        if len(alike) > TOLD_ONE_BY_ONE and kind in SUMMARIES:
            yield events.prepared(SYSTEM, f"snapshot.{kind}", machine=machine, detail=_summary(kind, alike))
            continue
        for difference in alike:
            yield events.prepared(
                SYSTEM,
                f"snapshot.{kind}",
                level=Event.Level.WARNING if kind == "vanished" else Event.Level.INFO,
                machine=machine,
                snapshot_uuid=difference.snapshot_uuid,
                snapshot_name=difference.snapshot_name,
                detail=difference.detail,
            )


def _summary(kind: str, alike: Sequence[Difference]) -> str:
    names = [difference.snapshot_name for difference in alike]
    return f"{len(alike)} {SUMMARIES[kind]}: {some_of(names, NAMED_IN_A_SUMMARY)}."

"""The only writer of the tree of VM snapshots.

Every function here runs inside the caller's transaction and takes the machine's row lock first; callers take no other
machine's lock in the same transaction. Structural changes other than adding a leaf set the parent links, which are the
truth, and renumber the one tree of that machine; never mptt's `rebuild`, which would renumber the trees of all machines.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from hypervisors.records import SnapshotRecord
from snapshots import ledger
from snapshots.choices import Origin, SnapshotState, SnapshotType
from snapshots.machine_books import MachineBooks
from snapshots.models import Schedule, User, VirtualMachine, VMSnapshot
from snapshots.tree_numbers import damaged_machines as damaged_machines
from snapshots.tree_numbers import insert_leaf, renumber


def lock_machine(machine_pk: int) -> VirtualMachine:
    """The machine's row, locked until the transaction ends. Raises `VirtualMachine.DoesNotExist`, and
    `TransactionManagementError` outside a transaction.

    SQLite has no row locks: there the transaction itself, begun IMMEDIATE, is the lock, so one is demanded everywhere.
    """
    return _lockable().get(pk=machine_pk)


def hold_machine(machine_pk: int) -> None:
    """As `lock_machine`, for those who need nothing of the row: reading its columns takes longer than locking it."""
    _lockable().values_list("pk").get(pk=machine_pk)


def _lockable() -> QuerySet[VirtualMachine]:
    if not transaction.get_connection().in_atomic_block:
        raise TransactionManagementError("The tree is changed inside a transaction only.")
    return VirtualMachine.objects.select_for_update()


def add_anchors(machines: Iterable[VirtualMachine]) -> list[VMSnapshot]:
    """The hidden roots of new machines' trees, with mptt's four numbers: a bulk insert passes by it."""
    now = timezone.now()
    anchors: list[VMSnapshot] = VMSnapshot.objects.bulk_create(
        [
            VMSnapshot(
                machine=machine,
                tree_id=machine.pk,
                lft=1,
                rght=2,
                level=0,
                state=SnapshotState.READY,
                current=True,
                created_at=now,
            )
            for machine in machines
        ],
        batch_size=500,
    )
    return anchors


def anchor_of(machine_pk: int) -> VMSnapshot:
    """The hidden root of the machine's tree."""
    anchor: VMSnapshot = VMSnapshot.objects.get(machine_id=machine_pk, parent=None)
    return anchor


def current_of(machine_pk: int) -> VMSnapshot:
    """Where the machine stands: a VM snapshot, or the anchor when it stems from none."""
    current: VMSnapshot = VMSnapshot.objects.get(machine_id=machine_pk, current=True)
    return current


def allocate(
    machine_pk: int,
    *,
    name: str,
    description: str,
    type: SnapshotType,
    memory_bytes: int,
    created_by: User | None,
    schedule: Schedule | None = None,
) -> tuple[VMSnapshot, MachineBooks]:
    """A row for a VM snapshot about to be taken, below the current one, not current itself; and its machine's new books."""
    hold_machine(machine_pk)
    snapshot = VMSnapshot(
        machine_id=machine_pk,
        parent=current_of(machine_pk),
        name=name,
        description=description,
        type=type,
        memory_bytes=memory_bytes,
        state=SnapshotState.ALLOCATED,
        created_at=timezone.now(),
        created_by=created_by,
        schedule=schedule,
    )
    insert_leaf(snapshot)
    return snapshot, ledger.settle_one(machine_pk)


def release_from_schedule(machine_pk: int, **of: int) -> None:
    """The machine's VM snapshots that these conditions find are no schedule's any more."""
    hold_machine(machine_pk)
    VMSnapshot.objects.filter(machine_id=machine_pk, **of).update(schedule=None)


def confirm_taken(snapshot_pk: int, record: SnapshotRecord) -> None:
    """The snapshot exists on the hypervisor: write down what it said and make it current."""
    snapshot = _locked(snapshot_pk)
    _place_below(snapshot, record.parent_id)
    VMSnapshot.objects.filter(machine_id=snapshot.machine_id, current=True).update(current=False)
    VMSnapshot.objects.filter(pk=snapshot_pk).update(
        native_id=record.native_id,
        type=SnapshotType(record.kind.value),
        created_at=record.created_at,
        measured_bytes=record.measured_bytes,
        state=SnapshotState.READY,
        error_code="",
        error_detail="",
        current=True,
    )
    ledger.settle([snapshot.machine_id])


def set_state(snapshot_pk: int, state: SnapshotState, *, code: str | None = None, detail: str = "") -> None:
    """Move a snapshot to a state. `code` and `detail` say what went wrong; without a code what was written stays."""
    errors = {} if code is None else {"error_code": code, "error_detail": detail}
    rows = VMSnapshot.objects.filter(pk=snapshot_pk, parent__isnull=False)
    rows.update(state=state, **errors)
    if code is not None:
        ledger.settle(rows.values_list("machine_id", flat=True))


def rename(snapshot_pk: int, name: str, description: str) -> None:
    """Write down a new name and description."""
    VMSnapshot.objects.filter(pk=snapshot_pk, parent__isnull=False).update(name=name, description=description)


def make_current(machine_pk: int, snapshot_pk: int) -> None:
    """Move the current marker of the machine. Pass the anchor's key for "stems from no snapshot"."""
    hold_machine(machine_pk)
    VMSnapshot.objects.filter(Q(machine_id=machine_pk, current=True) & ~Q(pk=snapshot_pk)).update(current=False)
    if not VMSnapshot.objects.filter(machine_id=machine_pk, pk=snapshot_pk).update(current=True):
        raise VMSnapshot.DoesNotExist("A machine stands at one of its own VM snapshots, or at its anchor.")


def remove(snapshot_pk: int) -> None:
    """Take one snapshot out: its children move to its parent, and if it was current its parent becomes current."""
    snapshot = _locked(snapshot_pk)
    remove_all_of(snapshot.machine_id, [snapshot_pk])


def remove_all_of(machine_pk: int, snapshot_pks: Collection[int]) -> None:
    """Take these snapshots of the machine out: the children of each move to its nearest parent that stays, which also
    becomes current if one of them was."""
    hold_machine(machine_pk)
    parents = dict(
        VMSnapshot.objects.filter(machine_id=machine_pk, pk__in=snapshot_pks, parent__isnull=False).values_list(
            "pk", "parent_id"
        )
    )
    if not parents:
        return
    stays: dict[int, list[int]] = defaultdict(list)
    for pk, parent_pk in parents.items():
        while parent_pk in parents:
            parent_pk = parents[parent_pk]
        stays[parent_pk].append(pk)
    current_pk = current_of(machine_pk).pk
    for parent_pk, going in stays.items():
        if current_pk in going:
            make_current(machine_pk, parent_pk)
        # A parent is protected while it has children, so those that go leave theirs as well.
        below = VMSnapshot.objects.filter(Q(parent__in=going) | Q(pk__in=going), machine_id=machine_pk)
        below.update(parent_id=parent_pk)
    VMSnapshot.objects.filter(machine_id=machine_pk, pk__in=parents).delete()
    renumber(machine_pk)


def adopt(machine_pk: int, snapshot_pks: Collection[int]) -> MachineBooks:
    """Make these VM snapshots made elsewhere ours; answers the books of their machine. Call under the machine's lock."""
    rows = VMSnapshot.objects.filter(machine_id=machine_pk, pk__in=snapshot_pks, adopted_at=None)
    rows.filter(origin=Origin.ELSEWHERE).update(adopted_at=timezone.now())
    return ledger.settle_one(machine_pk)


def forget_native_ids(machine_pk: int) -> None:
    """The machine is at another endpoint, where its snapshots may be called otherwise, and others as these were: they are
    to be known again by their tokens, or by name and time. Of one whose fate was not known it cannot be said any more that
    it was there. The caller settles the books."""
    hold_machine(machine_pk)
    VMSnapshot.objects.filter(machine_id=machine_pk).exclude(native_id="").update(native_id="")


def remove_all(machine_pk: int) -> None:
    """Take out the whole tree with its anchor: for a machine whose row is about to go."""
    hold_machine(machine_pk)
    rows = VMSnapshot.objects.filter(machine_id=machine_pk)
    # A parent is protected while it has children.
    rows.filter(parent__isnull=False).update(parent_id=anchor_of(machine_pk).pk)
    rows.filter(parent__isnull=False).delete()
    rows.delete()
    ledger.settle([machine_pk])


def descendants_of(snapshot: VMSnapshot) -> list[VMSnapshot]:
    """The snapshot and everything below it, parents before children, as the parent links have it. One query."""
    rows = {row.pk: row for row in VMSnapshot.objects.filter(machine_id=snapshot.machine_id).order_by("lft", "pk")}
    children: dict[int, list[VMSnapshot]] = defaultdict(list)
    for row in rows.values():
        children[row.parent_id].append(row)
    found: list[VMSnapshot] = []
    waiting = [rows[snapshot.pk]]
    while waiting:
        row = waiting.pop()
        found.append(row)
        waiting += reversed(children[row.pk])
    return found


def repair(machine_pk: int) -> None:
    """Renumber the machine's tree from its parent links."""
    hold_machine(machine_pk)
    renumber(machine_pk)


def _locked(snapshot_pk: int) -> VMSnapshot:
    """The VM snapshot as it is once its machine's lock is held. Raises `VMSnapshot.DoesNotExist`, also for anchors."""
    rows = VMSnapshot.objects.filter(pk=snapshot_pk, parent__isnull=False)
    list(_lockable().filter(pk__in=rows.values("machine")).values_list("pk"))
    snapshot: VMSnapshot = rows.select_related("parent").get()
    return snapshot


def _place_below(snapshot: VMSnapshot, parent_native_id: str | None) -> None:
    """Put the snapshot below the one with that native id (None: below the anchor), when it stands elsewhere."""
    stands_there = snapshot.parent.native_id == parent_native_id if parent_native_id else snapshot.parent.is_anchor
    if stands_there:
        return
    parent = (
        VMSnapshot.objects.filter(machine_id=snapshot.machine_id, native_id=parent_native_id).first()
        if parent_native_id
        else anchor_of(snapshot.machine_id)
    )
    # A parent that is not known here yet is put right by the next sync, which sees the whole forest.
    if parent is not None and parent.pk != snapshot.parent_id:
        VMSnapshot.objects.filter(pk=snapshot.pk).update(parent_id=parent.pk)
        renumber(snapshot.machine_id)

"""Ask for something to be done with VM snapshots: check rights and rules under the machine's lock, write the rows and
the job, ring the bell. Nothing here talks to a hypervisor.

Every function may raise `NotVisible`, `Forbidden`, `VMBusy`, and the refusal of its rule in `snapshot_rules`.
"""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from hypervisors.records import PowerAfterRevert
from snapshots import tree
from snapshots.access import Actor
from snapshots.choices import JobAction, SnapshotState, SnapshotType
from snapshots.models import Job, Schedule, VirtualMachine, VMSnapshot
from snapshots.naming import some_of
from snapshots.refusals import InvalidState
from snapshots.services import capacity_rules, limits
from snapshots.services import snapshot_rules as rules
from snapshots.services.jobs import active_job_of, open_job
from snapshots.services.locked_targets import heed, operable_machine, operable_snapshot

NAMES_IN_HISTORY = 10


@transaction.atomic
def request_create(
    actor: Actor,
    *,
    machine: VirtualMachine,
    name: str,
    description: str = "",
    memory: bool = False,
    quiesce: bool = False,
    exceed_limits: bool = False,
    schedule: Schedule | None = None,
) -> Job:
    """Take a VM snapshot. The job's `snapshot` is the new row, Allocated. `schedule` is the one that asks, if any. Also
    raises `Invalid`, `NameTaken`, `CapacityExceeded`, and `LimitExceeded`, unless `exceed_limits` was chosen by somebody
    who may."""
    name, description = rules.clean_name(name), rules.clean_description(description)
    machine = operable_machine(actor, machine.pk)
    heed(rules.why_not_create(machine, active_job_of(machine.pk), memory=memory, quiesce=quiesce))
    snapshot = _allocate(actor, machine, name, description, memory=memory, exceed=exceed_limits, schedule=schedule)
    return open_job(
        actor,
        JobAction.CREATE_SNAPSHOT,
        machine=machine,
        snapshot=snapshot,
        arguments={"memory": memory, "quiesce": quiesce},
    )


@transaction.atomic
def request_revert(
    actor: Actor,
    *,
    snapshot: VMSnapshot,
    power: PowerAfterRevert | None = None,
    safety_snapshot: bool = False,
    exceed_limits: bool = False,
) -> Job:
    """Put the machine back to the snapshot.

    `power` None means the natural choice where there is no question (`AS_SNAPSHOT`), and raises `InvalidState` where
    the user has to choose. With `safety_snapshot` a VM snapshot of the present state is taken first, with memory when the
    machine runs and can keep it; the revert is given up when that fails. It counts in limits: raises `LimitExceeded`,
    unless `exceed_limits` was chosen by somebody who may, and `CapacityExceeded`.
    """
    snapshot, machine = operable_snapshot(actor, snapshot.pk)
    heed(rules.why_not_revert(machine, active_job_of(machine.pk), snapshot, power))
    if power is None and rules.power_choice_needed(machine, snapshot):
        raise InvalidState(
            f"{machine.name} is {machine.power_state} and {snapshot.name} holds no memory: say whether the machine is "
            "to be stopped or running after the revert.",
            choices=[choice.value for choice in rules.power_choices(machine, snapshot)],
        )
    arguments: dict[str, object] = {"power": (power or PowerAfterRevert.AS_SNAPSHOT).value}
    if safety_snapshot:
        memory = safety_holds_memory(machine)
        heed(rules.why_not_create(machine, None, memory=memory, quiesce=False))
        safety = _allocate(
            actor,
            machine,
            free_name(machine, f"Before revert to {snapshot.name}"),
            f"Taken before reverting to “{snapshot.name}”.",
            memory=memory,
            exceed=exceed_limits,
        )
        arguments |= {"safety_snapshot": str(safety.uuid), "memory": memory}
    tree.set_state(snapshot.pk, SnapshotState.REVERTING)
    return open_job(actor, JobAction.REVERT_SNAPSHOT, machine=machine, snapshot=snapshot, arguments=arguments)


def safety_holds_memory(machine: VirtualMachine) -> bool:
    """Whether a safety snapshot of the machine as it is now would hold its memory."""
    return rules.why_not_memory(machine) is None


@transaction.atomic
def request_delete(actor: Actor, *, snapshot: VMSnapshot) -> Job:
    """Delete one VM snapshot; its children move to its parent."""
    snapshot, machine = operable_snapshot(actor, snapshot.pk)
    heed(rules.why_not_delete(machine, active_job_of(machine.pk), snapshot))
    tree.set_state(snapshot.pk, SnapshotState.EXPUNGING)
    return open_job(actor, JobAction.DELETE_SNAPSHOT, machine=machine, snapshot=snapshot)


@transaction.atomic
def request_delete_tree(actor: Actor, *, snapshot: VMSnapshot) -> Job:
    """Delete a VM snapshot and everything below it."""
    snapshot, machine = operable_snapshot(actor, snapshot.pk)
    doomed = tree.descendants_of(snapshot)
    heed(rules.why_not_delete_tree(machine, active_job_of(machine.pk), doomed))
    return open_job(
        actor, JobAction.DELETE_SNAPSHOT_TREE, machine=machine, snapshot=snapshot, arguments=_taken_hold_of(doomed)
    )


@transaction.atomic
def request_delete_all(actor: Actor, *, machine: VirtualMachine, shown: Collection[UUID] | None = None) -> Job:
    """Delete all VM snapshots of the machine, those made elsewhere and the rows of lost ones among them.

    `shown` are the public ids of those that the person was shown before, None when nobody was shown any. Raises
    `InvalidState` when there is another one by now, and when there is none at all.
    """
    machine = operable_machine(actor, machine.pk)
    doomed = list(VMSnapshot.objects.filter(machine=machine, parent__isnull=False).order_by("lft"))
    heed(rules.why_not_delete_all(machine, active_job_of(machine.pk), doomed, shown))
    arguments = _taken_hold_of(doomed)
    # The job is about no single one, so the history names them.
    detail = some_of(arguments["names"], NAMES_IN_HISTORY)
    return open_job(actor, JobAction.DELETE_ALL_SNAPSHOTS, machine=machine, arguments=arguments, detail=detail)


@transaction.atomic
def request_rename(
    actor: Actor, *, snapshot: VMSnapshot, name: str | None = None, description: str | None = None
) -> Job:
    """Change name, description or both; None leaves it. Also raises `Invalid` and `NameTaken`."""
    cleaned_name = None if name is None else rules.clean_name(name)
    cleaned_description = None if description is None else rules.clean_description(description)
    snapshot, machine = operable_snapshot(actor, snapshot.pk)
    heed(rules.why_not_rename(machine, active_job_of(machine.pk), snapshot))
    if cleaned_name is not None and cleaned_name != snapshot.name:
        _require_free_name(machine, cleaned_name)
    return open_job(
        actor,
        JobAction.RENAME_SNAPSHOT,
        machine=machine,
        snapshot=snapshot,
        arguments={
            "name": snapshot.name if cleaned_name is None else cleaned_name,
            "description": snapshot.description if cleaned_description is None else cleaned_description,
        },
    )


def suggested_name() -> str:
    """A name to begin with in the dialog: the time in UTC, to the second."""
    return timezone.now().strftime("%Y-%m-%d %H:%M:%S")


def free_name(machine: VirtualMachine, base: str) -> str:
    """The name, or the first of it with a number behind, that no VM snapshot of the machine has. Call under its lock."""
    base = base[:230]
    taken = set(VMSnapshot.objects.filter(machine_id=machine.pk, name__startswith=base).values_list("name", flat=True))
    name, number = base, 2
    while name in taken:
        name, number = f"{base} ({number})", number + 1
    return name


def _taken_hold_of(doomed: Collection[VMSnapshot]) -> dict[str, Any]:
    """Mark those that are to go; what their job has to know about them."""
    for row in doomed:
        tree.set_state(row.pk, SnapshotState.EXPUNGING)
    return {"names": [row.name for row in doomed], "doomed": [str(row.uuid) for row in doomed]}


def _allocate(
    actor: Actor,
    machine: VirtualMachine,
    name: str,
    description: str,
    *,
    memory: bool,
    exceed: bool,
    schedule: Schedule | None = None,
) -> VMSnapshot:
    _require_free_name(machine, name)
    snapshot, books = tree.allocate(
        machine.pk,
        name=name,
        description=description,
        type=SnapshotType.DISK_AND_MEMORY if memory else SnapshotType.DISK,
        memory_bytes=machine.memory_bytes if memory else 0,
        created_by=actor.user,
        schedule=schedule,
    )
    limits.require_room(actor, machine, books.machine, exceed=exceed)
    capacity_rules.require_room(actor, books, snapshot)
    return snapshot


def _require_free_name(machine: VirtualMachine, name: str) -> None:
    if VMSnapshot.objects.filter(machine_id=machine.pk, parent__isnull=False, name=name).exists():
        raise rules.name_taken(machine, name)

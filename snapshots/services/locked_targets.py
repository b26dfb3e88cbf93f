"""What somebody asks something about, locked and fresh, and the refusal of a rule raised. The rooms in which people ask for
something enter (`machine_actions`, `snapshot_actions`, `drift_actions`), each inside its transaction."""

from snapshots import tree
from snapshots.access import Actor, require_operate
from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.refusals import NotVisible, Refusal


def locked_machine(machine_pk: int) -> VirtualMachine:
    """The machine's row, whoever asks. Raises `NotVisible` when it went meanwhile."""
    try:
        return tree.lock_machine(machine_pk)
    except VirtualMachine.DoesNotExist:
        raise NotVisible("There is no such virtual machine.") from None


def operable_machine(actor: Actor, machine_pk: int) -> VirtualMachine:
    """The machine's row, if the actor may act on it. Raises `NotVisible` or `Forbidden`."""
    machine = locked_machine(machine_pk)
    require_operate(actor, machine)
    return machine


def operable_snapshot(actor: Actor, snapshot_pk: int) -> tuple[VMSnapshot, VirtualMachine]:
    """The snapshot and its machine, if the actor may act on it. A snapshot that went meanwhile is `NotVisible`."""
    found = VMSnapshot.objects.filter(pk=snapshot_pk, parent__isnull=False).values_list("machine_id", flat=True).first()
    if found is None:
        raise NotVisible("There is no such VM snapshot.")
    machine = operable_machine(actor, found)
    snapshot = VMSnapshot.objects.filter(pk=snapshot_pk).first()
    if snapshot is None:
        raise NotVisible("There is no such VM snapshot.")
    return snapshot, machine


def heed(refusal: Refusal | None) -> None:
    """Raise what a rule answered, if it refuses."""
    if refusal is not None:
        raise refusal

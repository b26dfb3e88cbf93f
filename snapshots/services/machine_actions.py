"""Ask for something to be done with a machine or its volumes: start, stop, attach, detach, read again.

Every function may raise `NotVisible`, `Forbidden`, `VMBusy`, and the refusal of its rule in `snapshot_rules`.
"""

from django.db import transaction

from snapshots.access import Actor, may_operate, visible_machines, visible_volumes
from snapshots.choices import JobAction
from snapshots.models import Job, VirtualMachine, VMSnapshot, Volume
from snapshots.refusals import Forbidden, InvalidState, NotVisible
from snapshots.services import snapshot_rules as rules
from snapshots.services.jobs import active_job_of, open_job
from snapshots.services.locked_targets import heed, locked_machine, operable_machine


@transaction.atomic
def request_start(actor: Actor, *, machine: VirtualMachine) -> Job:
    """Start (or resume) the machine."""
    machine = operable_machine(actor, machine.pk)
    heed(rules.why_not_start(machine, active_job_of(machine.pk)))
    return open_job(actor, JobAction.START_MACHINE, machine=machine)


@transaction.atomic
def request_stop(actor: Actor, *, machine: VirtualMachine, force: bool = False) -> Job:
    """Stop the machine: ask its guest to shut down, or cut the power with `force`."""
    machine = operable_machine(actor, machine.pk)
    heed(rules.why_not_stop(machine, active_job_of(machine.pk)))
    return open_job(actor, JobAction.STOP_MACHINE, machine=machine, arguments={"force": force})


@transaction.atomic
def request_sync(actor: Actor, *, machine: VirtualMachine) -> Job:
    """Read the machine and its tree from the hypervisor again. Whoever sees the machine may ask for that."""
    machine = locked_machine(machine.pk)
    if actor.user is not None and not visible_machines(actor.user).filter(pk=machine.pk).exists():
        raise NotVisible("There is no such virtual machine.")
    heed(rules.why_not_sync(machine, active_job_of(machine.pk)))
    return open_job(actor, JobAction.SYNC_MACHINE, machine=machine)


@transaction.atomic
def request_consolidate(actor: Actor, *, machine: VirtualMachine) -> Job:
    """Merge what removed snapshots left behind on the machine's storage."""
    machine = operable_machine(actor, machine.pk)
    heed(rules.why_not_consolidate(machine, active_job_of(machine.pk)))
    return open_job(actor, JobAction.CONSOLIDATE_DISKS, machine=machine)


@transaction.atomic
def request_attach(actor: Actor, *, volume: Volume, machine: VirtualMachine) -> Job:
    """Attach a loose volume to the machine, for good."""
    machine = operable_machine(actor, machine.pk)
    volume = _fresh_volume(actor, volume)
    # The volume changes its owner with this; looking at it is not enough.
    if actor.user is not None and volume.machine_id is None and not may_operate(actor.user, volume):
        raise Forbidden(f"You may look at the volume {volume.name} but not attach it. Ask an admin of its domain.")
    heed(rules.why_not_attach(machine, active_job_of(machine.pk), snapshot_names(machine), volume))
    return open_job(actor, JobAction.ATTACH_VOLUME, machine=machine, volume=volume)


@transaction.atomic
def request_detach(actor: Actor, *, volume: Volume) -> Job:
    """Detach a volume from its machine; its data stay. A volume that is attached to none raises `InvalidState`."""
    volume = _fresh_volume(actor, volume)
    if volume.machine_id is None:
        raise InvalidState(f"The volume {volume.name} is not attached to a machine.")
    machine = operable_machine(actor, volume.machine_id)
    volume = _fresh_volume(actor, volume)
    if volume.machine_id != machine.pk:
        raise InvalidState(f"The volume {volume.name} is not attached to {machine.name} any more.")
    heed(rules.why_not_detach(machine, active_job_of(machine.pk), snapshot_names(machine)))
    return open_job(actor, JobAction.DETACH_VOLUME, machine=machine, volume=volume)


def snapshot_names(machine: VirtualMachine) -> list[str]:
    """Names of the machine's VM snapshots, oldest first."""
    rows = VMSnapshot.objects.filter(machine_id=machine.pk, parent__isnull=False).order_by("created_at")
    return list(rows.values_list("name", flat=True))


def _fresh_volume(actor: Actor, volume: Volume) -> Volume:
    rows = Volume.objects.all() if actor.user is None else visible_volumes(actor.user)
    try:
        return rows.get(pk=volume.pk)
    except Volume.DoesNotExist:
        raise NotVisible("There is no such volume.") from None

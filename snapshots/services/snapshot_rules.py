"""What may be done with a machine and its VM snapshots right now, and why not: the one place these rules stand.

Each `why_not_…` returns None, or the refusal that the request would meet. Services raise it; pages ask the same
question beforehand to disable a button with the reason. They read the given objects only and never query.

`busy` is the machine's active job. Limits are the matter of `limit_rules`.
"""

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from hypervisors.capabilities import Ability
from hypervisors.records import PowerAfterRevert
from snapshots.choices import JobState, Origin, PowerState, SnapshotState, SnapshotType
from snapshots.models import Job, VirtualMachine, VMSnapshot, Volume
from snapshots.naming import some_of
from snapshots.refusals import (
    Invalid,
    InvalidState,
    NameTaken,
    NotSupported,
    Refusal,
    VMBusy,
    VolumesLocked,
)

NAME_LENGTH = 255
INVISIBLE = ("Cf", "Zs")
DESCRIPTION_LENGTH = 4000


def busy_refusal(job: Job) -> VMBusy:
    """Names the job that holds the machine, and who asked for it."""
    who = f" for {job.requested_by.get_username()}" if job.requested_by else ""
    return VMBusy(
        f"{job.machine_name} is busy: “{job.get_action_display()}” is under way{who} ({job.progress} %). "
        "Wait for it to end, or cancel it where that is possible.",
        job=str(job.uuid),
    )


def why_not_any(machine: VirtualMachine, busy: Job | None) -> Refusal | None:
    """What stands against every action on the machine."""
    if machine.missing_since is not None:
        return missing_refusal(machine)
    return why_not_sync(machine, busy)


def missing_refusal(machine: VirtualMachine) -> InvalidState:
    """The machine is not on its hypervisor."""
    return InvalidState(
        f"{machine.name} is not on its hypervisor any more. If that is a mistake, bring it back there and sync."
    )


def why_not_sync(machine: VirtualMachine, busy: Job | None) -> Refusal | None:
    """Whether the machine can be read again; also one that was missing at the last reading."""
    if not machine.hypervisor.enabled:
        return InvalidState(f"The hypervisor {machine.hypervisor.name} is switched off. A root admin can switch it on.")
    return busy_refusal(busy) if busy is not None else None


def why_not_memory(machine: VirtualMachine) -> Refusal | None:
    """Whether the memory can be kept with a snapshot of the machine as it is now."""
    if machine.power_state not in (PowerState.RUNNING, PowerState.SUSPENDED):
        return InvalidState(f"{machine.name} is {machine.power_state}: it has no memory to keep. Start it first.")
    return _unless(machine.abilities.memory)


def why_not_disk_only(machine: VirtualMachine) -> Refusal | None:
    """Whether a snapshot without memory can be taken of the machine as it is now."""
    abilities = machine.abilities
    running = machine.power_state in (PowerState.RUNNING, PowerState.SUSPENDED)
    return _unless(abilities.disk_when_running if running else abilities.disk_when_stopped)


def why_not_quiesce(machine: VirtualMachine) -> Refusal | None:
    """Whether the guest can be asked to settle its file systems first."""
    if machine.power_state != PowerState.RUNNING:
        return InvalidState(f"{machine.name} is {machine.power_state}: there is no running guest to ask.")
    return _unless(machine.abilities.quiesce)


def why_not_create(machine: VirtualMachine, busy: Job | None, *, memory: bool, quiesce: bool) -> Refusal | None:
    """Whether this VM snapshot can be taken."""
    if refusal := why_not_any(machine, busy):
        return refusal
    if memory and quiesce:
        return Invalid(
            "Choose either the memory or a quiesced guest: a kept memory continues exactly where it was, so there is "
            "nothing to settle.",
            fields={"quiesce": ["Not together with memory."]},
        )
    if refusal := _why_not_unknown(machine):
        return refusal
    if memory:
        return why_not_memory(machine)
    if quiesce:
        return why_not_quiesce(machine)
    return why_not_disk_only(machine)


def _why_not_unknown(machine: VirtualMachine) -> Refusal | None:
    if machine.power_state == PowerState.UNKNOWN:
        return InvalidState(f"The power state of {machine.name} is not known. Sync the machine and look again.")
    return None


def why_not_take_any(machine: VirtualMachine, busy: Job | None) -> Refusal | None:
    """Whether some kind of VM snapshot can be taken: for the button that opens the dialog."""
    return (
        why_not_any(machine, busy)
        or _why_not_unknown(machine)
        or (why_not_disk_only(machine) if why_not_memory(machine) and why_not_quiesce(machine) else None)
    )


def why_not_revert(
    machine: VirtualMachine, busy: Job | None, snapshot: VMSnapshot, power: PowerAfterRevert | None = None
) -> Refusal | None:
    """Whether the machine can be put back to the snapshot, with this choice of power (None: not chosen yet)."""
    if refusal := why_not_any(machine, busy):
        return refusal
    if snapshot.state != SnapshotState.READY:
        return _state_refusal(snapshot, "reverted to", "Only one that is Ready can be.")
    if refusal := _unless(machine.abilities.revert):
        return refusal
    if power is not None and power not in power_choices(machine, snapshot):
        return NotSupported(
            f"After a revert to {snapshot.name} the machine cannot be {power.value}: "
            f"{machine.abilities.power_choice.reason or 'the VM snapshot holds its memory and resumes it.'}"
        )
    return None


def power_choice_needed(machine: VirtualMachine, snapshot: VMSnapshot) -> bool:
    """Whether a revert would change the machine's power state in a way the user has to choose: it runs, and the
    snapshot holds no memory to run on with."""
    runs = machine.power_state in (PowerState.RUNNING, PowerState.SUSPENDED)
    return runs and snapshot.type == SnapshotType.DISK


def power_choices(machine: VirtualMachine, snapshot: VMSnapshot) -> list[PowerAfterRevert]:
    """The power choices a revert to this snapshot offers, the natural one first."""
    if not machine.abilities.power_choice.allowed:
        return [PowerAfterRevert.AS_SNAPSHOT]
    if snapshot.type == SnapshotType.DISK_AND_MEMORY:
        return [PowerAfterRevert.AS_SNAPSHOT, PowerAfterRevert.STOPPED]
    return [PowerAfterRevert.AS_SNAPSHOT, PowerAfterRevert.RUNNING, PowerAfterRevert.STOPPED]


def why_not_delete(machine: VirtualMachine, busy: Job | None, snapshot: VMSnapshot) -> Refusal | None:
    """Whether the snapshot can be deleted alone. An Error row always can, even when its machine is gone."""
    if snapshot.state == SnapshotState.ERROR:
        return busy_refusal(busy) if busy is not None else None
    if snapshot.state != SnapshotState.READY:
        return (busy_refusal(busy) if busy else None) or _state_refusal(snapshot, "deleted", "Wait until it is Ready.")
    return why_not_any(machine, busy) or _unless(machine.abilities.delete)


def why_not_delete_tree(machine: VirtualMachine, busy: Job | None, doomed: Iterable[VMSnapshot]) -> Refusal | None:
    """Whether a snapshot and all its descendants, which these are, can be deleted."""
    for snapshot in doomed:
        if snapshot.state not in (SnapshotState.READY, SnapshotState.ERROR):
            return (busy_refusal(busy) if busy else None) or _state_refusal(
                snapshot, "deleted", "Wait until it is Ready."
            )
    return why_not_any(machine, busy) or _unless(machine.abilities.delete_descendants)


def why_not_delete_all(
    machine: VirtualMachine, busy: Job | None, doomed: Collection[VMSnapshot], shown: Collection[UUID] | None = None
) -> Refusal | None:
    """Whether all VM snapshots of the machine, which these are, can be deleted by somebody to whom those with these public
    ids were shown (None: nobody was shown any)."""
    if refusal := why_not_delete_tree(machine, busy, doomed):
        return refusal
    if not doomed:
        return InvalidState(f"{machine.name} has no VM snapshot, so there is nothing to delete.")
    unseen = [] if shown is None else [row.name for row in doomed if row.uuid not in shown]
    if unseen:
        return InvalidState(
            f"{machine.name} has a VM snapshot by now that you were not shown: {unseen[0]}. Nothing is deleted. Look at "
            "all of them again."
        )
    return None


def why_not_rename(machine: VirtualMachine, busy: Job | None, snapshot: VMSnapshot) -> Refusal | None:
    """Whether name and description can be changed."""
    if refusal := why_not_any(machine, busy):
        return refusal
    if snapshot.state != SnapshotState.READY:
        return _state_refusal(snapshot, "renamed", "Only one that is Ready can be.")
    return _unless(machine.abilities.rename)


def why_not_keep(busy: Job | None, snapshot: VMSnapshot) -> Refusal | None:
    """Whether it can be taken out of its schedule. Also while its machine is missing."""
    if snapshot.schedule_id is None:
        return InvalidState(f"No schedule deletes the VM snapshot {snapshot.name}: it is kept already.")
    if snapshot.state == SnapshotState.READY:
        return None
    return (busy_refusal(busy) if busy else None) or _state_refusal(
        snapshot, "kept for good", "Only one that is Ready can be."
    )


def why_not_start(machine: VirtualMachine, busy: Job | None) -> Refusal | None:
    """Whether the machine can be started."""
    if refusal := why_not_any(machine, busy):
        return refusal
    if machine.power_state == PowerState.RUNNING:
        return InvalidState(f"{machine.name} is running already.")
    return _unless(machine.abilities.start)


def why_not_stop(machine: VirtualMachine, busy: Job | None) -> Refusal | None:
    """Whether the machine can be stopped."""
    if refusal := why_not_any(machine, busy):
        return refusal
    if machine.power_state == PowerState.STOPPED:
        return InvalidState(f"{machine.name} is stopped already.")
    return _unless(machine.abilities.stop)


def why_not_change_volumes(
    machine: VirtualMachine, busy: Job | None, names: list[str], ability: Ability
) -> Refusal | None:
    """Whether volumes of the machine can be attached or detached. `names` are its VM snapshots'."""
    if refusal := why_not_any(machine, busy):
        return refusal
    return volumes_locked(machine, names) if names else _unless(ability)


def volumes_locked(machine: VirtualMachine, names: list[str]) -> VolumesLocked:
    """Names the VM snapshots that lock the machine's volumes."""
    return VolumesLocked(
        f"{machine.name} has VM snapshots ({some_of(names, 5)}), which hold the volumes it has now. "
        "Delete them before attaching or detaching a volume.",
        snapshots=names,
    )


def name_taken(machine: VirtualMachine, name: str) -> NameTaken:
    """Another VM snapshot of the machine has the name."""
    return NameTaken(
        f"{machine.name} has a VM snapshot named “{name}” already. Choose another name.",
        fields={"name": ["Another VM snapshot of this machine has this name."]},
    )


def why_not_attach(machine: VirtualMachine, busy: Job | None, names: list[str], volume: Volume) -> Refusal | None:
    """Whether this loose volume can be attached to the machine."""
    if volume.missing_since is not None:
        return InvalidState(f"The volume {volume.name} is not on its hypervisor any more.")
    if volume.machine_id is not None:
        return InvalidState(f"The volume {volume.name} is attached to a machine already. Detach it there first.")
    if volume.hypervisor_id != machine.hypervisor_id:
        return NotSupported(f"The volume {volume.name} is on another hypervisor than {machine.name}.")
    return why_not_change_volumes(machine, busy, names, machine.abilities.attach)


def why_not_detach(machine: VirtualMachine, busy: Job | None, names: list[str]) -> Refusal | None:
    """Whether a volume can be detached from the machine."""
    return why_not_change_volumes(machine, busy, names, machine.abilities.detach)


def why_not_consolidate(machine: VirtualMachine, busy: Job | None) -> Refusal | None:
    """Whether the machine's disks can be consolidated, and have to be."""
    if refusal := why_not_any(machine, busy) or _unless(machine.abilities.consolidate):
        return refusal
    if not machine.needs_consolidation:
        return InvalidState(
            f"The disks of {machine.name} need no consolidation: no removed VM snapshot left any behind."
        )
    return None


def why_not_adopt(machine: VirtualMachine, snapshot: VMSnapshot) -> Refusal | None:
    """Whether a VM snapshot made elsewhere can be made ours. One that is adopted already can: nothing happens."""
    if snapshot.origin != Origin.ELSEWHERE:
        return InvalidState(f"The VM snapshot {snapshot.name} was taken here; there is nothing to adopt.")
    if snapshot.adopted_at is not None:
        return None
    if snapshot.state != SnapshotState.READY:
        return _state_refusal(snapshot, "adopted", "Only one that is Ready can be.")
    return _why_not_trusted(machine)


def why_not_adopt_all(machine: VirtualMachine, waiting: Sequence[VMSnapshot]) -> Refusal | None:
    """Whether all of these, made elsewhere and Ready, can be made ours."""
    if not waiting:
        return InvalidState(f"{machine.name} has no VM snapshot that could be adopted.")
    return _why_not_trusted(machine)


def _why_not_trusted(machine: VirtualMachine) -> Refusal | None:
    """Of a machine that is missing nobody knows which VM snapshots it has."""
    return missing_refusal(machine) if machine.missing_since is not None else None


def why_not_acknowledge(snapshot: VMSnapshot, busy: Job | None) -> Refusal | None:
    """Whether it can be taken note of that the VM snapshot is lost. Also while its machine is missing."""
    if busy is not None:
        return busy_refusal(busy)
    if not snapshot.lost:
        return _state_refusal(snapshot, "acknowledged as lost", "Only one that its hypervisor no longer has can be.")
    return None


def why_not_cancel(job: Job) -> Refusal | None:
    """Whether the job can be cancelled: while it waits always, once it runs where the hypervisor can stop it."""
    if not job.active:
        return InvalidState(f"The job has ended already: {job.get_state_display()}.")
    if job.state == JobState.RUNNING and job.machine is not None and not job.machine.abilities.cancel.allowed:
        return NotSupported(
            f"“{job.get_action_display()}” is under way and cannot be stopped: {job.machine.abilities.cancel.reason}"
        )
    return None


def clean_name(name: object, most: int = NAME_LENGTH) -> str:
    """The name as it will be kept: 1 to `most` characters of any script, normalised (NFC), without control characters
    or line breaks. Raises `Invalid`."""
    if not isinstance(name, str):
        raise Invalid("A name is a text.", fields={"name": ["Give a text."]})
    cleaned = unicodedata.normalize("NFC", name).strip()
    # Joiners and direction marks alone leave nothing to be seen.
    if all(unicodedata.category(char) in INVISIBLE for char in cleaned):
        raise Invalid("Give it a name that can be seen.", fields={"name": ["The name is empty."]})
    if len(cleaned) > most:
        raise Invalid(
            f"The name has {len(cleaned)} characters; at most {most} are possible.",
            fields={"name": [f"At most {most} characters."]},
        )
    _refuse_control_characters(cleaned, "name", allowed="")
    return cleaned


def clean_description(description: object) -> str:
    """The description as it will be kept: up to 4000 characters, line breaks allowed. Raises `Invalid`."""
    if not isinstance(description, str):
        raise Invalid("A description is a text.", fields={"description": ["Give a text."]})
    cleaned = unicodedata.normalize("NFC", description).replace("\r\n", "\n").strip()
    if len(cleaned) > DESCRIPTION_LENGTH:
        raise Invalid(
            f"The description has {len(cleaned)} characters; at most {DESCRIPTION_LENGTH} are possible.",
            fields={"description": [f"At most {DESCRIPTION_LENGTH} characters."]},
        )
    _refuse_control_characters(cleaned, "description", allowed="\n\t")
    return cleaned


def _refuse_control_characters(text: str, field: str, allowed: str) -> None:
    """Control characters, lone surrogates and non-characters cannot be kept in XML 1.0, which hypervisors speak
    (https://www.w3.org/TR/xml/#charsets). Line and paragraph separators would break a name over lines. Joiners and
    direction marks stay: many scripts need them."""
    for char in text:
        kind = unicodedata.category(char)
        if char in allowed:
            continue
        if kind in {"Cc", "Cs", "Zl", "Zp"} or char in "\ufffe\uffff":
            raise Invalid(
                f"The {field} holds a control character (U+{ord(char):04X}), which hypervisors cannot keep.",
                fields={field: ["Control characters are not possible."]},
            )


def _unless(ability: Ability) -> Refusal | None:
    return None if ability.allowed else NotSupported(ability.reason)


def _state_refusal(snapshot: VMSnapshot, done: str, way_out: str) -> InvalidState:
    return InvalidState(f"The VM snapshot {snapshot.name} is {snapshot.state} and cannot be {done}. {way_out}")

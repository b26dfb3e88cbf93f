"""What can be done with one machine in vSphere, and the sentence for whatever cannot.

The server's own word comes first (`capability.*`, and methods that somebody has switched off); then devices of which
vSphere takes no snapshot, or would leave out: a VM snapshot here holds the whole machine, so one that would silently leave
a disk out is refused with that reason.

`disabledMethod` mixes what lasts with what the moment brings: a task under way, or the power state. Only two methods are
looked at, of which no power state takes hold, and only while the machine has no task; then somebody has switched them off
on purpose, most often a backup product.
"""

from collections.abc import Sequence

from hypervisors.capabilities import YES, Ability, Capabilities, no
from hypervisors.drivers.vmware.disks import Disk
from hypervisors.drivers.vmware.properties import Seen

_FLAG = "capability."
_TOOLS = "guest.toolsStatus"

ABILITY_PATHS = (
    _FLAG + "snapshotOperationsSupported",
    _FLAG + "memorySnapshotsSupported",
    _FLAG + "quiescedSnapshotsSupported",
    _FLAG + "poweredOffSnapshotsSupported",
    _FLAG + "revertToSnapshotSupported",
    _FLAG + "diskOnlySnapshotOnSuspendedVMSupported",
    "disabledMethod",
    "recentTask",
    _TOOLS,
)
"""What `abilities` reads of a machine beside its disks."""


def denies(machine: Seen, flag: str) -> bool:
    """Whether the server says that the machine has not this capability. One that it does not tell counts as there."""
    return machine.get(_FLAG + flag) is False


def abilities(machine: Seen, disks: Sequence[Disk]) -> Capabilities:
    """The abilities of the machine with these properties and disks."""
    held = _snapshots(machine, disks)
    reconfigure = _switched_off(machine, "ReconfigVM_Task", "changes of its devices")
    return Capabilities(
        disk_when_running=held,
        disk_when_stopped=_unless(
            held,
            denies(machine, "poweredOffSnapshotsSupported"),
            "vSphere takes no snapshot of this machine while it is off.",
        ),
        memory=_unless(
            held, denies(machine, "memorySnapshotsSupported"), "vSphere keeps no memory of this machine in a snapshot."
        ),
        quiesce=_quiesce(machine) if held.allowed else held,
        revert=_unless(YES, denies(machine, "revertToSnapshotSupported"), "vSphere does not revert this machine."),
        attach=reconfigure,
        detach=reconfigure,
    )


def _snapshots(machine: Seen, disks: Sequence[Disk]) -> Ability:
    if denies(machine, "snapshotOperationsSupported"):
        return no("vSphere says that this machine cannot have snapshots; fault tolerance, for example, forbids them.")
    for disk in disks:
        if disk.raw_physical:
            return no(f"{disk.label} is a raw disk in physical mode, of which vSphere takes no snapshot.")
        if disk.shared:
            return no(f"{disk.label} is shared with other machines, and vSphere takes no snapshot of a shared disk.")
        if disk.independent:
            return no(
                f"{disk.label} is independent: vSphere leaves it out of snapshots, and one without it would not hold the "
                "whole machine. Make it dependent while the machine is off."
            )
    return _switched_off(machine, "CreateSnapshot_Task", "snapshots")


def _switched_off(machine: Seen, method: str, what: str) -> Ability:
    if method in (machine.get("disabledMethod") or ()) and not machine.get("recentTask"):
        return no(
            f"In vSphere somebody has switched off {what} of this machine; backup products do so while they work."
        )
    return YES


def _quiesce(machine: Seen) -> Ability:
    if denies(machine, "quiescedSnapshotsSupported"):
        return no("vSphere cannot bring the guest of this machine to rest for a snapshot.")
    tools = str(machine.get(_TOOLS) or "")
    running = str(machine.get("runtime.powerState")) == "poweredOn"
    if tools == "toolsNotInstalled" or (running and tools == "toolsNotRunning"):
        absent = "is not installed" if tools == "toolsNotInstalled" else "does not run"
        return no(f"VMware Tools {absent} in the guest; it is what brings the guest's file systems to rest.")
    return YES


def _unless(otherwise: Ability, missing: bool, reason: str) -> Ability:
    return no(reason) if otherwise.allowed and missing else otherwise

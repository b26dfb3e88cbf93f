"""What can be done with one machine of a XenServer pool, and the sentence for whatever cannot.

Two sources: facts of the machine that last (an operation that an administrator blocked, a device of the host passed
through, a disk that is reset at each start, the licence of the pool), which give the reason; and XenServer's own list of
what is allowed now (`allowed_operations`), which knows more but not why. The list depends on the power state and is empty
of everything while an operation runs, so it is believed only for what a machine in that state could do otherwise.
"""

from hypervisors.capabilities import NOTHING_TO_CONSOLIDATE, YES, Ability, Capabilities, no
from hypervisors.drivers.xenserver.records import Contents, Record

NO_QUIESCE = (
    "XenServer cannot quiesce the guest: its releases since Citrix Hypervisor 8.1 no longer have such snapshots. "
    "A snapshot with memory, or of the stopped machine, holds a settled state."
)
_RESET = "A disk of the machine is reset at each start (on_boot), and XenServer takes no snapshot of such disks."
_USB = "A USB device of the host is passed through to the machine; XenServer takes no snapshot while that is so."
_PCI = "A PCI device of the host is passed through to the machine, and its state cannot be saved with the memory."
_VGPU = "The machine has a virtual graphics processor, and its state cannot be saved with the memory."
_LICENCE = "The licence of the pool does not include snapshots with memory (checkpoints)."
_NO_DRIVERS = "The guest runs without paravirtual drivers. Install the XenServer VM Tools in it"


def abilities(contents: Contents, machine: Record) -> Capabilities:
    """The abilities of a machine."""
    disks = _snapshot(contents, machine)
    memory = _memory(contents, machine) if disks.allowed else disks
    hotplug = _hotplug(contents, machine)
    return Capabilities(
        disk_when_running=disks,
        disk_when_stopped=disks,
        memory=memory,
        quiesce=no(NO_QUIESCE),
        revert=_unless_blocked(machine, "revert"),
        attach=hotplug,
        detach=hotplug,
        start=_unless_blocked(machine, "start"),
        stop=_stop(machine),
        consolidate=no(NOTHING_TO_CONSOLIDATE),
    )


def _unless_blocked(record: Record, operation: str) -> Ability:
    if operation not in record["blocked_operations"]:
        return YES
    why = record["blocked_operations"][operation]
    told = "" if not why or why.lower() in ("true", "yes", "1") else f" ({why})"
    return no(f"An administrator has blocked “{operation}” for this machine in XenServer{told}.")


def _snapshot(contents: Contents, machine: Record) -> Ability:
    blocked = _unless_blocked(machine, "snapshot")
    if not blocked.allowed:
        return blocked
    if machine.get("VUSBs"):
        return no(_USB)
    if any(contents.disks[slot["VDI"]].get("on_boot") == "reset" for slot in contents.slots_of(machine)):
        return no(_RESET)
    if _left_out(machine, "snapshot"):
        return no(
            "XenServer does not offer a snapshot of this machine. Most often the kind of storage a disk is on takes none, "
            "or the storage is not connected."
        )
    return YES


def _memory(contents: Contents, machine: Record) -> Ability:
    blocked = _unless_blocked(machine, "checkpoint")
    if not blocked.allowed:
        return blocked
    if machine.get("attached_PCIs"):
        return no(_PCI)
    offered = "checkpoint" in machine["allowed_operations"]
    if machine.get("VGPUs") and not offered:
        return no(_VGPU)
    if contents.pool.get("restrictions", {}).get("restrict_checkpoint") == "true":
        return no(_LICENCE)
    if machine["power_state"] == "Running" and _left_out(machine, "checkpoint"):
        if _lacks_drivers(contents, machine):
            return no(f"{_NO_DRIVERS}: XenServer suspends the guest to save its memory.")
        return no("XenServer does not offer a snapshot with memory of this machine while it runs as it does now.")
    return YES


def _left_out(machine: Record, operation: str) -> bool:
    """Whether XenServer, idle with this machine, leaves the operation out of what it allows."""
    return not machine["current_operations"] and operation not in machine["allowed_operations"]


def _hotplug(contents: Contents, machine: Record) -> Ability:
    """Disks can go in and out of a running machine only with drivers in the guest, and of any while it is off."""
    if machine["power_state"] == "Running" and _lacks_drivers(contents, machine):
        return no(f"{_NO_DRIVERS}, or stop the machine: then disks can be attached and detached.")
    return YES


def _lacks_drivers(contents: Contents, machine: Record) -> bool:
    if not is_fully_virtualised(machine):
        return False
    guest = contents.guests.get(machine["guest_metrics"], {})
    hotplug = guest.get("can_use_hotplug_vbd", "unspecified")
    return bool(hotplug == "no" or (hotplug == "unspecified" and not guest.get("PV_drivers_detected", False)))


def is_fully_virtualised(machine: Record) -> bool:
    """Whether the guest sees emulated hardware until it loads drivers of its own (HVM)."""
    kind = machine.get("domain_type", "unspecified")
    return bool(kind == "hvm" if kind != "unspecified" else machine.get("HVM_boot_policy"))


def _stop(machine: Record) -> Ability:
    both = [_unless_blocked(machine, operation) for operation in ("clean_shutdown", "hard_shutdown")]
    if all(not ability.allowed for ability in both):
        return both[1]
    return _unless_blocked(machine, "shutdown")

"""Which operation a machine allows right now, who is in whose way, and the mark that one is under way.

After the checks that the real server makes before each operation on a machine, in their order: blocked by an
administrator, power state, other operations, snapshot or template, drivers, disks that reset on boot, devices.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypervisors.xen_simulator.database import Database, new_ref
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.pool import Call

_ALL = ("Halted", "Paused", "Suspended", "Running")
POWER_STATES: dict[str, tuple[str, ...]] = {
    "start": ("Halted",),
    "start_on": ("Halted",),
    "provision": ("Halted",),
    "make_into_template": ("Halted",),
    "changing_static_range": ("Halted",),
    "changing_shadow_memory": ("Halted",),
    "changing_VCPUs": ("Halted",),
    "changing_dynamic_range": ("Halted", "Running"),
    "unpause": ("Paused",),
    "resume": ("Suspended",),
    "resume_on": ("Suspended",),
    "pause": ("Running",),
    "suspend": ("Running",),
    "clean_shutdown": ("Running",),
    "clean_reboot": ("Running",),
    "pool_migrate": ("Running",),
    "migrate_send": ("Running",),
    "changing_VCPUs_live": ("Running",),
    "hard_reboot": ("Paused", "Running"),
    "hard_shutdown": ("Paused", "Suspended", "Running"),
    "checkpoint": ("Paused", "Suspended", "Running"),
    "clone": ("Halted",),
    "copy": ("Halted",),
    "destroy": ("Halted", "Suspended"),
    "export": ("Halted", "Suspended"),
}
# Told in allowed_operations where they are allowed. `shutdown` and `reverting` are never told.
OFFERED = [
    "snapshot",
    "copy",
    "clone",
    "revert",
    "checkpoint",
    "start",
    "start_on",
    "pause",
    "unpause",
    "clean_shutdown",
    "clean_reboot",
    "hard_shutdown",
    "hard_reboot",
    "suspend",
    "resume",
    "resume_on",
    "export",
    "destroy",
    "provision",
    "changing_VCPUs_live",
    "pool_migrate",
    "migrate_send",
    "make_into_template",
    "changing_static_range",
    "changing_shadow_memory",
    "changing_dynamic_range",
]
_OF_SNAPSHOTS = frozenset({"revert", "clone", "copy", "export", "destroy", "hard_shutdown", "metadata_export"})
_OF_TEMPLATES = frozenset(
    [
        "changing_dynamic_range",
        "changing_static_range",
        "changing_shadow_memory",
        "changing_VCPUs",
        "clone",
        "copy",
        "export",
        "provision",
        "destroy",
    ]
)
_TOGETHER = (frozenset({"clone", "copy", "export"}), frozenset({"snapshot", "checkpoint"}))
_MOVING = frozenset({"suspend", "checkpoint", "pool_migrate"})


def check(database: Database, vm: str, operation: str) -> XenFailure | None:
    """Why the machine does not allow the operation now, or None."""
    values = database.row("VM", vm).values
    return (
        _blocked(vm, values, operation)
        or _power(vm, values, operation)
        or _conflict(vm, values, operation)
        or _kind(vm, values, operation)
        or _guest(database, vm, values, operation)
        or _devices(database, vm, values, operation)
    )


def _blocked(vm: str, values: dict[str, Any], operation: str) -> XenFailure | None:
    if operation in values["blocked_operations"]:
        return XenFailure("OPERATION_BLOCKED", vm, values["blocked_operations"][operation])
    return None


def _power(vm: str, values: dict[str, Any], operation: str) -> XenFailure | None:
    allowed = POWER_STATES.get(operation, _ALL)
    if operation in ("clone", "copy") and values["is_a_snapshot"]:
        allowed = ("Halted", "Suspended")
    return None if values["power_state"] in allowed else bad_power_state(vm, allowed, values["power_state"])


def bad_power_state(vm: str, expected: tuple[str, ...], actual: str, joined_by: str = ", ") -> XenFailure:
    """VM_BAD_POWER_STATE as the real server words it: states in small letters, joined in one of two ways."""
    return XenFailure("VM_BAD_POWER_STATE", vm, joined_by.join(expected).lower(), actual.lower())


def _conflict(vm: str, values: dict[str, Any], operation: str) -> XenFailure | None:
    under_way = values["current_operations"]
    if not under_way or any({operation, *under_way.values()} <= together for together in _TOGETHER):
        return None
    if operation == "hard_shutdown" and set(under_way.values()) == {"reverting"}:
        return None
    key, other = next(iter(under_way.items()))
    return XenFailure("OTHER_OPERATION_IN_PROGRESS", "VM", vm, other, key)


def _kind(vm: str, values: dict[str, Any], operation: str) -> XenFailure | None:
    if values["is_a_snapshot"]:
        return None if operation in _OF_SNAPSHOTS else XenFailure("VM_IS_SNAPSHOT", vm, operation)
    if operation == "revert":
        return XenFailure("REVERT_ONLY_ALLOWED_ON_SNAPSHOT")
    if values["is_a_template"]:
        return None if operation in _OF_TEMPLATES else XenFailure("VM_IS_TEMPLATE", vm, operation)
    if operation == "provision":
        return XenFailure("PROVISION_ONLY_ALLOWED_ON_TEMPLATE")
    if values["is_control_domain"] and operation not in ("changing_dynamic_range", "start"):
        return XenFailure("OPERATION_NOT_ALLOWED", "Operations on domain 0 are not allowed")
    return None


def _guest(database: Database, vm: str, values: dict[str, Any], operation: str) -> XenFailure | None:
    """What needs something of a running guest: drivers, or the readiness to be suspended."""
    if values["power_state"] != "Running" or has_drivers(database, vm):
        return None
    if operation in ("clean_shutdown", "clean_reboot", "changing_VCPUs_live"):
        return XenFailure("VM_MISSING_PV_DRIVERS", vm)
    if operation in _MOVING:
        return XenFailure("VM_LACKS_FEATURE", vm)
    return None


def has_drivers(database: Database, vm: str) -> bool:
    """Whether the guest runs the paravirtual drivers."""
    metrics = database.get("VM", vm, "guest_metrics")
    return database.has("VM_guest_metrics", metrics) and bool(
        database.get("VM_guest_metrics", metrics, "PV_drivers_detected")
    )


def _devices(database: Database, vm: str, values: dict[str, Any], operation: str) -> XenFailure | None:
    if operation in ("snapshot", "checkpoint", "suspend"):
        disks = [database.get("VBD", vbd, "VDI") for vbd in values["VBDs"]]
        if any(database.has("VDI", vdi) and database.get("VDI", vdi, "on_boot") == "reset" for vdi in disks):
            return XenFailure("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
        if values["VUSBs"]:
            return XenFailure("VM_HAS_VUSBS", vm)
    if operation in _MOVING:
        if values["attached_PCIs"]:
            return XenFailure("VM_HAS_PCI_ATTACHED", vm)
        if values["VGPUs"]:
            return XenFailure("VM_HAS_VGPU", vm)
        metrics = values["metrics"]
        if database.has("VM_metrics", metrics) and database.get("VM_metrics", metrics, "nomigrate"):
            return XenFailure("VM_IS_IMMOBILE", vm)
    return None


def refresh(database: Database, vm: str) -> None:
    """Compute allowed_operations anew for a machine and its VBDs: something that decides them has changed."""
    with database.change():
        if not database.has("VM", vm):
            return
        allowed = [operation for operation in OFFERED if check(database, vm, operation) is None]
        database.set("VM", vm, allowed_operations=allowed)
        for vbd in database.get("VM", vm, "VBDs"):
            refresh_vbd(database, vbd)


def refresh_vbd(database: Database, vbd: str) -> None:
    """Compute allowed_operations of a VBD anew, and of its VDI."""
    values = database.row("VBD", vbd).values
    vm = values["VM"]
    allowed = ["attach"]
    if database.has("VM", vm) and not values["current_operations"]:
        if values["type"] == "CD":
            allowed += ["insert"] if values["empty"] else ["eject"]
        if database.get("VM", vm, "power_state") == "Running" and has_drivers(database, vm):
            allowed += ["unplug", "unplug_force"] if values["currently_attached"] else ["plug"]
    database.set("VBD", vbd, allowed_operations=allowed)
    if database.has("VDI", values["VDI"]):
        refresh_vdi(database, values["VDI"])


def refresh_vdi(database: Database, vdi: str) -> None:
    """Compute allowed_operations of a VDI anew."""
    values = database.row("VDI", vdi).values
    allowed: list[str] = []
    if values["managed"]:
        allowed = ["snapshot", "clone", "copy", "update"]
        attached = any(database.get("VBD", vbd, "currently_attached") for vbd in values["VBDs"])
        if not attached:
            allowed += ["destroy", "forget", "set_on_boot"] + ([] if values["is_a_snapshot"] else ["resize"])
    database.set("VDI", vdi, allowed_operations=allowed)


@contextmanager
def under_way(call: Call, vm: str, operation: str) -> Iterator[None]:
    """Carry out an operation on a machine: wait for those in its way, then mark it as under way until the end.

    Raises what `check` finds; OTHER_OPERATION_IN_PROGRESS only after the time that the settings say.
    """
    database = call.database
    key = call.task or new_ref()
    deadline = time.monotonic() + call.pool.settings.wait_seconds
    with database.lock:
        while (failed := check(database, vm, operation)) is not None:
            if failed.code != "OTHER_OPERATION_IN_PROGRESS" or time.monotonic() >= deadline:
                raise failed
            database.changed.wait(min(0.1, max(0.0, deadline - time.monotonic())))  # cancellations ring elsewhere
            call.raise_if_cancelled()
        with database.change():
            database.put("VM", vm, "current_operations", key, operation)
            refresh(database, vm)
    try:
        yield
    finally:
        with database.change():
            if database.has("VM", vm):
                database.drop("VM", vm, "current_operations", key)
                refresh(database, vm)


def forget_all(database: Database) -> None:
    """No operation survives the server: clear the marks of an earlier process."""
    with database.change():
        for vm, row in list(database.tables["VM"].items()):
            if row.values["current_operations"]:
                database.set("VM", vm, current_operations={})
                refresh(database, vm)

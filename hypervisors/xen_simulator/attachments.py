"""VBDs: which disk a machine has, where, and whether a running guest holds it."""

from typing import Any

from hypervisors.xen_simulator.database import Database
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import NULL
from hypervisors.xen_simulator.operations import bad_power_state, has_drivers, refresh, refresh_vbd, refresh_vdi
from hypervisors.xen_simulator.pool import Call, handles

PLACES = 255


def device_name(place: str) -> str:
    """The name the guest sees: 0 is xvda."""
    number = int(place)
    letters = ""
    while number >= 0:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
    return f"xvd{letters}"


def free_places(database: Database, vm: str) -> list[str]:
    """The userdevices that a machine has left."""
    taken = {database.get("VBD", vbd, "userdevice") for vbd in database.get("VM", vm, "VBDs")}
    return [str(place) for place in range(PLACES) if str(place) not in taken]


def attach_all(database: Database, vm: str) -> None:
    """The machine starts: it holds all its disks. Raises VDI_IN_USE for one that another machine holds."""
    for vbd in database.get("VM", vm, "VBDs"):
        if not database.get("VBD", vbd, "empty"):
            assert_free(database, vbd)
    for vbd in database.get("VM", vm, "VBDs"):
        values = database.row("VBD", vbd).values
        if not values["empty"]:
            database.set("VBD", vbd, currently_attached=True, device=device_name(values["userdevice"]))


def let_go_all(database: Database, vm: str) -> None:
    """The machine is off: it holds no disk."""
    for vbd in database.get("VM", vm, "VBDs"):
        database.set("VBD", vbd, currently_attached=False)


def assert_free(database: Database, vbd: str) -> None:
    """Raise VDI_IN_USE where another VBD holds the disk and one of the two writes.

    The path of VBDs sends one parameter of the two that are declared.
    """
    values = database.row("VBD", vbd).values
    vdi = values["VDI"]
    if not database.has("VDI", vdi):
        raise XenFailure("HANDLE_INVALID", "VDI", vdi)
    disk = database.row("VDI", vdi).values
    for other in disk["VBDs"]:
        if other == vbd or disk["sharable"] or not database.get("VBD", other, "currently_attached"):
            continue
        if "RW" in (values["mode"], database.get("VBD", other, "mode")):
            raise XenFailure("VDI_IN_USE", vdi)


@handles("VM.get_allowed_VBD_devices")
def allowed_devices(call: Call, vm: str) -> list[str]:
    """VM.get_allowed_VBD_devices"""
    return free_places(call.database, vm)


@handles("VBD.create")
def create(call: Call, record: dict[str, Any]) -> str:
    """VBD.create"""
    database = call.database
    vm, vdi, place = record.get("VM", NULL), record.get("VDI", NULL), record.get("userdevice", "")
    kind, mode, empty = record.get("type", "Disk"), record.get("mode", "RW"), record.get("empty", False)
    with database.change():
        machine = database.row("VM", vm).values
        if machine["current_operations"] and machine["power_state"] == "Suspended":
            raise bad_power_state(vm, ("Halted", "Running"), "Suspended")
        free = free_places(database, vm)
        if place == "autodetect":
            place = free[0]
        if not place.isdecimal() or int(place) >= PLACES:
            raise XenFailure("INVALID_DEVICE", place)
        if place not in free:
            raise XenFailure("DEVICE_ALREADY_EXISTS", place)
        if not empty:
            _check_disk(database, vdi, kind, mode)
        vbd = database.create("VBD", **{**record, "userdevice": place, "currently_attached": False})
        database.set("VBD", vbd, VDI=NULL if empty else vdi, device="", type=kind, mode=mode)
        refresh(database, vm)
        return vbd


def _check_disk(database: Database, vdi: str, kind: str, mode: str) -> None:
    disk = database.row("VDI", vdi).values
    if not disk["managed"]:
        raise XenFailure("VDI_NOT_MANAGED", vdi)
    if disk["read_only"] and mode == "RW" and kind == "Disk":
        raise XenFailure("VDI_READONLY", vdi)
    if disk["type"] in ("suspend", "crashdump", "ha_statefile"):
        raise XenFailure("VDI_INCOMPATIBLE_TYPE", vdi, disk["type"])


@handles("VBD.destroy")
def destroy(call: Call, vbd: str) -> None:
    """VBD.destroy: of one that no guest holds."""
    database = call.database
    with database.change():
        values = database.row("VBD", vbd).values
        if values["currently_attached"]:
            raise XenFailure("OPERATION_NOT_ALLOWED", f"VBD '{values['uuid']}' still attached to '{values['VM']}'")
        database.delete("VBD", vbd)
        refresh(database, values["VM"])
        if database.has("VDI", values["VDI"]):
            refresh_vdi(database, values["VDI"])


def _assert_hot(database: Database, vbd: str) -> dict[str, Any]:
    """The VBD's fields, when its machine runs a guest that can plug. Raises otherwise."""
    values = database.row("VBD", vbd).values
    vm = values["VM"]
    state = database.get("VM", vm, "power_state")
    if state != "Running":
        raise bad_power_state(vm, ("Running",), state)
    if not has_drivers(database, vm):
        raise XenFailure("VM_MISSING_PV_DRIVERS", vm)
    return values


@handles("VBD.plug")
def plug(call: Call, vbd: str) -> None:
    """VBD.plug"""
    database = call.database
    _assert_hot(database, vbd)
    call.step("plug", 0.5)
    with database.change():
        values = _assert_hot(database, vbd)
        if values["currently_attached"]:
            raise XenFailure("DEVICE_ALREADY_ATTACHED", vbd)
        if values["empty"]:
            raise XenFailure("VBD_IS_EMPTY", vbd)
        assert_free(database, vbd)
        database.set("VBD", vbd, currently_attached=True, device=device_name(values["userdevice"]))
        refresh_vbd(database, vbd)


@handles("VBD.unplug", "VBD.unplug_force")
def unplug(call: Call, vbd: str) -> None:
    """VBD.unplug"""
    database = call.database
    _assert_hot(database, vbd)
    call.step("unplug", 0.5)
    with database.change():
        values = _assert_hot(database, vbd)
        if not values["currently_attached"]:
            raise XenFailure("DEVICE_ALREADY_DETACHED", vbd)
        if not values["unpluggable"] and not call.called.endswith("_force"):
            raise XenFailure("VBD_NOT_UNPLUGGABLE", vbd)
        database.set("VBD", vbd, currently_attached=False)
        refresh_vbd(database, vbd)


@handles("VBD.assert_attachable")
def assert_attachable(call: Call, vbd: str) -> None:
    """VBD.assert_attachable"""
    assert_free(call.database, vbd)


@handles("VBD.eject")
def eject(call: Call, vbd: str) -> None:
    """VBD.eject"""
    values = call.database.row("VBD", vbd).values
    if values["type"] != "CD":
        raise XenFailure("VBD_NOT_REMOVABLE_MEDIA", vbd)
    if values["empty"]:
        raise XenFailure("VBD_IS_EMPTY", vbd)
    call.database.set("VBD", vbd, VDI=NULL, empty=True)


@handles("VBD.insert")
def insert(call: Call, vbd: str, vdi: str) -> None:
    """VBD.insert"""
    values = call.database.row("VBD", vbd).values
    call.database.row("VDI", vdi)
    if values["type"] != "CD":
        raise XenFailure("VBD_NOT_REMOVABLE_MEDIA", vbd)
    if not values["empty"]:
        raise XenFailure("VBD_NOT_EMPTY", vbd)
    call.database.set("VBD", vbd, VDI=vdi, empty=False)

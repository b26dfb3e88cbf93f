"""Snapshot, checkpoint, revert, clone: the tree of a machine, and its disks.

After the real server (xen-api's xapi_vm_snapshot.ml and xapi_vm_clone.ml): a machine is a leaf of its own tree, `parent`
is where it stands; disks are taken one after the other; a revert restores fields first, then destroys the current disks
before it clones those of the snapshot, so that a failure in between leaves the machine halted and damaged. Each step is
saved by itself: a process killed in the middle leaves what the real one would leave.
"""

import json
import uuid
from typing import Any

from hypervisors.xen_simulator import disks, power
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import CLASSES, NULL
from hypervisors.xen_simulator.moment import now
from hypervisors.xen_simulator.operations import refresh, refresh_vdi, under_way
from hypervisors.xen_simulator.pool import Call, handles

OWNER = "owner"
# Not taken over by a copy of a machine: what it is, where it stands, what hangs on it.
_OWN = frozenset(
    [
        "uuid",
        "allowed_operations",
        "current_operations",
        "power_state",
        "resident_on",
        "domid",
        "VBDs",
        "VIFs",
        "VUSBs",
        "VGPUs",
        "VTPMs",
        "consoles",
        "crash_dumps",
        "metrics",
        "guest_metrics",
        "snapshots",
        "children",
        "parent",
        "suspend_VDI",
        "attached_PCIs",
        "blocked_operations",
        "scheduled_to_be_resident_on",
        "name_label",
        "is_a_snapshot",
        "is_a_template",
        "snapshot_of",
        "snapshot_time",
        "snapshot_info",
        "snapshot_metadata",
        "generation_id",
        "ha_restart_priority",
        "ha_always_run",
    ]
)
# Kept by a revert; everything else rolls back, the name too.
_KEPT_BY_REVERT = frozenset(
    [
        "uuid",
        "suspend_VDI",
        "power_state",
        "parent",
        "current_operations",
        "allowed_operations",
        "guest_metrics",
        "metrics",
        "resident_on",
        "domid",
        "protection_policy",
        "snapshot_schedule",
        "scheduled_to_be_resident_on",
        "snapshots",
        "children",
        "tags",
        "affinity",
        "groups",
        "consoles",
        "VBDs",
        "VIFs",
        "VGPUs",
        "VUSBs",
        "VTPMs",
        "attached_PCIs",
        "is_a_snapshot",
        "snapshot_of",
        "snapshot_time",
        "snapshot_info",
        "snapshot_metadata",
        "is_a_template",
    ]
)


def metadata_of(values: dict[str, Any]) -> str:
    """A machine's record in the form in which a snapshot keeps it; clients do not look into it."""
    return json.dumps(values)


def disk_vbds(call: Call, vm: str) -> list[str]:
    """The machine's VBDs that are disks, by their place."""
    database = call.database
    found = [vbd for vbd in database.get("VM", vm, "VBDs") if database.get("VBD", vbd, "type") == "Disk"]
    return sorted(found, key=lambda vbd: int(database.get("VBD", vbd, "userdevice")))


def copy_record(call: Call, vm: str, **changes: Any) -> str:
    """A new VM record with the fields of another; its metrics are its own."""
    database = call.database
    values = database.row("VM", vm).values
    taken = {name: value for name, value in values.items() if name not in _OWN}
    metrics = database.create("VM_metrics", install_time=now(), last_updated=now())
    return database.create("VM", **taken, metrics=metrics, domid=-1, generation_id=_generation(), **changes)


def _generation() -> str:
    """A generation id: two 64-bit numbers that the guest can tell from those before."""
    number = uuid.uuid4().int
    return f"{number >> 65}:{number & ((1 << 63) - 1)}"


def copy_vbd(call: Call, vbd: str, vm: str, vdi: str, *, attached: bool, owner: bool) -> str:
    """A VBD like another, of another machine and disk."""
    values = call.database.row("VBD", vbd).values
    config = dict(values["other_config"]) | ({OWNER: ""} if owner else {})
    taken = ("userdevice", "bootable", "mode", "type", "unpluggable", "empty", "qos_algorithm_type", "device")
    same = {name: values[name] for name in (*taken, "qos_algorithm_params")}
    return call.database.create("VBD", VM=vm, VDI=vdi, other_config=config, currently_attached=attached, **same)


def copy_vifs(call: Call, source: str, target: str, *, keep_mac: bool) -> None:
    """Network interfaces like another machine's."""
    database = call.database
    for vif in database.get("VM", source, "VIFs"):
        values = database.row("VIF", vif).values
        own = ("uuid", "VM", "allowed_operations", "current_operations", "currently_attached", "metrics", "MAC")
        taken = {name: value for name, value in values.items() if name not in own}
        database.create("VIF", VM=target, MAC=values["MAC"] if keep_mac else new_mac(), **taken)


def new_mac() -> str:
    """A locally administered address."""
    tail = uuid.uuid4().hex[:10]
    return ":".join(["02", *(tail[place : place + 2] for place in range(0, 10, 2))])


# Taking


def _take_disks(call: Call, vm: str, ignored: list[str], first: float, last: float) -> dict[str, str]:
    """Snapshot the disks one after the other; VBD -> new VDI. What was taken is destroyed again on failure."""
    taken: dict[str, str] = {}
    wanted = [vbd for vbd in disk_vbds(call, vm) if call.database.get("VBD", vbd, "VDI") not in ignored]
    try:
        for number, vbd in enumerate(wanted):
            call.step(f"disk-{number}", first + (last - first) * number / len(wanted))
            vdi = call.database.get("VBD", vbd, "VDI")
            if call.database.has("VDI", vdi):
                taken[vbd] = disks.branch_vdi(call.pool, vdi, snapshot=True)
        call.step("disks", last)
    except XenFailure:
        for vdi in taken.values():
            disks.destroy_vdi(call.pool, vdi)
        raise
    return taken


def _record_snapshot(call: Call, vm: str, name: str, taken: dict[str, str], state: str, image: str) -> str:
    """Write the snapshot's records and put it into the tree, where the machine stands."""
    database = call.database
    memory = image != NULL
    with database.change():
        values = database.row("VM", vm).values
        made = copy_record(
            call,
            vm,
            name_label=name,
            is_a_snapshot=True,
            is_a_template=True,
            snapshot_of=vm,
            snapshot_time=now(),
            snapshot_info={"power-state-at-snapshot": state, "disk-snapshot-type": "crash_consistent"},
            snapshot_metadata=metadata_of({**values, "current_operations": {}}),
            power_state="Suspended" if memory else "Halted",
            suspend_VDI=image,
            parent=values["parent"] if database.has("VM", values["parent"]) else NULL,
        )
        for vbd in values["VBDs"]:
            is_disk = database.get("VBD", vbd, "type") == "Disk"
            if is_disk and vbd not in taken:
                continue  # left out on request
            vdi = taken[vbd] if is_disk else database.get("VBD", vbd, "VDI")
            copy_vbd(call, vbd, made, vdi, attached=memory and is_disk, owner=is_disk)
        copy_vifs(call, vm, made, keep_mac=True)
        database.set("VM", vm, parent=made)
        refresh(database, made)
        refresh(database, vm)
        return made


@handles("VM.snapshot")
def snapshot(call: Call, vm: str, name: str, ignored: list[str] | None = None) -> str:
    """VM.snapshot: disks only, in any power state; can be cancelled between two disks."""
    with under_way(call, vm, "snapshot"):
        call.set_cancellable(True)
        state = call.database.get("VM", vm, "power_state")
        power.write_a_little(call.pool, vm)
        taken = _take_disks(call, vm, ignored or [], 0.1, 0.8)
        call.set_cancellable(False)
        return _record_snapshot(call, vm, name, taken, state, NULL)


@handles("VM.checkpoint")
def checkpoint(call: Call, vm: str, name: str) -> str:
    """VM.checkpoint: disks and memory. A running guest stands still meanwhile; a paused one has no image to take."""
    database = call.database
    with under_way(call, vm, "checkpoint"):
        call.set_cancellable(True)
        state = database.get("VM", vm, "power_state")
        if state == "Running":
            power.write_a_little(call.pool, vm)
            call.step("suspend", 0.1)
            power.suspend_machine(call, vm)
        try:
            taken = _take_disks(call, vm, [], 0.4, 0.7)
            call.set_cancellable(False)
            image = NULL
            if state in ("Running", "Suspended"):
                image = disks.branch_vdi(call.pool, database.get("VM", vm, "suspend_VDI"), snapshot=True)
            made = _record_snapshot(call, vm, name, taken, state, image)
        finally:
            if state == "Running" and database.has("VM", vm):
                power.resume_machine(call, vm)
        call.step("resumed", 0.9)
        return made


# Reverting


@handles("VM.revert")
def revert(call: Call, snapshot_vm: str) -> None:
    """VM.revert: not to be cancelled. A machine that is gone is made again under its old uuid."""
    database = call.database
    with under_way(call, snapshot_vm, "revert"):
        call.set_cancellable(False)
        vm = database.get("VM", snapshot_vm, "snapshot_of")
        if not database.has("VM", vm):
            vm = _make_again(call, snapshot_vm)
        with under_way(call, vm, "reverting"):
            if database.get("VM", vm, "power_state") != "Halted":
                call.step("shutdown", 0.05)
                power.halt(call, vm)
            try:
                _restore(call, snapshot_vm, vm)
            except XenFailure as failed:
                power.set_power(call.pool, vm, "Halted")
                if failed.code in ("SR_BACKEND_FAILURE_44", "SR_BACKEND_FAILURE_109", "VDI_INCOMPATIBLE_TYPE"):
                    raise
                # Declared as vm, snapshot; sent the other way round.
                raise XenFailure("VM_REVERT_FAILED", snapshot_vm, vm) from failed


def _restored_fields(call: Call, snapshot_vm: str) -> dict[str, Any]:
    saved = json.loads(call.database.get("VM", snapshot_vm, "snapshot_metadata"))
    known = CLASSES["VM"].fields
    fields = {name: value for name, value in saved.items() if name in known and name not in _KEPT_BY_REVERT}
    return fields | {"ha_always_run": False, "generation_id": _generation()}


def _make_again(call: Call, snapshot_vm: str) -> str:
    """The machine of a snapshot whose machine was destroyed; all snapshots of the old one belong to it."""
    database = call.database
    with database.change():
        gone = database.get("VM", snapshot_vm, "snapshot_of")
        saved = json.loads(database.get("VM", snapshot_vm, "snapshot_metadata"))
        made = copy_record(call, snapshot_vm, name_label=saved["name_label"], uuid=saved["uuid"])
        for other in database.where("VM", snapshot_of=gone, is_a_snapshot=True):
            database.set("VM", other, snapshot_of=made)
        return made


def _restore(call: Call, snapshot_vm: str, vm: str) -> None:
    database = call.database
    database.set("VM", vm, **_restored_fields(call, snapshot_vm))
    call.step("fields", 0.1)
    _drop_current(call, snapshot_vm, vm)
    call.step("disks-destroyed", 0.2)
    cloned: dict[str, str] = {}
    for number, vbd in enumerate(disk_vbds(call, snapshot_vm)):
        call.step(f"clone-{number}")
        cloned[vbd] = _clone_back(call, database.get("VBD", vbd, "VDI"))
    call.step("disks-cloned", 0.5)
    image = database.get("VM", snapshot_vm, "suspend_VDI")
    new_image = disks.branch_vdi(call.pool, image, snapshot=False) if database.has("VDI", image) else NULL
    call.step("image-cloned", 0.6)
    with database.change():
        for vbd in database.get("VM", snapshot_vm, "VBDs"):
            vdi = cloned.get(vbd, database.get("VBD", vbd, "VDI"))
            made = copy_vbd(call, vbd, vm, vdi, attached=new_image != NULL and vbd in cloned, owner=False)
            config = database.get("VBD", made, "other_config")
            database.set("VBD", made, other_config={key: config[key] for key in config if key != OWNER})
        database.set("VM", vm, suspend_VDI=new_image)
        for vif in list(database.get("VM", vm, "VIFs")):
            database.delete("VIF", vif)
        copy_vifs(call, snapshot_vm, vm, keep_mac=True)
    call.step("devices", 0.8)
    with database.change():
        database.set("VM", vm, parent=snapshot_vm)
        power.set_power(call.pool, vm, database.get("VM", snapshot_vm, "power_state"))
    call.progress(1.0)


def _drop_current(call: Call, snapshot_vm: str, vm: str) -> None:
    """Destroy the machine's VBDs, and of its disks those that the snapshot has too; the others are left unattached."""
    database = call.database
    counterparts = set()
    for vbd in disk_vbds(call, snapshot_vm):
        vdi = database.get("VBD", vbd, "VDI")
        if database.has("VDI", vdi):
            counterparts.add(database.get("VDI", vdi, "snapshot_of"))
    with database.change():
        current = [database.get("VBD", vbd, "VDI") for vbd in disk_vbds(call, vm)]
        for vbd in list(database.get("VM", vm, "VBDs")):
            database.delete("VBD", vbd)
        for vdi in current:
            if vdi in counterparts:
                disks.destroy_vdi(call.pool, vdi)
            elif database.has("VDI", vdi):
                refresh_vdi(database, vdi)
        refresh(database, vm)


def _clone_back(call: Call, vdi: str) -> str:
    """Clone a snapshot's disk; all snapshots of the disk that it replaces are snapshots of the clone from now on."""
    database = call.database
    with database.change():
        made = disks.branch_vdi(call.pool, vdi, snapshot=False)
        was = database.get("VDI", vdi, "snapshot_of")
        for other in database.where("VDI", snapshot_of=was) if was != NULL else [vdi]:
            database.set("VDI", other, snapshot_of=made)
        return made


# Copying


@handles("VM.clone", "VM.copy")
def clone(call: Call, vm: str, name: str, sr: str = NULL) -> str:
    """VM.clone and VM.copy: a machine of its own, which starts a tree of its own. A copy always stands alone."""
    database = call.database
    operation = "copy" if call.called.endswith("copy") else "clone"
    if sr != NULL:
        database.row("SR", sr)
    with under_way(call, vm, operation):
        call.set_cancellable(True)
        made_disks = {}
        for number, vbd in enumerate(disk_vbds(call, vm)):
            call.step(f"disk-{number}", 0.2)
            made_disks[vbd] = disks.branch_vdi(call.pool, database.get("VBD", vbd, "VDI"), snapshot=False)
        call.set_cancellable(False)
        with database.change():
            template = database.get("VM", vm, "is_a_template") and not database.get("VM", vm, "is_a_snapshot")
            made = copy_record(call, vm, name_label=name, is_a_template=template)
            for vbd in database.get("VM", vm, "VBDs"):
                vdi = made_disks.get(vbd, database.get("VBD", vbd, "VDI"))
                copy_vbd(call, vbd, made, vdi, attached=False, owner=vbd in made_disks)
            copy_vifs(call, vm, made, keep_mac=False)
            refresh(database, made)
        return made

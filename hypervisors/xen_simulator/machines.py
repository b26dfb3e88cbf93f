"""VM records: making, destroying and changing them, beyond power and snapshots."""

from typing import Any

from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import NULL
from hypervisors.xen_simulator.moment import now
from hypervisors.xen_simulator.operations import bad_power_state, check, refresh, under_way
from hypervisors.xen_simulator.pool import Call, handles
from hypervisors.xen_simulator.snapshots import new_mac


@handles("VM.create")
def create(call: Call, record: dict[str, Any]) -> str:
    """VM.create: a halted machine without devices."""
    database = call.database
    with database.change():
        metrics = database.create("VM_metrics", install_time=now(), last_updated=now())
        given = {name: value for name, value in record.items() if name not in ("power_state", "suspend_VDI")}
        vm = database.create("VM", **given, metrics=metrics, domid=-1)
        refresh(database, vm)
        return vm


@handles("VM.destroy")
def destroy(call: Call, vm: str) -> None:
    """VM.destroy: the records of the machine or snapshot and of its devices. Its disks stay. Children of a snapshot
    move to its parent; snapshots of a machine stay, and refer to what is no more."""
    database = call.database
    with under_way(call, vm, "destroy"):
        call.step("destroy", 0.5)
        with database.change():
            delete_records(call, vm)


def delete_records(call: Call, vm: str) -> None:
    """Delete a VM record and all that belongs to it alone, and close the gap in the tree."""
    database = call.database
    with database.change():
        values = database.row("VM", vm).values
        parent = values["parent"]
        for child in list(values["children"]):
            database.set("VM", child, parent=parent)
        vdis = [database.get("VBD", vbd, "VDI") for vbd in values["VBDs"]]
        for class_name, devices in (("VBD", values["VBDs"]), ("VIF", values["VIFs"])):
            for device in list(devices):
                database.delete(class_name, device)
        for class_name, name in (("VM_metrics", "metrics"), ("VM_guest_metrics", "guest_metrics")):
            if database.has(class_name, values[name]):
                database.delete(class_name, values[name])
        database.delete("VM", vm)
        for vdi in vdis:
            if database.has("VDI", vdi):
                database.touch("VDI", vdi)


@handles("VM.provision")
def provision(call: Call, vm: str) -> None:
    """VM.provision: the disks of a template are there already."""
    with under_way(call, vm, "provision"):
        call.step("provision", 0.5)
        call.database.set("VM", vm, is_a_template=False)
        refresh(call.database, vm)


@handles("VM.set_is_a_template")
def set_is_a_template(call: Call, vm: str, value: bool) -> None:
    """VM.set_is_a_template: a halted machine becomes a template, a template or snapshot a machine."""
    database = call.database
    with database.change():
        values = database.row("VM", vm).values
        if value and (failed := check(database, vm, "make_into_template")):
            raise failed
        database.set("VM", vm, is_a_template=value, is_a_snapshot=values["is_a_snapshot"] and value)
        refresh(database, vm)


@handles("VM.set_blocked_operations")
def set_blocked_operations(call: Call, vm: str, value: dict[str, str]) -> None:
    """VM.set_blocked_operations"""
    with call.database.change():
        call.database.set("VM", vm, blocked_operations=value)
        refresh(call.database, vm)


@handles("VM.add_to_blocked_operations")
def add_to_blocked_operations(call: Call, vm: str, key: str, value: str) -> None:
    """VM.add_to_blocked_operations"""
    database = call.database
    with database.change():
        values = database.row("VM", vm).values
        if key in values["blocked_operations"]:
            raise XenFailure("MAP_DUPLICATE_KEY", "VM", "blocked_operations", values["uuid"], key)
        database.put("VM", vm, "blocked_operations", key, value)
        refresh(database, vm)


@handles("VM.remove_from_blocked_operations")
def remove_from_blocked_operations(call: Call, vm: str, key: str) -> None:
    """VM.remove_from_blocked_operations"""
    with call.database.change():
        call.database.drop("VM", vm, "blocked_operations", key)
        refresh(call.database, vm)


@handles("VM.set_memory_limits")
def set_memory_limits(
    call: Call, vm: str, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int
) -> None:
    """VM.set_memory_limits"""
    state = call.database.get("VM", vm, "power_state")
    if state != "Halted":
        raise bad_power_state(vm, ("Halted",), state, joined_by=";")
    call.database.set(
        "VM",
        vm,
        memory_static_min=static_min,
        memory_static_max=static_max,
        memory_dynamic_min=dynamic_min,
        memory_dynamic_max=dynamic_max,
    )


@handles("VM.set_memory")
def set_memory(call: Call, vm: str, value: int) -> None:
    """VM.set_memory"""
    set_memory_limits(call, vm, call.database.get("VM", vm, "memory_static_min"), value, value, value)


@handles("VM.set_VCPUs_max", "VM.set_VCPUs_at_startup", "VM.set_memory_static_max", "VM.set_memory_static_min")
def set_while_halted(call: Call, vm: str, value: int) -> None:
    """Setters that want the machine halted; this path of the real server joins the expected states by semicolons."""
    state = call.database.get("VM", vm, "power_state")
    if state not in ("Halted", "Suspended"):
        raise bad_power_state(vm, ("Halted", "Suspended"), state, joined_by=";")
    call.database.set("VM", vm, **{call.called.rpartition(".set_")[2]: value})


@handles("VM.assert_operation_valid")
def assert_operation_valid(call: Call, vm: str, operation: str) -> None:
    """VM.assert_operation_valid"""
    if failed := check(call.database, vm, operation):
        raise failed


@handles("VM.update_allowed_operations")
def update_allowed_operations(call: Call, vm: str) -> None:
    """VM.update_allowed_operations"""
    call.database.row("VM", vm)
    refresh(call.database, vm)


@handles("VM.get_possible_hosts")
def get_possible_hosts(call: Call, vm: str) -> list[str]:
    """VM.get_possible_hosts"""
    call.database.row("VM", vm)
    return list(call.database.tables["host"])


@handles("VM.compute_memory_overhead")
def compute_memory_overhead(call: Call, vm: str) -> int:
    """VM.compute_memory_overhead: about what the real server answers for a small guest."""
    return 8 * 1024 * 1024 + int(call.database.get("VM", vm, "VCPUs_max")) * 1024 * 1024


@handles("VIF.create")
def create_vif(call: Call, record: dict[str, Any]) -> str:
    """VIF.create"""
    database = call.database
    with database.change():
        vm = record.get("VM", NULL)
        database.row("VM", vm)
        database.row("network", record.get("network", NULL))
        taken = {database.get("VIF", vif, "device") for vif in database.get("VM", vm, "VIFs")}
        if record.get("device", "0") in taken:
            raise XenFailure("DEVICE_ALREADY_EXISTS", record["device"])
        return database.create("VIF", **{"device": "0", **record, "MAC": record.get("MAC") or new_mac()})


@handles("VIF.destroy")
def destroy_vif(call: Call, vif: str) -> None:
    """VIF.destroy"""
    call.database.delete("VIF", vif)


@handles("host.get_servertime", "host.get_server_localtime")
def get_servertime(call: Call, host: str) -> str:
    """host.get_servertime"""
    call.database.row("host", host)
    return now()


@handles("host.compute_free_memory")
def compute_free_memory(call: Call, host: str) -> int:
    """host.compute_free_memory: what the machines that run there leave."""
    database = call.database
    total = database.get("host_metrics", database.get("host", host, "metrics"), "memory_total")
    used: int = sum(database.get("VM", vm, "memory_static_max") for vm in database.get("host", host, "resident_VMs"))
    return int(max(0, total - used))


@handles("pool.sync_database")
def sync_database(_call: Call) -> None:
    """pool.sync_database: everything is on disk after each change."""

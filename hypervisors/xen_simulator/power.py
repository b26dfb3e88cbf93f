"""Power: what starting, stopping, suspending and resuming do to a machine, its disks and its memory image."""

import uuid

from hypervisors.xen_simulator import attachments, disks
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import NULL
from hypervisors.xen_simulator.moment import now
from hypervisors.xen_simulator.operations import refresh, under_way
from hypervisors.xen_simulator.pool import Call, Pool, handles
from hypervisors.xen_simulator.storage import PAGE

# Of its memory a guest that does little has touched about so much; the image of it is that large.
TOUCHED = 64
WITHOUT_TOOLS = "vmsnap_simulator_without_tools"
WRITTEN_BETWEEN = 256 * 1024
WRITING_STRIDE = 1 << 20


def set_power(pool: Pool, vm: str, state: str) -> None:
    """Give the machine a power state and all that follows from it."""
    database = pool.database
    with database.change():
        host = pool.coordinator if state in ("Running", "Paused") else NULL
        running = state in ("Running", "Paused")
        if running:
            attachments.attach_all(database, vm)
        if state == "Halted":
            attachments.let_go_all(database, vm)
        domain = int(uuid.uuid4().int % 30000) + 1 if running else -1
        kept = database.get("VM", vm, "domid")
        database.set("VM", vm, power_state=state, resident_on=host, domid=kept if running and kept > 0 else domain)
        metrics = database.get("VM", vm, "metrics")
        if database.has("VM_metrics", metrics):
            memory = database.get("VM", vm, "memory_static_max") if running else 0
            database.set("VM_metrics", metrics, memory_actual=memory, last_updated=now())
        _tell_of_guest(pool, vm, state)
        refresh(database, vm)


def _tell_of_guest(pool: Pool, vm: str, state: str) -> None:
    """A running guest with tools reports through VM_guest_metrics; a stopped one has none."""
    database = pool.database
    metrics = database.get("VM", vm, "guest_metrics")
    there = database.has("VM_guest_metrics", metrics)
    wanted = state == "Running" and WITHOUT_TOOLS not in database.get("VM", vm, "other_config")
    if state == "Halted" and there:
        database.delete("VM_guest_metrics", metrics)
        database.set("VM", vm, guest_metrics=NULL)
    elif wanted and not there:
        made = database.create(
            "VM_guest_metrics",
            os_version={"name": "Debian GNU/Linux 12", "distro": "debian", "major": "12", "minor": "0"},
            PV_drivers_version={"major": "7", "minor": "20", "micro": "0", "build": "1"},
            PV_drivers_up_to_date=True,
            PV_drivers_detected=True,
            can_use_hotplug_vbd="yes",
            can_use_hotplug_vif="yes",
            live=True,
            last_updated=now(),
            other={"feature-suspend": "1", "feature-shutdown": "1", "feature-reboot": "1"},
        )
        database.set("VM", vm, guest_metrics=made)


def write_a_little(pool: Pool, vm: str) -> None:
    """A running guest has written to its disks since somebody looked last: each time to another place."""
    database = pool.database
    with database.change():
        if database.get("VM", vm, "power_state") != "Running":
            return
        for vbd in database.get("VM", vm, "VBDs"):
            vdi = database.get("VBD", vbd, "VDI")
            if database.get("VBD", vbd, "mode") != "RW" or not database.has("VDI", vdi):
                continue
            size = database.get("VDI", vdi, "virtual_size")
            places = max(1, (size - WRITTEN_BETWEEN) // WRITING_STRIDE)
            offset = (database.generation * 2654435761) % places * WRITING_STRIDE
            content = database.get("VDI", vdi, "uuid").encode() * (WRITTEN_BETWEEN // 36)
            disks.need_space(pool, database.get("VDI", vdi, "SR"), len(content))
            disks.write_as_guest(pool, vdi, offset, content[: max(0, size - offset)])
            disks.measure(pool, vdi)


# Memory images


def suspend_sr(pool: Pool, vm: str) -> str:
    """Where the machine's memory image goes. Raises VM_NO_SUSPEND_SR."""
    database = pool.database
    choices = [database.get("VM", vm, "suspend_SR"), database.get("pool", pool.pool_ref, "suspend_image_SR")]
    choices.append(database.get("pool", pool.pool_ref, "default_SR"))
    for sr in choices:
        if database.has("SR", sr):
            return str(sr)
    raise XenFailure("VM_NO_SUSPEND_SR", vm)


def write_image(pool: Pool, vm: str) -> str:
    """Write the memory of a running machine to a new suspend VDI."""
    database = pool.database
    with database.change():
        memory = database.get("VM", vm, "memory_static_max")
        touched = max(memory // TOUCHED, PAGE)
        sr = suspend_sr(pool, vm)
        image = disks.create_vdi(
            pool,
            sr,
            needed=touched,
            name_label="Suspend image",
            name_description="Suspend image",
            type="suspend",
            virtual_size=memory + memory // 50,
        )
        disks.write_as_guest(pool, image, 0, b"memory of a guest " * (touched // 18))
        disks.measure(pool, image)
        return image


def suspend_machine(call: Call, vm: str) -> None:
    """Running to Suspended: image first."""
    image = write_image(call.pool, vm)
    with call.database.change():
        call.database.set("VM", vm, suspend_VDI=image)
        set_power(call.pool, vm, "Suspended")


def resume_machine(call: Call, vm: str, state: str = "Running") -> None:
    """Suspended to Running (or Paused); the image goes."""
    database = call.database
    with database.change():
        image = database.get("VM", vm, "suspend_VDI")
        if not database.has("VDI", image):
            raise XenFailure("VM_HAS_NO_SUSPEND_VDI", vm)
        set_power(call.pool, vm, state)
        database.set("VM", vm, suspend_VDI=NULL)
        disks.destroy_vdi(call.pool, image)


def halt(call: Call, vm: str) -> None:
    """Whatever it is to Halted; a memory image goes."""
    database = call.database
    with database.change():
        image = database.get("VM", vm, "suspend_VDI")
        set_power(call.pool, vm, "Halted")
        if database.has("VDI", image):
            database.set("VM", vm, suspend_VDI=NULL)
            disks.destroy_vdi(call.pool, image)


# Messages


@handles("VM.start")
def start(call: Call, vm: str, paused: bool, _force: bool) -> None:
    """VM.start"""
    with under_way(call, vm, "start"):
        call.step("build", 0.2)
        with call.database.change():
            metrics = call.database.get("VM", vm, "metrics")
            set_power(call.pool, vm, "Paused" if paused else "Running")
            if call.database.has("VM_metrics", metrics):
                call.database.set("VM_metrics", metrics, start_time=now())
        call.step("started", 0.9)


@handles("VM.start_on")
def start_on(call: Call, vm: str, host: str, paused: bool, _force: bool) -> None:
    """VM.start_on"""
    call.database.row("host", host)
    with under_way(call, vm, "start_on"):
        call.step("build", 0.2)
        with call.database.change():
            set_power(call.pool, vm, "Paused" if paused else "Running")
            call.database.set("VM", vm, resident_on=host)


@handles("VM.resume")
def resume(call: Call, vm: str, paused: bool, _force: bool) -> None:
    """VM.resume"""
    with under_way(call, vm, "resume"):
        call.step("restore", 0.2)
        resume_machine(call, vm, "Paused" if paused else "Running")


@handles("VM.suspend")
def suspend(call: Call, vm: str) -> None:
    """VM.suspend"""
    with under_way(call, vm, "suspend"):
        call.set_cancellable(True)
        call.step("save", 0.2)
        call.set_cancellable(False)
        suspend_machine(call, vm)


@handles("VM.pause")
def pause(call: Call, vm: str) -> None:
    """VM.pause"""
    with under_way(call, vm, "pause"):
        set_power(call.pool, vm, "Paused")


@handles("VM.unpause")
def unpause(call: Call, vm: str) -> None:
    """VM.unpause"""
    with under_way(call, vm, "unpause"):
        set_power(call.pool, vm, "Running")


@handles("VM.clean_shutdown", "VM.shutdown")
def clean_shutdown(call: Call, vm: str) -> None:
    """VM.clean_shutdown: the guest is asked, and does it. VM.shutdown is the same where the guest can be asked."""
    clean = call.called.endswith("clean_shutdown")
    if not clean and call.database.get("VM", vm, "guest_metrics") == NULL:
        hard_shutdown(call, vm)
        return
    with under_way(call, vm, "clean_shutdown"):
        call.set_cancellable(True)
        call.step("ask", 0.3)
        call.set_cancellable(False)
        halt(call, vm)


@handles("VM.hard_shutdown")
def hard_shutdown(call: Call, vm: str) -> None:
    """VM.hard_shutdown: the power is cut, or the memory image thrown away."""
    with under_way(call, vm, "hard_shutdown"):
        call.step("destroy", 0.3)
        halt(call, vm)


@handles("VM.clean_reboot", "VM.hard_reboot")
def reboot(call: Call, vm: str) -> None:
    """VM.clean_reboot and VM.hard_reboot"""
    with under_way(call, vm, call.called.rpartition(".")[2]):
        call.step("reboot", 0.3)
        with call.database.change():
            set_power(call.pool, vm, "Halted")
            set_power(call.pool, vm, "Running")


@handles("VM.power_state_reset")
def power_state_reset(call: Call, vm: str) -> None:
    """VM.power_state_reset"""
    call.database.row("VM", vm)
    set_power(call.pool, vm, "Halted")

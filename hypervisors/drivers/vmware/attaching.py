"""Attaching and detaching disks by reconfiguring the machine. No file is ever created or destroyed by it.

vSphere itself lets the same file be given to several machines that are off, and would then ruin it; so whether a disk is
free is looked up among all machines' files, those of their snapshots included. While the machine has VM snapshots neither
is done: a snapshot would go on needing a disk that was taken away, and would lack one that was added.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from pyVmomi import vim

from hypervisors.driver import Unwatched, Watch
from hypervisors.drivers.vmware.connection import Connection
from hypervisors.drivers.vmware.disks import Controller, controllers_of, disks_of, taken_units
from hypervisors.drivers.vmware.errors import moref
from hypervisors.drivers.vmware.machines import DEVICES, POWER, SNAPSHOT
from hypervisors.drivers.vmware.properties import Seen, read_one
from hypervisors.drivers.vmware.reading import (
    FILE_PATHS,
    read_machine,
    read_machine_paths,
    read_world,
)
from hypervisors.drivers.vmware.tasks import Work
from hypervisors.errors import Busy, NotFound, Rejected, TimedOut, Unsupported
from hypervisors.records import VolumeRecord

_Change = vim.vm.device.VirtualDeviceSpec
_HOST = "runtime.host"
_PREFERRED = ("scsi", "nvme", "sata", "ide")
_GONE = "The volume is not in its datastore any more."


def attach(connection: Connection, machine_id: str, volume_id: str) -> VolumeRecord:
    """Attach a loose volume at the next free place. Raises as the contract's `attach_volume`."""
    until = connection.until()
    seen, device = connection.read(lambda: _prepared(connection, machine_id, volume_id), until)
    spec = vim.vm.ConfigSpec(deviceChange=[_Change(operation=_Change.Operation.add, device=device)])
    work = Work(connection, seen.managed, Unwatched(connection.timeout), until, "Attaching the volume")
    try:
        work.carry_out(partial(seen.managed.Reconfigure, spec))
    except Rejected as error:
        if isinstance(error.__cause__, vim.fault.FileNotFound):
            raise NotFound(_GONE) from error
        raise
    now, _ = connection.read(lambda: read_machine(connection, machine_id), None, after_change=True)
    for volume in now.volumes:
        if volume.native_id == volume_id:
            return volume
    raise NotFound("The volume was attached and is already gone again.")


def _prepared(connection: Connection, machine_id: str, volume: str) -> tuple[Seen, Any]:
    """The machine, and the device that the volume would be in it."""
    record, seen = read_machine(connection, machine_id)
    if not record.capabilities.attach.allowed:
        raise Unsupported(record.capabilities.attach.reason)
    _refuse_with_snapshots(connection, machine_id)
    world = read_world(connection, FILE_PATHS)
    datastore, _, path = volume.partition(" ")
    name = world.around.datastores.get(datastore)
    if name is None or not path.endswith(".vmdk"):
        raise NotFound(_GONE)
    if volume in world.used_by_machines():
        raise Busy("The volume is attached to a machine already, or a VM snapshot of one needs it.")
    if not _host_reaches(connection, machine_id, datastore):
        raise Unsupported(f"The host on which the machine is does not reach the datastore {name}.")
    place = connection.managed(vim.Datastore, datastore)
    return seen, _device(seen.get(DEVICES) or (), f"[{name}] {path}", place, str(seen.get(POWER)) == "poweredOn")


def _host_reaches(connection: Connection, machine_id: str, datastore: str) -> bool:
    """Whether the datastore is one of the machine's host: another datacenter may have one of the same name."""
    host = read_machine_paths(connection, machine_id, (_HOST,)).get(_HOST)
    seen = read_one(connection, host, ("datastore",)) if host is not None else None
    return seen is not None and datastore in {moref(one) for one in seen.get("datastore") or ()}


def _device(devices: Sequence[Any], file_name: str, datastore: Any, running: bool) -> Any:
    controller, unit = _free_place(devices, running)
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName=file_name, datastore=datastore, diskMode="persistent"
    )
    # A negative key stands for one that the server has yet to give.
    return vim.vm.device.VirtualDisk(key=-1, backing=backing, controllerKey=controller.key, unitNumber=unit)


def _free_place(devices: Sequence[Any], running: bool) -> tuple[Controller, int]:
    """The first free unit, on a SCSI controller if there is one, and never on a bus that is shared."""
    controllers = sorted(controllers_of(devices).values(), key=lambda one: (_PREFERRED.index(one.bus), one.number))
    for controller in controllers:
        if controller.shared or (running and controller.bus == "ide"):
            continue
        unit = controller.free_unit(taken_units(devices, controller.key))
        if unit is not None:
            return controller, unit
    raise Unsupported("The machine's disk controllers have no place left. Add a SCSI controller to it in vSphere.")


def detach(connection: Connection, machine_id: str, volume_id: str, watch: Watch) -> None:
    """Take the disk out of the machine and leave its files alone. Raises as the contract's `detach_volume`."""
    until = time.monotonic() + watch.deadline_seconds
    record, seen = connection.read(lambda: read_machine(connection, machine_id), connection.until(until))
    if not record.capabilities.detach.allowed:
        raise Unsupported(record.capabilities.detach.reason)
    targets = {volume.target for volume in record.volumes if volume.native_id == volume_id}
    disk = next((one for one in disks_of(seen.get(DEVICES) or (), {}) if one.target in targets), None)
    if disk is None:
        raise NotFound("The volume is not attached to this machine.")
    connection.read(lambda: _refuse_with_snapshots(connection, machine_id), connection.until(until))
    device = next(one for one in seen.get(DEVICES) if one.key == disk.key)
    # Without a file operation the files are kept.
    spec = vim.vm.ConfigSpec(deviceChange=[_Change(operation=_Change.Operation.remove, device=device)])
    work = Work(connection, seen.managed, watch, until, "Detaching the volume")
    work.carry_out(partial(seen.managed.Reconfigure, spec))
    now, _ = connection.read(lambda: read_machine(connection, machine_id), None, after_change=True)
    if any(volume.native_id == volume_id for volume in now.volumes):
        raise TimedOut("vSphere took the disk out, but the machine still has it: its guest may not have let go of it.")
    watch.report(100, "The volume is detached")


def _refuse_with_snapshots(connection: Connection, machine_id: str) -> None:
    if read_machine_paths(connection, machine_id, (SNAPSHOT,)).get(SNAPSHOT) is not None:
        raise Rejected(
            "The machine has VM snapshots: volumes are neither attached nor detached until they are deleted."
        )

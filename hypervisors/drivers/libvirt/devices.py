"""Attaching and detaching disks, for good: in the stored definition and, when the machine is on, in the running one."""

import time
from typing import Any

import libvirt
from lxml import etree

from hypervisors.driver import Watch
from hypervisors.drivers.libvirt.abilities import abilities
from hypervisors.drivers.libvirt.connection import Connection
from hypervisors.drivers.libvirt.machine_xml import Disk, disk_xml, disks_of, free_target
from hypervisors.drivers.libvirt.reading import (
    host_of,
    list_loose_volumes,
    machine,
    paths_in_external_snapshots,
    read_machine,
)
from hypervisors.drivers.libvirt.snapshot_xml import parsed
from hypervisors.drivers.libvirt.storage import read_volume
from hypervisors.errors import Busy, NotFound, TimedOut, Unsupported
from hypervisors.records import VolumeRecord


def attach(connection: Connection, machine_id: str, volume_id: str, until: float) -> VolumeRecord:
    """Attach a loose volume at the next free target. Raises as the contract's `attach_volume`."""

    def prepare(opened: Any) -> tuple[str, int]:
        handle = machine(opened, machine_id)
        root = parsed(handle.XMLDesc())
        can = abilities(root, bool(handle.isPersistent()), host_of(opened)).attach
        if not can.allowed:
            raise Unsupported(can.reason)
        volume, block = read_volume(opened, volume_id)
        if volume.format not in ("qcow2", "raw"):
            raise Unsupported(f"A volume of the format {volume.format} cannot be attached as a disk.")
        free = {known.native_id for known in list_loose_volumes(opened)} - paths_in_external_snapshots(opened)
        if volume.native_id not in free:
            raise Busy("The volume is attached to a machine already, or another volume or a snapshot builds on it.")
        stored = parsed(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        target, bus = free_target((root, stored))
        return disk_xml(volume.native_id, volume.format, target, bus, block), _where(handle)

    xml, flags = connection.read(prepare, until)
    connection.change(lambda opened: machine(opened, machine_id).attachDeviceFlags(xml, flags), until)
    now = connection.read(lambda opened: read_machine(opened, machine_id), until, after_change=True)
    for volume in now.volumes:
        if volume.native_id == volume_id:
            return volume
    raise NotFound("The volume was attached and is already gone again.")


def detach(connection: Connection, machine_id: str, volume_id: str, watch: Watch) -> None:
    """Detach a disk: first out of the running machine, and when the guest has let go of it, out of the definition.

    In this order the machine keeps the disk, wholly, when the guest does not let go. libvirt waits a few seconds for
    QEMU to say that the device is gone; after that the running definition is looked at until the disk is out of it.
    Raises as the contract's `detach_volume`.
    """
    until = time.monotonic() + watch.deadline_seconds
    running, stored = connection.read(lambda opened: _where_attached(opened, machine_id, volume_id), until)
    if running is None and stored is None:
        raise NotFound("The volume is not attached to this machine.")
    watch.report(0, "Detaching the volume")
    if running is not None:
        live = etree.tostring(running.element, encoding="unicode")
        connection.change(
            lambda opened: machine(opened, machine_id).detachDeviceFlags(live, libvirt.VIR_DOMAIN_AFFECT_LIVE), until
        )
        _wait_for_guest(connection, machine_id, volume_id, until)
    if stored is not None:
        kept = etree.tostring(stored.element, encoding="unicode")
        connection.change(
            lambda opened: machine(opened, machine_id).detachDeviceFlags(kept, libvirt.VIR_DOMAIN_AFFECT_CONFIG), until
        )
    watch.report(100, "The volume is detached")


def _where(handle: Any) -> int:
    flags = libvirt.VIR_DOMAIN_AFFECT_LIVE if handle.isActive() else 0
    if handle.isPersistent():
        flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG
    return int(flags)


def _where_attached(opened: Any, machine_id: str, volume_id: str) -> tuple[Disk | None, Disk | None]:
    handle = machine(opened, machine_id)
    root = parsed(handle.XMLDesc())
    can = abilities(root, bool(handle.isPersistent()), host_of(opened)).detach
    if not can.allowed:
        raise Unsupported(can.reason)
    running = stored = None
    if handle.isActive():
        running = _disk(root, volume_id)
    if handle.isPersistent():
        stored = _disk(parsed(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)), volume_id)
    return running, stored


def _disk(root: etree._Element, volume_id: str) -> Disk | None:
    return next((disk for disk in disks_of(root) if disk.source == volume_id), None)


def _wait_for_guest(connection: Connection, machine_id: str, volume_id: str, until: float) -> None:
    pause = 0.1
    while True:
        running, _ = connection.read(
            lambda opened: _where_attached(opened, machine_id, volume_id), until, after_change=True
        )
        if running is None:
            return
        if time.monotonic() + pause > until:
            raise TimedOut("The guest has not let go of the volume in the time allowed; it is still attached.")
        time.sleep(pause)
        pause = min(0.5, pause * 1.5)

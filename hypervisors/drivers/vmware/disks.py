"""The disks in a machine's list of devices: what they are called, where they sit, and which file each begins with.

A volume's native id is the reference of its datastore and the path in it, "datastore-12 web/web.vmdk". Names of
datastores would not do: two datacenters may each have a "datastore1", and names change. While there are VM snapshots a
disk writes into a file of its own, below a chain of files; the id is the file at the beginning of the chain, which stays
the same. For a linked clone that would be another machine's file, so the chain counts only as far as it lies in the same
folder, or has the same name but for the number that snapshots add.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from hypervisors.drivers.vmware.errors import moref
from hypervisors.records import VolumeRecord

_PATH = re.compile(r"\[([^\]]+)\] ?(.+)", re.DOTALL)
_SNAPSHOT_NUMBER = re.compile(r"-\d{6}(?=\.vmdk$)")

SCSI_RESERVED_UNIT = 7
"""The place of the controller itself on its bus."""

_DEVICE = vim.vm.device
# The controllers that hold disks: how their bus is called, and how many places each has.
_CONTROLLERS: tuple[tuple[Any, str, int], ...] = (
    (_DEVICE.VirtualSCSIController, "scsi", 16),
    (_DEVICE.VirtualNVMEController, "nvme", 15),
    (_DEVICE.VirtualSATAController, "sata", 30),
    (_DEVICE.VirtualIDEController, "ide", 2),
)


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a machine. `file` is where it writes now, `base` where its chain begins, both as (datastore's
    reference or None, path)."""

    key: int
    label: str
    target: str
    capacity_bytes: int
    file: tuple[str | None, str]
    base: tuple[str | None, str]
    independent: bool = False
    raw_physical: bool = False
    raw: bool = False
    shared: bool = False

    @property
    def native_id(self) -> str:
        return volume_id(*self.base)


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller for disks, with the units that are taken."""

    key: int
    bus: str
    number: int
    places: int
    shared: bool

    def free_unit(self, taken: set[int]) -> int | None:
        """The first unit that no device has; never that of a SCSI controller itself."""
        for unit in range(self.places):
            if unit not in taken and not (self.bus == "scsi" and unit == SCSI_RESERVED_UNIT):
                return unit
        return None


def volume_id(datastore: str | None, path: str) -> str:
    """The native id of a volume."""
    return f"{datastore or '?'} {path}"


def split_path(file_name: str) -> tuple[str, str]:
    """Name of the datastore and path of "[datastore] folder/disk.vmdk"; no name where it is written otherwise."""
    found = _PATH.fullmatch(file_name or "")
    return (found.group(1), found.group(2)) if found else ("", file_name or "")


def controllers_of(devices: Iterable[Any]) -> dict[int, Controller]:
    """The controllers that can hold disks, by key."""
    found = {}
    for device in devices or ():
        for kind, bus, places in _CONTROLLERS:
            if isinstance(device, kind):
                sharing = str(getattr(device, "sharedBus", None) or "noSharing")
                found[device.key] = Controller(device.key, bus, device.busNumber or 0, places, sharing != "noSharing")
                break
    return found


def taken_units(devices: Iterable[Any], controller: int) -> set[int]:
    """The units of a controller that have a device."""
    return {d.unitNumber for d in devices or () if d.controllerKey == controller and d.unitNumber is not None}


def disks_of(devices: Sequence[Any], datastores: Mapping[str, str]) -> list[Disk]:
    """The disks among the devices. `datastores` are the references of the machine's datastores by name."""
    controllers = controllers_of(devices)
    return [
        _disk(device, controllers.get(device.controllerKey), datastores)
        for device in devices or ()
        if isinstance(device, _DEVICE.VirtualDisk)
    ]


def volume_record(disk: Disk, sizes: Mapping[int, int | None]) -> VolumeRecord:
    """The disk as the rest of the product knows it."""
    return VolumeRecord(
        native_id=disk.native_id,
        name=disk.base[1].rpartition("/")[2],
        format="rdm" if disk.raw else "vmdk",
        capacity_bytes=disk.capacity_bytes,
        used_bytes=sizes.get(disk.key),
        pool_id=disk.base[0],
        target=disk.target,
    )


def _disk(device: Any, controller: Controller | None, datastores: Mapping[str, str]) -> Disk:
    backing = device.backing
    chain = _chain(backing, datastores)
    capacity = device.capacityInBytes
    raw = isinstance(backing, _DEVICE.VirtualDisk.RawDiskMappingVer1BackingInfo)
    target = f"{controller.bus}{controller.number}:{device.unitNumber}" if controller else f"disk{device.key}"
    return Disk(
        key=device.key,
        label=str(device.deviceInfo.label) if device.deviceInfo is not None else target,
        target=target,
        capacity_bytes=int(capacity if capacity is not None else (device.capacityInKB or 0) * 1024),
        file=chain[0],
        base=_own_base(chain),
        independent=str(getattr(backing, "diskMode", None) or "").startswith("independent"),
        raw_physical=raw and str(backing.compatibilityMode) == "physicalMode",
        raw=raw,
        shared=(controller is not None and controller.shared)
        or str(getattr(backing, "sharing", None) or "sharingNone") == "sharingMultiWriter",
    )


def _chain(backing: Any, datastores: Mapping[str, str]) -> list[tuple[str | None, str]]:
    """The files from the present one back to the first."""
    chain = []
    while backing is not None:
        name, path = split_path(getattr(backing, "fileName", None) or "")
        place = getattr(backing, "datastore", None)
        chain.append((moref(place) if place is not None else datastores.get(name), path))
        backing = getattr(backing, "parent", None)
    return chain or [(None, "")]


def _own_base(chain: Sequence[tuple[str | None, str]]) -> tuple[str | None, str]:
    """The first file of the chain that is this machine's own."""
    present = chain[0]
    folder, stem = _folder(present), _stem(present)
    own = [place for place in chain if _folder(place) == folder or _stem(place) == stem]
    return own[-1]


def _folder(place: tuple[str | None, str]) -> tuple[str | None, str]:
    return place[0], place[1].rpartition("/")[0]


def _stem(place: tuple[str | None, str]) -> str:
    return _SNAPSHOT_NUMBER.sub("", place[1].rpartition("/")[2])

"""What a libvirt machine's XML says: its disks, its memory, and what stands in the way of snapshots.

Reads only; the format is https://libvirt.org/formatdomain.html. The one thing built here is the element of a disk that
is to be attached.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from string import ascii_lowercase
from typing import Any

import libvirt
from lxml import etree

from hypervisors.records import PowerState

# https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainState. A machine that is shutting down still runs. One
# that crashed and was kept for inspection neither runs nor is off.
POWER: Mapping[int, PowerState] = {
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.SUSPENDED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.UNKNOWN,
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.UNKNOWN,
}

_BYTES = {"b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20}
_BYTES |= {"GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40, "TiB": 1 << 40}


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a machine. `source` is the file or device, or pool/volume or protocol:name where it is neither."""

    target: str
    source: str
    format: str
    kind: str
    bus: str
    read_only: bool
    shared: bool
    element: etree._Element

    @property
    def file_name(self) -> str:
        return self.source.rpartition("/")[2] or self.source


def power_state(state: int) -> PowerState:
    """libvirt's state number in the words of the REST contract; a number of a later version is unknown."""
    return POWER.get(state, PowerState.UNKNOWN)


def size_in_bytes(element: etree._Element | None) -> int:
    """The size in an element with a unit (KiB when it has none); 0 when there is no element."""
    if element is None or not element.text:
        return 0
    return int(element.text) * _BYTES[element.get("unit", "KiB")]


def disks_of(root: etree._Element) -> list[Disk]:
    """All hard disks with something in them; no CD and floppy drives."""
    found = []
    for element in root.iterfind("devices/disk"):
        source = element.find("source")
        target = element.find("target")
        if source is None or target is None or element.get("device", "disk") not in ("disk", "lun"):
            continue
        place = _place(source)
        if not place:
            continue
        driver = element.find("driver")
        found.append(
            Disk(
                target=target.get("dev", ""),
                source=place,
                # QEMU takes a disk without a stated format for raw: guessing from its content would be a hole.
                format=(driver.get("type") if driver is not None else None) or "raw",
                kind=element.get("type", "file"),
                bus=target.get("bus", ""),
                read_only=element.find("readonly") is not None,
                shared=element.find("shareable") is not None,
                element=element,
            )
        )
    return found


def _place(source: etree._Element) -> str:
    for attribute in ("file", "dev", "dir"):
        if source.get(attribute):
            return str(source.get(attribute))
    if source.get("volume"):
        return f"{source.get('pool')}/{source.get('volume')}"
    if source.get("protocol"):
        return f"{source.get('protocol')}:{source.get('name', '')}"
    return ""


def files_used(root: etree._Element) -> set[str]:
    """Every file or device that a machine's disks name, drives and backing files included."""
    return {_place(source) for source in root.iterfind("devices/disk//source")} - {""}


def disk_xml(path: str, image_format: str, target: str, bus: str, block: bool) -> str:
    """The element of a disk to attach."""
    disk = etree.Element("disk", type="block" if block else "file", device="disk")
    etree.SubElement(disk, "driver", name="qemu", type=image_format)
    etree.SubElement(disk, "source", {"dev" if block else "file": path})
    etree.SubElement(disk, "target", dev=target, bus=bus)
    return etree.tostring(disk, encoding="unicode")


def free_target(roots: Iterable[etree._Element]) -> tuple[str, str]:
    """The next free target and its bus, over the running and the stored definition.

    The bus is virtio, or SCSI where the machine's first disk is on it: QEMU can plug no other into a running machine.
    """
    used = set()
    buses = []
    for root in roots:
        for target in root.iterfind("devices/disk/target"):
            used.add(target.get("dev"))
            buses.append(target.get("bus"))
    prefix, bus = ("sd", "scsi") if buses and buses[0] == "scsi" else ("vd", "virtio")
    letters = ("".join(pair).strip() for pair in product(" " + ascii_lowercase, ascii_lowercase))
    return next(f"{prefix}{letter}" for letter in letters if f"{prefix}{letter}" not in used), bus


def block_stats(stats: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The disks' part of libvirt's bulk statistics, by target; empty when libvirt left it out."""
    by_number: dict[str, dict[str, Any]] = {}
    for key, value in stats.items():
        if key.startswith("block.") and key != "block.count":
            number, _, fact = key.removeprefix("block.").partition(".")
            by_number.setdefault(number, {})[fact] = value
    return {facts["name"]: facts for facts in by_number.values() if "name" in facts}

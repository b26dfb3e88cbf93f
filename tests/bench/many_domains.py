"""500 libvirt machines that are off, each with a tree of VM snapshots, and the bare calls that bring the same facts.

The machines are defined in a lab of this run, with a disk each; their VM snapshots are told to libvirt as if they had been
taken (redefined), since taking thousands measures QEMU and not the reading.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import libvirt
from django.conf import settings
from lxml import etree

from hypervisors.lab import Lab
from snapshots.access import SYSTEM
from snapshots.services import endpoints
from tests.bench.syncs import Compared

MACHINES = 500
SNAPSHOTS_EACH = 5
PATTERN = "batch-1"
BEGAN = 1_700_000_000


@contextmanager
def many_domains() -> Iterator[Compared]:
    """The lab with these machines. Raises `LabUnavailable`."""
    lab = Lab(settings.DATA_DIR)
    lab.up([PATTERN])
    try:
        opened = libvirt.open(lab.uri)
        _define(opened)
        hypervisor = endpoints.add_endpoint(SYSTEM, name="many domains", kind="libvirt", address=lab.uri)
        yield Compared(
            what=f"{MACHINES} libvirt domains x {SNAPSHOTS_EACH} VM snapshots",
            hypervisor=hypervisor,
            bare=lambda: read_bare(opened),
            bare_words="the bare bulk calls for the same facts",
        )
        opened.close()
    finally:
        lab.reset()


def read_bare(opened: Any) -> int:
    """What has to be asked of libvirt for pools, volumes, machines, snapshots and current marks, and nothing done with it.
    Answers how much came."""
    size = 0
    for pool in opened.listAllStoragePools():
        pool.refresh()
        pool.info()
        size += len(pool.XMLDesc())
        size += sum(len(volume.XMLDesc()) for volume in pool.listAllVolumes())
    wanted = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BLOCK
    for machine, stats in opened.getAllDomainStats(wanted, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT):
        size += len(stats) + len(machine.XMLDesc())
        snapshots = machine.listAllSnapshots()
        size += sum(len(snapshot.getXMLDesc()) for snapshot in snapshots)
        if snapshots:
            size += len(machine.snapshotCurrent().getName())
    return size


def _define(opened: Any) -> None:
    pattern = opened.lookupByName(PATTERN).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    pool = opened.storagePoolLookupByName("default")
    for number in range(MACHINES):
        root = etree.fromstring(pattern)
        name = root.find("name").text = f"many-{number:03d}"
        root.remove(root.find("uuid"))
        system, data = root.findall("devices/disk")
        system.find("source").set("file", pool.createXML(_volume(f"{name}.qcow2")).path())
        root.find("devices").remove(data)
        machine = opened.defineXML(_text(root))
        for place in range(SNAPSHOTS_EACH):
            flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT
            machine.snapshotCreateXML(_snapshot(place, machine.XMLDesc()), flags)


def _volume(name: str) -> str:
    root = etree.Element("volume")
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "capacity", unit="M").text = "4"
    etree.SubElement(etree.SubElement(root, "target"), "format", type="qcow2")
    return _text(root)


def _snapshot(place: int, definition: str) -> str:
    """The third one branches off the first."""
    root = etree.Element("domainsnapshot")
    etree.SubElement(root, "name").text = f"before-{place}"
    etree.SubElement(root, "description").text = f"Before change {place}\n\nBy the nightly run\n\n[vmsnap {uuid4()}]"
    etree.SubElement(root, "state").text = "shutoff"
    etree.SubElement(root, "creationTime").text = str(BEGAN + place)
    if place:
        parent = 0 if place == 2 else place - 1
        etree.SubElement(etree.SubElement(root, "parent"), "name").text = f"before-{parent}"
    etree.SubElement(root, "memory", snapshot="no")
    etree.SubElement(etree.SubElement(root, "disks"), "disk", name="vda", snapshot="internal")
    root.append(etree.fromstring(definition))
    return _text(root)


def _text(root: Any) -> str:
    return str(etree.tostring(root, encoding="unicode"))

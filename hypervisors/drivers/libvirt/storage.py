"""Storage pools and the volumes in them that no machine uses. Format: https://libvirt.org/formatstorage.html"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import libvirt
from lxml import etree

from hypervisors.drivers.libvirt.errors import connection_broke, left_out_if_gone
from hypervisors.drivers.libvirt.machine_xml import size_in_bytes
from hypervisors.drivers.libvirt.snapshot_xml import parsed
from hypervisors.errors import NotFound
from hypervisors.records import PoolRecord, VolumeRecord

# These look at their files only when told to; without that their free space is that of the last look.
_REFRESHED = ("dir", "fs", "netfs", "logical")
_ATTACHABLE = ("qcow2", "raw")


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool with its handle; `folder` is where its volumes are, empty when they are no files or devices."""

    record: PoolRecord
    folder: str
    handle: Any


def read_pools(opened: Any, refresh: bool) -> list[Pool]:
    """All pools. With `refresh`, libvirt looks at them anew first, unless one is busy."""
    pools = []
    for handle in opened.listAllStoragePools():
        with left_out_if_gone():
            pools.append(_pool(handle, refresh))
    return pools


def _pool(handle: Any, refresh: bool) -> Pool:
    root = parsed(handle.XMLDesc())
    kind = root.get("type", "")
    active = bool(handle.isActive())
    if active and refresh and kind in _REFRESHED:
        try:
            handle.refresh()
        except libvirt.libvirtError as error:
            if connection_broke(error):
                raise
            # Busy with a volume of its own, or its folder is gone: the older figures are what there is.
    _, capacity, _, free = handle.info()
    record = PoolRecord(
        native_id=handle.UUIDString(),
        name=handle.name(),
        kind=kind,
        total_bytes=int(capacity) if active else None,
        free_bytes=int(free) if active else None,
        active=active,
    )
    return Pool(record, (root.findtext("target/path") or "").rstrip("/"), handle)


def pool_ids_by_folder(pools: Iterable[Pool]) -> dict[str, str]:
    """Which pool a file belongs to, by the folder it is in."""
    return {pool.folder: pool.record.native_id for pool in pools if pool.folder}


def loose_volumes(pools: Iterable[Pool], used: Collection[str]) -> list[VolumeRecord]:
    """Volumes of a disk's format whose file no machine names and that back no other volume."""
    found = []
    backing = set()
    for pool in pools:
        if not pool.record.active:
            continue
        for volume in pool.handle.listAllVolumes():
            with left_out_if_gone():
                root = parsed(volume.XMLDesc())
                backing.add(root.findtext("backingStore/path"))
                found.append(_volume_record(root, pool.record.native_id))
    return [
        volume
        for volume in found
        if volume.format in _ATTACHABLE
        and volume.native_id not in used
        and volume.native_id not in backing
        and not volume.name.lower().endswith(".iso")
    ]


def _volume_record(root: etree._Element, pool_id: str) -> VolumeRecord:
    image_format = root.find("target/format")
    return VolumeRecord(
        native_id=root.findtext("target/path") or root.findtext("key") or "",
        name=root.findtext("name") or "",
        # Volumes of pools without formats (LVM) are plain devices.
        format=image_format.get("type", "") if image_format is not None else "raw",
        capacity_bytes=size_in_bytes(root.find("capacity")),
        used_bytes=size_in_bytes(root.find("allocation")),
        pool_id=pool_id,
    )


def read_volume(opened: Any, path: str) -> tuple[VolumeRecord, bool]:
    """One volume by its path, and whether it is a block device. Raises `NotFound`."""
    try:
        volume = opened.storageVolLookupByPath(path)
        root = parsed(volume.XMLDesc())
        pool_id = volume.storagePoolLookupByVolume().UUIDString()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise NotFound(f"The volume {path} is in none of the storage pools.") from error
        raise
    return _volume_record(root, pool_id), root.get("type") == "block"

"""Datastores, and the disks that lie in them without belonging to a machine.

vSphere keeps no list of disks. The datastore's browser searches its folders, as a task of the server, which takes long on
large datastores; so all are searched at the same time, and one that has not finished in time is left out of this reading,
with a note in the log. A disk counts as loose when no file of any machine has its name, files of snapshots included: a
disk that a snapshot still needs must never be written to by another machine.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pyVmomi import vim, vmodl

from hypervisors.drivers.vmware.connection import Connection
from hypervisors.drivers.vmware.disks import split_path, volume_id
from hypervisors.drivers.vmware.errors import moref, said
from hypervisors.drivers.vmware.properties import Seen, only, retrieve
from hypervisors.records import PoolRecord, VolumeRecord

log = logging.getLogger(__name__)

DATASTORE_PATHS = (
    "name",
    "browser",
    "summary.type",
    "summary.capacity",
    "summary.freeSpace",
    "summary.accessible",
    "summary.maintenanceMode",
)
SEARCH_SHARE = 0.7
"""The part of a reading's time that searching datastores may take."""

_INFO = ("info.state", "info.result", "info.error")
_OURS = ("-flat.vmdk", "-delta.vmdk", "-sesparse.vmdk", "-ctk.vmdk", "-rdm.vmdk", "-rdmp.vmdk", "-digest.vmdk")


def pool_record(seen: Seen) -> PoolRecord:
    """The datastore as the rest of the product knows it: inactive when it cannot be reached or is under maintenance."""
    active = is_active(seen)
    total, free = seen.get("summary.capacity"), seen.get("summary.freeSpace")
    told = active and total is not None and free is not None
    return PoolRecord(
        native_id=moref(seen.managed),
        name=str(seen.get("name") or moref(seen.managed)),
        kind=str(seen.get("summary.type") or "datastore"),
        total_bytes=int(total) if told else None,
        free_bytes=max(0, min(int(free), int(total))) if told else None,
        active=told,
    )


def is_active(seen: Seen) -> bool:
    """Whether the datastore can be used now."""
    return seen.get("summary.accessible") is True and str(seen.get("summary.maintenanceMode") or "normal") == "normal"


def loose_volumes(connection: Connection, datastores: Iterable[Seen], used: set[str]) -> list[VolumeRecord]:
    """The disks in these datastores whose native ids are not among those used. Call inside `Connection.read`."""
    searches = {}
    for seen in datastores:
        if is_active(seen) and seen.get("browser") is not None:
            task = _search(seen)
            if task is not None:
                searches[moref(task)] = (seen, task)
    found: dict[str, VolumeRecord] = {}
    for task_id, result in _finished(connection, {key: task for key, (_, task) in searches.items()}):
        for volume in _volumes_in(moref(searches[task_id][0].managed), result):
            if volume.native_id not in used:
                found[volume.native_id] = volume
    return sorted(found.values(), key=lambda volume: volume.native_id)


def files_used(machine: Seen, by_name: Mapping[str, str]) -> set[str]:
    """The native ids that the machine's files would have as volumes, those of its snapshots included."""
    used = set()
    for file in machine.get("layoutEx.file") or ():
        name, path = split_path(file.name)
        used.add(volume_id(by_name.get(name), path))
    return used


def _search(datastore: Seen) -> Any:
    wanted = vim.host.DatastoreBrowser.SearchSpec(
        query=[
            vim.host.DatastoreBrowser.VmDiskQuery(
                details=vim.host.DatastoreBrowser.VmDiskQuery.Details(
                    diskType=False, capacityKb=True, hardwareVersion=False, controllerType=False, diskExtents=False
                )
            )
        ],
        details=vim.host.DatastoreBrowser.FileInfo.Details(
            fileType=True, fileSize=True, modification=False, fileOwner=False
        ),
        matchPattern=["*.vmdk"],
    )
    try:
        return datastore.get("browser").SearchSubFolders(f"[{datastore.get('name')}]", wanted)
    except vim.fault.NotAuthenticated:
        raise
    except vmodl.MethodFault as fault:
        log.info("Datastore %s cannot be searched for disks: %s", moref(datastore.managed), said(fault))
        return None


def _finished(connection: Connection, tasks: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """The results of the tasks as they come, until all are done or the time for it is over."""
    until = time.monotonic() + connection.timeout * SEARCH_SHARE
    pause = 0.05
    while tasks:
        for seen in list(retrieve(connection, only(tasks.values()), {vim.Task: _INFO})):
            state = str(seen.get("info.state"))
            if state in ("success", "error"):
                tasks.pop(moref(seen.managed), None)
            if state == "success":
                yield moref(seen.managed), seen.get("info.result")
            elif state == "error":
                log.info("A datastore was not searched to its end: %s", said(seen.get("info.error")))
        if not tasks:
            return
        if time.monotonic() + pause > until:
            log.warning(
                "%d datastores were not searched for loose disks within %.0f s.", len(tasks), connection.timeout
            )
            return
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)


def _volumes_in(datastore: str, results: Any) -> Iterable[VolumeRecord]:
    for result in results or ():
        _, folder = split_path(result.folderPath)
        folder = folder if folder != result.folderPath else ""
        for file in result.file:
            name = str(file.path)
            if not name.endswith(".vmdk") or name.endswith(_OURS):
                continue
            path = f"{folder.strip('/')}/{name}".lstrip("/")
            yield VolumeRecord(
                native_id=volume_id(datastore, path),
                name=name,
                format="vmdk",
                capacity_bytes=int(getattr(file, "capacityKb", None) or 0) * 1024,
                used_bytes=file.fileSize,
                pool_id=datastore,
            )

"""Objects of pyvmomi as real servers send them, for what no simulator shows rightly."""

from datetime import datetime, timedelta, timezone
from typing import Any

from pyVmomi import vim

from hypervisors.drivers.vmware.properties import Seen

WHEN = datetime(2026, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
Layout = vim.vm.FileLayoutEx
Tree = vim.vm.SnapshotTree
D = vim.vm.device


def snapshot(name: str) -> Any:
    return vim.vm.Snapshot(name, None)


def node(name: str, *children: Any, state: str = "poweredOff", description: str = "", quiesced: bool = False) -> Any:
    return Tree(
        snapshot=snapshot(name),
        vm=vim.VirtualMachine("vm-1", None),
        name=name,
        description=description,
        createTime=WHEN,
        state=state,
        quiesced=quiesced,
        childSnapshotList=list(children),
    )


def info(*roots: Any, current: str | None = None) -> Any:
    return vim.vm.SnapshotInfo(currentSnapshot=snapshot(current) if current else None, rootSnapshotList=list(roots))


def seen(**values: Any) -> Seen:
    return Seen(vim.VirtualMachine("vm-1", None), {name.replace("__", "."): value for name, value in values.items()})


def disk(backing: Any = None, controller: int = 1000, unit: int = 0, key: int = 2000) -> Any:
    return D.VirtualDisk(
        key=key,
        controllerKey=controller,
        unitNumber=unit,
        capacityInKB=1024,
        backing=backing or flat("[ds] web/web.vmdk"),
        deviceInfo=vim.Description(label="Hard disk 1", summary=""),
    )


def flat(name: str, parent: Any = None, mode: str = "persistent", **more: Any) -> Any:
    return D.VirtualDisk.FlatVer2BackingInfo(
        fileName=name, datastore=vim.Datastore("datastore-12", None), diskMode=mode, parent=parent, **more
    )


SCSI = D.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing")

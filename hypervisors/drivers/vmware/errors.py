"""vSphere's faults, told in this product's own named errors.

The only place that judges a fault's class. Class facts are those of pyvmomi's own type information: `NotAuthenticated` is
a `NoPermission`, and `NoDiskSpace` a `FileFault`, so the first entry of the table that fits decides, and the special ones
stand first. The server's own sentence is quoted as text: it is in the server's language, or no sentence at all, so
nothing is decided by it.
"""

import re
from typing import Any

from pyVmomi import vim, vmodl

from hypervisors.errors import (
    Busy,
    Cancelled,
    HypervisorError,
    LoginRefused,
    NotFound,
    NotPermitted,
    OutOfReach,
    OutOfSpace,
    Rejected,
    TimedOut,
    Unsupported,
)

_QUIESCE = "Take the VM snapshot without quiesce, or see to VMware Tools in the guest."

_TABLE: tuple[tuple[type[Exception], type[HypervisorError], str], ...] = (
    # The session and rights. NotAuthenticated comes here only when a new login has not helped.
    (vim.fault.NotAuthenticated, LoginRefused, "The session ended, and a new login did not bring it back."),
    (vim.fault.InvalidLogin, LoginRefused, "User name or password was refused."),
    (vim.fault.InvalidLocale, LoginRefused, "The server does not take the language of the login."),
    (vim.fault.NoPermission, NotPermitted, ""),  # Worded by `_missing_permission`.
    (
        vim.fault.RestrictedVersion,
        Unsupported,
        "The licence of this host lets programs only read. A licence that allows changes is needed.",
    ),
    (vmodl.fault.NotEnoughLicenses, Unsupported, "The server has no licence left for this."),
    (vmodl.fault.SecurityError, NotPermitted, "The server refused this login the call."),
    # Somebody else is at work.
    (vim.fault.TaskInProgress, Busy, "Another task is at work on this machine."),
    (vim.fault.ConcurrentAccess, Busy, "The machine's configuration was changed by somebody else at the same time."),
    (vim.fault.SnapshotLocked, Busy, "The VM snapshot is being reverted or removed by somebody else."),
    (vim.fault.FileLocked, Busy, "A file of the machine is locked, most often by a backup that reads it."),
    (vim.fault.ResourceInUse, Busy, "What is needed is in use."),
    # Space.
    (vim.fault.NoDiskSpace, OutOfSpace, "The datastore has no room left."),
    (vim.fault.InsufficientStorageSpace, OutOfSpace, "The datastores have not enough room left."),
    # The guest.
    (
        vim.fault.ApplicationQuiesceFault,
        Rejected,
        f"The programs in the guest could not be brought to rest for the VM snapshot. {_QUIESCE}",
    ),
    (
        vim.fault.FilesystemQuiesceFault,
        Rejected,
        f"The guest's file systems could not be brought to rest for the VM snapshot. {_QUIESCE}",
    ),
    (
        vim.fault.ToolsUnavailable,
        Rejected,
        "VMware Tools does not run in the guest. Take the VM snapshot without quiesce; stop the machine by force.",
    ),
    # Snapshots.
    (
        vim.fault.TooManySnapshotLevels,
        Rejected,
        "vSphere keeps at most 32 VM snapshots one below the other. Delete some of this branch first.",
    ),
    (
        vim.fault.MemorySnapshotOnIndependentDisk,
        Unsupported,
        "The machine has an independent disk, and vSphere keeps no memory beside one. Make the disk dependent.",
    ),
    (
        vim.fault.SnapshotIncompatibleDeviceInVm,
        Unsupported,
        "The machine has a device of which vSphere takes no snapshot, such as a raw disk in physical mode or a shared bus.",
    ),
    (vim.fault.SnapshotDisabled, Unsupported, "VM snapshots are switched off for this machine."),
    (vim.fault.MultipleSnapshotsNotSupported, Unsupported, "This machine can have one VM snapshot only."),
    (
        vim.fault.SnapshotNoChange,
        Rejected,
        "The suspended machine has not changed since its last VM snapshot, so there is nothing to take.",
    ),
    (vim.fault.SnapshotFault, Rejected, "vSphere could not carry out the snapshot operation."),
    # The machine, its files and its host.
    (vim.fault.InvalidPowerState, Rejected, ""),  # Worded by `_wrong_power_state`.
    (vim.fault.NoActiveHostInCluster, OutOfReach, "No host of the cluster is there to do it."),
    (vim.fault.InvalidState, Rejected, "The machine is in a state in which this cannot be done."),
    (
        vim.fault.InsufficientResourcesFault,
        Rejected,
        "The host or resource pool has too little memory or processor time left for it.",
    ),
    (vim.fault.FileNotFound, Rejected, "A file of the machine is missing on the datastore."),
    (vim.fault.CannotAccessFile, Rejected, "A file of the machine cannot be opened on the datastore."),
    (vim.fault.FileFault, Rejected, "A file of the machine cannot be used on the datastore."),
    (vim.fault.InaccessibleDatastore, Rejected, "The datastore cannot be reached from the machine's host."),
    (vim.fault.InvalidDatastore, Rejected, "The datastore is not there or cannot be used."),
    (vim.fault.InvalidDeviceSpec, Rejected, "vSphere does not take the disk at that place of the machine."),
    (vim.fault.VmConfigFault, Rejected, "The machine's configuration does not allow it."),
    (vim.fault.InvalidName, Rejected, "vSphere does not take the name."),
    (vim.fault.DuplicateName, Rejected, "The name is taken."),
    (vim.fault.Timedout, TimedOut, "vSphere gave the operation up: it took too long there."),
    # From the layer below.
    (vmodl.fault.ManagedObjectNotFound, NotFound, "vSphere does not know it any more."),
    (vim.fault.NotFound, NotFound, "vSphere does not know it any more."),
    (vmodl.fault.RequestCanceled, Cancelled, "The task was cancelled."),
    (vmodl.fault.HostCommunication, OutOfReach, "The host on which the machine runs cannot be reached by vCenter."),
    (vmodl.fault.NotSupported, Unsupported, "This server does not support it."),
    (vmodl.fault.MethodNotFound, Unsupported, "This server is too old for it: it does not know the call."),
    (vmodl.fault.NotImplemented, Unsupported, "This server does not carry it out."),
)

_NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def translated(fault: Any, name_of_object: str = "") -> HypervisorError:
    """The error to raise for a fault, whether a call raised it or a task ended with it.

    `name_of_object` is what the fault speaks of, where the caller knows a name for it.
    """
    fitting = ((error, words) for kind, error, words in _TABLE if isinstance(fault, kind))
    error, words = next(fitting, (Rejected, "vSphere refused."))
    if isinstance(fault, vim.fault.NoPermission) and not isinstance(fault, vim.fault.NotAuthenticated):
        words = _missing_permission(fault, name_of_object)
    if isinstance(fault, vim.fault.InvalidPowerState):
        words = _wrong_power_state(fault)
    quoted = said(fault)
    return error(f"{words} vSphere says: {quoted}." if quoted else words)


def said(fault: Any) -> str:
    """The server's own sentence about a fault, on one line and of bounded length, without its full stop."""
    return one_line(getattr(fault, "msg", None) or type(fault).__name__.rpartition(".")[2])


def one_line(text: object, length: int = 300) -> str:
    """Foreign text as a part of a sentence: no control characters, no end of its own, not too long."""
    plain = " ".join(_NOT_PRINTED.sub(" ", str(text)).split())
    return (plain if len(plain) <= length else plain[: length - 1] + "…").rstrip(".")


def moref(managed: Any) -> str:
    """The value of a reference, such as "vm-57": unique within its server."""
    return str(managed._GetMoId())


def kind_of(managed: Any) -> str:
    """The name of a reference's type, such as "VirtualMachine"."""
    return str(type(managed).__name__).rpartition(".")[2]


def _missing_permission(fault: Any, name: str) -> str:
    privilege = one_line(getattr(fault, "privilegeId", None) or "that is needed")
    place = getattr(fault, "object", None)
    where = f" on {kind_of(place)} {one_line(name) or moref(place)}" if place is not None else ""
    return f"The login lacks the privilege {privilege}{where}. Add it to the role of this login in vSphere."


def _wrong_power_state(fault: Any) -> str:
    words = {"poweredOn": "running", "poweredOff": "stopped", "suspended": "suspended"}
    now = words.get(str(getattr(fault, "existingState", "")), "")
    wanted = words.get(str(getattr(fault, "requestedState", "")), "")
    return (
        f"The machine is {now or 'in another power state'}, and this can be done only to one that is "
        f"{wanted or 'in another power state'}."
    )

"""Which rights the login lacks. The ids are vSphere's own, as its role editor and documentation use them.

What each call needs is written in pyvmomi's type information; reading alone needs only `System.Read`. The check asks for
every machine, as a role may be given on one folder and not on another.
"""

from collections.abc import Sequence
from typing import Any

from pyVmomi import vim, vmodl

from hypervisors.drivers.vmware.connection import Connection
from hypervisors.drivers.vmware.properties import everything, retrieve

FOR_MACHINES = (
    "System.Anonymous",
    "System.View",
    "System.Read",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RevertToSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
    "VirtualMachine.State.RenameSnapshot",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Config.AddExistingDisk",
    "VirtualMachine.Config.RemoveDisk",
)
FOR_DATASTORES = ("System.Read", "Datastore.Browse", "Datastore.AllocateSpace")
MOST_ASKED = 500
"""Of so many machines and datastores the rights are asked for."""


def missing_privileges(connection: Connection) -> tuple[str, ...]:
    """The ids that are missing on at least one machine or datastore; with the numbers where it is not on all. Call inside
    `Connection.read`."""
    machines: list[Any] = []
    datastores: list[Any] = []
    for seen in retrieve(connection, everything(connection), {vim.VirtualMachine: ("name",), vim.Datastore: ("name",)}):
        (machines if isinstance(seen.managed, vim.VirtualMachine) else datastores).append(seen.managed)
    # Where no machine is to be seen, the folder above them all tells as much.
    machines = machines[:MOST_ASKED] or [connection.content.rootFolder]
    found = _missing(connection, machines, FOR_MACHINES) | _missing(connection, datastores[:MOST_ASKED], FOR_DATASTORES)
    return tuple(found[privilege] for privilege in sorted(found))


def _missing(connection: Connection, places: list[Any], privileges: Sequence[str]) -> dict[str, str]:
    """What is missing on these, in words, by id."""
    if not places:
        return {}
    denied: dict[str, int] = {}
    for answer in _asked(connection, places, privileges):
        for one in answer.privAvailability:
            if not one.isGranted:
                denied[str(one.privId)] = denied.get(str(one.privId), 0) + 1
    return {
        privilege: privilege if count == len(places) else f"{privilege} (on {count} of {len(places)})"
        for privilege, count in denied.items()
    }


def _asked(connection: Connection, places: list[Any], privileges: Sequence[str]) -> Sequence[Any]:
    manager = connection.content.authorizationManager
    if manager is None:
        return ()
    try:
        return manager.HasPrivilegeOnEntities(places, connection.session_key, list(privileges)) or ()
    except (vmodl.fault.NotSupported, vmodl.fault.MethodNotFound, vmodl.fault.NotImplemented):
        return ()  # A host that cannot be asked: what is missing shows when it is needed.

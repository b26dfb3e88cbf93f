"""Reading an endpoint in bulk: all of it in one call of the property collector, whatever the number of machines.

A whole inventory takes that one call (more only where the server sends its answer in pages) and, for the disks that no
machine has, a search and its result per datastore.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim, vmodl

from hypervisors.drivers.vmware.connection import Connection
from hypervisors.drivers.vmware.errors import moref, one_line, said, translated
from hypervisors.drivers.vmware.machines import (
    FOREST_PATHS,
    IDENTITY,
    IDENTITY_PATHS,
    MACHINE_PATHS,
    SNAPSHOT,
    SURROUNDING_PATHS,
    TEMPLATE,
    Surroundings,
    is_lost,
    is_machine,
    machine_disks,
    machine_forest,
    machine_record,
    native_ids,
    parted,
)
from hypervisors.drivers.vmware.properties import Paths, Seen, everything, only, read_one, retrieve
from hypervisors.drivers.vmware.storage import DATASTORE_PATHS, files_used, loose_volumes, pool_record
from hypervisors.errors import NotFound, OutOfReach
from hypervisors.records import HostRecord, Inventory, MachineRecord, PoolRecord, SnapshotForest, VolumeRecord

log = logging.getLogger(__name__)

_Collector = vmodl.query.PropertyCollector
FILE_PATHS = (*IDENTITY_PATHS, "datastore", "config.hardware.device", "layoutEx.file")
_TASK_PATHS = ("info.state", "info.descriptionId", "info.progress")
_ONE_BY_ONE = 4
GONE = "The machine is not in the inventory any more."


@dataclass(slots=True)
class World:
    """What one reading of the whole endpoint found."""

    machines: dict[str, Seen] = field(default_factory=dict)
    datastores: list[Seen] = field(default_factory=list)
    around: Surroundings = field(default_factory=Surroundings)

    def used_by_machines(self) -> set[str]:
        """The native ids of all volumes that some machine has or that one of its snapshots needs."""
        used: set[str] = set()
        for seen in self.machines.values():
            places = [moref(place) for place in seen.get("datastore") or ()]
            used |= files_used(seen, {self.around.datastores[p]: p for p in places if p in self.around.datastores})
            for disk in machine_disks(seen, self.around):
                used.update((disk.native_id, f"{disk.file[0] or '?'} {disk.file[1]}"))
        return used


def describe(connection: Connection) -> HostRecord:
    """The endpoint. A standalone ESXi host has no id of its own, so its address stands for it."""
    about = connection.content.about
    product = one_line(about.name or "VMware vSphere", 100)
    return HostRecord(
        native_id=str(about.instanceUuid or connection.address),
        name=connection.address.host,
        product=product,
        version=one_line(f"{about.version or '?'} build {about.build}" if about.build else about.version or "?", 100),
        simulator="simulator" in f"{about.vendor} {about.name} {about.fullName}".lower(),
    )


def read_inventory(connection: Connection) -> Inventory:
    """Everything at once. Call inside `Connection.read`."""
    paths = tuple(dict.fromkeys((*MACHINE_PATHS, *FOREST_PATHS)))
    inventory_host = describe(connection)
    world = read_world(connection, paths)
    return Inventory(
        host=inventory_host,
        pools=tuple(pool_record(seen) for seen in world.datastores),
        machines=tuple(machine_record(seen, native_id, world.around) for native_id, seen in world.machines.items()),
        loose_volumes=tuple(loose_volumes(connection, world.datastores, world.used_by_machines())),
        forests={native_id: machine_forest(seen) for native_id, seen in world.machines.items() if not is_lost(seen)},
    )


def read_world(connection: Connection, machine_paths: Sequence[str]) -> World:
    """All machines with these properties, all datastores, and what machines refer to."""
    paths: dict[type, Sequence[str]] = {
        vim.VirtualMachine: machine_paths,
        vim.Datastore: DATASTORE_PATHS,
        **SURROUNDING_PATHS,
    }
    world = World()
    machines: list[Seen] = []
    for seen in retrieve(connection, [*everything(connection), *_beside_the_view(connection)], paths):
        if isinstance(seen.managed, vim.VirtualMachine):
            if is_machine(seen):
                machines.append(seen)
            elif seen.get(TEMPLATE) is not True:
                log.warning("%s cannot be read, so it counts as not there: %s", moref(seen.managed), _why_unread(seen))
            continue
        world.around.note(seen)
        if isinstance(seen.managed, vim.Datastore):
            world.datastores.append(seen)
    world.machines = _by_id(machines)
    return world


def _beside_the_view(connection: Connection) -> list[Any]:
    """What a view of the inventory does not hold: the folder it begins at, and vCenter's custom attributes."""
    content = connection.content
    return only(place for place in (content.rootFolder, content.customFieldsManager) if place is not None)


def _why_unread(seen: Seen) -> str:
    return said(next(iter(seen.missing.values()), None))


def _by_id(machines: Iterable[Seen]) -> dict[str, Seen]:
    by_reference = {moref(seen.managed): seen for seen in machines}
    ids = native_ids({reference: seen.get(IDENTITY) for reference, seen in by_reference.items()})
    return {ids[reference]: seen for reference, seen in by_reference.items()}


def list_pools(connection: Connection) -> list[PoolRecord]:
    """All datastores. Call inside `Connection.read`."""
    return [
        pool_record(seen) for seen in retrieve(connection, everything(connection), {vim.Datastore: DATASTORE_PATHS})
    ]


def list_machines(connection: Connection) -> list[MachineRecord]:
    """All machines. Call inside `Connection.read`."""
    world = read_world(connection, MACHINE_PATHS)
    return [machine_record(seen, native_id, world.around) for native_id, seen in world.machines.items()]


def list_loose_volumes(connection: Connection) -> list[VolumeRecord]:
    """Disks that no machine has. Call inside `Connection.read`."""
    world = read_world(connection, FILE_PATHS)
    return loose_volumes(connection, world.datastores, world.used_by_machines())


def list_forests(connection: Connection, machine_ids: Collection[str] | None) -> dict[str, SnapshotForest]:
    """The forests of these machines, or of all. Call inside `Connection.read`.

    While vCenter cannot read a machine's files it says that there are no snapshots, which is not so: such a machine has no
    entry among all, and raises `OutOfReach` when it is asked for by name.
    """
    if machine_ids is None:
        seen_machines = retrieve(connection, everything(connection), {vim.VirtualMachine: FOREST_PATHS})
        found = _by_id(seen for seen in seen_machines if is_machine(seen))
        return {native_id: machine_forest(seen) for native_id, seen in found.items() if not is_lost(seen)}
    forests = {}
    for machine_id, seen in _asked_for(connection, machine_ids):
        refuse_lost(seen)
        forests[machine_id] = machine_forest(seen)
    return forests


def _asked_for(connection: Connection, machine_ids: Collection[str]) -> Iterable[tuple[str, Seen]]:
    """These machines, as far as they are there; many of them in two calls together."""
    if len(machine_ids) > _ONE_BY_ONE:
        identities = retrieve(connection, everything(connection), {vim.VirtualMachine: (*IDENTITY_PATHS,)})
        all_there = _by_id(seen for seen in identities if is_machine(seen))
        wanted = {moref(all_there[one].managed): one for one in machine_ids if one in all_there}
        objects = only(all_there[one].managed for one in wanted.values())
        for seen in retrieve(connection, objects, {vim.VirtualMachine: FOREST_PATHS}):
            if is_machine(seen):
                yield wanted[moref(seen.managed)], seen
        return
    for machine_id in machine_ids:
        try:
            yield machine_id, read_machine_paths(connection, machine_id, FOREST_PATHS)
        except NotFound:
            continue


def refuse_lost(seen: Seen) -> None:
    """Raise `OutOfReach` for a machine whose files vCenter cannot read."""
    if is_lost(seen):
        raise OutOfReach(
            "vCenter cannot read the machine's files at the moment: its datastore or host cannot be reached."
        )


def read_machine(connection: Connection, machine_id: str) -> tuple[MachineRecord, Seen]:
    """One machine as `list_machines` would give it, and what was read of it. Raises `NotFound`. Call inside
    `Connection.read`."""
    managed = find_machine(connection, machine_id)
    found, around = None, Surroundings()
    paths: Paths = {vim.VirtualMachine: MACHINE_PATHS, vim.Datastore: DATASTORE_PATHS, **SURROUNDING_PATHS}
    for seen in _with_surroundings(connection, managed, paths):
        if isinstance(seen.managed, vim.VirtualMachine):
            found = seen
        else:
            around.note(seen)
    seen = _readable(found)
    return machine_record(seen, machine_id, around), seen


def _with_surroundings(connection: Connection, managed: Any, paths: Paths) -> list[Seen]:
    def through(name: str, kind: type, path: str, *then: str) -> Any:
        return _Collector.TraversalSpec(
            name=name, type=kind, path=path, skip=False, selectSet=[_Collector.SelectionSpec(name=one) for one in then]
        )

    steps = [
        through("its folder", vim.VirtualMachine, "parent", "up"),
        through("its vApp", vim.VirtualMachine, "parentVApp", "the vApp's folder"),
        through("its pool", vim.VirtualMachine, "resourcePool"),
        through("its datastores", vim.VirtualMachine, "datastore"),
        through("the vApp's folder", vim.VirtualApp, "parentFolder", "up"),
        through("up", vim.ManagedEntity, "parent", "up"),
    ]
    objects = [_Collector.ObjectSpec(obj=managed, skip=False, selectSet=steps)]
    manager = connection.content.customFieldsManager
    if manager is not None:
        objects += only([manager])
    try:
        return list(retrieve(connection, objects, paths))
    except vmodl.fault.ManagedObjectNotFound as fault:
        raise NotFound(GONE) from fault


def read_machine_paths(connection: Connection, machine_id: str, paths: Sequence[str]) -> Seen:
    """These properties of one machine. Raises `NotFound`. Call inside `Connection.read`."""
    managed = find_machine(connection, machine_id)
    return _readable(read_one(connection, managed, tuple(dict.fromkeys((*IDENTITY_PATHS, *paths)))))


def _readable(seen: Seen | None) -> Seen:
    if seen is None or seen.get(TEMPLATE) is True:
        raise NotFound(GONE)
    fault = seen.refused((*IDENTITY_PATHS, SNAPSHOT))
    if fault is not None:
        raise translated(fault)
    return seen


def find_machine(connection: Connection, machine_id: str) -> Any:
    """The machine's reference. Raises `NotFound`. Call inside `Connection.read`."""
    identity, reference = parted(machine_id)
    if not identity:
        return _by_reference(connection, reference)
    same = _with_identity(connection, identity)
    if reference:
        same = [managed for managed in same if moref(managed) == reference]
    if not same:
        raise NotFound(GONE)
    ids = native_ids(dict.fromkeys(map(moref, same), identity))
    return next(managed for managed in same if reference or ids[moref(managed)] == identity)


def _with_identity(connection: Connection, identity: str) -> list[Any]:
    index = connection.content.searchIndex
    try:
        return list(index.FindAllByUuid(None, identity, True, True) or ())
    except (vmodl.fault.MethodNotFound, vmodl.fault.NotSupported, vmodl.fault.NotImplemented):
        one = index.FindByUuid(None, identity, True, True)
        return [one] if one is not None else []


def _by_reference(connection: Connection, reference: str) -> Any:
    """One that has no identity of its own."""
    managed = connection.managed(vim.VirtualMachine, reference)
    seen = read_one(connection, managed, (IDENTITY,))
    if seen is None or seen.get(IDENTITY):
        raise NotFound(GONE)
    return managed


def operation_in_flight(connection: Connection, machine_id: str) -> str | None:
    """The first task that is queued or running on the machine, whoever began it. Raises `NotFound`. Call inside
    `Connection.read`."""
    managed = find_machine(connection, machine_id)
    tasks = _Collector.TraversalSpec(name="its tasks", type=vim.VirtualMachine, path="recentTask", skip=False)
    objects = [_Collector.ObjectSpec(obj=managed, skip=False, selectSet=[tasks])]
    found = None
    there = False
    wanted: Paths = {vim.VirtualMachine: (IDENTITY,), vim.Task: _TASK_PATHS}
    try:
        for seen in retrieve(connection, objects, wanted):
            if isinstance(seen.managed, vim.VirtualMachine):
                there = True
            elif found is None and str(seen.get("info.state")) in ("queued", "running"):
                found = _task_words(seen)
    except vmodl.fault.ManagedObjectNotFound as fault:
        raise NotFound(GONE) from fault
    if not there:
        raise NotFound(GONE)
    return found


def _task_words(task: Seen) -> str:
    name = one_line(str(task.get("info.descriptionId") or "a task").rpartition(".")[2], 60)
    progress = task.get("info.progress")
    waiting = "waits for its turn" if str(task.get("info.state")) == "queued" else "is running"
    done = f", {int(progress)} % done" if progress is not None else ""
    return f"The task {name} {waiting} in vSphere{done}"

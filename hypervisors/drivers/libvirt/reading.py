"""Reading an endpoint in bulk: the host, its pools, its machines, their snapshots.

Round trips: pools take three each, machines two for all of them and one each (the definition, which alone names the
disks), snapshot forests one for all, one per machine, and one per snapshot with one more per machine that has any.
The functions run inside `Connection.read` and get the open connection.

While libvirt has qemu-img work on a stopped machine's disks it holds that machine locked, and everything that lists all
machines waits for it (seen with 9.0). So what is asked of one machine never lists the others; a sync of the whole
endpoint meanwhile ends in `TimedOut` when that work takes longer than the endpoint's timeout.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import libvirt
from lxml import etree

from hypervisors.drivers.libvirt.abilities import Host, abilities
from hypervisors.drivers.libvirt.connection import Connection, beside
from hypervisors.drivers.libvirt.errors import left_out_if_gone
from hypervisors.drivers.libvirt.machine_xml import (
    Disk,
    block_stats,
    disks_of,
    files_used,
    power_state,
    size_in_bytes,
)
from hypervisors.drivers.libvirt.sizes import memory_sizes
from hypervisors.drivers.libvirt.snapshot_xml import (
    forest_from,
    is_external,
    parsed,
    record_from,
    without_definitions,
)
from hypervisors.drivers.libvirt.storage import Pool, loose_volumes, pool_ids_by_folder, read_pools
from hypervisors.errors import NotFound, TimedOut
from hypervisors.records import (
    HostRecord,
    Inventory,
    MachineRecord,
    PoolRecord,
    SnapshotForest,
    SnapshotKind,
    SnapshotRecord,
    VolumeRecord,
)

T = TypeVar("T")

# How long a machine may take to say that nothing is going on; a machine that is worked on does not answer at all.
_IN_FLIGHT_SECONDS = 2.0
_STATISTICS = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BLOCK
# Without waiting, as one busy machine would hold up the rest.
_PATIENCE = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
# Snapshots take by far the most calls. Two threads ask for them while a third reads the definitions; that is as much as
# two processors carry, and below what libvirtd answers one client at a time (`max_client_requests`, 5).
_FOREST_READERS = 2

Statistics = list[tuple[Any, Mapping[str, Any]]]


def machine(opened: Any, machine_id: str) -> Any:
    """The handle of a machine. Raises `NotFound`."""
    try:
        return opened.lookupByUUIDString(machine_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_ARG):
            raise NotFound("The machine is not defined on the hypervisor any more.") from error
        raise


def host_of(opened: Any) -> Host:
    """The facts about the endpoint that decide what its machines can do."""
    return Host(version=int(opened.getLibVersion()), is_mock=opened.getType() == "TEST")


def describe(opened: Any) -> HostRecord:
    """The endpoint. Its id is the host's UUID with the daemon's name, as a host may run a system and a session one."""
    host = host_of(opened)
    hypervisor = int(opened.getVersion())
    version = f"{hypervisor // 1_000_000}.{hypervisor // 1000 % 1000}.{hypervisor % 1000}"
    name = opened.getHostname()
    uuid = parsed(opened.getCapabilities()).findtext("host/uuid") or name
    daemon = opened.getURI().partition("?")[0].rpartition("/")[2]
    product = "libvirt test driver" if host.is_mock else f"libvirt with {opened.getType()} {version}"
    return HostRecord(native_id=f"{uuid}/{daemon}", name=name, product=product, version=host.version_text)


def list_pools(opened: Any) -> list[PoolRecord]:
    """All pools, looked at anew."""
    return [pool.record for pool in read_pools(opened, refresh=True)]


@dataclass(frozen=True, slots=True)
class Definition:
    """What libvirt says of one machine: the statistics, the definition it has now and, when it is on, the stored one."""

    native_id: str
    name: str
    persistent: bool
    stats: Mapping[str, Any]
    now: etree._Element
    stored: etree._Element | None = None

    def files(self) -> set[str]:
        """Every file that a disk of either definition names."""
        return files_used(self.now) | (files_used(self.stored) if self.stored is not None else set())


def read_inventory(opened: Any, local: bool) -> Inventory:
    """Everything as the single reads would give it, but each definition and pool is fetched and read once."""
    host, pools = describe(opened), read_pools(opened, refresh=True)
    all_stats = statistics(opened)
    forests = begin_forests(opened, [handle for handle, _ in all_stats], local)
    definitions = definitions_of(opened, all_stats, stored=True)
    machines = machine_records(opened, definitions, pools)
    loose = loose_volumes(pools, _paths_used(opened, definitions))
    records = tuple(pool.record for pool in pools)
    return Inventory(host, records, tuple(machines), tuple(loose), forests())


def list_machines(opened: Any) -> list[MachineRecord]:
    """All machines."""
    return machine_records(opened, read_definitions(opened, stored=False))


def read_machine(opened: Any, machine_id: str) -> MachineRecord:
    """One machine. Raises `NotFound`."""
    records = machine_records(opened, read_definitions(opened, stored=False, only=machine(opened, machine_id)))
    if not records:
        raise NotFound("The machine is not defined on the hypervisor any more.")
    return records[0]


def read_definitions(opened: Any, stored: bool, only: Any = None) -> list[Definition]:
    """Statistics and definition of all machines, or of one; with `stored`, both definitions of those that are on."""
    if only is None:
        return definitions_of(opened, statistics(opened), stored)
    all_stats = opened.domainListGetStats([only], _STATISTICS, _PATIENCE)
    return _with_definitions(all_stats, set() if only.isPersistent() else {only.UUIDString()}, stored)


def statistics(opened: Any) -> Statistics:
    """Each machine's handle with what one call says about all of them."""
    return list(opened.getAllDomainStats(_STATISTICS, _PATIENCE))


def definitions_of(opened: Any, all_stats: Statistics, stored: bool) -> list[Definition]:
    """The definitions of all machines, whose statistics these are."""
    passing = opened.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
    return _with_definitions(all_stats, {handle.UUIDString() for handle in passing}, stored)


def _with_definitions(all_stats: Statistics, transient: set[str], stored: bool) -> list[Definition]:
    definitions = []
    for handle, stats in all_stats:
        with left_out_if_gone():
            native_id = handle.UUIDString()
            now = parsed(handle.XMLDesc(_definition_flags(stats)))
            on = stats["state.state"] != libvirt.VIR_DOMAIN_SHUTOFF
            kept = parsed(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) if stored and on else None
            definitions.append(Definition(native_id, handle.name(), native_id not in transient, stats, now, kept))
    return definitions


def machine_records(
    opened: Any, definitions: Iterable[Definition], pools: Sequence[Pool] | None = None
) -> list[MachineRecord]:
    """The machines with these definitions; `pools` when they have been read just before."""
    host = host_of(opened)
    pool_ids = pool_ids_by_folder(read_pools(opened, refresh=False) if pools is None else pools)
    records = []
    for definition in definitions:
        blocks = block_stats(definition.stats)
        root = definition.now
        disks = disks_of(root)
        records.append(
            MachineRecord(
                native_id=definition.native_id,
                name=definition.name,
                power_state=power_state(int(definition.stats["state.state"])),
                memory_bytes=size_in_bytes(root.find("memory")),
                volumes=tuple(_volume(opened, disk, blocks.get(disk.target, {}), pool_ids) for disk in disks),
                capabilities=abilities(root, definition.persistent, host),
            )
        )
    return records


def _definition_flags(stats: Mapping[str, Any]) -> int:
    """A machine at work (no disk statistics although it is on) is asked for its stored definition: since 11.0 libvirt
    lets a reader of the running one wait until the work is done."""
    on = stats.get("state.state") != libvirt.VIR_DOMAIN_SHUTOFF
    return libvirt.VIR_DOMAIN_XML_INACTIVE if on and "block.count" not in stats else 0


def _volume(opened: Any, disk: Disk, facts: Mapping[str, Any], pool_ids: Mapping[str, str]) -> VolumeRecord:
    path = str(facts.get("path") or disk.source)
    capacity = int(facts.get("capacity", 0))
    # "physical" is the size of the file; "allocation" of a running qcow2 disk is only how far this QEMU has written.
    used = facts.get("physical") if disk.format == "qcow2" else facts.get("allocation") or facts.get("physical")
    if not capacity:
        capacity, used = _size_in_pool(opened, path)
    return VolumeRecord(
        native_id=path,
        name=disk.file_name,
        format=disk.format,
        capacity_bytes=capacity,
        used_bytes=used,
        pool_id=pool_ids.get(path.rpartition("/")[0]),
        target=disk.target,
    )


def _size_in_pool(opened: Any, path: str) -> tuple[int, int | None]:
    """Capacity and use as the pool knows them, for a machine whose statistics are not to be had just now."""
    try:
        _, capacity, used = opened.storageVolLookupByPath(path).info()
    except libvirt.libvirtError as error:
        if error.get_error_domain() == libvirt.VIR_FROM_RPC:
            raise
        return 0, None
    return int(capacity), int(used)


def list_loose_volumes(opened: Any) -> list[VolumeRecord]:
    """Volumes that can be attached: no machine's stored or running definition names them, and no volume builds on them.

    The pools are looked at anew: an overlay made elsewhere is known only after that.
    """
    definitions = read_definitions(opened, stored=True)
    return loose_volumes(read_pools(opened, refresh=True), _paths_used(opened, definitions))


def paths_in_external_snapshots(opened: Any) -> set[str]:
    """Files that external snapshots made elsewhere need, also those on branches that no machine stands on."""
    used = set()
    for handle in opened.listAllDomains():
        with left_out_if_gone():
            for snapshot in handle.listAllSnapshots(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_EXTERNAL):
                for definition in parsed(snapshot.getXMLDesc()).iterfind("domain"):
                    used |= files_used(definition)
    return used


def _paths_used(opened: Any, definitions: Iterable[Definition]) -> set[str]:
    used = {place for definition in definitions for place in definition.files()}
    for place in list(used):
        # A disk that names a pool and a volume instead of a file.
        if not place.startswith("/") and "/" in place and ":" not in place:
            pool, _, name = place.partition("/")
            with left_out_if_gone():
                used.add(opened.storagePoolLookupByName(pool).storageVolLookupByName(name).path())
    return used


def list_forests(opened: Any, machine_ids: Collection[str] | None, local: bool) -> dict[str, SnapshotForest]:
    """The forests of these machines, or of all."""
    handles = opened.listAllDomains() if machine_ids is None else list(_those_there(opened, machine_ids))
    return begin_forests(opened, handles, local)()


def begin_forests(opened: Any, handles: Sequence[Any], local: bool) -> Callable[[], dict[str, SnapshotForest]]:
    """Begin to read the forests of these machines beside whatever else is done; what is returned waits for them."""
    measure = not host_of(opened).is_mock

    def read(some: Sequence[Any]) -> dict[str, SnapshotForest]:
        forests = {}
        for handle in some:
            with left_out_if_gone():
                forests[handle.UUIDString()] = read_forest(opened, handle, local, measure)
        return forests

    shares = [handles[number::_FOREST_READERS] for number in range(_FOREST_READERS)]
    begun = [beside(partial(read, share)) for share in shares if share]
    return lambda: {machine_id: forest for wait in begun for machine_id, forest in wait().items()}


def _those_there(opened: Any, machine_ids: Collection[str]) -> Iterator[Any]:
    for machine_id in machine_ids:
        with suppress(NotFound):  # who is gone is left out, which is how it is told
            yield machine(opened, machine_id)


def read_forest(opened: Any, handle: Any, local: bool, measure: bool) -> SnapshotForest:
    """One machine's forest; with `measure`, with the sizes of the memory images."""
    records: list[SnapshotRecord] = []
    images: dict[str, None] = {}
    internal: set[str] = set()
    for snapshot in handle.listAllSnapshots():
        with left_out_if_gone():
            xml = snapshot.getXMLDesc()
            root = parsed(without_definitions(xml))
            record = record_from(root)
            records.append(record)
            if measure and record.kind is SnapshotKind.DISK_AND_MEMORY and not is_external(root):
                internal.add(record.native_id)
                definition = parsed(xml).find("domain")
                disks = disks_of(definition) if definition is not None else []
                images |= dict.fromkeys(disk.source for disk in disks if disk.format == "qcow2")
    if not records:
        return SnapshotForest()
    if internal:
        sizes = memory_sizes(opened, images, local, internal)
        records = [replace(record, measured_bytes=sizes.get(record.native_id)) for record in records]
    return forest_from(records, current_snapshot(handle))


def current_snapshot(handle: Any) -> str | None:
    """The native id of the machine's current snapshot."""
    try:
        return str(handle.snapshotCurrent().getName())
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
            return None
        raise


def operation_in_flight(connection: Connection, machine_id: str) -> str | None:
    """Whether libvirt works on the machine, found out by asking it something that has to wait while it does.

    Tried with libvirt 9.0: while a running machine's snapshot is taken or deleted, `virDomainGetControlInfo` answers at
    once that a job runs, and everything else waits; while qemu-img works on a stopped machine's disks, every question
    about it waits, and during a revert all that needs a job. A half-made snapshot is in the list meanwhile.
    """
    until = time.monotonic() + _IN_FLIGHT_SECONDS
    try:
        return connection.read(lambda opened: _work_told(machine(opened, machine_id)), until)
    except TimedOut:
        # The daemon itself, asked on a fresh connection: if it does not answer either, this raises.
        connection.read(lambda opened: opened.getHostname())
        return "libvirt is working on this machine and answers no question about it"


def _work_told(handle: Any) -> str | None:
    try:
        if not handle.isActive():
            targets = [disk.target for disk in disks_of(parsed(handle.XMLDesc()))]
            if targets:
                handle.blockInfo(targets[0])
            return None
        state, _, milliseconds = handle.controlInfo()
        if state in (libvirt.VIR_DOMAIN_CONTROL_JOB, libvirt.VIR_DOMAIN_CONTROL_OCCUPIED):
            return f"libvirt has been working on this machine for {milliseconds // 1000} seconds"
        if handle.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
            return "libvirt is carrying out a job on this machine"
    except libvirt.libvirtError as error:
        code = error.get_error_code()
        if code == libvirt.VIR_ERR_OPERATION_TIMEOUT:
            return "libvirt is working on this machine"
        if code == libvirt.VIR_ERR_NO_DOMAIN or error.get_error_domain() == libvirt.VIR_FROM_RPC:
            raise
        # It answered, so nothing holds it: it stopped meanwhile, its disk file is gone, or it is libvirt's test driver.
    return None

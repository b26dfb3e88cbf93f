"""Machines, pools and volumes in the contract's records, from XenServer's.

What is called a storage pool here is a storage repository (SR) there. Repositories of ISO images, of the guest tools and
of drives in a host hold no machine's disks and are left out.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

from hypervisors.drivers.xenserver.abilities import abilities
from hypervisors.drivers.xenserver.marks import volume_ids
from hypervisors.drivers.xenserver.records import (
    Contents,
    Record,
    add_with_disks,
    place_number,
    read_all,
    read_all_machines,
    read_machine_record,
    read_one,
    read_snapshots,
    read_with_snapshots,
    whole_number,
)
from hypervisors.drivers.xenserver.session import Session
from hypervisors.drivers.xenserver.tree import forest_of, snapshots_by_machine
from hypervisors.errors import NotFound
from hypervisors.records import (
    HostRecord,
    Inventory,
    MachineRecord,
    PoolRecord,
    PowerState,
    SnapshotForest,
    VolumeRecord,
)

_POWER = {
    "Running": PowerState.RUNNING,
    "Halted": PowerState.STOPPED,
    "Suspended": PowerState.SUSPENDED,
    "Paused": PowerState.SUSPENDED,
}
_FORESTS_ONE_BY_ONE = 10
"""More machines than these are read by bulk reads when it is about their forests."""

# What goes on with a machine without standing in the way of a change.
_HARMLESS = frozenset(
    {
        "assert_operation_valid", "call_plugin", "data_source_op", "get_boot_record", "query_services", "send_sysrq",
        "send_trigger", "update_allowed_operations",
    }
)  # fmt: skip
_OPERATION_WORDS = {
    "snapshot": "takes a snapshot",
    "checkpoint": "takes a snapshot with memory",
    "snapshot_with_quiesce": "takes a snapshot",
    "revert": "reverts the machine",
    "reverting": "reverts the machine",
    "destroy": "deletes it",
    "start": "starts the machine",
    "start_on": "starts the machine",
    "resume": "resumes the machine",
    "resume_on": "resumes the machine",
    "suspend": "suspends the machine",
    "clean_shutdown": "shuts the machine down",
    "hard_shutdown": "switches the machine off",
    "shutdown": "shuts the machine down",
    "pool_migrate": "moves the machine to another host",
    "migrate_send": "moves the machine to another pool",
    "clone": "clones the machine",
    "copy": "copies the machine",
    "export": "exports the machine",
}


def power_state(record: Record) -> PowerState:
    """The machine's power state in the contract's words. A paused machine keeps its memory, as a suspended one does."""
    return _POWER.get(record["power_state"], PowerState.UNKNOWN)


def describe(contents: Contents) -> HostRecord:
    """The pool, and the product as its coordinator names it."""
    pool = contents.pool
    coordinator: Record = contents.hosts.get(pool.get("master", ""), {})
    software = coordinator.get("software_version", {})
    return HostRecord(
        native_id=str(pool.get("uuid", "")),
        name=pool.get("name_label") or coordinator.get("name_label", ""),
        product=software.get("product_brand") or "XenServer",
        version=software.get("product_version_text") or software.get("product_version") or "unknown",
        simulator="vmsnap_simulator" in software,
    )


def read_host(session: Session) -> HostRecord:
    """The pool alone."""
    return describe(Contents(whole=False, pools=read_all(session, "pool"), hosts=read_all(session, "host")))


def pool_records(contents: Contents) -> list[PoolRecord]:
    """All storage pools. One is active while a host is connected to it and it knows its size."""
    attached = {link["SR"] for link in contents.connections.values() if link["currently_attached"]}
    records = []
    for ref, repository in contents.repositories.items():
        if not holds_disks(repository):
            continue
        total, used = whole_number(repository["physical_size"]), whole_number(repository["physical_utilisation"])
        active = ref in attached and total >= 0
        records.append(
            PoolRecord(
                native_id=repository["uuid"],
                name=repository["name_label"] or repository["uuid"],
                kind=repository["type"],
                total_bytes=total if active else None,
                free_bytes=max(0, total - max(0, used)) if active else None,
                active=active,
            )
        )
    return records


def holds_disks(repository: Record) -> bool:
    """Whether it is a repository for machines' disks."""
    return not (
        repository["content_type"] == "iso" or repository.get("is_tools_sr") or repository["type"] in ("udev", "iso")
    )


def machine_records(contents: Contents, ids: dict[str, str]) -> list[MachineRecord]:
    """All machines of the contents; `ids` are the volume ids of their disks."""
    resource_pool = str(contents.pool.get("name_label", ""))
    return [_machine(contents, record, ids, resource_pool) for _, record in contents.real_machines()]


def _machine(contents: Contents, record: Record, ids: dict[str, str], resource_pool: str) -> MachineRecord:
    return MachineRecord(
        native_id=record["uuid"],
        name=record["name_label"] or record["uuid"],
        power_state=power_state(record),
        memory_bytes=whole_number(record["memory_static_max"]),
        volumes=tuple(
            volume_record(contents, slot["VDI"], ids[slot["VDI"]], target_of(slot["userdevice"]))
            for slot in contents.slots_of(record)
        ),
        capabilities=abilities(contents, record),
        folder=record["other_config"].get("folder", ""),
        resource_pool=resource_pool,
        tags=tuple(sorted(record["tags"])),
    )


def target_of(userdevice: str) -> str:
    """The name under which a guest sees the disk in this place: "xvda" for 0. It says so also while the machine is off,
    when XenServer itself names no device."""
    number, name = place_number(userdevice)
    if name:
        return name
    letters = ""
    while number >= 0:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
    return f"xvd{letters}"


def volume_record(contents: Contents, ref: str, native_id: str, target: str = "") -> VolumeRecord:
    """One disk, attached as `target` or to nothing."""
    disk = contents.disks[ref]
    repository = contents.repositories.get(disk["SR"])
    used = whole_number(disk["physical_utilisation"])
    settings = disk["sm_config"]
    return VolumeRecord(
        native_id=native_id,
        name=disk["name_label"] or disk["uuid"],
        format=settings.get("image-format") or settings.get("vdi_type") or "vhd",
        capacity_bytes=whole_number(disk["virtual_size"]),
        used_bytes=used if used >= 0 else None,
        pool_id=repository["uuid"] if repository is not None and holds_disks(repository) else None,
        target=target,
    )


def loose_disks(contents: Contents) -> list[str]:
    """References of disks that are attached to nothing and can be attached to a machine."""
    usable = {ref for ref, repository in contents.repositories.items() if holds_disks(repository)}
    attached = {link["SR"] for link in contents.connections.values() if link["currently_attached"]}
    return [ref for ref, disk in contents.disks.items() if disk["SR"] in usable & attached and is_loose(disk)]


def is_loose(disk: Record) -> bool:
    """Whether a disk is a user's and attached to nothing."""
    return (
        not disk["VBDs"]
        and disk["managed"]
        and not (disk["missing"] or disk["is_a_snapshot"] or disk["read_only"] or disk.get("is_tools_iso"))
        and disk["type"] in ("user", "system")
    )


def all_volume_ids(contents: Contents) -> dict[str, str]:
    """The volume id of every disk of the pool that is a volume, by its reference."""
    uuids = {disk["uuid"] for disk in contents.disks.values()}
    machines = [record for _, record in contents.real_machines()]
    return volume_ids(contents, machines, loose_disks(contents), uuids.__contains__)


def some_volume_ids(session: Session, contents: Contents, until: float | None = None) -> dict[str, str]:
    """The volume id of every disk of the machines in contents that are not the whole pool."""
    if contents.whole:
        return all_volume_ids(contents)
    known = {disk["uuid"] for disk in contents.disks.values()}
    machines = [record for _, record in contents.real_machines()]
    return volume_ids(contents, machines, [], lambda uuid: uuid in known or disk_exists(session, uuid, until))


def disk_exists(session: Session, uuid: str, until: float | None = None) -> bool:
    """Whether a disk has this uuid."""
    try:
        session.read("VDI.get_by_uuid", uuid, until=until)
    except NotFound:
        return False
    return True


def loose_volumes(contents: Contents, ids: dict[str, str]) -> list[VolumeRecord]:
    """All loose volumes."""
    return [volume_record(contents, ref, ids[ref]) for ref in loose_disks(contents)]


def all_forests(contents: Contents) -> dict[str, SnapshotForest]:
    """The forests of all machines, by the machine's native id."""
    snapshots = snapshots_by_machine(contents.machines)
    return {
        record["uuid"]: forest_of(contents, record, snapshots.get(ref, {})) for ref, record in contents.real_machines()
    }


def inventory(contents: Contents) -> Inventory:
    """Everything at once, from one reading of the whole pool."""
    ids = all_volume_ids(contents)
    return Inventory(
        host=describe(contents),
        pools=tuple(pool_records(contents)),
        machines=tuple(machine_records(contents, ids)),
        loose_volumes=tuple(loose_volumes(contents, ids)),
        forests=all_forests(contents),
    )


def read_for_one(session: Session, machine_id: str, until: float | None = None) -> tuple[str, Contents]:
    """A machine's reference, and contents that hold it, its disks and what its abilities depend on. Raises `NotFound`."""
    ref, record = read_machine_record(session, machine_id, until)
    contents = Contents(
        whole=False, pools=read_all(session, "pool", until), repositories=read_all(session, "SR", until)
    )
    add_with_disks(session, contents, [(ref, record)], until)
    if record["guest_metrics"] and record["power_state"] == "Running":
        contents.guests = _one_guest(session, record["guest_metrics"], until)
    return ref, contents


def _one_guest(session: Session, ref: str, until: float | None) -> dict[str, Any]:
    try:
        return {ref: read_one(session, "VM_guest_metrics", ref, until)}
    except NotFound:
        return {}


def read_machine(session: Session, machine_id: str, until: float | None = None) -> MachineRecord:
    """One machine. Raises `NotFound`."""
    ref, contents = read_for_one(session, machine_id, until)
    ids = some_volume_ids(session, contents, until)
    return _machine(contents, contents.machines[ref], ids, str(contents.pool.get("name_label", "")))


def read_forest(session: Session, machine_id: str, until: float | None = None) -> SnapshotForest:
    """One machine's forest. Raises `NotFound`."""
    ref, record = read_machine_record(session, machine_id, until)
    contents = Contents(whole=False)
    read_with_snapshots(session, contents, ref, record, until)
    # A bulk read gives a younger record of the machine, which goes with the snapshots; it may be gone by then.
    machine = contents.machines.get(ref, record)
    return forest_of(contents, machine, snapshots_by_machine(contents.machines).get(ref, {}))


def read_forests(session: Session, machine_ids: Collection[str] | None) -> dict[str, SnapshotForest]:
    """The forests of these machines, or of all. A machine that is gone has no entry."""
    if machine_ids is None or len(machine_ids) > _FORESTS_ONE_BY_ONE:
        contents = Contents(whole=True)
        read_all_machines(session, contents)
        forests = all_forests(contents)
        wanted: Iterable[str] = forests if machine_ids is None else set(machine_ids)
        return {machine_id: forests[machine_id] for machine_id in wanted if machine_id in forests}
    found = {}
    for machine_id in machine_ids:
        with suppress(NotFound):  # who is gone is left out, which is how it is told
            found[machine_id] = read_forest(session, machine_id)
    return found


def work_on(*records: Record) -> str | None:
    """What XenServer says it is doing with these machines or snapshots, or None."""
    for record in records:
        for operation in record["current_operations"].values():
            if operation not in _HARMLESS:
                return f"XenServer {_OPERATION_WORDS.get(operation, f'carries out “{operation}”')}"
    return None


def operation_in_flight(session: Session, machine_id: str) -> str | None:
    """What XenServer is doing with the machine or one of its snapshots, or None. Raises `NotFound`."""
    _, record = read_machine_record(session, machine_id)
    work = work_on(record)
    if work is not None or not record["snapshots"]:
        return work
    return work_on(*read_snapshots(session, record).values())

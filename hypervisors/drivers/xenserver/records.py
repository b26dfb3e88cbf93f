"""The records of XenAPI that this driver works with, as they come: plain mappings, by reference.

A pool is read in bulk, one call for each class, whatever it holds; a single machine is read record by record, as a bulk
read of a large pool would take seconds for it. Both end in the same `Contents`, from which `reading`,
`tree` and `abilities` make what the contract wants, so that they cannot differ.

Only fields that every supported release has are taken for granted; the others are asked for with `get`.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypervisors.drivers.xenserver.answers import Keep
from hypervisors.drivers.xenserver.session import Session
from hypervisors.errors import NotFound

Record = Mapping[str, Any]
Records = dict[str, Record]

NULL = "OpaqueRef:NULL"

FIELDS: dict[str, frozenset[str]] = {
    "pool": frozenset({"uuid", "name_label", "master", "restrictions"}),
    "host": frozenset({"uuid", "name_label", "software_version"}),
    "SR": frozenset(
        {"uuid", "name_label", "type", "content_type", "physical_size", "physical_utilisation", "PBDs", "is_tools_sr"}
    ),
    "PBD": frozenset({"SR", "currently_attached"}),
    "VM": frozenset(
        {
            "uuid", "name_label", "name_description", "power_state", "is_a_template", "is_a_snapshot", "is_control_domain",
            "snapshot_of", "snapshot_time", "snapshots", "parent", "suspend_VDI", "memory_static_max", "VBDs", "VUSBs",
            "attached_PCIs", "VGPUs", "tags", "other_config", "blocked_operations", "allowed_operations",
            "current_operations", "guest_metrics", "HVM_boot_policy", "domain_type",
        }
    ),
    "VM_guest_metrics": frozenset({"PV_drivers_detected", "can_use_hotplug_vbd"}),
    "VBD": frozenset({"uuid", "VM", "VDI", "type", "userdevice", "mode", "empty", "other_config", "currently_attached"}),
    "VDI": frozenset(
        {
            "uuid", "name_label", "SR", "VBDs", "virtual_size", "physical_utilisation", "type", "managed", "missing",
            "is_a_snapshot", "sharable", "read_only", "is_tools_iso", "other_config", "sm_config", "on_boot",
        }
    ),
}  # fmt: skip

SNAPSHOTS_ONE_BY_ONE = 40
"""A machine with more snapshots than these is read by bulk reads: that many single calls would take longer."""


@dataclass
class Contents:
    """Records by class and reference. `whole` says that it is the whole pool, so that what is not here is nowhere."""

    whole: bool
    pools: Records = field(default_factory=dict)
    hosts: Records = field(default_factory=dict)
    repositories: Records = field(default_factory=dict)
    connections: Records = field(default_factory=dict)
    machines: Records = field(default_factory=dict)
    guests: Records = field(default_factory=dict)
    slots: Records = field(default_factory=dict)
    disks: Records = field(default_factory=dict)

    @property
    def pool(self) -> Record:
        """The one pool that every server has."""
        return next(iter(self.pools.values()), {})

    def real_machines(self) -> Iterator[tuple[str, Record]]:
        """Machines as people know them: no snapshots, no templates, no control domains."""
        return ((ref, record) for ref, record in self.machines.items() if is_machine(record))

    def slots_of(self, record: Record) -> list[Record]:
        """Where a machine or a snapshot has disks, in the order of the places. Drives for CDs are left out."""
        found = (self.slots.get(ref) for ref in record["VBDs"])
        disks = [slot for slot in found if slot is not None and slot["type"] == "Disk" and slot["VDI"] in self.disks]
        return sorted(disks, key=lambda slot: place_number(slot["userdevice"]))


def is_machine(record: Record) -> bool:
    """Whether the record is of a machine, and not of a snapshot, a template or a host's control domain."""
    return not (record["is_a_snapshot"] or record["is_a_template"] or record["is_control_domain"])


def place_number(userdevice: str) -> tuple[int, str]:
    """For sorting the places of disks: "2" before "10", and names after numbers."""
    return (int(userdevice), "") if userdevice.isdecimal() else (1 << 30, userdevice)


def whole_number(text: Any) -> int:
    """XenAPI's integers, which are decimal texts on the wire."""
    return int(text)


def read_all(session: Session, kind: str, until: float | None = None) -> Records:
    """All records of a class, by reference, in one call."""
    records: Records = session.read(f"{kind}.get_all_records", keep=Keep(3, FIELDS[kind]), bulk=True, until=until)
    return records


def read_one(session: Session, kind: str, ref: str, until: float | None = None, after_change: bool = False) -> Record:
    """One record. Raises `NotFound`."""
    keep = Keep(2, FIELDS[kind])
    record: Record = session.read(f"{kind}.get_record", ref, keep=keep, until=until, after_change=after_change)
    return record


def read_pool_and_storage(session: Session, until: float | None = None) -> Contents:
    """The pool, its hosts and its storage repositories, but no machines."""
    return Contents(
        whole=False,
        pools=read_all(session, "pool", until),
        hosts=read_all(session, "host", until),
        repositories=read_all(session, "SR", until),
        connections=read_all(session, "PBD", until),
    )


def read_everything(session: Session, until: float | None = None) -> Contents:
    """Everything there is, in one call for each class."""
    contents = read_pool_and_storage(session, until)
    read_all_machines(session, contents, until)
    contents.guests = read_all(session, "VM_guest_metrics", until)
    return contents


def read_all_machines(session: Session, contents: Contents, until: float | None = None) -> None:
    """All machines and snapshots with their disks. Disks are read last: those of a snapshot taken meanwhile are there."""
    contents.machines = read_all(session, "VM", until)
    contents.slots = read_all(session, "VBD", until)
    contents.disks = read_all(session, "VDI", until)
    contents.whole = True


def find_machine(session: Session, machine_id: str, until: float | None = None, after_change: bool = False) -> str:
    """The reference of a machine. Raises `NotFound`."""
    try:
        return str(session.read("VM.get_by_uuid", machine_id, until=until, after_change=after_change))
    except NotFound:
        raise NotFound("The machine is not in the pool any more.") from None


def read_machine_record(
    session: Session, machine_id: str, until: float | None = None, after_change: bool = False
) -> tuple[str, Record]:
    """Reference and record of a machine. Raises `NotFound`, also for the uuid of a snapshot or template."""
    ref = find_machine(session, machine_id, until, after_change)
    try:
        record = read_one(session, "VM", ref, until, after_change)
    except NotFound:
        raise NotFound("The machine is not in the pool any more.") from None
    if not is_machine(record):
        raise NotFound("It is no machine, but a snapshot or a template.")
    return ref, record


def add_with_disks(
    session: Session, contents: Contents, found: Iterable[tuple[str, Record]], until: float | None
) -> None:
    """Put these machines or snapshots into the contents, with their disks."""
    for ref, record in found:
        contents.machines[ref] = record
        _read_into(session, "VBD", record["VBDs"], contents.slots, until)
        slots = (contents.slots[slot] for slot in record["VBDs"] if slot in contents.slots)
        disks = [slot["VDI"] for slot in slots if slot["type"] == "Disk"]
        _read_into(session, "VDI", [*disks, record["suspend_VDI"]], contents.disks, until)


def read_snapshots(session: Session, machine: Record, until: float | None = None) -> Records:
    """The records of a machine's snapshots, by reference."""
    if len(machine["snapshots"]) > SNAPSHOTS_ONE_BY_ONE:
        everything = read_all(session, "VM", until)
        return {ref: everything[ref] for ref in machine["snapshots"] if ref in everything}
    snapshots: Records = {}
    _read_into(session, "VM", machine["snapshots"], snapshots, until)
    return snapshots


def read_with_snapshots(session: Session, contents: Contents, ref: str, record: Record, until: float | None) -> None:
    """Put a machine into the contents, with its disks, its snapshots and theirs."""
    if len(record["snapshots"]) > SNAPSHOTS_ONE_BY_ONE:
        read_all_machines(session, contents, until)
        return
    add_with_disks(session, contents, [(ref, record), *read_snapshots(session, record, until).items()], until)


def _read_into(session: Session, kind: str, refs: Iterable[str], into: Records, until: float | None) -> None:
    """Read the records of these references. One that vanishes meanwhile is left out."""
    for ref in refs:
        if ref != NULL and ref not in into:
            with suppress(NotFound):  # gone since the reference was read
                into[ref] = read_one(session, kind, ref, until)

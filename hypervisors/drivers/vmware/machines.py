"""Machines as properties tell them: which paths are read, which machine has which id, and the records made of them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from hypervisors.drivers.vmware.abilities import ABILITY_PATHS, abilities
from hypervisors.drivers.vmware.disks import Disk, disks_of, volume_record
from hypervisors.drivers.vmware.errors import moref, one_line
from hypervisors.drivers.vmware.footer import unescaped
from hypervisors.drivers.vmware.forest import forest_from
from hypervisors.drivers.vmware.properties import Seen
from hypervisors.drivers.vmware.sizes import disk_sizes, snapshot_sizes
from hypervisors.records import MachineRecord, PowerState, SnapshotForest

IDENTITY = "summary.config.instanceUuid"
TEMPLATE = "summary.config.template"
POWER = "runtime.powerState"
REACHED = "runtime.connectionState"
QUESTION = "runtime.question"
CONSOLIDATE = "runtime.consolidationNeeded"
SNAPSHOT = "snapshot"
DEVICES = "config.hardware.device"

# Without these nothing true can be said of a machine: one that the login may not read is as if it were not there.
IDENTITY_PATHS = (IDENTITY, TEMPLATE)
LAYOUT_PATHS = ("layoutEx.file", "layoutEx.snapshot", "layoutEx.disk")
FOREST_PATHS = (*IDENTITY_PATHS, REACHED, SNAPSHOT, *LAYOUT_PATHS)
MACHINE_PATHS = (
    *IDENTITY_PATHS,
    "name",
    "parent",
    "parentVApp",
    "resourcePool",
    "datastore",
    "customValue",
    "summary.config.memorySizeMB",
    POWER,
    REACHED,
    CONSOLIDATE,
    QUESTION,
    DEVICES,
    "layoutEx.file",
    "layoutEx.disk",
    *ABILITY_PATHS,
)

# Where vCenter has lost the machine's files, most of what it says of it is empty, the snapshots too.
_LOST = {"inaccessible", "invalid", "orphaned"}
_POWER = {
    "poweredOn": PowerState.RUNNING,
    "poweredOff": PowerState.STOPPED,
    "suspended": PowerState.SUSPENDED,
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MESSAGE_ID = re.compile(r"^\s*msg\.[\w.\-]+:")


@dataclass(slots=True)
class Surroundings:
    """What machines refer to, by reference: folders, datacenters and pools with their names and parents, datastores'
    names, and the names of custom attributes."""

    places: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    pools: dict[str, str] = field(default_factory=dict)
    datastores: dict[str, str] = field(default_factory=dict)
    attributes: dict[int, str] = field(default_factory=dict)

    def note(self, seen: Seen) -> None:
        """Take in an object that is no machine."""
        native_id, name = moref(seen.managed), unescaped(str(seen.get("name") or ""))
        if isinstance(seen.managed, vim.Datastore):
            self.datastores[native_id] = name
        elif isinstance(seen.managed, vim.CustomFieldsManager):
            self.attributes = {definition.key: str(definition.name) for definition in seen.get("field") or ()}
        else:
            if isinstance(seen.managed, vim.ResourcePool):
                self.pools[native_id] = name
            parent = seen.get("parentFolder") or seen.get("parent")
            self.places[native_id] = (name, moref(parent) if parent is not None else None)

    def folder(self, place: Any) -> str:
        """The path of an inventory folder, without the root folder that everything is in."""
        names: list[str] = []
        at = moref(place) if place is not None else None
        passed: set[str] = set()
        while at is not None and at in self.places and at not in passed:
            passed.add(at)
            name, parent = self.places[at]
            if parent is not None:
                names.append(name)
            at = parent
        return "/" + "/".join(reversed(names)) if names else ""


SURROUNDING_PATHS: dict[type, Sequence[str]] = {
    vim.Folder: ("name", "parent"),
    vim.Datacenter: ("name", "parent"),
    vim.ResourcePool: ("name",),
    vim.VirtualApp: ("name", "parentFolder"),
    vim.CustomFieldsManager: ("field",),
}


def is_machine(seen: Seen) -> bool:
    """Whether this is a machine that the login may read. Templates are none: they never run."""
    return (
        isinstance(seen.managed, vim.VirtualMachine)
        and seen.get(TEMPLATE) is not True
        and seen.refused((*IDENTITY_PATHS, SNAPSHOT)) is None
    )


def native_ids(identities: Mapping[str, str | None]) -> dict[str, str]:
    """The machines' native ids by their references, out of their instance UUIDs.

    vCenter keeps those unique; an ESXi host does not, when a machine's files were copied. Then the one that was registered
    first keeps the UUID, and the others have their reference added. One without a UUID goes by its reference.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for reference in sorted(identities, key=_age):
        identity = (identities[reference] or "").lower()
        if not _UUID.fullmatch(identity):
            found[reference] = reference
        elif identity in taken:
            found[reference] = f"{identity}/{reference}"
        else:
            taken.add(identity)
            found[reference] = identity
    return found


def parted(machine_id: str) -> tuple[str, str]:
    """The instance UUID and the reference in a native id; either may be empty."""
    identity, _, reference = machine_id.partition("/")
    if _UUID.fullmatch(identity):
        return identity, reference
    return "", machine_id


def _age(reference: str) -> tuple[int, str]:
    """References are numbered as things are registered: "vm-57"."""
    number = re.search(r"\d+$", reference)
    return (int(number.group()) if number else 0, reference)


def power_state(seen: Seen) -> PowerState:
    """The machine's power state; unknown while vCenter cannot reach it."""
    if str(seen.get(REACHED) or "connected") != "connected":
        return PowerState.UNKNOWN
    return _POWER.get(str(seen.get(POWER)), PowerState.UNKNOWN)


def is_lost(seen: Seen) -> bool:
    """Whether vCenter cannot read the machine's files, and so does not know its snapshots."""
    return str(seen.get(REACHED)) in _LOST


def machine_disks(seen: Seen, around: Surroundings) -> list[Disk]:
    """The machine's disks."""
    known = {
        around.datastores[moref(place)]: moref(place)
        for place in seen.get("datastore") or ()
        if moref(place) in around.datastores
    }
    return disks_of(seen.get(DEVICES) or (), known)


def machine_record(seen: Seen, native_id: str, around: Surroundings) -> MachineRecord:
    """The machine as the rest of the product knows it."""
    disks = machine_disks(seen, around)
    sizes = disk_sizes(seen.get("layoutEx.file"), seen.get("layoutEx.disk"))
    pool = seen.get("resourcePool")
    return MachineRecord(
        native_id=native_id,
        name=unescaped(str(seen.get("name") or native_id)),
        power_state=power_state(seen),
        memory_bytes=int(seen.get("summary.config.memorySizeMB") or 0) << 20,
        volumes=tuple(volume_record(disk, sizes) for disk in disks),
        capabilities=abilities(seen, disks),
        folder=around.folder(seen.get("parent") or seen.get("parentVApp")),
        resource_pool=around.pools.get(moref(pool), "") if pool is not None else "",
        tags=tuple(sorted(_tags(seen.get("customValue"), around.attributes))),
        needs_consolidation=seen.get(CONSOLIDATE) is True,
        question=question_text(seen.get(QUESTION)),
    )


def machine_forest(seen: Seen) -> SnapshotForest:
    """The machine's snapshots, with what they occupy."""
    forest = forest_from(seen.get(SNAPSHOT))
    sizes = snapshot_sizes(forest, *(seen.get(path) for path in LAYOUT_PATHS)) if forest.snapshots else {}
    return forest_from(seen.get(SNAPSHOT), sizes) if any(size is not None for size in sizes.values()) else forest


def question_text(question: Any) -> str:
    """What the server asks about the machine, with the answers it offers, on one line."""
    if question is None:
        return ""
    choices = question.choice.choiceInfo if question.choice is not None else ()
    offered = " / ".join(one_line(choice.label, 60) for choice in choices)
    text = one_line(_MESSAGE_ID.sub("", str(question.text)), 400)
    return f"{text} ({offered})" if offered else text


def _tags(values: Iterable[Any] | None, attributes: Mapping[int, str]) -> Iterable[str]:
    for value in values or ():
        text = one_line(getattr(value, "value", None) or "", 200)
        name = attributes.get(value.key)
        if name and text:
            yield f"{one_line(name, 100)}={text}"

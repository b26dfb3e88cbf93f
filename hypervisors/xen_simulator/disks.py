"""VDIs and their repositories: making, snapshotting and destroying disks, chains and what they cost, and the collector.

The records of VDIs and the files in `storage` are kept in step here and nowhere else: a file is made before its record
and deleted after it, so that a killed process leaves at most files that nobody knows (deleted at the next start).
"""

from typing import Any

from hypervisors.xen_simulator.database import Database
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import NULL
from hypervisors.xen_simulator.moment import now
from hypervisors.xen_simulator.operations import refresh, refresh_vdi
from hypervisors.xen_simulator.pool import Call, Pool, handles
from hypervisors.xen_simulator.storage import PAGE

CHAIN_MOST = 30
PARENT = "vhd-parent"


def sr_uuid(database: Database, vdi: str) -> str:
    """The uuid of the VDI's repository."""
    uuid: str = database.get("SR", database.get("VDI", vdi, "SR"), "uuid")
    return uuid


def uuid_of(database: Database, vdi: str) -> str:
    """The VDI's own uuid."""
    uuid: str = database.get("VDI", vdi, "uuid")
    return uuid


def chain(database: Database, vdi: str) -> list[str]:
    """Uuids of the layers of a VDI, its own first, the oldest base copy last."""
    found = []
    while True:
        values = database.row("VDI", vdi).values
        found.append(values["uuid"])
        parent = values["sm_config"].get(PARENT)
        if parent is None:
            return found
        vdi = database.by_uuid("VDI", parent)


# Space


def need_space(pool: Pool, sr: str, wanted: int) -> None:
    """Raise SR_BACKEND_FAILURE_44 unless the repository has so many bytes left."""
    values = pool.database.row("SR", sr).values
    if values["uuid"] in pool.full or values["physical_size"] - values["physical_utilisation"] < wanted:
        raise XenFailure("SR_BACKEND_FAILURE_44", "", "There is insufficient space", "")


def measure(pool: Pool, *vdis: str) -> None:
    """Read from the files what these VDIs occupy, and add up their repositories."""
    database = pool.database
    with database.change():
        for vdi in vdis:
            if database.has("VDI", vdi):
                used = pool.storage.used(sr_uuid(database, vdi), uuid_of(database, vdi))
                add_to_repository(database, vdi, used - database.get("VDI", vdi, "physical_utilisation"), 0)
                database.set("VDI", vdi, physical_utilisation=used)


def add_to_repository(database: Database, vdi: str, used: int, virtual: int) -> None:
    """Count bytes that came or went on the VDI's repository."""
    sr = database.get("VDI", vdi, "SR")
    if not used and not virtual:
        return
    values = database.row("SR", sr).values
    database.set(
        "SR",
        sr,
        physical_utilisation=values["physical_utilisation"] + used,
        virtual_allocation=values["virtual_allocation"] + virtual,
    )


# Making and destroying


def create_vdi(pool: Pool, sr: str, needed: int = 2 * PAGE, **fields: Any) -> str:
    """A new, empty disk. `needed` is how much space has to be left for it."""
    database = pool.database
    with database.change():
        need_space(pool, sr, needed)
        vdi = database.create("VDI", SR=sr, managed=True, **fields)
        uuid = uuid_of(database, vdi)
        pool.storage.create(database.get("SR", sr, "uuid"), uuid)
        database.set("VDI", vdi, location=uuid)
        refresh_vdi(database, vdi)
        add_to_repository(database, vdi, 0, database.get("VDI", vdi, "virtual_size"))
        measure(pool, vdi)
        return vdi


_COPIED = [
    "name_label",
    "name_description",
    "SR",
    "virtual_size",
    "type",
    "sharable",
    "read_only",
    "other_config",
    "xenstore_data",
    "on_boot",
    "tags",
]


def branch_vdi(pool: Pool, vdi: str, *, snapshot: bool) -> str:
    """A snapshot or a clone of a disk: both go on, as thin leaves, from what was written up to now.

    What was written becomes a hidden base copy. A leaf to which nothing was written needs none: its sibling is made on
    the same base. Raises SR_BACKEND_FAILURE_44 and _109 (chain too long).
    """
    database, storage = pool.database, pool.storage
    with database.change():
        values = database.row("VDI", vdi).values
        if not values["managed"]:
            raise XenFailure("VDI_NOT_MANAGED", vdi)
        sr, repository, uuid = values["SR"], sr_uuid(database, vdi), values["uuid"]
        need_space(pool, sr, 2 * PAGE)
        parent = values["sm_config"].get(PARENT)
        if parent is None or not storage.is_empty(repository, uuid):
            if len(chain(database, vdi)) >= CHAIN_MOST:
                raise XenFailure("SR_BACKEND_FAILURE_109", "", "The snapshot chain is too long", "")
            parent = _make_base_copy(pool, vdi)
        more: dict[str, Any] = {}
        if snapshot:
            more = {"is_a_snapshot": True, "snapshot_of": vdi, "snapshot_time": now()}
        copied = {name: values[name] for name in _COPIED}
        new = database.create("VDI", managed=True, sm_config={PARENT: parent}, **copied, **more)
        storage.create(repository, uuid_of(database, new))
        database.set("VDI", new, location=uuid_of(database, new))
        refresh_vdi(database, new)
        add_to_repository(database, new, 0, values["virtual_size"])
        measure(pool, vdi, new)
        return new


def _make_base_copy(pool: Pool, vdi: str) -> str:
    """Turn what the leaf holds into a hidden base copy below it; returns the base copy's uuid."""
    database, storage = pool.database, pool.storage
    values = database.row("VDI", vdi).values
    repository = sr_uuid(database, vdi)
    base = database.create(
        "VDI",
        name_label="base copy",
        SR=values["SR"],
        virtual_size=values["virtual_size"],
        type=values["type"],
        read_only=True,
        managed=False,
        sm_config=values["sm_config"],
    )
    uuid = uuid_of(database, base)
    storage.rename(repository, values["uuid"], uuid)
    storage.create(repository, values["uuid"])
    database.set("VDI", base, location=uuid)
    database.set("VDI", vdi, sm_config={**values["sm_config"], PARENT: uuid})
    measure(pool, base)
    return uuid


def destroy_vdi(pool: Pool, vdi: str) -> None:
    """Destroy a leaf: its record, its VBDs, its file. The base copies below wait for the collector.

    Raises VDI_IN_USE while it is attached, VDI_NOT_MANAGED for a base copy.
    """
    database = pool.database
    with database.change():
        values = database.row("VDI", vdi).values
        if not values["managed"]:
            raise XenFailure("VDI_NOT_MANAGED", vdi)
        if any(database.get("VBD", vbd, "currently_attached") for vbd in values["VBDs"]):
            raise XenFailure("VDI_IN_USE", vdi, "destroy")
        for vbd in values["VBDs"]:
            database.delete("VBD", vbd)
        _remove(pool, vdi)


def _remove(pool: Pool, vdi: str) -> None:
    database = pool.database
    values = database.row("VDI", vdi).values
    repository = sr_uuid(database, vdi)
    add_to_repository(database, vdi, -values["physical_utilisation"], -values["virtual_size"] * values["managed"])
    database.delete("VDI", vdi)
    pool.storage.delete(repository, values["uuid"])


# The collector


def collect(pool: Pool) -> int:
    """Coalesce in all repositories until nothing is left to do: base copies that nobody is on go away, those with one
    child are merged with it. Returns how many base copies went."""
    removed = 0
    with pool.database.change():
        while step := _collect_once(pool):
            removed += step
    return removed


def _collect_once(pool: Pool) -> int:
    database = pool.database
    children: dict[str, list[str]] = {}
    for vdi, row in database.tables["VDI"].items():
        if PARENT in row.values["sm_config"]:
            children.setdefault(row.values["sm_config"][PARENT], []).append(vdi)
    for vdi, row in list(database.tables["VDI"].items()):
        if row.values["managed"] or row.values["name_label"] != "base copy":
            continue
        above = children.get(row.values["uuid"], [])
        if not above:
            _remove(pool, vdi)
            return 1
        if len(above) == 1:
            _coalesce(pool, vdi, above[0])
            return 1
    return 0


def _coalesce(pool: Pool, base: str, child: str) -> None:
    """Merge a base copy and its only child: the child keeps its identity and gets all that the base held."""
    database, storage = pool.database, pool.storage
    repository = sr_uuid(database, base)
    base_uuid, child_uuid = uuid_of(database, base), uuid_of(database, child)
    below = database.get("VDI", base, "sm_config")
    storage.merge(repository, child_uuid, base_uuid)
    storage.rename(repository, base_uuid, child_uuid)
    config = {key: value for key, value in database.get("VDI", child, "sm_config").items() if key != PARENT}
    database.set("VDI", child, sm_config=config | ({PARENT: below[PARENT]} if PARENT in below else {}))
    _remove(pool, base)
    measure(pool, child)


def write_as_guest(pool: Pool, vdi: str, offset: int, content: bytes) -> None:
    """What a guest does with its disk. Figures follow at the next measurement, as they do on a real pool."""
    with pool.database.lock:
        layers = chain(pool.database, vdi)
        pool.storage.write(sr_uuid(pool.database, vdi), layers, offset, content)


def read_as_guest(pool: Pool, vdi: str, offset: int, length: int) -> bytes:
    """What a guest would find on its disk."""
    with pool.database.lock:
        return pool.storage.read(sr_uuid(pool.database, vdi), chain(pool.database, vdi), offset, length)


# Messages


@handles("VDI.create")
def create(call: Call, record: dict[str, Any]) -> str:
    """VDI.create"""
    database = call.database
    sr = record.get("SR", NULL)
    database.row("SR", sr)
    if record.get("virtual_size", 0) <= 0:
        raise XenFailure("INVALID_VALUE", "virtual_size", str(record.get("virtual_size", 0)))
    if database.get("SR", sr, "content_type") == "iso":
        raise XenFailure("SR_OPERATION_NOT_SUPPORTED", sr)
    call.step("create", 0.5)
    return create_vdi(call.pool, sr, **{name: value for name, value in record.items() if name != "SR"})


@handles("VDI.destroy")
def destroy(call: Call, vdi: str) -> None:
    """VDI.destroy"""
    call.database.row("VDI", vdi)
    call.step("destroy", 0.5)
    destroy_vdi(call.pool, vdi)


@handles("VDI.snapshot")
def snapshot(call: Call, vdi: str, _driver_params: dict[str, str] | None = None) -> str:
    """VDI.snapshot"""
    call.database.row("VDI", vdi)
    return branch_vdi(call.pool, vdi, snapshot=True)


@handles("VDI.clone")
def clone(call: Call, vdi: str, _driver_params: dict[str, str] | None = None) -> str:
    """VDI.clone"""
    call.database.row("VDI", vdi)
    return branch_vdi(call.pool, vdi, snapshot=False)


@handles("VDI.resize")
def resize(call: Call, vdi: str, size: int) -> None:
    """VDI.resize: growing only, of a disk that nobody has attached."""
    values = call.database.row("VDI", vdi).values
    if any(call.database.get("VBD", vbd, "currently_attached") for vbd in values["VBDs"]):
        raise XenFailure("VDI_IN_USE", vdi, "resize")
    if size < values["virtual_size"]:
        raise XenFailure("INVALID_VALUE", "size", str(size))
    with call.database.change():
        add_to_repository(call.database, vdi, 0, size - values["virtual_size"])
        call.database.set("VDI", vdi, virtual_size=size)


@handles("VDI.revert")
def revert(call: Call, _snapshot: str) -> None:
    """VDI.revert: storage of this kind cannot, as most cannot; a VM's revert clones instead."""
    raise XenFailure("UNIMPLEMENTED_IN_SM_BACKEND", "VDI.revert")


@handles("VDI.update")
def update(call: Call, vdi: str) -> None:
    """VDI.update: read anew what it occupies."""
    call.database.row("VDI", vdi)
    measure(call.pool, vdi)


@handles("VDI.forget")
def forget(call: Call, vdi: str) -> None:
    """VDI.forget: the record goes, the file stays until SR.scan or the next start."""
    call.database.row("VDI", vdi)
    with call.database.change():
        values = call.database.row("VDI", vdi).values
        add_to_repository(call.database, vdi, -values["physical_utilisation"], -values["virtual_size"])
        call.database.delete("VDI", vdi)


@handles("SR.scan")
def scan(call: Call, sr: str) -> None:
    """SR.scan: read anew what everything occupies."""
    vdis = list(call.database.get("SR", sr, "VDIs"))
    call.step("scan", 0.5)
    measure(call.pool, *vdis)


@handles("SR.update")
def update_sr(call: Call, sr: str) -> None:
    """SR.update"""
    scan(call, sr)


@handles("SR.get_supported_types")
def supported_types(_call: Call) -> list[str]:
    """SR.get_supported_types"""
    return ["ext", "iso"]


@handles("PBD.plug", "PBD.unplug")
def plug_pbd(call: Call, pbd: str) -> None:
    """PBD.plug and PBD.unplug; a repository that running machines use stays."""
    wanted = call.called.endswith(".plug")
    sr = call.database.get("PBD", pbd, "SR")
    for vdi in [] if wanted else call.database.get("SR", sr, "VDIs"):
        if any(call.database.get("VBD", vbd, "currently_attached") for vbd in call.database.get("VDI", vdi, "VBDs")):
            raise XenFailure("VDI_IN_USE", vdi, "unplug")
    call.database.set("PBD", pbd, currently_attached=wanted)


@handles("VDI.set_on_boot")
def set_on_boot(call: Call, vdi: str, value: str) -> None:
    """VDI.set_on_boot: decides what the machines that have the disk allow."""
    database = call.database
    with database.change():
        database.set("VDI", vdi, on_boot=value)
        for vbd in database.get("VDI", vdi, "VBDs"):
            refresh(database, database.get("VBD", vbd, "VM"))

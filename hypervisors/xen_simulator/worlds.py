"""What a pool holds at its first start: hosts, repositories, machines.

A world is plain data, so that tests write their own as JSON. Sizes in bytes; what is left out has a default:

    {"name": "pool", "hosts": [{"name": "xen-1", "address": "192.0.2.1"}],
     "repositories": [{"name": "local", "size": 10**11}],          # "content_type": "iso" for a library of ISOs
     "machines": [{"name": "web", "power": "Running", "memory": 268435456, "vcpus": 1, "tags": ["web"], "folder": "/shop",
                   "description": "", "disks": [{"repository": "local", "size": 10**9, "written": 4096, "name": "web 0"}],
                   "blocked": {"snapshot": "reason"}, "pci": false, "usb": false, "vgpu": false, "tools": true,
                   "template": false, "snapshots": 0}],
     "loose": [{"name": "spare", "repository": "local", "size": 10**9}]}

`snapshots` makes so many in a chain.
"""

from typing import Any

from hypervisors.xen_simulator import disks, power, snapshots
from hypervisors.xen_simulator.database import new_ref
from hypervisors.xen_simulator.model import NULL
from hypervisors.xen_simulator.moment import now
from hypervisors.xen_simulator.operations import refresh
from hypervisors.xen_simulator.pool import Call, Pool
from hypervisors.xen_simulator.snapshots import new_mac

MIB = 1 << 20
GIB = 1 << 30
VERSION = "8.4.0"
# Nothing that XenServer has: how a client can know whom it talks to.
SIMULATOR = "vmsnap_simulator"
WRITTEN = 2 * MIB

World = dict[str, Any]


def named(text: str) -> World:
    """A world by its name: "empty", "small", "demo", or "large:MACHINES:SNAPSHOTS". ValueError for another."""
    kind, *numbers = text.split(":")
    match kind, numbers:
        case "empty", []:
            return {"repositories": [{"name": "Local storage", "size": 64 * GIB}]}
        case "small", []:
            return _small()
        case "demo", []:
            return _demo()
        case "large", [machines, each]:
            return _large(int(machines), int(each))
    raise ValueError(f"there is no world {text!r}")


def _small() -> World:
    disk = {"repository": "Local storage", "size": GIB, "written": 64 * 1024}
    return {
        "repositories": [{"name": "Local storage", "size": 64 * GIB}, {"name": "Second storage", "size": 16 * GIB}],
        "machines": [
            {"name": "runs", "power": "Running", "memory": 256 * MIB, "disks": [disk, disk]},
            {"name": "halted", "memory": 256 * MIB, "disks": [disk]},
        ],
        "loose": [{"name": "spare", "repository": "Local storage", "size": GIB}],
    }


def _demo() -> World:
    fast, slow = "Fast storage (xen-1)", "Archive storage (xen-2)"

    def disk(size: int, written: int, repository: str = fast) -> dict[str, Any]:
        return {"repository": repository, "size": size * GIB, "written": written * MIB}

    return {
        "name": "Simulated XenServer pool",
        "hosts": [{"name": "xen-1", "address": "192.0.2.11"}, {"name": "xen-2", "address": "192.0.2.12"}],
        "repositories": [
            {"name": fast, "size": 96 * GIB},
            {"name": slow, "size": 120 * GIB},
            {"name": "ISO library", "size": 8 * GIB, "content_type": "iso"},
        ],
        "machines": [
            {
                "name": "web-frontend",
                "description": "Serves the shop",
                "power": "Running",
                "memory": 512 * MIB,
                "vcpus": 2,
                "tags": ["shop", "production"],
                "folder": "/shop",
                "disks": [disk(8, 6), disk(4, 2)],
            },
            {
                "name": "web-cache",
                "description": "Parked with its memory kept",
                "power": "Suspended",
                "memory": 256 * MIB,
                "tags": ["shop"],
                "folder": "/shop",
                "disks": [disk(4, 3)],
            },
            {
                "name": "ledger-db",
                "description": "Books of the year",
                "power": "Running",
                "memory": GIB,
                "vcpus": 2,
                "tags": ["accounting", "production"],
                "folder": "/books",
                "disks": [disk(8, 6), disk(16, 8, slow)],
            },
            {
                "name": "ledger-archive",
                "description": "Old books, switched on once a quarter",
                "memory": 256 * MIB,
                "tags": ["accounting"],
                "folder": "/books",
                "disks": [disk(16, 8, slow)],
            },
            {
                "name": "render-gpu",
                "description": "Has a graphics card of its host to itself",
                "power": "Running",
                "memory": GIB,
                "vcpus": 4,
                "tags": ["passthrough"],
                "disks": [disk(8, 4)],
                "pci": True,
            },
            {
                "name": "web-signing-key",
                "description": "Its administrator allows no copies of it",
                "memory": 256 * MIB,
                "tags": ["locked"],
                "folder": "/shop",
                "disks": [disk(1, 1)],
                "blocked": {"snapshot": "KEYS_MUST_NOT_BE_COPIED", "checkpoint": "KEYS_MUST_NOT_BE_COPIED"},
            },
        ],
        "loose": [{"name": "spare-disk", "repository": fast, "size": 2 * GIB, "written": MIB}],
    }


def _large(machines: int, each: int) -> World:
    disk = {"repository": "Local storage", "size": GIB, "written": 0}
    return {
        "repositories": [{"name": "Local storage", "size": 4096 * GIB}],
        "machines": [
            {"name": f"machine-{number:05d}", "memory": 256 * MIB, "disks": [disk], "snapshots": each}
            for number in range(machines)
        ],
    }


def make(pool: Pool, world: World) -> None:
    """Fill an empty pool, in one transaction."""
    database = pool.database
    with database.change():
        hosts = [_host(pool, entry) for entry in world.get("hosts", [{"name": "xen-1", "address": "127.0.0.1"}])]
        database.create(
            "pool",
            name_label=world.get("name", "Simulated pool"),
            name_description="A simulator: no machine here is real",
            master=hosts[0],
            allowed_operations=[],
            tls_verification_enabled=True,
        )
        database.create("network", name_label="Pool-wide network associated with eth0", bridge="xenbr0")
        for entry in world.get("repositories", []):
            _repository(pool, entry, hosts)
        for entry in world.get("machines", []):
            add_machine(pool, entry)
        for entry in world.get("loose", []):
            _disk(pool, entry, entry["name"])


def _host(pool: Pool, entry: dict[str, Any]) -> str:
    database = pool.database
    metrics = database.create("host_metrics", memory_total=64 * GIB, live=True, last_updated=now())
    host = database.create(
        "host",
        name_label=entry["name"],
        hostname=entry["name"],
        address=entry["address"],
        API_version_major=2,
        API_version_minor=21,
        API_version_vendor="VMSnap",
        enabled=True,
        metrics=metrics,
        software_version={
            "product_brand": "XenServer",
            "product_version": VERSION,
            "product_version_text": "8",
            "platform_name": "XCP",
            "platform_version": "3.4.0",
            "xapi": "26.17",
            "xen": "4.17.5",
            SIMULATOR: "yes",
        },
        edition="free",
        tls_verification_enabled=True,
        https_only=True,
    )
    domain = database.create(
        "VM",
        name_label=f"Control domain on host: {entry['name']}",
        is_control_domain=True,
        power_state="Running",
        resident_on=host,
        memory_static_max=2 * GIB,
        memory_dynamic_max=2 * GIB,
    )
    database.set("host", host, control_domain=domain)
    refresh(database, domain)
    return host


def _repository(pool: Pool, entry: dict[str, Any], hosts: list[str]) -> str:
    database = pool.database
    is_iso = entry.get("content_type") == "iso"
    sr = database.create(
        "SR",
        name_label=entry["name"],
        type=entry.get("type", "iso" if is_iso else "ext"),
        content_type=entry.get("content_type", "user"),
        physical_size=entry["size"],
        shared=True,
        allowed_operations=["scan", "update", "vdi_create", "vdi_destroy", "vdi_snapshot", "vdi_clone", "unplug"],
    )
    pool.storage.add_repository(database.get("SR", sr, "uuid"))
    for host in hosts:
        database.create("PBD", host=host, SR=sr, currently_attached=True, device_config={"location": entry["name"]})
    if not is_iso and database.get("pool", pool.pool_ref, "default_SR") == NULL:
        database.set("pool", pool.pool_ref, default_SR=sr, suspend_image_SR=sr, crash_dump_SR=sr)
    return sr


def _disk(pool: Pool, entry: dict[str, Any], name: str) -> str:
    database = pool.database
    found = database.where("SR", name_label=entry["repository"])
    vdi = disks.create_vdi(pool, found[0], name_label=entry.get("name", name), type="user", virtual_size=entry["size"])
    if written := min(entry.get("written", WRITTEN), entry["size"]):
        disks.write_as_guest(pool, vdi, 0, (name.encode() + b"\n") * (written // (len(name.encode()) + 1)))
        disks.measure(pool, vdi)
    return vdi


def add_machine(pool: Pool, entry: dict[str, Any]) -> str:
    """Make a machine as a world describes it, and bring it into its power state."""
    database = pool.database
    with database.change():
        memory, vcpus = entry.get("memory", 256 * MIB), entry.get("vcpus", 1)
        config = {"folder": entry["folder"]} if "folder" in entry else {}
        if not entry.get("tools", True):
            config[power.WITHOUT_TOOLS] = "yes"
        vm = database.create(
            "VM",
            name_label=entry["name"],
            name_description=entry.get("description", ""),
            is_a_template=entry.get("template", False),
            memory_static_max=memory,
            memory_dynamic_max=memory,
            memory_dynamic_min=memory,
            memory_static_min=memory // 2,
            VCPUs_max=vcpus,
            VCPUs_at_startup=vcpus,
            actions_after_shutdown="destroy",
            actions_after_reboot="restart",
            actions_after_crash="restart",
            HVM_boot_policy="BIOS order",
            HVM_boot_params={"order": "cd"},
            platform={"pae": "true", "acpi": "1", "apic": "true", "viridian": "false"},
            domain_type="hvm",
            domid=-1,
            tags=entry.get("tags", []),
            other_config=config,
            blocked_operations=entry.get("blocked", {}),
            # Of classes that this pool does not serve; that one is there is all that counts.
            attached_PCIs=[new_ref()] if entry.get("pci") else [],
            VUSBs=[new_ref()] if entry.get("usb") else [],
            VGPUs=[new_ref()] if entry.get("vgpu") else [],
            metrics=database.create("VM_metrics", install_time=now(), last_updated=now(), VCPUs_number=vcpus),
        )
        _devices(pool, vm, entry)
        refresh(database, vm)
        call = Call(pool, "VM.snapshot")
        for number in range(entry.get("snapshots", 0)):
            snapshots.snapshot(call, vm, f"snapshot {number + 1}")
        state = entry.get("power", "Halted")
        if state != "Halted":
            power.set_power(pool, vm, "Running")
        if state == "Suspended":
            power.suspend_machine(call, vm)
        elif state == "Paused":
            power.set_power(pool, vm, "Paused")
        return vm


def _devices(pool: Pool, vm: str, entry: dict[str, Any]) -> None:
    database = pool.database
    for place, disk in enumerate(entry.get("disks", [])):
        vdi = _disk(pool, disk, f"{entry['name']} {place}")
        database.create(
            "VBD", VM=vm, VDI=vdi, userdevice=str(place), bootable=place == 0, mode="RW", type="Disk", empty=False
        )
    place = len(entry.get("disks", []))
    if place:
        place = max(place, 3)  # where the vendor's templates have it
        database.create("VBD", VM=vm, userdevice=str(place), mode="RO", type="CD", empty=True)
    network = next(iter(database.tables["network"]))
    database.create("VIF", VM=vm, network=network, device="0", MAC=new_mac(), MTU=1500, MAC_autogenerated=True)

"""What the libvirt driver makes of XML and of qcow2 files, without a hypervisor."""

import json
import shutil
import subprocess
from pathlib import Path

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from hypervisors.drivers.libvirt.abilities import Host, abilities
from hypervisors.drivers.libvirt.errors import translated, translated_on_connect
from hypervisors.drivers.libvirt.machine_xml import block_stats, disks_of, free_target, power_state, size_in_bytes
from hypervisors.drivers.libvirt.sizes import snapshot_table
from hypervisors.drivers.libvirt.snapshot_xml import (
    creation_xml,
    descendants_first,
    forest_from,
    native_name,
    parsed,
    record_from,
    renamed_xml,
    without_definitions,
)
from hypervisors.errors import (
    Busy,
    ConnectionLost,
    HypervisorError,
    LoginRefused,
    NotFound,
    NotPermitted,
    OutOfSpace,
    Rejected,
    Unreachable,
    Unsupported,
)
from hypervisors.records import PowerState, SnapshotKind, SnapshotRecord, SnapshotRequest

TOKEN = "0b9f0c5e-6f7e-4a55-9d65-4c8f3a2b7d11"
DEBIAN_12 = Host(version=9_000_000, is_mock=False)
NEWER = Host(version=10_010_000, is_mock=False)

# What XML can hold, except the carriage return, which it turns into a line feed.
letters = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff")
names = st.text(letters, min_size=1, max_size=255)
descriptions = st.text(st.one_of(letters, st.sampled_from("\n\t")), max_size=400)


def told_by_libvirt(request: SnapshotRequest) -> SnapshotRecord:
    root = parsed(creation_xml(request, ["vda"]))
    etree.SubElement(root, "creationTime").text = "1795386493"
    return record_from(parsed(etree.tostring(root, encoding="unicode")))


# Snapshots


@given(names, descriptions)
def test_name_description_and_token_come_back_as_they_went(name: str, description: str) -> None:
    record = told_by_libvirt(SnapshotRequest(TOKEN, name, description))
    assert (record.name, record.description, record.token) == (name, description, TOKEN)


@given(names, descriptions, names, descriptions)
def test_a_rename_changes_name_and_description_only(name: str, told: str, new_name: str, new_told: str) -> None:
    xml = creation_xml(SnapshotRequest(TOKEN, name, told), ["vda"])
    record = record_from(parsed(renamed_xml(xml, new_name, new_told)))
    assert (record.name, record.description, record.token) == (new_name, new_told, TOKEN)
    assert record.native_id == native_name(name, TOKEN)


@given(names)
def test_a_native_name_is_a_safe_and_short_file_name(name: str) -> None:
    native = native_name(name, TOKEN)
    assert native.isascii()
    assert all(letter.isalnum() or letter == "-" for letter in native)
    assert not native.startswith("-")
    assert native.endswith("-0b9f0c5e6f7e")
    assert len(native) <= 53


@pytest.mark.parametrize(
    "description",
    ["", "plain words", "ends in a mark\n\n[vmsnap", "[vmsnap 1]", "one line\n[vmsnap 1]", "x\n\n[vmsnap 1] and more"],
)
def test_descriptions_made_elsewhere_are_left_as_they_are(description: str) -> None:
    root = etree.Element("domainsnapshot")
    etree.SubElement(root, "name").text = "theirs"
    etree.SubElement(root, "description").text = description
    record = record_from(root)
    assert (record.name, record.description, record.token) == ("theirs", description, None)


def test_markup_in_a_name_stays_text() -> None:
    xml = creation_xml(SnapshotRequest(TOKEN, "</description><memory snapshot='external'/>"), ["vda", "vdb"])
    root = parsed(xml)
    assert [child.tag for child in root] == ["name", "description", "memory", "disks"]
    assert [disk.attrib for disk in root.iterfind("disks/disk")] == [
        {"name": "vda", "snapshot": "internal"},
        {"name": "vdb", "snapshot": "internal"},
    ]


def snapshot_as_libvirt_writes_it(description: str, *definitions: str) -> str:
    root = etree.Element("domainsnapshot")
    etree.SubElement(root, "name").text = "native"
    etree.SubElement(root, "description").text = description
    etree.SubElement(root, "memory", snapshot="internal")
    for tag in definitions:
        definition = etree.SubElement(root, tag, type="qemu")
        metadata = etree.SubElement(etree.SubElement(definition, "metadata"), "domain")
        metadata.text = "</domain><name>other</name>"
    etree.SubElement(root, "cookie").text = "what comes after"
    return etree.tostring(root, encoding="unicode")


@pytest.mark.parametrize("definitions", [(), ("domain",), ("domain", "inactiveDomain")])
@pytest.mark.parametrize(
    "description", ["plain", "<domain type='qemu'>", "</domain>", "<![CDATA[<domain >]]></domain>", "<!-- <domain> -->"]
)
def test_a_snapshot_reads_the_same_without_the_definitions(description: str, definitions: tuple[str, ...]) -> None:
    xml = snapshot_as_libvirt_writes_it(description, *definitions)
    rest = parsed(without_definitions(xml))
    assert [child.tag for child in rest] == ["name", "description", "memory", "cookie"]
    assert record_from(rest) == record_from(parsed(xml))
    assert record_from(rest).description == description


@pytest.mark.parametrize(
    ("memory", "state", "kind"),
    [
        ("<memory snapshot='internal'/>", "running", SnapshotKind.DISK_AND_MEMORY),
        ("<memory snapshot='external' file='/x'/>", "paused", SnapshotKind.DISK_AND_MEMORY),
        ("<memory snapshot='no'/>", "shutoff", SnapshotKind.DISK),
        ("<memory snapshot='no'/>", "disk-snapshot", SnapshotKind.DISK),
        ("", "running", SnapshotKind.DISK_AND_MEMORY),
        ("", "shutoff", SnapshotKind.DISK),
    ],
)
def test_the_kind_is_told_by_the_memory_element(memory: str, state: str, kind: SnapshotKind) -> None:
    root = parsed(f"<domainsnapshot><name>n</name><state>{state}</state>{memory}</domainsnapshot>")
    assert record_from(root).kind == kind


def test_entities_in_what_libvirt_sends_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    xml = (
        f'<!DOCTYPE d [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]><domainsnapshot><name>&e;</name></domainsnapshot>'
    )
    assert "secret" not in (parsed(xml).findtext("name") or "")


def bare(native: str, parent: str | None) -> SnapshotRecord:
    record = told_by_libvirt(SnapshotRequest(TOKEN, "n"))
    return SnapshotRecord(native, native, "", parent, record.created_at, SnapshotKind.DISK)


@pytest.mark.parametrize("seconds", ["9" * 30, "-" + "9" * 30, "253402300800", "soon", "", "1.5"])
def test_a_time_that_no_calendar_has_is_the_beginning_of_time(seconds: str) -> None:
    """Whoever defines a snapshot anew with virsh writes what they like there."""
    xml = f"<domainsnapshot><name>odd</name><creationTime>{seconds}</creationTime></domainsnapshot>"
    assert record_from(parsed(xml)).created_at.timestamp() == 0


def test_a_forest_has_parents_first_and_deletes_children_first() -> None:
    records = [bare("d", "c"), bare("c", "a"), bare("b", "a"), bare("a", None), bare("lost", "nowhere")]
    forest = forest_from(records, "d")
    assert [snapshot.native_id for snapshot in forest.snapshots] == ["a", "b", "c", "d", "lost"]
    assert forest.by_id()["lost"].parent_id is None
    assert descendants_first(forest, "a") == ["d", "c", "b", "a"]
    assert descendants_first(forest, "c") == ["d", "c"]
    assert forest_from(records, "not there").current_id is None


# Machines

QCOW2 = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/p/a.qcow2'/>"
    "<target dev='vda' bus='virtio'/>{}</disk>"
)


def machine(devices: str, rest: str = "<os/>") -> etree._Element:
    return parsed(f"<domain type='kvm'>{rest}<devices>{devices}</devices></domain>")


def test_a_plain_machine_can_all_but_live_disks_quiesce_and_cancel() -> None:
    can = abilities(machine(QCOW2.format("")), True, DEBIAN_12).as_json()
    assert {name for name, ability in can.items() if not ability["allowed"]} == {
        "disk_when_running",
        "quiesce",
        "cancel",
        "consolidate",
    }
    assert "guest agent" in can["quiesce"]["reason"]


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (
            "<disk type='file'><driver type='raw'/><source file='/p/b'/><target dev='vdb'/></disk>",
            "vdb (b) has the format raw",
        ),
        ("<disk type='file'><source file='/p/b'/><target dev='vdb'/></disk>", "vdb (b) has the format raw"),
        (
            "<disk type='network'><driver type='qcow2'/><source protocol='rbd' name='p/b'/><target dev='vdb'/></disk>",
            "network",
        ),
        (QCOW2.format("<shareable/>"), "shared"),
        (QCOW2.format("<transient/>"), "throws its changes away"),
        ("", "no disk"),
        (QCOW2.format("<readonly/>"), "no disk"),
    ],
)
def test_disks_that_hold_no_snapshot_block_both_kinds_with_the_reason(devices: str, words: str) -> None:
    others = "" if "vda" in devices or not devices else QCOW2.format("")
    can = abilities(machine(others + devices), True, DEBIAN_12)
    for ability in (can.disk_when_stopped, can.memory):
        assert not ability.allowed
        assert words in ability.reason


def test_drives_for_discs_are_no_disks() -> None:
    drive = "<disk type='file' device='cdrom'><source file='/p/i.iso'/><target dev='sda'/><readonly/></disk>"
    empty = "<disk type='file' device='disk'><target dev='vdz'/></disk>"
    root = machine(QCOW2.format("") + drive + empty)
    assert [disk.target for disk in disks_of(root)] == ["vda"]
    assert abilities(root, True, DEBIAN_12).memory.allowed


@pytest.mark.parametrize(
    "devices",
    [
        "<hostdev mode='subsystem' type='pci'/>",
        "<interface type='hostdev'/>",
        "<filesystem type='mount'><driver type='virtiofs'/></filesystem>",
    ],
)
def test_devices_of_the_host_block_memory_only(devices: str) -> None:
    can = abilities(machine(QCOW2.format("") + devices), True, DEBIAN_12)
    assert can.disk_when_stopped.allowed
    assert not can.memory.allowed
    assert "cannot be saved with the memory" in can.memory.reason


UEFI = "<os><loader readonly='yes' type='pflash'>/c.fd</loader><nvram{}>/v.fd</nvram></os>"


@pytest.mark.parametrize(
    ("os_element", "host", "allowed"),
    [
        (UEFI.format(""), DEBIAN_12, False),
        (UEFI.format(" format='qcow2'"), DEBIAN_12, False),
        ("<os firmware='efi'/>", DEBIAN_12, False),
        (UEFI.format(""), NEWER, False),
        (UEFI.format(" format='qcow2'"), NEWER, True),
        ("<os><loader type='rom'>/bios</loader></os>", DEBIAN_12, True),
    ],
)
def test_uefi_needs_a_newer_libvirt_and_its_variables_in_qcow2(os_element: str, host: Host, allowed: bool) -> None:
    can = abilities(machine(QCOW2.format(""), os_element), True, host)
    assert (can.memory.allowed, can.disk_when_stopped.allowed) == (allowed, allowed)
    assert allowed or "UEFI" in can.memory.reason


def test_every_state_of_libvirt_has_a_power_state() -> None:
    numbers = range(libvirt.VIR_DOMAIN_NOSTATE, libvirt.VIR_DOMAIN_PMSUSPENDED + 1)
    assert [power_state(number).value for number in numbers] == [
        *("unknown", "running", "running", "suspended", "running", "stopped", "unknown", "suspended")
    ]
    assert power_state(99) == PowerState.UNKNOWN


@pytest.mark.parametrize(
    ("xml", "size"),
    [
        ("<m>8</m>", 8192),
        ("<m unit='bytes'>8</m>", 8),
        ("<m unit='MiB'>8</m>", 8 << 20),
        ("<m unit='TB'>1</m>", 10**12),
    ],
)
def test_sizes_are_read_in_their_unit(xml: str, size: int) -> None:
    assert size_in_bytes(parsed(xml)) == size


def test_the_next_free_target_looks_at_the_running_and_the_stored_definition() -> None:
    running = machine("".join(f"<disk><target dev='vd{letter}' bus='virtio'/></disk>" for letter in "abd"))
    stored = machine("<disk><target dev='vdc' bus='virtio'/></disk>")
    assert free_target([running, stored]) == ("vde", "virtio")
    assert free_target([machine("<disk><target dev='sda' bus='scsi'/></disk>")]) == ("sdb", "scsi")
    assert free_target([machine("<disk><target dev='sda' bus='sata'/></disk>")]) == ("vda", "virtio")
    full = machine("".join(f"<disk><target dev='vd{chr(97 + n)}' bus='virtio'/></disk>" for n in range(26)))
    assert free_target([full]) == ("vdaa", "virtio")


def test_disk_statistics_are_found_by_target() -> None:
    stats = {"block.count": 2, "block.0.name": "vda", "block.0.capacity": 5, "block.1.name": "vdb", "cpu.time": 1}
    assert block_stats(stats) == {"vda": {"name": "vda", "capacity": 5}, "vdb": {"name": "vdb"}}
    assert block_stats({"state.state": 5}) == {}


# Errors


def said(code: int, domain: int, words: str) -> libvirt.libvirtError:
    error = libvirt.libvirtError(words)
    error.err = (code, domain, words, 2, "", None, None, 0, 0)
    return error


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        (libvirt.VIR_ERR_NO_DOMAIN, "Domain not found", NotFound),
        (libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT, "no snapshot", NotFound),
        (libvirt.VIR_ERR_NO_STORAGE_VOL, "no volume", NotFound),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, "cannot acquire state change lock", Busy),
        (libvirt.VIR_ERR_OPERATION_DENIED, "read only access prevents this", NotPermitted),
        (libvirt.VIR_ERR_NO_SUPPORT, "not supported by the connection driver", Unsupported),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: raw", Unsupported),
        (libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running", Rejected),
        (libvirt.VIR_ERR_OPERATION_FAILED, "Failed to take snapshot: Error: No space left on device", OutOfSpace),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "qemu-img: Could not create snapshot: -28 (ENOSPC)", OutOfSpace),
        (999_999, "something of a later version", Rejected),
    ],
)
def test_libvirts_errors_get_their_own_names(code: int, words: str, kind: type[HypervisorError]) -> None:
    error = translated(said(code, libvirt.VIR_FROM_QEMU, words))
    assert type(error) is kind
    assert error.outcome_known
    assert words.partition(": ")[2] in error.detail


def test_an_error_of_the_way_to_the_daemon_leaves_the_outcome_unknown() -> None:
    words = "End of file while reading data: Input/output error"
    error = translated(said(libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_FROM_RPC, words))
    assert type(error) is ConnectionLost
    assert not error.outcome_known


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        (libvirt.VIR_ERR_AUTH_FAILED, "authentication failed", LoginRefused),
        (libvirt.VIR_ERR_SYSTEM_ERROR, "Failed to connect socket: Permission denied", LoginRefused),
        (libvirt.VIR_ERR_SYSTEM_ERROR, "The server certificate is not trusted", LoginRefused),
        (libvirt.VIR_ERR_SYSTEM_ERROR, "unable to connect: Connection refused", Unreachable),
    ],
)
def test_a_connection_that_cannot_be_made_changed_nothing(code: int, words: str, kind: type[HypervisorError]) -> None:
    error = translated_on_connect(said(code, libvirt.VIR_FROM_RPC, words))
    assert type(error) is kind
    assert error.outcome_known


# Files


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
def test_the_snapshot_table_of_a_qcow2_file_is_read_as_qemu_img_reads_it(tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "4M"], check=True)
    tags = ["a", "größer", "n" * 200]
    for tag in tags:
        subprocess.run(["qemu-img", "snapshot", "-c", tag, image], check=True)
    told = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", image], check=True, capture_output=True).stdout
    )
    data = image.read_bytes()
    assert snapshot_table(lambda offset, length: data[offset : offset + length]) == {
        entry["name"]: entry["vm-state-size"] for entry in told["snapshots"]
    }


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 200, b"QFI\xfb" + b"\0" * 56 + b"\0\0\0\x05" + b"\xff" * 8])
def test_other_and_broken_files_have_no_snapshots(data: bytes) -> None:
    assert snapshot_table(lambda offset, length: data[offset : offset + length]) == {}

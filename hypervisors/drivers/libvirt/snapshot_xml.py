"""Snapshot XML, built and read with lxml and never by pasting text. Format: https://libvirt.org/formatsnapshot.html

libvirt uses a snapshot's name as a file name and as the tag inside the qcow2 files; it takes no "/" and cannot change
it later. So the native name is made here once, from the user's name in plain letters and a part of the token, and what
the user wrote is kept in the description:

    Before the upgrade

    Kernel 6.1 → 6.12, ask Dora first.

    [vmsnap 0b9f0c5e-6f7e-4a55-9d65-4c8f3a2b7d11]

First line the name, then the description, last line the token. Snapshots without such a last line were made elsewhere:
their name is the native name, and their description is what it is. One made elsewhere and renamed here ends in
"[vmsnap]", without a token. Line ends are kept as "\n", because XML knows no other.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from lxml import etree

from hypervisors.records import SnapshotForest, SnapshotKind, SnapshotRecord, SnapshotRequest

_MARK = re.compile(r"\[vmsnap(?: ([^\s\]]+))?\]")
# A file name may have 255 bytes, and libvirt adds ".xml"; people read these in `virsh snapshot-list`.
_SLUG_LENGTH = 40
_TOKEN_LENGTH = 12

# In what libvirt writes, "<" begins an element and nothing else: it writes no comments and no CDATA here, and users' text
# is escaped. So these are the machine's definitions and never something inside a description.
_DEFINITIONS = re.compile(r"<(?:domain|inactiveDomain)[ >].*</(?:domain|inactiveDomain)>", re.DOTALL)

_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)


def parsed(xml: str) -> etree._Element:
    """The root of what libvirt sent."""
    return etree.fromstring(xml.encode(), _PARSER)


def without_definitions(xml: str) -> str:
    """A snapshot's XML without the machine's definitions in it, which are most of it and take most of the time to read."""
    return _DEFINITIONS.sub("", xml, count=1)


def native_name(name: str, token: str) -> str:
    """A name that libvirt takes and that no other snapshot has: plain letters of the user's name and part of the token."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_LENGTH].strip("-")
    mark = re.sub(r"[^a-z0-9]", "", token.lower())[:_TOKEN_LENGTH]
    return f"{slug or 'snapshot'}-{mark}"


def packed(name: str, description: str, token: str | None) -> str:
    """The text for libvirt's description."""
    parts = [name, description] if description else [name]
    parts.append(f"[vmsnap {token}]" if token else "[vmsnap]")
    return "\n\n".join(parts).replace("\r\n", "\n").replace("\r", "\n")


def unpacked(text: str, native: str) -> tuple[str, str, str | None]:
    """Name, description and token out of libvirt's description; the inverse of `packed`."""
    body, _, last = text.rpartition("\n\n")
    mark = _MARK.fullmatch(last.strip())
    if mark is None or not body:
        return native, text, None
    name, _, description = body.partition("\n\n")
    return name, description, mark.group(1)


def creation_xml(request: SnapshotRequest, disks: Iterable[str]) -> str:
    """XML that takes an internal snapshot of all `disks` (targets), with the memory or without.

    Memory and disks are named, not left to libvirt's defaults: so a machine that was started or stopped in between
    gets a refusal and not a snapshot of the other kind, and a disk configured to be left out is taken too.
    """
    root = etree.Element("domainsnapshot")
    etree.SubElement(root, "name").text = native_name(request.name, request.token)
    etree.SubElement(root, "description").text = packed(request.name, request.description, request.token)
    etree.SubElement(root, "memory", snapshot="internal" if request.memory else "no")
    listed = etree.SubElement(root, "disks")
    for target in disks:
        etree.SubElement(listed, "disk", name=target, snapshot="internal")
    return etree.tostring(root, encoding="unicode")


def renamed_xml(xml: str, name: str, description: str) -> str:
    """The snapshot's own XML with another name and description, for redefining it; its token stays."""
    root = parsed(xml)
    told = root.find("description")
    if told is None:
        told = etree.Element("description")
        root.insert(1, told)
    _, _, token = unpacked(told.text or "", root.findtext("name") or "")
    told.text = packed(name, description, token)
    return etree.tostring(root, encoding="unicode")


def is_external(root: etree._Element) -> bool:
    """Whether a part of the snapshot lies in files of its own; this driver never makes such."""
    memory = root.find("memory")
    parts = [*root.iterfind("disks/disk"), *([memory] if memory is not None else [])]
    return any(part.get("snapshot") == "external" for part in parts)


def record_from(root: etree._Element) -> SnapshotRecord:
    """A snapshot as the rest of the product knows it."""
    native = root.findtext("name") or ""
    name, description, token = unpacked(root.findtext("description") or "", native)
    memory = root.find("memory")
    held = memory is not None and memory.get("snapshot") in ("internal", "external")
    # libvirt before 1.0.1 wrote no <memory>; then a running state says that the memory is in it.
    held = held or (memory is None and root.findtext("state") in ("running", "paused", "blocked"))
    return SnapshotRecord(
        native_id=native,
        name=name,
        description=description,
        parent_id=root.findtext("parent/name"),
        created_at=_moment(root.findtext("creationTime") or "0"),
        kind=SnapshotKind.DISK_AND_MEMORY if held else SnapshotKind.DISK,
        token=token,
    )


def _moment(seconds: str) -> datetime:
    """A time as libvirt writes it, in seconds; the beginning of time for one that no calendar has. Whoever defines a
    snapshot anew may write what they like."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def forest_from(records: Iterable[SnapshotRecord], current_id: str | None) -> SnapshotForest:
    """The forest, parents before children; a parent that is not in it counts as none."""
    waiting = list(records)
    known = {record.native_id for record in waiting}
    waiting = [record if record.parent_id in known else replace(record, parent_id=None) for record in waiting]
    children: dict[str | None, list[SnapshotRecord]] = {}
    for record in sorted(waiting, key=lambda record: (record.created_at, record.native_id)):
        children.setdefault(record.parent_id, []).append(record)
    ordered: list[SnapshotRecord] = []
    rows = list(reversed(children.get(None, [])))
    while rows:
        record = rows.pop()
        ordered.append(record)
        rows.extend(reversed(children.get(record.native_id, [])))
    return SnapshotForest(tuple(ordered), current_id if current_id in known else None)


def descendants_first(forest: SnapshotForest, top: str) -> list[str]:
    """`top` and all below it, each after its own descendants."""
    below = {top}
    for snapshot in forest.snapshots:
        if snapshot.parent_id in below:
            below.add(snapshot.native_id)
    return [snapshot.native_id for snapshot in reversed(forest.snapshots) if snapshot.native_id in below]

"""What this product writes beside the names in XenServer, so that things are recognised again.

- A snapshot is taken under a name that ends in the caller's token, because the name is all that `VM.snapshot` takes:
  "before the upgrade [vmsnap 0b7e…]". From the first moment on the token is there, whatever dies next. Then the token
  goes into the snapshot's `other_config`, together with the snapshot's own uuid, and the name loses its ending. The uuid
  matters: XenServer copies `other_config` to what is made of a snapshot, which must not pass for the snapshot.
- A disk's uuid changes when XenServer reverts a machine: up to release 26.16 every revert replaces the disks by clones of
  the snapshot's. So a volume's id is the uuid its disk had when it was first seen, and before a snapshot is taken or
  reverted that id is written into the `other_config` of the disk, with the machine it is attached to. XenServer copies it
  to the snapshot's disk and from there to the clone, also when somebody else reverts. A disk keeps its own uuid for an id
  where the mark names another machine (a machine was cloned with its marks) or where a disk of that very uuid exists.
- The disks of a snapshot that is about to be deleted are marked, because XenServer deletes only the records and leaves
  the disks: should we die between, they are found by the mark and go later.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hypervisors.drivers.xenserver.records import Contents, Record
from hypervisors.drivers.xenserver.session import Session

TOKEN = "vmsnap_token"  # noqa: S105  # the name of an entry, nothing secret
VOLUME = "vmsnap_volume"
DOOMED = "vmsnap_doomed"
NO_MACHINE = "-"

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MARKED_NAME = re.compile(rf"(?P<name>.*) \[vmsnap (?P<token>{_UUID})\]", re.DOTALL)
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def storable(text: str) -> bool:
    """Whether XML, in which everything goes to XenServer, can hold the text."""
    return not _UNSTORABLE.search(text)


def marked_name(name: str, token: str) -> str:
    """The name to take a snapshot under."""
    return f"{name} [vmsnap {token}]"


def token_mark(token: str, snapshot_uuid: str) -> str:
    """What stands in a snapshot's `other_config`."""
    return f"{token} {snapshot_uuid}"


@dataclass(frozen=True, slots=True)
class Label:
    """Name, description and token of a snapshot as its owner knows them. `finished` is False while the token is in the
    name only: then what stands as the description is still the machine's."""

    name: str
    description: str
    token: str | None
    finished: bool


def label_of(record: Record) -> Label:
    """Read a snapshot's label, whichever step of writing it was reached."""
    in_name = _MARKED_NAME.fullmatch(record["name_label"])
    token, _, bound_to = record["other_config"].get(TOKEN, "").partition(" ")
    stored = token if token and bound_to == record["uuid"] else None
    if in_name is None:
        return Label(record["name_label"], record["name_description"], stored, finished=True)
    if stored is None:
        return Label(in_name["name"], "", in_name["token"], finished=False)
    if stored != in_name["token"]:
        # A name that somebody gave, which only looks like one of ours.
        return Label(record["name_label"], record["name_description"], stored, finished=True)
    return Label(in_name["name"], record["name_description"], stored, finished=True)


def volume_mark(volume_id: str, machine_id: str = NO_MACHINE) -> str:
    """What stands in the `other_config` of a disk that is attached to this machine, or to none."""
    return f"{volume_id} {machine_id}"


def _claimed(disk: Record, machine_id: str) -> str:
    """The volume id that a disk has if nothing speaks against it: the marked one, else its own uuid."""
    volume_id, _, owner = disk["other_config"].get(VOLUME, "").partition(" ")
    return volume_id if volume_id and owner == machine_id else str(disk["uuid"])


def volume_ids(
    contents: Contents, machines: Iterable[Record], loose: Sequence[str], exists: Callable[[str], bool]
) -> dict[str, str]:
    """The volume id of each disk of these machines, and of these loose ones, by the disk's reference.

    `exists` tells whether a disk has this very uuid. An id goes to the disk of that uuid; else to the first disk that is
    attached to the machine named in the mark; else to the loose disk that bears it, if only one does.
    """
    ids: dict[str, str] = {}
    given: set[str] = set()
    for machine in machines:
        for slot in contents.slots_of(machine):
            _give(ids, given, slot["VDI"], contents.disks[slot["VDI"]], machine["uuid"], exists)
    claims = Counter(_claimed(contents.disks[ref], NO_MACHINE) for ref in loose)
    for ref in loose:
        disk = contents.disks[ref]
        if claims[_claimed(disk, NO_MACHINE)] > 1:
            ids.setdefault(ref, disk["uuid"])
        else:
            _give(ids, given, ref, disk, NO_MACHINE, exists)
    return ids


def _give(
    ids: dict[str, str], given: set[str], ref: str, disk: Record, machine_id: str, exists: Callable[[str], bool]
) -> None:
    if ref in ids:
        return
    own, claim = str(disk["uuid"]), _claimed(disk, machine_id)
    if claim != own and (claim in given or exists(claim)):
        claim = own
    ids[ref] = claim
    given.add(claim)


def mark_disk(session: Session, disk: Record, ref: str, key: str, mark: str, until: float) -> None:
    """Write a mark into a disk, `VOLUME` or `DOOMED`, unless it is there already."""
    if disk["other_config"].get(key) != mark:
        set_entry(session, "VDI", ref, key, mark, until)


def set_entry(session: Session, kind: str, ref: str, key: str, value: str, until: float) -> None:
    """Set one entry of an `other_config`; XenServer has no call that replaces one."""
    session.change(f"{kind}.remove_from_other_config", ref, key, until=until)
    session.change(f"{kind}.add_to_other_config", ref, key, value, until=until)


def doomed_mark(snapshot_id: str, machine_id: str) -> str:
    """What stands in the `other_config` of a disk that goes with its snapshot."""
    return f"{snapshot_id} {machine_id}"


def doomed_with(disk: Record) -> tuple[str, str]:
    """The snapshot with which the disk was to go, and its machine; empty texts for a disk that stays."""
    snapshot_id, _, machine_id = disk["other_config"].get(DOOMED, "").partition(" ")
    return snapshot_id, machine_id

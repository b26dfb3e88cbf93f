"""Deleting snapshots without losing track of their disks.

XenServer's own call deletes the snapshot's record and leaves its disks and its memory image, which nobody would find
again. So, in the order that works (a memory snapshot's disks may count as attached while its record is there): mark the
disks, switch a memory snapshot off, destroy the record, destroy the disks. Whoever deletes a snapshot whose record is gone
already, because an earlier deletion died on the way, has its marked disks destroyed.

A disk that anything else uses as well is left alone. Space comes back when the storage has merged what is left, minutes or
hours later.
"""

import time

from hypervisors.driver import Watch
from hypervisors.drivers.xenserver.marks import DOOMED, doomed_mark, doomed_with, mark_disk
from hypervisors.drivers.xenserver.power import refuse_busy
from hypervisors.drivers.xenserver.reading import read_forest
from hypervisors.drivers.xenserver.records import (
    Contents,
    Record,
    add_with_disks,
    read_all,
    read_machine_record,
    read_one,
)
from hypervisors.drivers.xenserver.session import Session
from hypervisors.drivers.xenserver.tasks import Span, carry_out
from hypervisors.drivers.xenserver.tree import descendants_first
from hypervisors.errors import HypervisorError, NotFound, Rejected, Unsupported

GONE = "The snapshot is not in the pool any more."
_OWNER = "owner"


def find_snapshot(session: Session, machine_ref: str, snapshot_id: str, until: float) -> tuple[str, Record]:
    """Reference and record of a machine's snapshot. Raises `NotFound`, also for another machine's."""
    try:
        ref = str(session.read("VM.get_by_uuid", snapshot_id, until=until))
        record = read_one(session, "VM", ref, until)
    except NotFound:
        raise NotFound(GONE) from None
    if not record["is_a_snapshot"] or record["snapshot_of"] != machine_ref:
        raise NotFound("The machine has no such snapshot.")
    return ref, record


def delete(session: Session, machine_id: str, snapshot_id: str, watch: Watch) -> None:
    """Delete one; XenServer moves its children up, and the marker to its parent. Raises as the contract's
    `delete_snapshot`."""
    until = time.monotonic() + watch.deadline_seconds
    remove(session, machine_id, snapshot_id, Span(watch, until, "Deleting the snapshot", 0, 100))
    watch.report(100, "The snapshot is deleted")


def delete_with_descendants(session: Session, machine_id: str, snapshot_id: str, watch: Watch) -> None:
    """Delete the leaves first and `snapshot_id` last, so that each step leaves a whole tree and the marker moves up,
    whatever fails. Raises as the contract's `delete_with_descendants`."""
    until = time.monotonic() + watch.deadline_seconds
    forest = read_forest(session, machine_id, until)
    if snapshot_id not in forest.by_id():
        destroy_doomed(session, machine_id, Span(watch, until, "Deleting what was left"), snapshot_id)
        return
    _remove_each(session, machine_id, descendants_first(forest, snapshot_id), watch, until)


def delete_all(session: Session, machine_id: str, watch: Watch) -> None:
    """Delete all there are in the same way, and what earlier deletions of this machine's snapshots had left. Raises as the
    contract's `delete_all`."""
    until = time.monotonic() + watch.deadline_seconds
    forest = read_forest(session, machine_id, until)
    _remove_each(session, machine_id, [one.native_id for one in reversed(forest.snapshots)], watch, until)
    _destroy_left(session, machine_id, watch, until)


def _remove_each(session: Session, machine_id: str, doomed: list[str], watch: Watch, until: float) -> None:
    for done, one in enumerate(doomed):
        phase = f"Deleting snapshot {done + 1} of {len(doomed)}"
        span = Span(watch, until, phase, 100 * done // len(doomed), 100 * (done + 1) // len(doomed))
        try:
            remove(session, machine_id, one, span)
        except NotFound:
            continue  # Somebody else deleted it meanwhile, which is what was asked for.
    watch.report(100, "The snapshots are deleted")


def remove(session: Session, machine_id: str, snapshot_id: str, span: Span) -> None:
    """Delete one snapshot with its disks, or what an earlier deletion left of it. Raises `NotFound` when there is
    nothing of it."""
    machine_ref, machine = read_machine_record(session, machine_id, span.until)
    try:
        ref, snapshot = find_snapshot(session, machine_ref, snapshot_id, span.until)
    except NotFound:
        destroy_doomed(session, machine_id, span, snapshot_id)
        return
    refuse_busy(machine, snapshot)
    blocked = snapshot["blocked_operations"]
    if "destroy" in blocked:
        raise Unsupported(
            f"An administrator has blocked the deletion of this snapshot in XenServer ({blocked['destroy']})."
        )
    disks = _disks_to_go(session, machine, (ref, snapshot), span.until)
    if snapshot["power_state"] != "Halted":
        _switch_off(session, ref, _part(span, 0, 30))
    carry_out(session, _part(span, 30, 60), "VM.destroy", ref)
    _destroy_disks(session, disks, _part(span, 60, 100))


def destroy_doomed(session: Session, machine_id: str, span: Span, snapshot_id: str) -> None:
    """Destroy the disks that an unfinished deletion of this snapshot left behind. Raises `NotFound` if there are none."""
    marked = {ref: mark for ref, mark in _doomed(session, machine_id, span.until).items() if mark == snapshot_id}
    if not marked:
        raise NotFound(GONE)
    _destroy_disks(session, list(marked), span)


def finish_deletions(session: Session, machine_id: str, watch: Watch) -> None:
    """Destroy the disks that unfinished deletions of this machine's snapshots left behind."""
    _destroy_left(session, machine_id, watch, time.monotonic() + watch.deadline_seconds)


def _destroy_left(session: Session, machine_id: str, watch: Watch, until: float) -> None:
    doomed = _doomed(session, machine_id, until)
    if not doomed:
        return
    present = {record["uuid"] for record in read_all(session, "VM", until).values()}
    left = [ref for ref, snapshot_id in doomed.items() if snapshot_id not in present]
    _destroy_disks(session, left, Span(watch, until, "Deleting what a deletion had left"))


def _doomed(session: Session, machine_id: str, until: float) -> dict[str, str]:
    """Disks that were marked to go with a snapshot of this machine, and which snapshot that was."""
    found = {}
    for ref, disk in read_all(session, "VDI", until).items():
        snapshot_id, owner = doomed_with(disk)
        if owner == machine_id and not disk["VBDs"]:
            found[ref] = snapshot_id
    return found


def _disks_to_go(session: Session, machine: Record, snapshot: tuple[str, Record], until: float) -> list[str]:
    """Mark the disks that go with a snapshot, its memory image among them, and tell which they are."""
    _, record = snapshot
    contents = Contents(whole=False)
    add_with_disks(session, contents, [snapshot], until)
    own = {slot: contents.slots[slot] for slot in record["VBDs"] if slot in contents.slots}
    goes: list[str] = [
        slot["VDI"]
        for slot in own.values()
        if slot["type"] == "Disk" and _OWNER in slot["other_config"] and slot["VDI"] in contents.disks
    ]
    goes = [disk for disk in goes if set(contents.disks[disk]["VBDs"]) <= own.keys()]
    if record["suspend_VDI"] in contents.disks and record["suspend_VDI"] != machine["suspend_VDI"]:
        goes.append(record["suspend_VDI"])
    mark = doomed_mark(record["uuid"], machine["uuid"])
    for disk in goes:
        mark_disk(session, contents.disks[disk], disk, DOOMED, mark, until)
    return goes


def _switch_off(session: Session, ref: str, span: Span) -> None:
    """Make a memory snapshot one without memory: its disks may count as attached until then. XenServer would also
    destroy it as it is, so that a refusal is no obstacle."""
    try:
        carry_out(session, span, "VM.hard_shutdown", ref)
    except (Rejected, Unsupported):
        return


def _destroy_disks(session: Session, disks: list[str], span: Span) -> None:
    """Destroy all that can be, and then raise the first error, if any: the marks on the rest stay."""
    trouble: HypervisorError | None = None
    for done, disk in enumerate(disks):
        part = _part(span, 100 * done // len(disks), 100 * (done + 1) // len(disks))
        try:
            carry_out(session, part, "VDI.destroy", disk)
        except NotFound:
            continue
        except HypervisorError as error:
            if not error.outcome_known:
                raise
            trouble = trouble or error
    if trouble is not None:
        trouble.reword(f"The snapshot is deleted, but a disk of it is still there. {trouble.detail}")
        trouble.outcome_known = False
        raise trouble


def _part(span: Span, first: int, last: int) -> Span:
    """A part of a span, in hundredths of it."""
    width = span.last - span.first
    return Span(span.watch, span.until, span.phase, span.first + width * first // 100, span.first + width * last // 100)

"""Taking, reverting and renaming snapshots. How they are deleted stands in `deletion`."""

import time
from contextlib import suppress

from hypervisors.driver import Unwatched, Watch
from hypervisors.drivers.xenserver.abilities import abilities
from hypervisors.drivers.xenserver.deletion import find_snapshot, remove
from hypervisors.drivers.xenserver.errors import already_done
from hypervisors.drivers.xenserver.marks import (
    NO_MACHINE,
    TOKEN,
    VOLUME,
    label_of,
    mark_disk,
    marked_name,
    set_entry,
    storable,
    token_mark,
    volume_mark,
)
from hypervisors.drivers.xenserver.power import bring_up, cut_power, refuse_busy
from hypervisors.drivers.xenserver.reading import (
    operation_in_flight,
    power_state,
    read_for_one,
    some_volume_ids,
)
from hypervisors.drivers.xenserver.records import (
    NULL,
    Contents,
    Record,
    add_with_disks,
    read_machine_record,
    read_one,
    read_snapshots,
)
from hypervisors.drivers.xenserver.session import Session
from hypervisors.drivers.xenserver.tasks import Span, carry_out
from hypervisors.drivers.xenserver.tree import forest_of, holds_memory
from hypervisors.errors import (
    Cancelled,
    HypervisorError,
    NotFound,
    Rejected,
    TimedOut,
    Unreachable,
    Unsupported,
)
from hypervisors.records import PowerAfterRevert, PowerState, SnapshotRecord, SnapshotRequest

_FOLDER = "folder"


def create(session: Session, machine_id: str, request: SnapshotRequest, watch: Watch) -> SnapshotRecord:
    """Take a snapshot, of the disks or with memory (XenServer: a checkpoint). Raises as the contract's
    `create_snapshot`.

    A running machine is suspended for its memory and resumed: the guest stands still meanwhile.
    """
    until = time.monotonic() + watch.deadline_seconds
    ref, contents = read_for_one(session, machine_id, until)
    machine = contents.machines[ref]
    _refuse_impossible(contents, machine, request)
    refuse_busy(machine)
    if any(label_of(record).token == request.token for record in read_snapshots(session, machine, until).values()):
        raise Rejected("This snapshot has been taken already.")
    if watch.cancel_requested():
        raise Cancelled("It was stopped before it began.")
    ids = some_volume_ids(session, contents, until)
    _mark_volumes(session, contents, machine, {ref: ids[ref] for ref in _disks(contents, machine)}, until)
    message, phase = (
        ("VM.checkpoint", "Saving disks and memory") if request.memory else ("VM.snapshot", "Saving the disks")
    )
    span = Span(watch, until, phase, 0, 95, can_stop=True)
    try:
        made = carry_out(session, span, message, ref, marked_name(request.name, request.token))
    except HypervisorError as error:
        made = _after_failure(session, machine_id, machine, request, error)
    with already_done():
        _label(session, made, request, until)
        record = _as_listed(session, made, until)
    watch.report(100, "The snapshot is taken")
    return record


def _refuse_impossible(contents: Contents, machine: Record, request: SnapshotRequest) -> None:
    can = abilities(contents, machine)
    state = power_state(machine)
    if state is PowerState.UNKNOWN:
        raise Rejected("The machine is neither running nor off.")
    if request.memory and request.quiesce:
        raise Rejected("Memory and quiesced disks exclude each other.")
    if request.quiesce and not can.quiesce.allowed:
        raise Unsupported(can.quiesce.reason)
    needed = can.memory if request.memory else can.disk_when_running
    if not needed.allowed:
        raise Unsupported(needed.reason)
    if request.memory and state is PowerState.STOPPED:
        raise Rejected("The machine is off, so there is no memory to save.")
    if request.memory and machine["power_state"] == "Paused":
        raise Rejected("The machine is paused, and XenServer saves no memory of a paused machine. Let it go on first.")
    if not (storable(request.name) and storable(request.description)):
        raise Rejected("Name or description hold characters that XenServer cannot store.")


def _disks(contents: Contents, record: Record) -> list[str]:
    return [slot["VDI"] for slot in contents.slots_of(record)]


def _mark_volumes(session: Session, contents: Contents, machine: Record, ids: dict[str, str], until: float) -> None:
    """Write each disk's volume id into it, so that the clones that a revert makes of its snapshots bear it too."""
    for ref, volume_id in ids.items():
        mark_disk(session, contents.disks[ref], ref, VOLUME, volume_mark(volume_id, machine["uuid"]), until)


def _label(session: Session, made: str, request: SnapshotRequest, until: float) -> None:
    """Give a snapshot its description, its token and last its name; `label_of` reads what each step leaves."""
    record = read_one(session, "VM", made, until, after_change=True)
    session.change("VM.set_name_description", made, request.description, until=until)
    set_entry(session, "VM", made, TOKEN, token_mark(request.token, record["uuid"]), until)
    session.change("VM.set_name_label", made, request.name, until=until)


def _as_listed(session: Session, made: str, until: float) -> SnapshotRecord:
    """The new snapshot as `list_forests` gives it. Of the others its parent alone is read: there may be very many."""
    try:
        snapshots = {made: read_one(session, "VM", made, until, after_change=True)}
    except NotFound:
        raise NotFound("The snapshot was taken and is already gone again.") from None
    record = snapshots[made]
    if record["parent"] != NULL:
        with suppress(NotFound):  # somebody deleted it meanwhile: then the new one has no parent
            parent = read_one(session, "VM", record["parent"], until, after_change=True)
            if parent["is_a_snapshot"] and parent["snapshot_of"] == record["snapshot_of"]:
                snapshots[record["parent"]] = parent
    contents = Contents(whole=False)
    add_with_disks(session, contents, [(made, record)], until)
    return forest_of(contents, {"parent": made}, snapshots).by_id()[record["uuid"]]


def _after_failure(
    session: Session, machine_id: str, before: Record, request: SnapshotRequest, error: HypervisorError
) -> str:
    """What is left of a snapshot whose task was not seen to succeed: the reference of one that was taken after all.
    Else raises the error, with nothing left where that could be seen to."""
    if isinstance(error, (Unreachable, TimedOut)):
        raise error  # XenServer may still be at it, or cannot be asked.
    until = time.monotonic() + session.timeout
    try:
        if operation_in_flight(session, machine_id) is not None:
            raise error
        _, now = read_machine_record(session, machine_id, until)
        left = [
            (ref, record["uuid"])
            for ref, record in read_snapshots(session, now, until).items()
            if label_of(record).token == request.token
        ]
        if len(left) == 1 and type(error) is HypervisorError:
            return left[0][0]  # Its task was forgotten, and here it is.
        if _tell_power_change(before, now, error):
            # The memory was saved, and it is the machine that did not come back.
            for ref, _ in left:
                _label(session, ref, request, until)
        else:
            for _, snapshot_id in left:
                _clear_half_made(session, machine_id, snapshot_id, until)
    except HypervisorError as trouble:
        if trouble is not error:
            error.outcome_known = False
    raise error


def _clear_half_made(session: Session, machine_id: str, snapshot_id: str, until: float) -> None:
    """After a failure or a cancellation nothing of the snapshot may stay. XenServer clears up itself; this is for where
    it did not."""
    remove(session, machine_id, snapshot_id, Span(Unwatched(), until, "Clearing up"))


def _tell_power_change(before: Record, now: Record, error: HypervisorError) -> bool:
    """XenServer suspends a machine for its memory, and stops it to revert it; a failure after that may leave it so,
    which has to be known. Tells whether it is so."""
    state = power_state(now)
    if state is power_state(before):
        return False
    error.reword(f"{error.detail} The machine is now {state}.")
    error.outcome_known = False
    return True


def revert(session: Session, machine_id: str, snapshot_id: str, power: PowerAfterRevert, watch: Watch) -> None:
    """Revert, and then see to the power state: XenServer leaves the machine off, or suspended after a memory snapshot.

    XenServer puts back everything, the machine's own name, description and folder too. Those are how people find the
    machine, not part of its state, so they are set again to what they were. Raises as the contract's `revert_to`.
    """
    until = time.monotonic() + watch.deadline_seconds
    ref, contents = read_for_one(session, machine_id, until)
    machine = contents.machines[ref]
    snapshot_ref, snapshot = find_snapshot(session, ref, snapshot_id, until)
    can = abilities(contents, machine)
    if not can.revert.allowed:
        raise Unsupported(can.revert.reason)
    refuse_busy(machine, snapshot)
    _mark_snapshot_volumes(session, contents, machine, (snapshot_ref, snapshot), until)
    was_on = power_state(machine) is not PowerState.STOPPED
    what = "Switching the machine off, then reverting it" if was_on else "Reverting the machine"
    try:
        carry_out(session, Span(watch, until, what, 0, 80), "VM.revert", snapshot_ref)
    except HypervisorError as error:
        if not isinstance(error, (Unreachable, TimedOut)):
            with suppress(HypervisorError):  # why the revert failed matters more, and is raised
                _tell_power_change(machine, read_one(session, "VM", ref), error)
        raise
    try:
        _restore_names(session, ref, machine, until)
        _settle_power(session, ref, power, snapshot, Span(watch, until, "", 85, 99))
    except HypervisorError as error:
        error.reword(f"The machine is reverted, but not everything that comes after it was done. {error.detail}")
        error.outcome_known = False
        raise
    watch.report(100, "The machine is reverted")


def _mark_snapshot_volumes(
    session: Session, contents: Contents, machine: Record, snapshot: tuple[str, Record], until: float
) -> None:
    """Mark the snapshot's disks with the ids of the volumes that are in the same places now: a snapshot that was made
    elsewhere, before there was any mark, would otherwise bring back disks that look like new ones."""
    ids = some_volume_ids(session, contents, until)
    now = {slot["userdevice"]: ids[slot["VDI"]] for slot in contents.slots_of(machine)}
    add_with_disks(session, contents, [snapshot], until)
    for slot in contents.slots_of(snapshot[1]):
        disk = contents.disks[slot["VDI"]]
        _, _, owner = disk["other_config"].get(VOLUME, "").partition(" ")
        if owner in ("", NO_MACHINE) and slot["userdevice"] in now:
            mark = volume_mark(now[slot["userdevice"]], machine["uuid"])
            mark_disk(session, disk, slot["VDI"], VOLUME, mark, until)


def _restore_names(session: Session, ref: str, before: Record, until: float) -> None:
    now = read_one(session, "VM", ref, until, after_change=True)
    for field in ("name_label", "name_description"):
        if now[field] != before[field]:
            session.change(f"VM.set_{field}", ref, before[field], until=until)
    folder = before["other_config"].get(_FOLDER, "")
    if now["other_config"].get(_FOLDER, "") != folder:
        session.change("VM.remove_from_other_config", ref, _FOLDER, until=until)
        if folder:
            session.change("VM.add_to_other_config", ref, _FOLDER, folder, until=until)


def _settle_power(session: Session, ref: str, power: PowerAfterRevert, snapshot: Record, span: Span) -> None:
    now = read_one(session, "VM", ref, span.until, after_change=True)
    on = power is PowerAfterRevert.RUNNING or (power is PowerAfterRevert.AS_SNAPSHOT and holds_memory(snapshot))
    if on and now["power_state"] != "Running":
        bring_up(session, ref, now, span)
    elif not on and now["power_state"] != "Halted":
        cut_power(session, ref, span)


def rename(session: Session, machine_id: str, snapshot_id: str, name: str, description: str, until: float) -> None:
    """Change a snapshot's name and description. Raises as the contract's `rename_snapshot`."""
    if not (storable(name) and storable(description)):
        raise Rejected("Name or description hold characters that XenServer cannot store.")
    ref, _ = read_for_one(session, machine_id, until)
    snapshot_ref, snapshot = find_snapshot(session, ref, snapshot_id, until)
    label = label_of(snapshot)
    if label.token is not None and not label.finished:
        # The token must not go with the name that holds it.
        set_entry(session, "VM", snapshot_ref, TOKEN, token_mark(label.token, snapshot["uuid"]), until)
    session.change("VM.set_name_description", snapshot_ref, description, until=until)
    session.change("VM.set_name_label", snapshot_ref, name, until=until)

"""Taking, reverting, deleting and renaming VM snapshots, and consolidating disks.

Each changing call is sent once. What a request cannot have is found before it, in the machine's properties; what only the
server can know comes back as its fault.
"""

import time
from functools import partial
from typing import Any

from pyVmomi import vim

from hypervisors.capabilities import Capabilities
from hypervisors.driver import Watch
from hypervisors.drivers.vmware.abilities import denies
from hypervisors.drivers.vmware.connection import Connection
from hypervisors.drivers.vmware.errors import moref
from hypervisors.drivers.vmware.footer import Note, clipped, packed, unpacked
from hypervisors.drivers.vmware.forest import forest_from, levels_above_next, node_of
from hypervisors.drivers.vmware.machines import CONSOLIDATE, FOREST_PATHS, SNAPSHOT, machine_forest, power_state
from hypervisors.drivers.vmware.power import NO_HOST, look, switch_off, switch_on
from hypervisors.drivers.vmware.properties import Seen
from hypervisors.drivers.vmware.reading import read_machine, read_machine_paths, refuse_lost
from hypervisors.drivers.vmware.tasks import Work
from hypervisors.errors import (
    Cancelled,
    HypervisorError,
    NotFound,
    OutOfReach,
    Rejected,
    TimedOut,
    Unsupported,
)
from hypervisors.records import (
    MachineRecord,
    PowerAfterRevert,
    PowerState,
    SnapshotForest,
    SnapshotKind,
    SnapshotRecord,
    SnapshotRequest,
)

MOST_LEVELS = 32
"""So many snapshots may stand one below the other (Broadcom's knowledge base, article 318825)."""

_GONE = "The VM snapshot is not on the hypervisor any more."
_DELETING_SEVERAL = "Deleting the VM snapshots and merging their data"


def create(connection: Connection, machine_id: str, request: SnapshotRequest, watch: Watch) -> SnapshotRecord:
    """Take a snapshot of all disks, with the memory or with the guest brought to rest if asked for. Raises as the
    contract's `create_snapshot`."""
    until = time.monotonic() + watch.deadline_seconds
    note = packed(Note(request.name, request.description, request.token, request.memory))
    record, seen, forest = connection.read(lambda: _look_at(connection, machine_id), connection.until(until))
    _refuse_impossible(record.capabilities, record.power_state, seen, request)
    _refuse_in_this_forest(forest, request)
    if watch.cancel_requested():
        raise Cancelled("The VM snapshot was cancelled before it was begun.")
    work = Work(
        connection, seen.managed, watch, until, "Saving disks and memory" if request.memory else "Saving the disks"
    )
    begin = partial(seen.managed.CreateSnapshot, clipped(request.name), note, request.memory, request.quiesce)
    result = work.carry_out(begin)
    made, quiesced = connection.read(
        lambda: _made(connection, machine_id, result, request.token), None, after_change=True
    )
    watch.report(100, _taken(request, quiesced))
    return made


def _look_at(connection: Connection, machine_id: str) -> tuple[MachineRecord, Seen, SnapshotForest]:
    record, seen = read_machine(connection, machine_id)
    return record, seen, forest_from(_forest_now(connection, machine_id).get(SNAPSHOT))


def _refuse_impossible(can: Capabilities, power: PowerState, seen: Seen, request: SnapshotRequest) -> None:
    if power is PowerState.UNKNOWN:
        raise OutOfReach(NO_HOST)
    on = power in (PowerState.RUNNING, PowerState.SUSPENDED)
    if request.memory and request.quiesce:
        raise Rejected("Memory and quiesced disks exclude each other.")
    if request.memory and not on:
        raise Rejected("The machine is off, so there is no memory to save.")
    if request.quiesce and not can.quiesce.allowed:
        raise Unsupported(can.quiesce.reason)
    if request.quiesce and power is not PowerState.RUNNING:
        raise Rejected("Only a running guest can be brought to rest: take the VM snapshot without quiesce.")
    needed = can.memory if request.memory else can.disk_when_running if on else can.disk_when_stopped
    if not needed.allowed:
        raise Unsupported(needed.reason)
    if power is PowerState.SUSPENDED and not request.memory and denies(seen, "diskOnlySnapshotOnSuspendedVMSupported"):
        raise Rejected("vSphere keeps the memory of a suspended machine in every snapshot: ask for it with the memory.")


def _refuse_in_this_forest(forest: SnapshotForest, request: SnapshotRequest) -> None:
    if forest.by_token(request.token) is not None:
        raise Rejected("This VM snapshot has been taken already.")
    if levels_above_next(forest) >= MOST_LEVELS:
        raise Rejected(
            f"vSphere keeps at most {MOST_LEVELS} VM snapshots one below the other. Delete some of this branch first, or "
            "revert to one further up."
        )


def _made(connection: Connection, machine_id: str, result: Any, token: str) -> tuple[SnapshotRecord, bool]:
    """The snapshot that was just made, by the reference the task gave or else by its token, and whether the guest was at
    rest for it."""
    seen = read_machine_paths(connection, machine_id, FOREST_PATHS)
    forest = machine_forest(seen)
    native_id = moref(result) if isinstance(result, vim.vm.Snapshot) else ""
    record = forest.by_id().get(native_id) or forest.by_token(token)
    if record is None:
        raise NotFound("The VM snapshot was taken and is already gone again.")
    return record, node_of(seen.get(SNAPSHOT), record.native_id).quiesced is True


def _taken(request: SnapshotRequest, quiesced: bool) -> str:
    if request.quiesce and not quiesced:
        return "The VM snapshot is taken, but vSphere says that the guest was not brought to rest for it"
    return "The VM snapshot is taken"


def revert(connection: Connection, machine_id: str, snapshot_id: str, power: PowerAfterRevert, watch: Watch) -> None:
    """Revert, and see to it that the machine ends in the power state asked for. Raises as the contract's `revert_to`.

    A snapshot with memory starts the machine by itself unless that is suppressed; one without leaves it off.
    """
    until = time.monotonic() + watch.deadline_seconds
    seen, snapshot = _find(connection, machine_id, snapshot_id, until)
    record = forest_from(seen.get(SNAPSHOT)).by_id()[snapshot_id]
    state = str(node_of(seen.get(SNAPSHOT), snapshot_id).state)
    can = connection.read(lambda: read_machine(connection, machine_id)[0].capabilities, connection.until(until))
    if not can.revert.allowed:
        raise Unsupported(can.revert.reason)
    work = Work(connection, seen.managed, watch, until, "Putting the machine back")
    work.carry_out(partial(snapshot.Revert, None, power is PowerAfterRevert.STOPPED))
    try:
        _settle_power(connection, machine_id, _power_wanted(power, record.kind, state), work)
    except HypervisorError as error:
        error.reword(f"The machine was put back, but is not in the power state that was asked for. {error.detail}")
        error.outcome_known = False
        raise
    watch.report(100, "The machine is put back")


def _power_wanted(power: PowerAfterRevert, kind: SnapshotKind, state: str) -> PowerState:
    if power is PowerAfterRevert.RUNNING:
        return PowerState.RUNNING
    if power is PowerAfterRevert.STOPPED or kind is SnapshotKind.DISK:
        return PowerState.STOPPED
    return PowerState.SUSPENDED if state == "suspended" else PowerState.RUNNING


def _settle_power(connection: Connection, machine_id: str, wanted: PowerState, work: Work) -> None:
    seen = look(connection, machine_id, work.until, after_change=True)
    now = power_state(seen)
    if now is wanted or wanted is PowerState.SUSPENDED:
        return
    if wanted is PowerState.RUNNING:
        work.phase = "Starting the machine"
        switch_on(connection, machine_id, seen, work)
    else:
        work.phase = "Switching the machine off"
        switch_off(connection, machine_id, seen, work)


def delete(connection: Connection, machine_id: str, snapshot_id: str, watch: Watch) -> None:
    """Delete one; vSphere moves its children up, and the marker to its parent."""
    until = time.monotonic() + watch.deadline_seconds
    seen, snapshot = _find(connection, machine_id, snapshot_id, until)
    work = Work(connection, seen.managed, watch, until, "Deleting the VM snapshot and merging its data")
    work.carry_out(partial(snapshot.Remove, False, True))
    watch.report(100, "The VM snapshot is deleted")


def delete_with_descendants(connection: Connection, machine_id: str, snapshot_id: str, watch: Watch) -> None:
    """Delete a whole branch in one task."""
    until = time.monotonic() + watch.deadline_seconds
    seen, snapshot = _find(connection, machine_id, snapshot_id, until)
    work = Work(connection, seen.managed, watch, until, _DELETING_SEVERAL)
    # Also where the branch is all there is: vSphere's call for everything takes along what came beside it meanwhile.
    work.carry_out(partial(snapshot.Remove, True, True))
    watch.report(100, "The VM snapshots are deleted")


def delete_all(connection: Connection, machine_id: str, watch: Watch) -> None:
    """Delete everything in one task, whatever the number of trees. Raises as the contract's `delete_all`."""
    until = time.monotonic() + watch.deadline_seconds
    seen = connection.read(lambda: _forest_now(connection, machine_id), connection.until(until))
    if forest_from(seen.get(SNAPSHOT)).snapshots:
        work = Work(connection, seen.managed, watch, until, _DELETING_SEVERAL)
        work.carry_out(partial(seen.managed.RemoveAllSnapshots, True))
    watch.report(100, "The VM snapshots are deleted")


def rename(connection: Connection, machine_id: str, snapshot_id: str, name: str, description: str) -> None:
    """Change name and description; the token stays. vSphere has no task for it and may show it a little later, so it is
    looked for until it is seen."""
    until = connection.until()
    seen, snapshot = _find(connection, machine_id, snapshot_id, until)
    node = node_of(seen.get(SNAPSHOT), snapshot_id)
    old = unpacked(node.name or "", node.description or "")
    text = packed(Note(name, description, old.token, old.memory))
    connection.change(partial(snapshot.Rename, clipped(name), text), until)
    pause = 0.02
    while True:
        now = connection.read(lambda: _find_now(connection, machine_id, snapshot_id), until, after_change=True)
        node = node_of(now.get(SNAPSHOT), snapshot_id)
        if unpacked(node.name or "", node.description or "") == unpacked(clipped(name), text):
            return
        if time.monotonic() + pause > until:
            raise TimedOut("vSphere took the new name, but does not show it yet.")
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)


def consolidate(connection: Connection, machine_id: str, watch: Watch) -> None:
    """Merge the disks that removed snapshots left behind, where vSphere says that it is needed."""
    until = time.monotonic() + watch.deadline_seconds
    seen = connection.read(lambda: read_machine_paths(connection, machine_id, (CONSOLIDATE,)), connection.until(until))
    if seen.get(CONSOLIDATE) is not True:
        return
    work = Work(connection, seen.managed, watch, until, "Merging the disks that removed VM snapshots left behind")
    work.carry_out(seen.managed.ConsolidateDisks)
    after = connection.read(lambda: read_machine_paths(connection, machine_id, (CONSOLIDATE,)), None, after_change=True)
    if after.get(CONSOLIDATE) is True:
        raise Rejected(
            "vSphere has merged disks, but says that some are still left. Most often a backup holds a file open."
        )
    watch.report(100, "The disks are merged")


def _find(connection: Connection, machine_id: str, snapshot_id: str, until: float) -> tuple[Seen, Any]:
    """The machine's properties and the snapshot's reference. Raises `NotFound` also for another machine's snapshot."""
    seen = connection.read(lambda: _find_now(connection, machine_id, snapshot_id), connection.until(until))
    return seen, connection.managed(vim.vm.Snapshot, snapshot_id)


def _find_now(connection: Connection, machine_id: str, snapshot_id: str) -> Seen:
    seen = _forest_now(connection, machine_id)
    if node_of(seen.get(SNAPSHOT), snapshot_id) is None:
        raise NotFound(_GONE)
    return seen


def _forest_now(connection: Connection, machine_id: str) -> Seen:
    seen = read_machine_paths(connection, machine_id, FOREST_PATHS)
    refuse_lost(seen)
    return seen

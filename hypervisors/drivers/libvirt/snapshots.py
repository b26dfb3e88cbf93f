"""Taking, reverting, deleting and renaming snapshots. What XML they have stands in `snapshot_xml`.

Each changing call goes to libvirt exactly once. What a request cannot have is found before it, from the machine's
definition, and again by libvirt itself, because the XML names what it wants.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import libvirt
from lxml import etree

from hypervisors.capabilities import Capabilities
from hypervisors.driver import Watch
from hypervisors.drivers.libvirt.abilities import abilities
from hypervisors.drivers.libvirt.connection import Connection
from hypervisors.drivers.libvirt.machine_xml import disks_of, power_state
from hypervisors.drivers.libvirt.power import state_of
from hypervisors.drivers.libvirt.reading import host_of, machine, read_forest
from hypervisors.drivers.libvirt.snapshot_xml import (
    creation_xml,
    descendants_first,
    native_name,
    parsed,
    record_from,
    renamed_xml,
)
from hypervisors.drivers.libvirt.storage import read_pools
from hypervisors.errors import Busy, HypervisorError, NotFound, OutOfSpace, Rejected, Unsupported
from hypervisors.records import (
    PowerAfterRevert,
    PowerState,
    SnapshotForest,
    SnapshotKind,
    SnapshotRecord,
    SnapshotRequest,
)

# QEMU writes until nothing is left; what may remain is less than its next cluster (64 KiB, at most 2 MiB).
_FULL_BELOW = 4 << 20


@dataclass(frozen=True, slots=True)
class _Machine:
    power: PowerState
    capabilities: Capabilities
    targets: tuple[str, ...]
    snapshots: frozenset[str]


def create(connection: Connection, machine_id: str, request: SnapshotRequest, watch: Watch) -> SnapshotRecord:
    """Take an internal snapshot of all disks, with the memory when the machine is on. Raises as the contract's
    `create_snapshot`."""
    until = time.monotonic() + watch.deadline_seconds
    before = connection.read(lambda opened: _look_at(opened, machine_id), until)
    _refuse_impossible(before, request)
    xml = _storable(lambda: creation_xml(request, before.targets))
    name = native_name(request.name, request.token)
    if name in before.snapshots:
        raise Rejected("This snapshot has been taken already.")
    watch.report(0, "Saving disks and memory" if request.memory else "Saving the disks")
    try:
        connection.change(lambda opened: _created(machine(opened, machine_id), xml), until)
    except HypervisorError as error:
        if not error.outcome_known or isinstance(error, Busy) or "already exists" in error.detail:
            raise
        _clear_half_made(connection, machine_id, name, until)
        if isinstance(error, Rejected) and connection.read(lambda opened: _storage_is_full(opened, machine_id), until):
            raise OutOfSpace(f"A storage pool of the machine is full. {error.detail}") from error
        raise
    local = connection.is_local
    record = connection.read(lambda opened: _read_snapshot(opened, machine_id, name, local), until, after_change=True)
    watch.report(100, "The snapshot is taken")
    return record


def _created(handle: Any, xml: str) -> None:
    handle.snapshotCreateXML(xml, 0)


def _look_at(opened: Any, machine_id: str) -> _Machine:
    handle = machine(opened, machine_id)
    root = parsed(handle.XMLDesc())
    host = host_of(opened)
    disks = [] if host.is_mock else [disk for disk in disks_of(root) if not disk.read_only]
    return _Machine(
        power=power_state(handle.state()[0]),
        capabilities=abilities(root, bool(handle.isPersistent()), host),
        targets=tuple(disk.target for disk in disks),
        snapshots=frozenset(handle.snapshotListNames()),
    )


def _refuse_impossible(before: _Machine, request: SnapshotRequest) -> None:
    can = before.capabilities
    on = before.power in (PowerState.RUNNING, PowerState.SUSPENDED)
    if before.power is PowerState.UNKNOWN:
        raise Rejected("The machine is neither running nor off.")
    if request.memory and request.quiesce:
        raise Rejected("Memory and quiesced disks exclude each other.")
    if request.memory and not on:
        raise Rejected("The machine is off, so there is no memory to save.")
    if request.quiesce and not can.quiesce.allowed:
        raise Unsupported(can.quiesce.reason)
    needed = can.memory if request.memory else can.disk_when_running if on else can.disk_when_stopped
    if not needed.allowed:
        raise Unsupported(needed.reason)


def _clear_half_made(connection: Connection, machine_id: str, name: str, until: float) -> None:
    """After a failure nothing of the snapshot may stay. libvirt clears up itself; this is for where it did not.

    Not to be called when the name was taken: then the snapshot is whole, and somebody else's or an earlier call's.
    """

    def clear(opened: Any) -> None:
        handle = machine(opened, machine_id)
        try:
            half = handle.snapshotLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
                return
            raise
        half.delete()

    connection.change(clear, until)


def _storage_is_full(opened: Any, machine_id: str) -> bool:
    """Whether a pool under the machine's disks has no room left: QEMU tells a full disk as "Input/output error"."""
    folders = {disk.source.rpartition("/")[0] for disk in disks_of(parsed(machine(opened, machine_id).XMLDesc()))}
    return any(
        pool.folder in folders and pool.record.free_bytes is not None and pool.record.free_bytes < _FULL_BELOW
        for pool in read_pools(opened, refresh=True)
    )


def _read_snapshot(opened: Any, machine_id: str, name: str, local: bool) -> SnapshotRecord:
    handle = machine(opened, machine_id)
    forest = read_forest(opened, handle, local, measure=not host_of(opened).is_mock)
    try:
        return forest.by_id()[name]
    except KeyError:
        raise NotFound("The snapshot is not there any more.") from None


def revert(connection: Connection, machine_id: str, snapshot_id: str, power: PowerAfterRevert, watch: Watch) -> None:
    """Revert, and leave the machine in the power state asked for.

    To end off after a memory snapshot the machine is reverted suspended, so that no instruction of it runs, and then
    switched off.
    """
    until = time.monotonic() + watch.deadline_seconds
    wanted = connection.read(lambda opened: _snapshot_root(opened, machine_id, snapshot_id), until)
    earlier, _ = connection.read(lambda opened: state_of(opened, machine_id), until)
    watch.report(0, "Reverting disks and memory" if _holds_memory(wanted) else "Reverting the disks")
    flags = {
        PowerAfterRevert.AS_SNAPSHOT: 0,
        PowerAfterRevert.RUNNING: libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING,
        PowerAfterRevert.STOPPED: libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED if _holds_memory(wanted) else 0,
    }[power]
    try:
        connection.change(lambda opened: _revert(opened, machine_id, snapshot_id, flags), until)
    except HypervisorError as error:
        if error.outcome_known:
            _tell_power_change(connection, machine_id, earlier, error)
        raise
    _settle_power(connection, machine_id, power, wanted, until)
    watch.report(100, "The machine is reverted")


def _revert(opened: Any, machine_id: str, snapshot_id: str, flags: int) -> None:
    handle = machine(opened, machine_id)
    snapshot = _snapshot(opened, machine_id, snapshot_id)
    try:
        handle.revertToSnapshot(snapshot, flags)
    except libvirt.libvirtError as error:
        # Refused beforehand, nothing done: what is there now would be lost. Whoever reverts has agreed to that.
        if error.get_error_code() != libvirt.VIR_ERR_SNAPSHOT_REVERT_RISKY:
            raise
        _drop_saved_memory(handle)
        handle.revertToSnapshot(snapshot, flags | libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE)
    _drop_saved_memory(handle)


def _drop_saved_memory(handle: Any) -> None:
    """Memory put aside by libvirt's managed save belongs to the state that was reverted away: the next start would load
    it over the other disks and destroy them."""
    if handle.hasManagedSaveImage():
        handle.managedSaveRemove()


def _tell_power_change(connection: Connection, machine_id: str, earlier: int, error: HypervisorError) -> None:
    """libvirt stops a machine before it reverts it; a failure after that leaves it off, which has to be known."""
    now, _ = connection.read(lambda opened: state_of(opened, machine_id), after_change=True)
    if power_state(now) is not power_state(earlier):
        error.detail += f" The machine is now {power_state(now)}."
        error.outcome_known = False


def _settle_power(
    connection: Connection, machine_id: str, power: PowerAfterRevert, wanted: etree._Element, until: float
) -> None:
    state, _ = connection.read(lambda opened: state_of(opened, machine_id), until, after_change=True)
    off = state == libvirt.VIR_DOMAIN_SHUTOFF
    should_run = power is PowerAfterRevert.RUNNING
    should_be_off = power is PowerAfterRevert.STOPPED or not (should_run or _holds_memory(wanted))
    if should_be_off and not off:
        connection.change(lambda opened: machine(opened, machine_id).destroy(), until)
    elif should_run and off:
        connection.change(lambda opened: machine(opened, machine_id).create(), until)
    elif should_run and power_state(state) is PowerState.SUSPENDED:
        connection.change(lambda opened: machine(opened, machine_id).resume(), until)


def delete(connection: Connection, machine_id: str, snapshot_id: str, watch: Watch) -> None:
    """Delete one; libvirt moves its children up, and the marker to its parent."""
    until = time.monotonic() + watch.deadline_seconds
    watch.report(0, "Deleting the snapshot")
    connection.change(lambda opened: _snapshot(opened, machine_id, snapshot_id).delete(), until)
    watch.report(100, "The snapshot is deleted")


def delete_with_descendants(connection: Connection, machine_id: str, snapshot_id: str, watch: Watch) -> None:
    """Delete the leaves first and `snapshot_id` last, one call each: so each step leaves a whole tree and the marker
    moves up, whatever fails, and there is progress to tell. libvirt's own flag for it promises neither. Raises as the
    contract's `delete_with_descendants`."""
    until = time.monotonic() + watch.deadline_seconds
    forest = _forest_now(connection, machine_id, until)
    if snapshot_id not in forest.by_id():
        raise NotFound("The snapshot is not on the hypervisor any more.")
    _delete_each(connection, machine_id, descendants_first(forest, snapshot_id), watch, until)


def delete_all(connection: Connection, machine_id: str, watch: Watch) -> None:
    """Delete all there are in the same way, the leaves of all trees before what they stem from. Raises as the contract's
    `delete_all`."""
    until = time.monotonic() + watch.deadline_seconds
    forest = _forest_now(connection, machine_id, until)
    _delete_each(connection, machine_id, [snapshot.native_id for snapshot in reversed(forest.snapshots)], watch, until)


def _forest_now(connection: Connection, machine_id: str, until: float) -> SnapshotForest:
    return connection.read(
        lambda opened: read_forest(opened, machine(opened, machine_id), local=False, measure=False), until
    )


def _delete_each(connection: Connection, machine_id: str, names: list[str], watch: Watch, until: float) -> None:
    for done, name in enumerate(names):
        watch.report(100 * done // len(names), f"Deleting snapshot {done + 1} of {len(names)}")
        connection.change(partial(_delete_below, machine_id=machine_id, name=name), until)
    watch.report(100, "The snapshots are deleted")


def _delete_below(opened: Any, machine_id: str, name: str) -> None:
    try:
        _snapshot(opened, machine_id, name).delete()
    except NotFound:
        return  # Somebody else deleted it meanwhile, which is what was asked for.


def rename(
    connection: Connection, machine_id: str, snapshot_id: str, name: str, description: str, until: float
) -> None:
    """Redefine the snapshot with another description; the native name, its place and the marker stay."""

    def redefine(opened: Any) -> None:
        handle = machine(opened, machine_id)
        snapshot = _snapshot(opened, machine_id, snapshot_id)
        old = snapshot.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE)
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
        if snapshot.isCurrent():
            flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT
        handle.snapshotCreateXML(_storable(lambda: renamed_xml(old, name, description)), flags)

    connection.change(redefine, until)


def _snapshot(opened: Any, machine_id: str, snapshot_id: str) -> Any:
    try:
        return machine(opened, machine_id).snapshotLookupByName(snapshot_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
            raise NotFound("The snapshot is not on the hypervisor any more.") from error
        raise


def _snapshot_root(opened: Any, machine_id: str, snapshot_id: str) -> etree._Element:
    return parsed(_snapshot(opened, machine_id, snapshot_id).getXMLDesc())


def _holds_memory(root: etree._Element) -> bool:
    return record_from(root).kind is SnapshotKind.DISK_AND_MEMORY


def _storable(build: Callable[[], str]) -> str:
    try:
        return build()
    except ValueError as error:
        raise Rejected("Name or description hold characters that cannot be stored in XML.") from error

"""The XenServer / XCP-ng driver: a pool's machines behind the driver contract, over XenAPI.

This file is the contract's face. What carries the calls stands in `transport`, `answers` and `session`; what they read in
`records`, `reading`, `tree`, `abilities` and `changes`; what they change in `snapshots`, `deletion`, `devices`, `power`
and `tasks`. Only the registry enters here, and nobody from outside this package the other files.

Choices that the contract leaves to a driver:

- `Login.address` is the pool's coordinator: `host`, `host:port` or `https://host[:port]`, port 443 unless said. It is
  always TLS. No option in `Login.options` is read.
- Native ids are uuids, which last, and not references: a machine's and a pool's (storage repository's) are their own, a
  snapshot's is that of the snapshot's record (a VM in XenServer). A volume's id is the uuid that its disk had when it was
  first seen; a revert replaces disks, and a mark in the disk keeps the id (see `marks`).
- A snapshot's token is in the name under which it is taken, and later beside it (see `marks`).
- A snapshot with memory is a checkpoint there: XenServer suspends the running guest, saves disks and memory, and resumes
  it. One without memory is taken of disks one after another, as after a power cut.
- `measured_bytes` is what a snapshot's own leaves and memory image occupy. Data it shares with other snapshots belongs to
  none of them and shows in its pool only.
- A revert leaves the machine off or suspended; the second step, starting or resuming it, is this driver's and is told as a
  phase of its own. Name, description and folder of the machine are set again to what they were before; everything else
  (memory, processors, network interfaces) is as it was when the snapshot was taken. Disks that were attached since are
  loose afterwards.
- Work that takes long is done as a task of XenServer, whose progress is told. Snapshots can be stopped on request as long
  as XenServer says that the task can be; reverts and deletions cannot.
"""

import logging
import time
from collections.abc import Callable, Collection
from functools import wraps
from typing import ParamSpec, TypeVar

from hypervisors.driver import HypervisorDriver, Login, Watch
from hypervisors.drivers.xenserver import deletion, devices, power, privileges, reading, snapshots
from hypervisors.drivers.xenserver.changes import Follower
from hypervisors.drivers.xenserver.records import read_everything, read_pool_and_storage
from hypervisors.drivers.xenserver.session import Session
from hypervisors.errors import Unreachable, outcome_unknown
from hypervisors.records import (
    Changes,
    HostRecord,
    Inventory,
    MachineRecord,
    PoolRecord,
    PowerAfterRevert,
    SnapshotForest,
    SnapshotRecord,
    SnapshotRequest,
    VolumeRecord,
)

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
_MISSHAPEN = (KeyError, IndexError, TypeError, ValueError, AttributeError)


def _reads(method: Callable[P, T]) -> Callable[P, T]:
    """Tell records that are not shaped as XenAPI shapes them as a server that cannot be worked with."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except _MISSHAPEN as error:
            raise Unreachable(_no_sense(error)) from error

    return guarded


def _changes(method: Callable[P, T]) -> Callable[P, T]:
    """The same for what changes something: how far it had come is not known then."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except _MISSHAPEN as error:
            raise outcome_unknown(_no_sense(error)) from error

    return guarded


def _no_sense(error: Exception) -> str:
    log.exception("A record of XenAPI could not be read")
    return f"The server's records are not those of XenAPI ({type(error).__name__})."


class XenServerDriver(HypervisorDriver):
    """One pool of XenServer or XCP-ng, by its coordinator. A host that stands alone is a pool of one."""

    tells_changes = True

    def __init__(self, login: Login) -> None:
        self._session = Session(login)
        self._follower = Follower(self._session)

    def close(self) -> None:
        self._session.close()

    @_reads
    def describe(self) -> HostRecord:
        return reading.read_host(self._session)

    @_reads
    def list_pools(self) -> list[PoolRecord]:
        return reading.pool_records(read_pool_and_storage(self._session))

    @_reads
    def list_machines(self) -> list[MachineRecord]:
        contents = read_everything(self._session)
        return reading.machine_records(contents, reading.all_volume_ids(contents))

    @_reads
    def read_machine(self, machine_id: str) -> MachineRecord:
        return reading.read_machine(self._session, machine_id)

    @_reads
    def list_loose_volumes(self) -> list[VolumeRecord]:
        contents = read_everything(self._session)
        return reading.loose_volumes(contents, reading.all_volume_ids(contents))

    @_reads
    def list_forests(self, machine_ids: Collection[str] | None = None) -> dict[str, SnapshotForest]:
        return reading.read_forests(self._session, machine_ids)

    @_reads
    def read_inventory(self) -> Inventory:
        """As the single reads would give it, in one call for each class of XenAPI."""
        return reading.inventory(read_everything(self._session))

    @_reads
    def operation_in_flight(self, machine_id: str) -> str | None:
        return reading.operation_in_flight(self._session, machine_id)

    @_reads
    def missing_privileges(self) -> tuple[str, ...]:
        return privileges.missing(self._session)

    @_reads
    def wait_for_changes(self, cursor: str, wait_seconds: float) -> Changes:
        return self._follower.wait(cursor, wait_seconds)

    @_changes
    def create_snapshot(self, machine_id: str, request: SnapshotRequest, watch: Watch) -> SnapshotRecord:
        return snapshots.create(self._session, machine_id, request, watch)

    @_changes
    def revert_to(self, machine_id: str, snapshot_id: str, power: PowerAfterRevert, watch: Watch) -> None:
        snapshots.revert(self._session, machine_id, snapshot_id, power, watch)

    @_changes
    def delete_snapshot(self, machine_id: str, snapshot_id: str, watch: Watch) -> None:
        deletion.delete(self._session, machine_id, snapshot_id, watch)

    @_changes
    def delete_with_descendants(self, machine_id: str, snapshot_id: str, watch: Watch) -> None:
        deletion.delete_with_descendants(self._session, machine_id, snapshot_id, watch)

    @_changes
    def delete_all(self, machine_id: str, watch: Watch) -> None:
        deletion.delete_all(self._session, machine_id, watch)

    @_changes
    def finish_deletions(self, machine_id: str, watch: Watch) -> None:
        deletion.finish_deletions(self._session, machine_id, watch)

    @_changes
    def rename_snapshot(self, machine_id: str, snapshot_id: str, name: str, description: str) -> None:
        until = time.monotonic() + self._session.timeout
        snapshots.rename(self._session, machine_id, snapshot_id, name, description, until)

    @_changes
    def start(self, machine_id: str, watch: Watch) -> None:
        power.start(self._session, machine_id, watch)

    @_changes
    def stop(self, machine_id: str, force: bool, watch: Watch) -> None:
        power.stop(self._session, machine_id, force, watch)

    @_changes
    def attach_volume(self, machine_id: str, volume_id: str) -> VolumeRecord:
        until = time.monotonic() + self._session.timeout
        return devices.attach(self._session, machine_id, volume_id, until)

    @_changes
    def detach_volume(self, machine_id: str, volume_id: str, watch: Watch) -> None:
        devices.detach(self._session, machine_id, volume_id, watch)

"""The vSphere driver: a vCenter or a standalone ESXi host behind the driver contract.

This file is the contract's face. How a call and an answer are bounded stands in `wire` and `soap`, the
session in `connection`, reading in `reading`, what is made of it in `machines`, `forest`,
`sizes` and `abilities`, and the actions in `snapshots`, `power` and `attaching`, which
follow the server's tasks with `tasks`. Only the registry enters here, and nobody from outside this package the other files.

Choices that the contract leaves to a driver:

- A machine's native id is its instance UUID (see `machines.native_ids` for those without, or with the same), a
  volume's its datastore's reference and the path where its chain of files begins (see `disks`), a snapshot's and a
  pool's the reference that vSphere gives them, such as "snapshot-81" and "datastore-12".
- The token of a snapshot, and names that vSphere would cut off, stand in its description (see `footer`).
- `MachineRecord.tags` are the custom attributes, as "name=value". vSphere's own tags can be read only by its REST
  interface, with a session of its own; they are not read.
- A snapshot can be cancelled while vSphere says so of its task; one that was done already stays.
- `measured_bytes` and `used_bytes` are vSphere's own figures, which it renews now and then (see `sizes`).
- No option in `Login.options` is read, nor `Login.redirect_hosts`: no redirection is followed.
"""

from collections.abc import Collection

from hypervisors.driver import HypervisorDriver, Login, Watch
from hypervisors.drivers.vmware import attaching, power, privileges, reading, snapshots
from hypervisors.drivers.vmware.changes import ChangeWatch
from hypervisors.drivers.vmware.connection import Connection
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


class VMwareDriver(HypervisorDriver):
    """One vCenter or ESXi host. `Login.address` is `host`, `host:port` or `https://host[:port][/sdk]`."""

    tells_changes = True

    def __init__(self, login: Login) -> None:
        self._connection = Connection(login)
        self._changes = ChangeWatch(self._connection)

    def close(self) -> None:
        self._connection.close()

    def describe(self) -> HostRecord:
        return self._connection.read(lambda: reading.describe(self._connection))

    def list_pools(self) -> list[PoolRecord]:
        return self._connection.read(lambda: reading.list_pools(self._connection))

    def list_machines(self) -> list[MachineRecord]:
        return self._connection.read(lambda: reading.list_machines(self._connection))

    def read_machine(self, machine_id: str) -> MachineRecord:
        return self._connection.read(lambda: reading.read_machine(self._connection, machine_id)[0])

    def list_loose_volumes(self) -> list[VolumeRecord]:
        return self._connection.read(lambda: reading.list_loose_volumes(self._connection))

    def list_forests(self, machine_ids: Collection[str] | None = None) -> dict[str, SnapshotForest]:
        return self._connection.read(lambda: reading.list_forests(self._connection, machine_ids))

    def operation_in_flight(self, machine_id: str) -> str | None:
        return self._connection.read(lambda: reading.operation_in_flight(self._connection, machine_id))

    def read_inventory(self) -> Inventory:
        return self._connection.read(lambda: reading.read_inventory(self._connection))

    def missing_privileges(self) -> tuple[str, ...]:
        return self._connection.read(lambda: privileges.missing_privileges(self._connection))

    def wait_for_changes(self, cursor: str, wait_seconds: float) -> Changes:
        return self._changes.wait(cursor, wait_seconds)

    def create_snapshot(self, machine_id: str, request: SnapshotRequest, watch: Watch) -> SnapshotRecord:
        return snapshots.create(self._connection, machine_id, request, watch)

    def revert_to(self, machine_id: str, snapshot_id: str, power: PowerAfterRevert, watch: Watch) -> None:
        snapshots.revert(self._connection, machine_id, snapshot_id, power, watch)

    def delete_snapshot(self, machine_id: str, snapshot_id: str, watch: Watch) -> None:
        snapshots.delete(self._connection, machine_id, snapshot_id, watch)

    def delete_with_descendants(self, machine_id: str, snapshot_id: str, watch: Watch) -> None:
        snapshots.delete_with_descendants(self._connection, machine_id, snapshot_id, watch)

    def delete_all(self, machine_id: str, watch: Watch) -> None:
        snapshots.delete_all(self._connection, machine_id, watch)

    def rename_snapshot(self, machine_id: str, snapshot_id: str, name: str, description: str) -> None:
        snapshots.rename(self._connection, machine_id, snapshot_id, name, description)

    def start(self, machine_id: str, watch: Watch) -> None:
        power.start(self._connection, machine_id, watch)

    def stop(self, machine_id: str, force: bool, watch: Watch) -> None:
        power.stop(self._connection, machine_id, force, watch)

    def attach_volume(self, machine_id: str, volume_id: str) -> VolumeRecord:
        return attaching.attach(self._connection, machine_id, volume_id)

    def detach_volume(self, machine_id: str, volume_id: str, watch: Watch) -> None:
        attaching.detach(self._connection, machine_id, volume_id, watch)

    def consolidate_disks(self, machine_id: str, watch: Watch) -> None:
        snapshots.consolidate(self._connection, machine_id, watch)

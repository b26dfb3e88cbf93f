"""The libvirt driver: KVM machines (and libvirt's own `test:///default`) behind the driver contract.

This file is the contract's face; how the connection is bounded stands in `connection`, what the actions do in
`reading`, `snapshots` and `devices`. Only the registry enters here.

Choices that the contract leaves to a driver:

- A machine's native id is its UUID, a volume's its path, a pool's its UUID, a snapshot's its name in libvirt (see
  `snapshot_xml`).
- Snapshots are internal ones, inside the qcow2 files. A running machine's snapshot therefore always holds its memory.
  What would need external snapshots is refused with the reason; see `abilities`.
- Libvirt tells no progress of internal snapshots and cannot stop them, so actions report their beginning and their end.
- `measured_bytes` is the memory image inside the qcow2 file; see `sizes`.
- No option in `Login.options` is read. Certificates are libvirt's own business (/etc/pki, ~/.pki, `pkipath=`).
"""

import time
from collections.abc import Collection

from hypervisors.driver import HypervisorDriver, Login, Watch
from hypervisors.drivers.libvirt import devices, power, reading, snapshots
from hypervisors.drivers.libvirt.connection import Connection
from hypervisors.records import (
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

_READS_IN_AN_INVENTORY = 5


class LibvirtDriver(HypervisorDriver):
    """One libvirt daemon. `Login.address` is a libvirt URI (`qemu:///system`, `qemu+tls://host.example/system`)."""

    def __init__(self, login: Login) -> None:
        self._timeout = login.timeout_seconds
        self._connection = Connection(login)

    def close(self) -> None:
        self._connection.close()

    def describe(self) -> HostRecord:
        return self._connection.read(reading.describe)

    def list_pools(self) -> list[PoolRecord]:
        return self._connection.read(reading.list_pools)

    def list_machines(self) -> list[MachineRecord]:
        return self._connection.read(reading.list_machines)

    def read_machine(self, machine_id: str) -> MachineRecord:
        return self._connection.read(lambda opened: reading.read_machine(opened, machine_id))

    def list_loose_volumes(self) -> list[VolumeRecord]:
        return self._connection.read(reading.list_loose_volumes)

    def list_forests(self, machine_ids: Collection[str] | None = None) -> dict[str, SnapshotForest]:
        local = self._connection.is_local
        return self._connection.read(lambda opened: reading.list_forests(opened, machine_ids, local))

    def read_inventory(self) -> Inventory:
        # In one piece, because its parts share what was read. The single reads would have as much time together.
        until = time.monotonic() + _READS_IN_AN_INVENTORY * self._timeout
        local = self._connection.is_local
        return self._connection.read(lambda opened: reading.read_inventory(opened, local), until)

    def operation_in_flight(self, machine_id: str) -> str | None:
        return reading.operation_in_flight(self._connection, machine_id)

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
        until = time.monotonic() + self._timeout
        snapshots.rename(self._connection, machine_id, snapshot_id, name, description, until)

    def start(self, machine_id: str, watch: Watch) -> None:
        power.start(self._connection, machine_id, watch)

    def stop(self, machine_id: str, force: bool, watch: Watch) -> None:
        power.stop(self._connection, machine_id, force, watch)

    def attach_volume(self, machine_id: str, volume_id: str) -> VolumeRecord:
        return devices.attach(self._connection, machine_id, volume_id, time.monotonic() + self._timeout)

    def detach_volume(self, machine_id: str, volume_id: str, watch: Watch) -> None:
        devices.detach(self._connection, machine_id, volume_id, watch)

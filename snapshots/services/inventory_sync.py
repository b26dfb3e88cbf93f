"""Makes the inventory rows and trees equal to what a hypervisor says, and writes down what differed.

A reading says how things were when it began. What was written from a later one, and machines on which a job of ours was or
is under way, are left to the next. Nothing here calls a hypervisor inside a transaction.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from hypervisors.driver import HypervisorDriver, Watch
from hypervisors.errors import NotFound
from hypervisors.models import Hypervisor
from hypervisors.records import Inventory, MachineRecord, SnapshotForest, VolumeRecord
from snapshots import ledger, tree
from snapshots.models import VirtualMachine
from snapshots.services import endpoint_health, machine_identity, machine_import, storage_sync, tree_sync
from snapshots.services.usable_records import (
    usable,
    usable_forest,
    usable_machine,
    usable_machine_ids,
    usable_machines,
    usable_pools,
)


@dataclass(frozen=True, slots=True)
class MachineReading:
    """What the hypervisor said of one machine, asked since `began`; `found` is None when it does not know it."""

    began: datetime
    found: tuple[MachineRecord, SnapshotForest] | None


def sync_hypervisor(hypervisor_pk: int, driver: HypervisorDriver, watch: Watch) -> None:
    """Read everything the endpoint holds and write it down. Raises what the driver raises."""
    read_from = timezone.now()
    watch.report(5, "Reading the hypervisor")
    inventory = usable(driver.read_inventory())
    watch.report(60, "Comparing")
    apply_inventory(hypervisor_pk, inventory, read_from)


def sync_machines(hypervisor_pk: int, driver: HypervisorDriver, machine_ids: Collection[str]) -> set[str]:
    """Read these machines, by native id, and write them down: new ones are made, those that are gone are marked missing.
    Answers those of which this reading had nothing to say, and which have to be read again.

    One `read_machine` each, one `list_forests` for all of them, and one `list_pools` when a volume lies in a pool that is
    not known here. Says nothing of the endpoint itself, and leaves its `synced_at` alone. Raises what the driver raises,
    with nothing written.
    """
    read_from = timezone.now()
    machine_ids = usable_machine_ids(machine_ids)
    records, forests = _read_together(driver, machine_ids)
    wanted = {volume.pool_id for record in records for volume in record.volumes if volume.pool_id is not None}
    unknown = wanted - set(storage_sync.pools_of(hypervisor_pk))
    pools = usable_pools(driver.list_pools()) if unknown else None
    with transaction.atomic():
        hypervisor = machine_identity.lock_kind(hypervisor_pk)
        if pools is None:
            pool_rows = storage_sync.pools_of(hypervisor_pk)
        else:
            pool_rows = storage_sync.apply_pools(hypervisor_pk, pools, read_from)
        placed = machine_identity.place_machines(hypervisor, records, read_from, among=machine_ids)
        settled = {row.pk for row in placed.rows.values()} - placed.unsettled
        booked = storage_sync.apply_volumes(
            hypervisor_pk,
            _attached(placed, records),
            pool_rows,
            read_from,
            of_machines=settled,
            skip=placed.unsettled,
            left_alone=_left_alone(placed, records),
        )
        # It comes last: whoever holds the use of an account waits for no machine.
        ledger.settle(booked | placed.rebooked)
    machine_import.apply_rules(hypervisor_pk)
    tree_sync.apply_forests(placed, forests, read_from, adopt=hypervisor.adopt_automatically)
    return placed.passed_over | {row.native_id for row in placed.rows.values() if row.pk in placed.unsettled}


def _read_together(
    driver: HypervisorDriver, machine_ids: Collection[str]
) -> tuple[list[MachineRecord], dict[str, SnapshotForest]]:
    """These machines and their forests, as far as they are there."""
    records = []
    for machine_id in machine_ids:
        try:
            records.append(driver.read_machine(machine_id))
        except NotFound:
            continue  # What is not there is known by not being among them.
    forests = driver.list_forests([record.native_id for record in records]) if records else {}
    # One that went in between was not there at the end.
    records = usable_machines(record for record in records if record.native_id in forests)
    return records, {native_id: usable_forest(forest) for native_id, forest in forests.items()}


def sync_pools(hypervisor_pk: int, driver: HypervisorDriver) -> None:
    """Read the endpoint's pools and write them down, in one `list_pools`. Loose volumes follow with the next reading of
    everything: to find them may take a hypervisor minutes. Raises what the driver raises."""
    read_from = timezone.now()
    pools = usable_pools(driver.list_pools())
    with transaction.atomic():
        machine_identity.lock_kind(hypervisor_pk)
        storage_sync.apply_pools(hypervisor_pk, pools, read_from)


def read_machine(machine: VirtualMachine, driver: HypervisorDriver) -> MachineReading:
    """What the hypervisor says of one machine now."""
    began = timezone.now()
    try:
        record = driver.read_machine(machine.native_id)
    except NotFound:
        return MachineReading(began, None)
    forest = driver.list_forests([machine.native_id]).get(machine.native_id)
    return MachineReading(began, None if forest is None else (usable_machine(record), usable_forest(forest)))


def apply_machine(machine_pk: int, reading: MachineReading) -> None:
    """Write down one machine as just read. Call inside a transaction, for a machine held by the caller's own job."""
    machine = tree.lock_machine(machine_pk)
    if reading.found is None:
        machine_identity.mark_missing([machine], reading.began)
        ledger.settle([machine.pk])
        return
    record, forest = reading.found
    rebooked = machine_identity.needs_booking(machine, record)
    machine_identity.update_machine(machine, record, reading.began)
    booked = storage_sync.apply_volumes(
        machine.hypervisor_id,
        [(machine, volume) for volume in record.volumes],
        storage_sync.pools_of(machine.hypervisor_id),
        reading.began,
        of_machines={machine.pk},
    )
    ledger.settle(booked | ({machine.pk} if rebooked else set()))
    tree_sync.apply_forest(machine, forest)


def apply_inventory(hypervisor_pk: int, inventory: Inventory, read_from: datetime) -> None:
    """Write down everything an endpoint holds, as read since `read_from`."""
    endpoint_health.note_answer(hypervisor_pk, inventory.host)
    with transaction.atomic():
        hypervisor = machine_identity.lock_kind(hypervisor_pk)
        pools = storage_sync.apply_pools(hypervisor_pk, inventory.pools, read_from)
        placed = machine_identity.place_machines(hypervisor, inventory.machines, read_from)
        loose: list[tuple[VirtualMachine | None, VolumeRecord]] = [(None, v) for v in inventory.loose_volumes]
        booked = storage_sync.apply_volumes(
            hypervisor_pk,
            [*_attached(placed, inventory.machines), *loose],
            pools,
            read_from,
            skip=placed.unsettled,
            left_alone=_left_alone(placed, inventory.machines),
        )
        # It comes last: whoever holds the use of an account waits for no machine.
        ledger.settle(booked | placed.rebooked)
    machine_import.apply_rules(hypervisor_pk)
    tree_sync.apply_forests(placed, inventory.forests, read_from, adopt=hypervisor.adopt_automatically)
    Hypervisor.objects.filter(pk=hypervisor_pk).update(synced_at=read_from)


def _attached(
    placed: machine_identity.Placed, records: Iterable[MachineRecord]
) -> list[tuple[VirtualMachine | None, VolumeRecord]]:
    """The volumes that this reading may say belong to a machine."""
    return [
        (machine, volume)
        for record in records
        if (machine := placed.settled(record.native_id)) is not None
        for volume in record.volumes
    ]


def _left_alone(placed: machine_identity.Placed, records: Iterable[MachineRecord]) -> set[str]:
    """Volumes of machines of which this reading has nothing to say."""
    return {
        volume.native_id for record in records if placed.settled(record.native_id) is None for volume in record.volumes
    }

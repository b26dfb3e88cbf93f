"""Makes the rows of storage pools and volumes equal to what a hypervisor says. Only `inventory_sync` enters, inside a
transaction."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db.models import Q

from hypervisors.records import PoolRecord, VolumeRecord
from snapshots.models import StoragePool, VirtualMachine, Volume

# What the books of a machine follow from, of its volumes: the order of their targets and names too.
BOOKED = frozenset(("machine_id", "pool_id", "capacity_bytes", "target", "name"))
LET_GO = frozenset(("machine_id", "target", "missing_since"))


def pools_of(hypervisor_pk: int) -> dict[str, StoragePool]:
    """The endpoint's pools as known here, by native id."""
    return {row.native_id: row for row in StoragePool.objects.filter(hypervisor_id=hypervisor_pk)}


def apply_pools(hypervisor_pk: int, records: Iterable[PoolRecord], read_from: datetime) -> dict[str, StoragePool]:
    """Write down all pools of an endpoint; answers their rows by native id."""
    rows = pools_of(hypervisor_pk)
    seen = set()
    for record in records:
        seen.add(record.native_id)
        row = rows.setdefault(record.native_id, StoragePool(hypervisor_id=hypervisor_pk, native_id=record.native_id))
        row.name, row.kind, row.active = record.name[:255], record.kind[:64], record.active
        row.total_bytes, row.free_bytes = record.total_bytes, record.free_bytes
        row.missing_since, row.synced_at = None, read_from
        row.save()
    for native_id, row in rows.items():
        if native_id not in seen and row.missing_since is None:
            row.missing_since = read_from
            row.save(update_fields=["missing_since"])
    return rows


def apply_volumes(
    hypervisor_pk: int,
    found: Iterable[tuple[VirtualMachine | None, VolumeRecord]],
    pools: dict[str, StoragePool],
    read_from: datetime,
    *,
    of_machines: Collection[int] | None = None,
    skip: Collection[int] = (),
    left_alone: Collection[str] = (),
) -> set[int]:
    """Write down volumes. With `of_machines` only those of these machines were read: one of theirs that is not among them
    is loose now, and one that another machine has here stays there until all are read, as that machine is not locked.
    Without it all were read, and one that was not found is missing. Volumes that are, or were when they were
    read, attached to a machine in `skip` are left alone; `left_alone` are the native ids of the latter. Answers the keys
    of the machines whose books follow from what changed."""
    found = list(found)
    known = Volume.objects.filter(hypervisor_id=hypervisor_pk)
    if of_machines is not None:
        known = known.filter(Q(machine__in=of_machines) | Q(native_id__in=[record.native_id for _, record in found]))
    rows = {row.native_id: row for row in known}
    seen: set[str] = set(left_alone)
    new: list[Volume] = []
    changed: list[Volume] = []
    columns: set[str] = set()
    booked: set[int | None] = set()
    for machine, record in found:
        row = rows.get(record.native_id)
        if record.native_id in seen or (row is not None and _is_held(row, skip, of_machines)):
            continue
        seen.add(record.native_id)
        values = _values(machine, record, row, pools)
        if row is None:
            new.append(Volume(hypervisor_id=hypervisor_pk, native_id=record.native_id, **values))
            booked.add(values["machine_id"])
        elif differing := {name for name, value in values.items() if getattr(row, name) != value}:
            if differing & BOOKED:
                booked |= {row.machine_id, values["machine_id"]}
            for name in differing:
                setattr(row, name, values[name])
            changed.append(row)
            columns |= differing
    unseen = [row for native_id, row in rows.items() if native_id not in seen and row.machine_id not in skip]
    attached = {row.pk: row.machine_id for row in unseen}
    let_go = list(_let_go(unseen, read_from, of_machines))
    booked |= {attached[row.pk] for row in let_go}
    Volume.objects.bulk_create(new, batch_size=500)
    # Mostly they have grown, and nothing else.
    if columns := columns | (LET_GO if let_go else set()):
        Volume.objects.bulk_update([*changed, *let_go], sorted(columns), batch_size=200)
    return {pk for pk in booked if pk is not None}


def _is_held(row: Volume, skip: Collection[int], of_machines: Collection[int] | None) -> bool:
    """Whether a machine has the volume here of which this reading has nothing to say."""
    if row.machine_id is None:
        return False
    return row.machine_id in skip or (of_machines is not None and row.machine_id not in of_machines)


def _let_go(unseen: Iterable[Volume], read_from: datetime, of_machines: Collection[int] | None) -> Iterator[Volume]:
    """Of the volumes that were not found those that are another way now: loose, or missing where all were read."""
    for row in unseen:
        if of_machines is not None and row.machine_id in of_machines:
            row.machine_id, row.target = None, ""
            yield row
        elif of_machines is None and row.missing_since is None:
            row.machine_id, row.target, row.missing_since = None, "", read_from
            yield row


def _values(
    machine: VirtualMachine | None, record: VolumeRecord, row: Volume | None, pools: dict[str, StoragePool]
) -> dict[str, Any]:
    kept_owner = row.account_id if row else None
    return {
        "machine_id": machine.pk if machine else None,
        "account_id": machine.account_id if machine else kept_owner,
        "pool_id": pools[record.pool_id].pk if record.pool_id in pools else None,
        "name": record.name[:255],
        "format": record.format[:32],
        "target": record.target[:64] if machine else "",
        "capacity_bytes": record.capacity_bytes,
        "used_bytes": record.used_bytes,
        "missing_since": None,
    }

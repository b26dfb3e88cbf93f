"""Whether a storage pool has room for another VM snapshot.

`why_not_fit` is the rule; pages ask it beforehand. `require_room` is the check itself, inside the transaction in which the
VM snapshot's row is written. Pools are locked by the rows of their policies, in the order of their keys and after all other
locks of the books, so that two requests at once cannot both take the last room.
"""

from collections.abc import Collection
from dataclasses import replace

from snapshots.access import Actor
from snapshots.estimates import growth_by_take
from snapshots.machine_books import MachineBooks
from snapshots.models import Event, PoolPolicy, VirtualMachine, VMSnapshot
from snapshots.naming import size_in_words
from snapshots.pool_room import PoolRoom, growth_by_pool, rooms_of
from snapshots.refusals import CapacityExceeded
from snapshots.services import events


def why_not_fit(room: PoolRoom, growth: int) -> CapacityExceeded | None:
    """Whether so many bytes more, by the estimate, can go into the pool. What adds nothing always can, and so can anything
    where the pool's size is not known."""
    if growth <= 0 or room.state_with(growth) != "over":
        return None
    now, then = room.percent, room.percent_with(growth)
    return CapacityExceeded(
        f"The storage pool {room.pool.name} is {now} % allocated. This VM snapshot is estimated to add "
        f"{size_in_words(growth)}, which makes {then} %; none that makes it fuller than {room.threshold_percent} % is "
        "taken. Delete VM snapshots that are no longer needed, take one without memory, or ask a root admin for more room.",
        pool=str(room.pool.uuid),
        wanted_bytes=growth,
        percent=now,
        percent_after=then,
        threshold_percent=room.threshold_percent,
    )


def require_room(actor: Actor, books: MachineBooks, snapshot: VMSnapshot) -> None:
    """Raise `CapacityExceeded` when the VM snapshot, whose row has just been written, makes a pool too full; write an event
    when it brings one above its warning. `books` are those of its machine, with the row."""
    machine, volumes = books.machine, books.volumes
    growth = growth_by_take(
        [row for row in books.snapshots if row != snapshot],
        below=snapshot.parent_id,
        counted=(),
        memory=snapshot.memory_bytes > 0,
        volume_bytes=sum(volume.capacity_bytes for volume in volumes),
        machine_memory_bytes=machine.memory_bytes,
    )
    growing = {pk: size for pk, size in growth_by_pool(volumes, growth).items() if size > 0}
    if not growing:
        return
    policies = lock_pools(growing)
    pools = {volume.pool.pk: volume.pool for volume in volumes if volume.pool is not None and volume.pool.pk in growing}
    for pk, room in rooms_of(pools.values(), policies).items():
        size = growing[pk]
        # The row is written, so that the books have it already.
        before = replace(room, estimated_bytes=room.estimated_bytes - size)
        if refusal := why_not_fit(before, size):
            raise refusal
        if room.state == "warning" and before.state == "ok":
            _warn(actor, machine, snapshot, room)


def lock_pools(pool_pks: Collection[int]) -> dict[int, PoolPolicy]:
    """The policies of these pools, locked until the transaction ends, by pool. Those that are not there are made."""
    found = _locked(pool_pks)
    if missing := set(pool_pks) - set(found):
        # Another process may be doing the same.
        PoolPolicy.objects.bulk_create([PoolPolicy(pool_id=pk) for pk in sorted(missing)], ignore_conflicts=True)
        found = _locked(pool_pks)
    return found


def _locked(pool_pks: Collection[int]) -> dict[int, PoolPolicy]:
    rows = PoolPolicy.objects.select_for_update().filter(pool__in=pool_pks).order_by("pool_id")
    return {row.pool_id: row for row in rows}


def _warn(actor: Actor, machine: VirtualMachine, snapshot: VMSnapshot, room: PoolRoom) -> None:
    events.record(
        actor,
        "storage_pool.nearly_full",
        level=Event.Level.WARNING,
        detail=f"{room.pool.name} is {room.percent} % allocated with this VM snapshot; none that makes it fuller than "
        f"{room.threshold_percent} % is taken.",
        machine=machine,
        snapshot_uuid=snapshot.uuid,
        snapshot_name=snapshot.name,
    )

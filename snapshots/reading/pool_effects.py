"""What taking a VM snapshot would do to the storage pools of its machine, before it is asked for."""

from dataclasses import dataclass

from snapshots.pool_room import PoolRoom, growth_by_pool, rooms_of
from snapshots.reading.machine_page import MachinePage


@dataclass(frozen=True, slots=True)
class PoolEffect:
    """One pool as it is, and by how many bytes a VM snapshot would grow it: of the disks alone, and with memory."""

    room: PoolRoom
    disk_growth: int
    memory_growth: int


def pool_effects(page: MachinePage) -> list[PoolEffect]:
    """Of each pool that holds a volume of the machine, that of its first volume first. Three queries."""
    pools = {volume.pool.pk: volume.pool for volume in page.volumes if volume.pool is not None}
    disk, memory = (growth_by_pool(page.volumes, page.growth(memory=memory)) for memory in (False, True))
    return [PoolEffect(room, disk[pk], memory[pk]) for pk, room in rooms_of(pools.values()).items()]

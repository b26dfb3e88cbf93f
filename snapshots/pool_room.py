"""How full storage pools are, and how full they may become: the figures that rules, pages and REST share.

What a pool has allocated is the allocated size of the volumes in it, attached and loose, and the estimate of the VM
snapshots of the machines whose volumes they are. It is held against the pool's size times its overcommit. All sizes are
bytes; percentages are whole, rounded up, so that one above a threshold is never shown as being at it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from django.conf import settings
from django.db.models import F, QuerySet, Sum

from snapshots.estimates import Growth
from snapshots.models import MachineAllocation, PoolPolicy, StoragePool, Volume

State = Literal["unknown", "ok", "warning", "over"]


@dataclass(frozen=True, slots=True)
class PoolRoom:
    """One pool: what is allocated in it, and its policy. `measured_bytes` is what the hypervisor measures of the VM
    snapshots, None where it measures nothing; it is part of no sum here."""

    pool: StoragePool
    volume_bytes: int
    estimated_bytes: int
    measured_bytes: int | None
    warning_percent: int
    threshold_percent: int
    overcommit: Decimal

    @property
    def allocated_bytes(self) -> int:
        """Volumes and the estimate of VM snapshots."""
        return self.volume_bytes + self.estimated_bytes

    @property
    def allowed_bytes(self) -> int | None:
        """Size × overcommit: what 100 % is. None while the size is not known."""
        return None if self.pool.total_bytes is None else int(self.pool.total_bytes * self.overcommit)

    @property
    def warning_bytes(self) -> int | None:
        """Above this a warning is shown."""
        return self._part(self.warning_percent)

    @property
    def threshold_bytes(self) -> int | None:
        """VM snapshots that would allocate more than this are refused."""
        return self._part(self.threshold_percent)

    @property
    def percent(self) -> int | None:
        """How full it is; None while the size is not known."""
        return self.percent_with(0)

    def percent_with(self, growth: int) -> int | None:
        """How full it would be with so many bytes more. Above 100 when more is allocated than may be."""
        if self.allowed_bytes is None:
            return None
        allocated = self.allocated_bytes + growth
        # A pool of no size is full with anything in it.
        return -(-allocated * 100 // self.allowed_bytes) if self.allowed_bytes else 100 * bool(allocated)

    @property
    def state(self) -> State:
        """Where it stands between its lines."""
        return self.state_with(0)

    def state_with(self, growth: int) -> State:
        """Where it would stand with so many bytes more."""
        percent = self.percent_with(growth)
        if percent is None:
            return "unknown"
        return "over" if percent > self.threshold_percent else "warning" if percent > self.warning_percent else "ok"

    def _part(self, percent: int) -> int | None:
        return None if self.allowed_bytes is None else self.allowed_bytes * percent // 100


def rooms_of(pools: Iterable[StoragePool], policies: Mapping[int, PoolPolicy] | None = None) -> dict[int, PoolRoom]:
    """How full these pools are, by key. Three queries, whatever their number; two for those who have read the policies, by
    pool."""
    wanted = {pool.pk: pool for pool in pools}
    if policies is None:
        policies = {row.pool_id: row for row in PoolPolicy.objects.filter(pool__in=wanted)}
    sums = sums_by(MachineAllocation.objects.filter(pool__in=wanted), "pool_id")
    loose = loose_bytes(wanted)
    return {
        pk: PoolRoom(
            pool,
            volume_bytes=sums[pk].volume_bytes + loose.get(pk, 0),
            estimated_bytes=sums[pk].estimated_bytes,
            measured_bytes=sums[pk].measured_bytes,
            **policy_in_force(policies.get(pk)),
        )
        for pk, pool in wanted.items()
    }


class Held(NamedTuple):
    """What some machines have, in bytes: volumes, the estimate of their VM snapshots, and what is measured of these, None
    where nothing is."""

    volume_bytes: int = 0
    estimated_bytes: int = 0
    measured_bytes: int | None = None

    @property
    def allocated_bytes(self) -> int:
        """Volumes and the estimate of VM snapshots."""
        return self.volume_bytes + self.estimated_bytes

    def with_more(self, other: "Held") -> "Held":
        """Both together."""
        known = [size for size in (self.measured_bytes, other.measured_bytes) if size is not None]
        return Held(
            self.volume_bytes + other.volume_bytes,
            self.estimated_bytes + other.estimated_bytes,
            sum(known) if known else None,
        )


HELD = {
    "volumes": Sum("volume_bytes"),
    "estimated": Sum(F("disk_bytes") + F("memory_bytes")),
    "measured": Sum("measured_bytes"),
}
"""`Held` as the database sums it up."""


def sums_by(rows: QuerySet[MachineAllocation], *columns: str) -> defaultdict[Any, Held]:
    """What these rows hold, by the values of a column, or of several together; nothing for values that are not there. One
    query."""
    found: defaultdict[Any, Held] = defaultdict(Held)
    for row in rows.order_by().values_list(*columns).annotate(**HELD):
        key, held = row[: len(columns)], row[len(columns) :]
        found[key if len(columns) > 1 else key[0]] = Held(*held)
    return found


def policy_in_force(policy: PoolPolicy | None) -> dict[str, Any]:
    """The two percentages and the overcommit that hold for a pool: its own, or the installation's. A warning of the
    installation that lies above the pool's own threshold begins at that."""
    own = policy or PoolPolicy()
    threshold = settings.POOL_THRESHOLD_PERCENT if own.threshold_percent is None else own.threshold_percent
    warning = settings.POOL_WARNING_PERCENT if own.warning_percent is None else own.warning_percent
    overcommit = Decimal(str(settings.POOL_OVERCOMMIT)) if own.overcommit is None else own.overcommit
    return {"threshold_percent": threshold, "warning_percent": min(warning, threshold), "overcommit": overcommit}


def loose_bytes(pool_pks: Collection[int]) -> dict[int, int]:
    """The allocated size of the volumes of no machine, by pool. One query."""
    rows = Volume.objects.filter(pool__in=pool_pks, machine=None, missing_since=None).order_by().values_list("pool_id")
    return {pk: size for pk, size in rows.annotate(size=Sum("capacity_bytes")) if pk is not None}


def growth_by_pool(volumes: Sequence[Volume], growth: Growth) -> dict[int, int]:
    """How much of the growth falls into each pool that is known, by key: each volume counts in its own, memory in that of
    the first. `volumes` are the machine's, in their order."""
    sizes: dict[int | None, int] = defaultdict(int)
    for volume in volumes:
        sizes[volume.pool_id] += volume.capacity_bytes
    whole = sum(sizes.values())
    paths = growth.disk_bytes // whole if whole else 0
    parts = {pool: size * paths for pool, size in sizes.items()}
    if volumes:
        parts[volumes[0].pool_id] += growth.memory_bytes
    return {pool: size for pool, size in parts.items() if pool is not None}

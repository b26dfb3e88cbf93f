"""How full pools are and what accounts hold, written down over time.

Each tick adds one raw sample per pool and account. The last of each hour that has ended is kept as that hour's, the last
of these of each UTC day as that day's, and what is older than it is kept for goes. Time is cut into slots, one sample a
slot, and every roll-up has its place: two processes at once, a tick that comes twice or late, and a clock that was set
back write nothing double.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from snapshots.choices import SampleStep
from snapshots.models import CapacitySample, MachineAllocation, StoragePool
from snapshots.pool_room import rooms_of, sums_by

BATCH = 500
COPIED = ("pool_id", "account_id", "total_bytes", "free_bytes", "volume_bytes", "estimated_bytes", "measured_bytes")


def sample() -> None:
    """Take the samples of this slot, roll up the hours and days that have ended, let go of what is old."""
    now = timezone.now()
    with transaction.atomic():
        take_samples(now)
        roll_up(SampleStep.RAW, SampleStep.HOUR, now)
        roll_up(SampleStep.HOUR, SampleStep.DAY, now)
        let_go(now)


def take_samples(now: datetime) -> None:
    """One raw sample of each pool that is there, and of each account that has machines."""
    at = slot_of(now)
    pools = rooms_of(StoragePool.objects.filter(missing_since=None))
    taken = [
        CapacitySample(
            pool=room.pool,
            total_bytes=room.pool.total_bytes,
            free_bytes=room.pool.free_bytes,
            volume_bytes=room.volume_bytes,
            estimated_bytes=room.estimated_bytes,
            measured_bytes=room.measured_bytes,
        )
        for room in pools.values()
    ]
    owned = MachineAllocation.objects.filter(machine__account__isnull=False)
    taken += [
        CapacitySample(account_id=account, **held._asdict())
        for account, held in sums_by(owned, "machine__account_id").items()
    ]
    for row in taken:
        row.step, row.at = SampleStep.RAW, at
    CapacitySample.objects.bulk_create(taken, BATCH, ignore_conflicts=True)


def roll_up(fine: SampleStep, coarse: SampleStep, now: datetime) -> None:
    """Keep the last sample of each hour or day that has ended, from the newest one that is rolled up already. One that lies
    in the future was written while the clock ran ahead, and does not count."""
    present = begin_of(coarse, now)
    rolled = CapacitySample.objects.filter(step=coarse, at__lt=present).aggregate(newest=Max("at"))["newest"]
    samples = CapacitySample.objects.filter(step=fine, at__lt=present)
    if rolled is not None:
        samples = samples.filter(at__gte=rolled)
    rows = samples.order_by("pool_id", "account_id", "at").iterator(BATCH)
    last_of_each = {(row.pool_id, row.account_id, begin_of(coarse, row.at)): row for row in rows}
    CapacitySample.objects.bulk_create(
        [
            CapacitySample(step=coarse, at=begin, **{name: getattr(row, name) for name in COPIED})
            for (_, _, begin), row in last_of_each.items()
        ],
        BATCH,
        ignore_conflicts=True,
    )


def let_go(now: datetime) -> None:
    """Delete the samples that are older than they are kept for."""
    kept = {
        SampleStep.RAW: timedelta(hours=settings.CAPACITY_RAW_KEEP_HOURS),
        SampleStep.HOUR: timedelta(days=settings.CAPACITY_HOURLY_KEEP_DAYS),
        SampleStep.DAY: timedelta(days=settings.CAPACITY_DAILY_KEEP_DAYS),
    }
    for step, length in kept.items():
        CapacitySample.objects.filter(step=step, at__lt=now - length).delete()


def slot_of(at: datetime) -> datetime:
    """The beginning of the slot that the moment falls into."""
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % settings.CAPACITY_SAMPLE_SECONDS, UTC)


def begin_of(step: SampleStep, at: datetime) -> datetime:
    """The beginning of the UTC hour or day that the moment falls into."""
    at = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return at.replace(hour=0) if step == SampleStep.DAY else at

"""How full pools are and what accounts hold, written down over time.

Each tick adds one raw sample per pool and account. The last of each hour that has ended is kept as that hour's, the last of
these of each UTC day as that day's, and what is older than it is kept for goes. Ticks are cut into slots, one sample a slot,
and every roll-up has its place: two processes at once, a tick that comes twice or late, and a clock that was set back write
nothing double.
"""

from datetime import UTC, datetime, timedelta
from itertools import groupby

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Min
from django.utils import timezone

from snapshots.choices import SampleStep
from snapshots.models import CapacitySample, MachineAllocation, StoragePool
from snapshots.pool_room import ALLOCATION_SUMS, rooms_of

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
    owned = MachineAllocation.objects.filter(machine__account__isnull=False).order_by().values("machine__account_id")
    taken += [
        CapacitySample(
            account_id=row["machine__account_id"],
            volume_bytes=row["volumes"],
            estimated_bytes=row["estimated"],
            measured_bytes=row["measured"],
        )
        for row in owned.annotate(**ALLOCATION_SUMS)
    ]
    for row in taken:
        row.step, row.at = SampleStep.RAW, at
    CapacitySample.objects.bulk_create(taken, BATCH, ignore_conflicts=True)


def roll_up(fine: SampleStep, coarse: SampleStep, now: datetime) -> None:
    """Keep the last sample of each hour or day that has ended, from the newest one that is rolled up already."""
    rolled = CapacitySample.objects.filter(step=coarse).aggregate(newest=Max("at"))["newest"]
    samples = CapacitySample.objects.filter(step=fine, at__lt=begin_of(coarse, now))
    begin = rolled or samples.aggregate(oldest=Min("at"))["oldest"]
    if begin is None:
        return
    rows = samples.filter(at__gte=begin).order_by("pool_id", "account_id", "at")
    for _, of_one in groupby(
        rows.iterator(BATCH), key=lambda row: (row.pool_id, row.account_id, begin_of(coarse, row.at))
    ):
        *_, last = of_one
        CapacitySample.objects.bulk_create(
            [
                CapacitySample(
                    step=coarse, at=begin_of(coarse, last.at), **{name: getattr(last, name) for name in COPIED}
                )
            ],
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

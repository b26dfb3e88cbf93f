"""What the processes of an installation do about storage when a test asks them to: plain data in, plain data out."""

from django.utils import timezone

from snapshots.access import SYSTEM
from snapshots.choices import SampleStep
from snapshots.models import CapacitySample, StoragePool
from snapshots.pool_room import rooms_of
from snapshots.services import capacity_samples, pool_policies


def refuse_above(cloud: str, percent: int) -> None:
    """No VM snapshot is taken any more that makes the cloud's pool fuller than this."""
    pool = StoragePool.objects.get(hypervisor__name=cloud)
    pool_policies.set_policy(SYSTEM, pool=pool, warning_percent=None, threshold_percent=percent, overcommit=None)


def sample_capacity() -> None:
    """One tick of the samples."""
    capacity_samples.sample()


def allocated_percent(cloud: str) -> int | None:
    """How full the cloud's pool is."""
    pool = StoragePool.objects.get(hypervisor__name=cloud)
    return rooms_of([pool])[pool.pk].percent


def slot_now() -> str:
    """The slot that a sample of this moment falls into."""
    return capacity_samples.slot_of(timezone.now()).isoformat()


def samples_of(cloud: str) -> int:
    """How many raw samples of the cloud's pool there are."""
    return CapacitySample.objects.filter(pool__hypervisor__name=cloud, step=SampleStep.RAW).count()

"""How pools and accounts were over time: samples, roll-ups, and what is let go."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from pytest_django import Settings

from snapshots.access import SYSTEM
from snapshots.choices import SampleStep
from snapshots.models import CapacitySample, StoragePool, VirtualMachine
from snapshots.services import tenancy
from snapshots.services.capacity_samples import sample
from snapshots.tasks import sample_capacity
from tests.builders import Cloud, People, take

GIB = 1024**3
NIGHT = datetime(2028, 2, 28, 22, 0, tzinfo=UTC)


def at(moment: datetime) -> Any:
    return time_machine.travel(moment, tick=False)


def times(step: SampleStep) -> list[datetime]:
    return list(CapacitySample.objects.filter(step=step, pool__isnull=False).values_list("at", flat=True))


def test_a_sample_has_what_pools_and_accounts_hold(web: VirtualMachine, people: People) -> None:
    take(web, "one", people.alice, memory=True)
    sample_capacity()
    pool = StoragePool.objects.get()
    of_pool = CapacitySample.objects.get(pool=pool)
    assert (of_pool.total_bytes, of_pool.free_bytes) == (pool.total_bytes, pool.free_bytes)
    # Five disks of 10 GiB and 20 GiB of loose ones.
    assert (of_pool.volume_bytes, of_pool.estimated_bytes) == (70 * GIB, GIB)
    of_account = CapacitySample.objects.get(account=people.acme)
    assert (of_account.volume_bytes, of_account.estimated_bytes) == (30 * GIB, GIB)
    assert of_account.measured_bytes == of_pool.measured_bytes
    assert (of_account.total_bytes, of_account.free_bytes) == (None, None)


def test_two_ticks_of_one_slot_are_one_sample(cloud: Cloud) -> None:
    with at(NIGHT):
        sample()
    with at(NIGHT + timedelta(seconds=299)):
        sample()
    assert times(SampleStep.RAW) == [NIGHT]


def test_hours_and_days_that_ended_are_rolled_up_to_their_last_sample(cloud: Cloud) -> None:
    pool = StoragePool.objects.get()
    for minutes in range(0, 240, 20):
        StoragePool.objects.update(free_bytes=minutes)
        with at(NIGHT + timedelta(minutes=minutes)):
            sample()
    hours = CapacitySample.objects.filter(step=SampleStep.HOUR, pool=pool)
    assert [(row.at, row.free_bytes) for row in hours] == [
        (NIGHT, 40),
        (NIGHT + timedelta(hours=1), 100),
        (NIGHT + timedelta(hours=2), 160),
    ]
    (day,) = CapacitySample.objects.filter(step=SampleStep.DAY, pool=pool)
    assert (day.at, day.free_bytes) == (datetime(2028, 2, 28, tzinfo=UTC), 100)


def test_a_long_silence_leaves_a_gap_and_nothing_else(cloud: Cloud) -> None:
    with at(NIGHT):
        sample()
    with at(NIGHT + timedelta(days=3)):
        sample()
    assert times(SampleStep.HOUR) == [NIGHT]
    assert times(SampleStep.DAY) == [datetime(2028, 2, 28, tzinfo=UTC)]
    with at(NIGHT + timedelta(days=4)):
        sample()
    assert times(SampleStep.DAY) == [datetime(2028, 2, 28, tzinfo=UTC), datetime(2028, 3, 2, tzinfo=UTC)]


def test_a_clock_that_was_set_back_writes_nothing_double(cloud: Cloud) -> None:
    for hours in (0, 2, 1, 2, 3):
        with at(NIGHT + timedelta(hours=hours)):
            sample()
    assert times(SampleStep.RAW) == [NIGHT + timedelta(hours=hours) for hours in (0, 1, 2, 3)]
    assert len(times(SampleStep.HOUR)) == len(set(times(SampleStep.HOUR)))


def test_a_clock_that_ran_ahead_and_was_put_right_holds_nothing_up(cloud: Cloud) -> None:
    ahead = NIGHT + timedelta(days=400)
    for moment in (ahead, ahead + timedelta(hours=3), ahead + timedelta(days=1)):
        with at(moment):
            sample()
    wrong = {SampleStep.HOUR: times(SampleStep.HOUR), SampleStep.DAY: times(SampleStep.DAY)}
    for hours in (0, 1, 3):
        with at(NIGHT + timedelta(hours=hours)):
            sample()
    assert times(SampleStep.HOUR) == [NIGHT, NIGHT + timedelta(hours=1), *wrong[SampleStep.HOUR]]
    assert times(SampleStep.DAY) == [datetime(2028, 2, 28, tzinfo=UTC), *wrong[SampleStep.DAY]]


def test_what_is_older_than_it_is_kept_for_goes(cloud: Cloud, settings: Settings) -> None:
    settings.CAPACITY_RAW_KEEP_HOURS, settings.CAPACITY_HOURLY_KEEP_DAYS = 2, 2
    settings.CAPACITY_DAILY_KEEP_DAYS = 4
    for hours in range(0, 24 * 7, 6):
        with at(NIGHT + timedelta(hours=hours)):
            sample()
    now = NIGHT + timedelta(hours=162)
    assert times(SampleStep.RAW) == [now]
    assert min(times(SampleStep.HOUR)) >= now - timedelta(days=2)
    assert len(times(SampleStep.HOUR)) == 8
    assert [day.day for day in times(SampleStep.DAY)] == [3, 4, 5]


def test_a_pool_that_is_gone_is_sampled_no_more_and_keeps_its_history(cloud: Cloud) -> None:
    with at(NIGHT):
        sample()
    StoragePool.objects.update(missing_since=NIGHT)
    with at(NIGHT + timedelta(hours=1)):
        sample()
    assert times(SampleStep.RAW) == [NIGHT]


def test_an_account_can_go_and_its_samples_with_it(web: VirtualMachine, cloud: Cloud, people: People) -> None:
    sample()
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("foreign"), account=None)
    assert CapacitySample.objects.filter(account=people.other).exists()
    tenancy.delete_account(SYSTEM, account=people.other)
    assert not CapacitySample.objects.filter(account__isnull=False).exclude(account=people.acme).exists()


@pytest.mark.parametrize("size", [2**60, 2**62])
def test_petabytes_are_kept_exactly(cloud: Cloud, size: int) -> None:
    StoragePool.objects.update(total_bytes=size + 1, free_bytes=size - 1)
    sample()
    row = CapacitySample.objects.get(pool__isnull=False)
    assert (row.total_bytes, row.free_bytes) == (size + 1, size - 1)

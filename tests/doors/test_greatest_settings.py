"""With each setting at the greatest that is taken, pages answer and ticks do their work."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from snapshots.models import CapacitySample, StoragePool, UsagePeriod
from snapshots.services import capacity_samples
from snapshots.services.usage_aggregation import close_due_periods
from tests.builders import Cloud, People, take
from tests.doors.browser_client import Browser
from vmsnap_site import environment

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def greatest(settings: Settings) -> None:
    """Those of limits, pools, capacity, what is stale, and usage."""
    settings.STALE_AFTER_DAYS = settings.CAPACITY_HOURLY_KEEP_DAYS = environment.CENTURY
    settings.CAPACITY_DAILY_KEEP_DAYS = settings.LIMIT_AGE_DAYS = environment.CENTURY
    settings.CAPACITY_RAW_KEEP_HOURS = 24 * environment.CENTURY
    settings.CAPACITY_SAMPLE_SECONDS = settings.USAGE_CLOSE_AFTER_SECONDS = environment.YEAR
    settings.STALE_PER_MACHINE = 1_000_000
    settings.POOL_WARNING_PERCENT = settings.POOL_THRESHOLD_PERCENT = 100
    settings.POOL_OVERCOMMIT = 1000.0
    for name in ("ACCOUNT_SNAPSHOTS", "ACCOUNT_BYTES", "DOMAIN_SNAPSHOTS", "DOMAIN_BYTES"):
        setattr(settings, f"LIMIT_{name}", environment.MOST_OF_A_LIMIT)
    settings.SNAPSHOTS_PER_MACHINE = environment.MOST_OF_A_LIMIT


PAGES = ("/", "/dashboard/", "/capacity/", "/capacity/stale/", "/usage/", "/account/", "/api/v1/limits/")


@pytest.mark.parametrize("path", [*PAGES, "/machines/{machine}/", "/capacity/pools/{pool}/"])
def test_pages_answer(people: People, cloud: Cloud, path: str) -> None:
    people.own(cloud)
    take(cloud.machine("web"), "one", people.alice)
    pool = StoragePool.objects.get()
    for person in (people.alice, people.dora, people.root):
        assert Browser(person).get(path.format(machine=cloud.machine("web").uuid, pool=pool.uuid)).status == 200


def test_samples_are_taken_and_periods_closed(people: People, cloud: Cloud) -> None:
    people.own(cloud)
    take(cloud.machine("web"), "one", people.alice)
    capacity_samples.sample()
    assert CapacitySample.objects.exists()
    assert close_due_periods() == []
    with time_machine.travel(timezone.now() + timedelta(days=367)):
        close_due_periods()
        capacity_samples.sample()
    assert UsagePeriod.objects.exists()

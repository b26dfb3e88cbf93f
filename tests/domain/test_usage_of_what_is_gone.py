"""A machine that vanished and a pool that went missing keep what was used on them, by the names they had."""

from datetime import datetime, timedelta

import pytest
import time_machine

from hypervisors.drivers.simulated.world import Disk, Machine, Pool
from snapshots.choices import UsageType
from snapshots.models import StoragePool, UsageRecord, VirtualMachine
from snapshots.reading.usage_page import UsageQuery, usage_page
from snapshots.services import tenancy
from snapshots.services.usage_aggregation import close_due_periods
from tests.builders import SYSTEM, Cloud, People, take
from tests.usage import HOUR, at, prove_all

DAY_ONE = at("2026-03-01 12:00")
EVENING = at("2026-03-03 01:00")
SLOW = Machine("web", disks=(Disk(name="web-root", pool="slow"),))


@pytest.fixture
def cloud(people: People) -> Cloud:
    """One machine of acme's with a VM snapshot of the first of March, all of it in the pool "slow"."""
    with time_machine.travel(DAY_ONE, tick=False):
        cloud = Cloud((SLOW,), pools=(Pool(), Pool("slow")))
        tenancy.assign_machine(SYSTEM, machine=cloud.machine("web"), account=people.acme)
        take(cloud.machine("web"), "before the upgrade", memory=False)
    return cloud


def read_on(cloud: Cloud, when: datetime) -> None:
    with time_machine.travel(when, tick=False):
        cloud.sync()


def closed(when: datetime) -> list[UsageRecord]:
    with time_machine.travel(when, tick=False):
        close_due_periods()
    prove_all()
    return list(UsageRecord.objects.filter(type=UsageType.VM_SNAPSHOT_ON_PRIMARY).order_by("start"))


def test_what_was_used_on_a_machine_that_vanished_stays_under_its_names(people: People, cloud: Cloud) -> None:
    cloud.world.undefine(cloud.machine("web").native_id)
    read_on(cloud, DAY_ONE + timedelta(hours=6))
    assert VirtualMachine.objects.get(name="web").missing_since is not None
    first = closed(EVENING)[0]
    assert named(first) == ("web", "before the upgrade", "acme", "engineering", "slow")
    assert (first.start, first.end, first.microseconds) == (DAY_ONE, DAY_ONE + timedelta(hours=6), 6 * HOUR)
    with time_machine.travel(EVENING, tick=False):
        page = usage_page(people.alice, UsageQuery())
    assert [machine.name for machine in page.machines] == ["web"]
    assert [snapshot.name for snapshot in page.snapshots] == ["before the upgrade"]
    assert page.machines[0].use.primary.microseconds >= 6 * HOUR


def test_what_was_used_in_a_pool_that_is_missing_stays_under_its_name(people: People, cloud: Cloud) -> None:
    cloud.world._write("DELETE FROM pool WHERE name = 'slow'")
    read_on(cloud, DAY_ONE + timedelta(hours=6))
    pool = StoragePool.objects.get(name="slow")
    assert pool.missing_since is not None
    records = closed(EVENING)
    assert {named(row) for row in records} == {("web", "before the upgrade", "acme", "engineering", "slow")}
    assert {row.pool_uuid for row in records} == {pool.uuid}
    assert sum(row.microseconds for row in records) == 36 * HOUR


def named(row: UsageRecord) -> tuple[str, ...]:
    return row.machine_name, row.snapshot_name, row.account_name, row.domain_name, row.pool_name

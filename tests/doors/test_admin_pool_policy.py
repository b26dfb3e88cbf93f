"""How full a pool may become is set in the admin, and holds at once."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from hypervisors.drivers.simulated.world import Disk, Machine, Pool
from hypervisors.records import PowerState
from snapshots.access import SYSTEM
from snapshots.models import PoolPolicy, StoragePool
from snapshots.services import tenancy
from tests.builders import Cloud, People
from tests.doors.admin_forms import change, errors, last_event
from tests.doors.browser_client import Browser, machine_page

GIB = 1024**3


@pytest.fixture
def pool(cloud: Cloud) -> StoragePool:
    return StoragePool.objects.get()


def test_a_root_admin_sets_a_policy_and_empties_it_again(root: Client, people: People, pool: StoragePool) -> None:
    answer = change(root, pool, warning_percent="60", threshold_percent="70", overcommit="1.25")
    assert answer.status_code == 302
    policy = PoolPolicy.objects.get(pool=pool)
    assert (policy.warning_percent, policy.threshold_percent, str(policy.overcommit)) == (60, 70, "1.25")
    assert policy.set_by == people.root
    assert last_event().action == "storage_pool.policy_set"
    assert 'value="70"' in root.get(reverse("admin:snapshots_storagepool_change", args=[pool.pk])).content.decode()
    assert change(root, pool, warning_percent="", threshold_percent="", overcommit="").status_code == 302
    assert PoolPolicy.objects.get(pool=pool).threshold_percent is None


@pytest.mark.parametrize(
    "values",
    [
        {"threshold_percent": "0"},
        {"threshold_percent": "-5"},
        {"threshold_percent": "101"},
        {"threshold_percent": "99999999999999999999"},
        {"threshold_percent": "7.5"},
        {"threshold_percent": "much"},
        {"warning_percent": "80", "threshold_percent": "70"},
        {"overcommit": "0"},
        {"overcommit": "-1"},
        {"overcommit": "1e999"},
        {"overcommit": "NaN"},
    ],
)
def test_what_makes_no_sense_is_refused_on_the_form(root: Client, pool: StoragePool, values: dict[str, str]) -> None:
    empty = {"warning_percent": "", "threshold_percent": "", "overcommit": ""}
    assert errors(change(root, pool, **(empty | values)))
    assert not PoolPolicy.objects.filter(set_at__isnull=False).exists()


@pytest.mark.parametrize("count", [1, 20])
def test_the_list_says_how_full_each_is_at_the_cost_of_one(
    root: Client, people: People, pool: StoragePool, count: int
) -> None:
    pools = tuple(Pool(f"pool-{number}", total_bytes=GIB) for number in range(count))
    machines = tuple(
        Machine(f"on-{pool.name}", disks=(Disk(name=pool.name, pool=pool.name, capacity_bytes=GIB // 2, used_bytes=0),))
        for pool in pools
    )
    Cloud(machines, pools=(Pool(), *pools))
    with CaptureQueriesContext(connection) as captured:
        text = root.get(reverse("admin:snapshots_storagepool_changelist")).content.decode()
    assert text.count(">512.0\xa0MB, 50 %<") == count
    assert len(captured) == 13


def test_what_was_read_from_the_hypervisor_cannot_be_changed(root: Client, pool: StoragePool) -> None:
    assert change(root, pool, name="mine", total_bytes="1", threshold_percent="50").status_code == 302
    pool.refresh_from_db()
    assert (pool.name, pool.total_bytes) == ("default", 500 * GIB)


def test_the_dialog_of_a_user_shows_the_new_threshold_at_once(root: Client, people: People) -> None:
    cloud = Cloud((Machine("big", power=PowerState.RUNNING, memory_bytes=40 * GIB, disks=(Disk(370 * GIB),)),))
    machine = cloud.machine("big")
    tenancy.assign_machine(SYSTEM, machine=machine, account=people.acme)
    alice = Browser(people.alice)
    assert "over the threshold" not in alice.get(f"{machine_page(machine)}take/").text
    pool = StoragePool.objects.get(hypervisor=cloud.hypervisor)
    change(root, pool, warning_percent="", threshold_percent="80", overcommit="")
    assert "86 % with memory (over the threshold of 80 %)" in alice.get(f"{machine_page(machine)}take/").text

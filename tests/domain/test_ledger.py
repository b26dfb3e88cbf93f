"""The books follow every change of a tree, a volume or an owner, in the same transaction: what counts in limits, what is
billed, what is allocated."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hypervisors.drivers.simulated.world import Disk, Machine, Pool
from hypervisors.errors import Rejected
from snapshots import ledger
from snapshots.access import SYSTEM
from snapshots.choices import UsageChange
from snapshots.models import LimitUse, MachineAllocation, OpenUsage, UsageEvent, VirtualMachine
from snapshots.services import drift_actions, tenancy
from snapshots.services.machine_actions import request_sync
from snapshots.services.snapshot_actions import request_create, request_delete, request_delete_tree, request_revert
from tests.builders import MIB, Cloud, acting, run, take, use_of
from tests.domain.scenes import read_again

GIB = 1024**3


def allocations(machine: VirtualMachine) -> dict[str, tuple[int, int, int]]:
    """By pool: volumes, disk part, memory part."""
    rows = MachineAllocation.objects.filter(machine=machine).select_related("pool")
    return {row.pool.name: (row.volume_bytes, row.disk_bytes, row.memory_bytes) for row in rows}


def changes(name: str) -> list[str]:
    """Why usage events of the VM snapshot of this name were written, oldest first."""
    return list(UsageEvent.objects.filter(snapshot_name=name).order_by("at", "pk").values_list("change", flat=True))


def assert_books_agree() -> None:
    """Settling all machines again finds nothing to write."""
    before = state_of_books()
    with transaction.atomic():
        ledger.settle(list(VirtualMachine.objects.values_list("pk", flat=True)))
    assert state_of_books() == before


def state_of_books() -> list[object]:
    tables = (LimitUse, MachineAllocation, OpenUsage, UsageEvent)
    return [sorted(table.objects.values_list(), key=repr) for table in tables] + [
        list(VirtualMachine.objects.order_by("pk").values_list("booked_account", "booked_snapshots", "booked_bytes"))
    ]


# What counts in limits


def test_what_is_being_taken_counts_at_once_for_the_account_and_every_domain_above(people, db_machine):
    request_create(acting(people.alice), machine=db_machine, name="one")
    assert use_of(people.acme) == use_of(people.engineering) == use_of(people.organisation) == (1, 0)
    assert use_of(people.other) == use_of(people.elsewhere) == (0, 0)


def test_deleting_the_last_one_leaves_nothing_in_use(people, web):
    first = take(web, "one")
    take(web, "two")
    assert use_of(people.acme) == (2, 2 * web.memory_bytes)
    assert run(request_delete_tree(SYSTEM, snapshot=first)).state == "succeeded"
    assert use_of(people.acme) == use_of(people.organisation) == (0, 0)


def test_a_second_branch_holds_the_volumes_once_more(people, db_machine):
    root = take(db_machine, "root")
    take(db_machine, "left")
    run(request_revert(SYSTEM, snapshot=root))
    take(db_machine, "right")
    volumes = sum(volume.capacity_bytes for volume in db_machine.volumes.all())
    assert use_of(people.acme) == (3, volumes)


def test_one_made_elsewhere_counts_from_its_adoption_on(people, web, cloud):
    cloud.world.take_elsewhere(web.native_id, "theirs", memory=True)
    cloud.sync()
    assert use_of(people.acme) == (0, 0)
    assert not OpenUsage.objects.filter(snapshot_name="theirs").exists()
    drift_actions.adopt_machine(acting(people.alice), machine=web)
    assert use_of(people.acme) == (1, web.memory_bytes)
    assert changes("theirs") == [UsageChange.ADOPT]


def test_a_lost_one_counts_for_nothing_and_its_billing_ends_when_that_is_found_out(people, web, cloud):
    lost = take(web, "lost")
    cloud.world.delete_elsewhere(web.native_id, lost.native_id)
    read_again(cloud)
    assert use_of(people.acme) == (0, 0)
    assert changes("lost") == [UsageChange.CREATE, UsageChange.DELETE]
    lost.refresh_from_db()
    drift_actions.acknowledge_lost(acting(people.alice), snapshot=lost)
    assert changes("lost") == [UsageChange.CREATE, UsageChange.DELETE]
    assert_books_agree()


def test_a_machine_takes_its_use_along_to_another_account(people, web):
    take(web, "one")
    held = use_of(people.acme)
    tenancy.assign_machine(SYSTEM, machine=web, account=people.other)
    assert use_of(people.acme) == use_of(people.engineering) == (0, 0)
    assert use_of(people.other) == use_of(people.elsewhere) == held
    assert changes("one") == [UsageChange.CREATE, UsageChange.TRANSFER]
    line = OpenUsage.objects.get()
    assert (line.account_uuid, line.domain_uuid) == (people.other.uuid, people.elsewhere.uuid)


def test_nobodys_machine_is_in_nobodys_use_and_is_not_billed(people, cloud):
    machine = cloud.machine("unassigned")
    take(machine, "one")
    assert not LimitUse.objects.exclude(snapshots=0).exists()
    assert not UsageEvent.objects.exists()
    tenancy.assign_machine(SYSTEM, machine=machine, account=people.acme)
    assert use_of(people.acme) == (1, 0)
    assert changes("one") == [UsageChange.CREATE]
    tenancy.assign_machine(SYSTEM, machine=machine, account=None)
    assert use_of(people.acme) == (0, 0)
    assert changes("one") == [UsageChange.CREATE, UsageChange.DELETE]


# What is billed


def test_the_life_of_a_vm_snapshot_is_told_by_usage_events(people, db_machine):
    first = take(db_machine, "first")
    run(request_revert(SYSTEM, snapshot=first))
    assert run(request_delete(SYSTEM, snapshot=first)).state == "succeeded"
    assert changes("first") == [UsageChange.CREATE, UsageChange.REVERT, UsageChange.DELETE]
    begun, reverted, ended = UsageEvent.objects.order_by("pk")
    assert (begun.alive, reverted.alive, ended.alive) == (True, True, False)
    assert begun.at <= reverted.at <= ended.at
    assert (begun.machine_name, begun.account_name, begun.domain_name) == ("db", "acme", "engineering")
    assert begun.volume_bytes == sum(volume.capacity_bytes for volume in db_machine.volumes.all())
    assert not OpenUsage.objects.exists()


def test_one_that_was_never_taken_is_never_billed(people, db_machine, cloud):
    cloud.world.refuse("create_snapshot", Rejected)
    assert run(request_create(acting(people.alice), machine=db_machine, name="failed")).state == "failed"
    assert not UsageEvent.objects.exists()


def test_one_that_was_never_taken_is_not_billed_either_while_its_row_is_being_deleted(people, db_machine, cloud):
    cloud.world.refuse("create_snapshot", Rejected)
    failed = run(request_create(acting(people.alice), machine=db_machine, name="failed")).snapshot
    request_delete(acting(people.alice), snapshot=failed)
    with transaction.atomic():
        ledger.settle([db_machine.pk])
    assert not UsageEvent.objects.exists()
    assert use_of(people.acme) == (0, 0)


def test_while_a_machine_is_missing_nobody_pays_for_it_and_it_takes_nobodys_room(people, db_machine, cloud):
    take(db_machine, "one")
    cloud.world.undefine(db_machine.native_id)
    read_again(cloud)
    assert use_of(people.acme) == use_of(people.organisation) == (0, 0)
    assert changes("one") == [UsageChange.CREATE, UsageChange.DELETE]
    assert allocations(db_machine) == {}
    assert_books_agree()


def test_a_machine_that_a_reading_of_its_own_does_not_find_is_not_billed_on(people, db_machine, cloud):
    take(db_machine, "one")
    cloud.world.undefine(db_machine.native_id)
    run(request_sync(acting(people.alice), machine=db_machine))
    assert changes("one") == [UsageChange.CREATE, UsageChange.DELETE]
    assert use_of(people.acme) == (0, 0)


def test_what_is_billed_again_after_a_clock_was_set_back_begins_after_what_ended(people, db_machine):
    take(db_machine, "one")
    tenancy.assign_machine(SYSTEM, machine=db_machine, account=None)
    with time_machine.travel(timezone.now() - timedelta(hours=3), tick=True):
        tenancy.assign_machine(SYSTEM, machine=db_machine, account=people.acme)
    assert changes("one") == [UsageChange.CREATE, UsageChange.DELETE, UsageChange.CREATE]


def test_many_machines_settled_at_once_lock_accounts_before_domains(people, cloud, monkeypatch):
    people.own(cloud)
    for name in ("web", "db", "foreign"):
        take(cloud.machine(name), "one")
    monkeypatch.setattr(ledger, "BATCH", 1)
    VirtualMachine.objects.update(booked_account=None, booked_snapshots=0, booked_bytes=0)
    LimitUse.objects.update(snapshots=0, estimated_bytes=0)
    with transaction.atomic(), CaptureQueriesContext(connection) as asked:
        ledger.settle(list(VirtualMachine.objects.values_list("pk", flat=True)))
    locks = [one["sql"] for one in asked if 'FROM "snapshots_limituse"' in one["sql"]]
    assert ["account_id" in sql.partition("WHERE")[2] for sql in locks] == [True, False]
    assert use_of(people.acme)[0] == 2
    assert use_of(people.other)[0] == 1


def test_a_branch_that_makes_another_one_larger_is_told_as_a_change_of_size(people, db_machine):
    root = take(db_machine, "root")
    left = take(db_machine, "left")
    run(request_revert(SYSTEM, snapshot=root))
    take(db_machine, "right")
    run(request_delete(SYSTEM, snapshot=left))
    assert changes("right") == [UsageChange.CREATE, UsageChange.RESIZE]
    sizes = UsageEvent.objects.filter(snapshot_name="right").order_by("pk").values_list("estimated_bytes", flat=True)
    assert list(sizes) == [sum(volume.capacity_bytes for volume in db_machine.volumes.all()), 0]


def test_a_clock_that_is_set_back_puts_no_event_before_the_one_it_follows(people, db_machine):
    snapshot = take(db_machine, "one")
    begun = UsageEvent.objects.get().at
    with time_machine.travel(timezone.now() - timedelta(hours=3), tick=True):
        run(request_delete(SYSTEM, snapshot=snapshot))
    ended = UsageEvent.objects.get(change=UsageChange.DELETE)
    assert ended.at >= begun


def test_reading_again_what_is_known_writes_nothing_in_the_books(people, web, cloud):
    take(web, "one")
    cloud.sync()
    before = state_of_books()
    read_again(cloud)
    assert state_of_books() == before


# What is allocated


@pytest.fixture
def two_pools(db) -> Cloud:
    """A cloud whose machine `m` has 10 GiB in the pool `default` and 20 GiB in `slow`."""
    disks = (Disk(name="a", capacity_bytes=10 * GIB), Disk(name="b", capacity_bytes=20 * GIB, pool="slow"))
    return Cloud((Machine("m", disks=disks),), pools=(Pool(), Pool("slow")))


def test_each_volume_is_counted_in_its_own_pool_and_memory_in_that_of_the_first(two_pools):
    machine = two_pools.machine("m")
    assert allocations(machine) == {"default": (10 * GIB, 0, 0), "slow": (20 * GIB, 0, 0)}
    root = take(machine, "root", memory=True)
    take(machine, "left", memory=True)
    run(request_revert(SYSTEM, snapshot=root))
    take(machine, "right", memory=True)
    memory = 3 * machine.memory_bytes
    assert allocations(machine) == {"default": (10 * GIB, 10 * GIB, memory), "slow": (20 * GIB, 20 * GIB, 0)}
    run(request_delete_tree(SYSTEM, snapshot=root))
    assert allocations(machine) == {"default": (10 * GIB, 0, 0), "slow": (20 * GIB, 0, 0)}


def test_one_made_elsewhere_is_allocated_though_it_counts_in_no_limit(people, web, cloud):
    cloud.world.take_elsewhere(web.native_id, "theirs", memory=True)
    cloud.sync()
    assert allocations(web)["default"][2] == web.memory_bytes


def test_what_is_measured_is_kept_beside_the_estimate(people, db_machine, cloud):
    cloud.world.write_disk(db_machine.native_id, "new", 7 * MIB)
    snapshot = take(db_machine, "one")
    row = MachineAllocation.objects.get(machine=db_machine)
    assert row.measured_bytes == snapshot.measured_bytes
    assert row.measured_bytes is not None

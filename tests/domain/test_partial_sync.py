"""Single machines are read as all of them are, in whatever order the readings come to be written down."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hypervisors import errors
from hypervisors.connections import open_driver
from hypervisors.drivers.simulated.world import Disk, Machine, many_machines
from hypervisors.models import Hypervisor
from hypervisors.records import Inventory, PowerState
from snapshots.models import Event, StoragePool, VirtualMachine, VMSnapshot, Volume
from snapshots.services import inventory_sync, machine_import
from snapshots.services.book_check import check_books
from snapshots.services.machine_actions import request_sync
from tests.builders import Cloud, acting, drawn, run, take
from tests.domain.scenes import DAY_SECONDS, later


def sync_some(cloud: Cloud, *machines: VirtualMachine | str) -> None:
    ids = [machine if isinstance(machine, str) else machine.native_id for machine in machines]
    with open_driver(cloud.hypervisor.pk) as driver:
        inventory_sync.sync_machines(cloud.hypervisor.pk, driver, ids)


def read(cloud: Cloud) -> Inventory:
    with open_driver(cloud.hypervisor.pk) as driver:
        return driver.read_inventory()


def state(machine: VirtualMachine) -> tuple[object, ...]:
    row = VirtualMachine.objects.get(pk=machine.pk)
    return row.name, row.power_state, row.missing_since is None, drawn(row)


# What is written


def test_what_changed_on_a_machine_is_taken_over_and_nothing_else(web, db_machine, cloud):
    take(web, "first")
    for machine in (web, db_machine):
        cloud.world.take_elsewhere(machine.native_id, "theirs")
        cloud.world.rename_machine(machine.native_id, f"{machine.name} renamed")
    with later(DAY_SECONDS):
        sync_some(cloud, web)
    assert state(web) == ("web renamed", "running", True, {"first": None, "theirs": "first"})
    assert state(db_machine) == ("db", "stopped", True, {})


def test_a_new_machine_appears_with_its_volumes_and_nobodys(cloud):
    native_id = cloud.world.define(Machine("new", disks=(Disk(capacity_bytes=11),)))
    sync_some(cloud, native_id)
    machine = cloud.machine("new")
    assert machine.account is None
    assert [volume.capacity_bytes for volume in machine.volumes.all()] == [11]
    assert Event.objects.filter(machine=machine, action="machine.appeared").count() == 1


def test_rules_give_a_new_machine_to_its_account(cloud, people):
    machine_import.add_rule(acting(people.root), account=people.acme, name_pattern="new*")
    sync_some(cloud, cloud.world.define(Machine("new one")))
    assert cloud.machine("new one").account == people.acme


def test_one_that_is_gone_is_marked_missing_and_keeps_its_snapshots(web, cloud):
    take(web, "first")
    cloud.world.undefine(web.native_id)
    with later(DAY_SECONDS):
        sync_some(cloud, web, "never heard of")
    assert state(web) == ("web", "unknown", False, {"first": None})
    assert Event.objects.filter(action="machine.vanished").count() == 1


def test_its_volumes_are_let_go_and_those_of_others_are_left_alone(web, db_machine, cloud):
    data = Volume.objects.get(name="web-data")
    cloud.world._write("UPDATE volume SET machine_id = NULL, target = '' WHERE native_id = ?", data.native_id)
    others = list(Volume.objects.exclude(machine=web).order_by("pk").values())
    with later(DAY_SECONDS):
        sync_some(cloud, web)
    data.refresh_from_db()
    assert (data.machine_id, data.target, data.missing_since) == (None, "", None)
    assert list(Volume.objects.exclude(machine=web).exclude(pk=data.pk).order_by("pk").values()) == others


def test_a_volume_is_taken_from_a_machine_that_was_not_asked_for_by_the_next_whole_reading_only(
    web, db_machine, people, cloud
):
    """Nobody holds that machine meanwhile: a VM snapshot taken of it just then would be counted wrongly."""
    data = Volume.objects.get(name="web-data")
    cloud.world._write(
        "UPDATE volume SET machine_id = ?, target = 'vdb' WHERE native_id = ?", db_machine.native_id, data.native_id
    )
    sync_some(cloud, db_machine)
    run(request_sync(acting(people.root), machine=db_machine))
    data.refresh_from_db()
    assert (data.machine_id, data.target) == (web.pk, "vdb")
    with later(DAY_SECONDS):
        cloud.sync()
    data.refresh_from_db()
    assert (data.machine_id, data.target) == (db_machine.pk, "vdb")
    assert check_books(repair=False) == []


def test_the_endpoint_as_a_whole_is_not_said_to_have_been_read(web, cloud):
    before = Hypervisor.objects.get(pk=cloud.hypervisor.pk).synced_at
    sync_some(cloud, web)
    assert Hypervisor.objects.get(pk=cloud.hypervisor.pk).synced_at == before
    assert VirtualMachine.objects.get(pk=web.pk).synced_at > before


def test_an_endpoint_set_to_adopt_adopts(web, cloud):
    Hypervisor.objects.filter(pk=cloud.hypervisor.pk).update(adopt_automatically=True)
    cloud.world.take_elsewhere(web.native_id, "theirs")
    sync_some(cloud, web)
    assert VMSnapshot.objects.get(name="theirs").counts


# In which order


def test_a_reading_that_began_earlier_has_nothing_to_say(web, db_machine, cloud):
    began = timezone.now()
    early = read(cloud)
    cloud.world.take_elsewhere(web.native_id, "theirs")
    cloud.world.set_power(web.native_id, PowerState.STOPPED)
    new = cloud.world.define(Machine("new"))
    cloud.world.undefine(db_machine.native_id)
    sync_some(cloud, web, db_machine, new)
    inventory_sync.apply_inventory(cloud.hypervisor.pk, early, began)
    assert state(web) == ("web", "stopped", True, {"theirs": None})
    assert VirtualMachine.objects.get(pk=db_machine.pk).missing_since is not None
    assert VirtualMachine.objects.get(native_id=new).missing_since is None


def test_a_volume_that_moved_since_an_earlier_reading_stays_where_it_is(web, db_machine, cloud):
    began = timezone.now()
    early = read(cloud)
    data = Volume.objects.get(name="web-data")
    cloud.world._write(
        "UPDATE volume SET machine_id = ?, target = 'vdb' WHERE native_id = ?", db_machine.native_id, data.native_id
    )
    sync_some(cloud, web, db_machine)
    inventory_sync.apply_inventory(cloud.hypervisor.pk, early, began)
    data.refresh_from_db()
    assert (data.machine_id, data.target, data.missing_since) == (db_machine.pk, "vdb", None)


def test_an_earlier_reading_of_single_machines_has_nothing_to_say_either(web, cloud, monkeypatch):
    real = inventory_sync.machine_identity.lock_kind

    def read_all_meanwhile(hypervisor_pk: int) -> Hypervisor:
        monkeypatch.setattr(inventory_sync.machine_identity, "lock_kind", real)
        cloud.world.rename_machine(web.native_id, "renamed")
        cloud.sync()
        return real(hypervisor_pk)

    monkeypatch.setattr(inventory_sync.machine_identity, "lock_kind", read_all_meanwhile)
    sync_some(cloud, web)
    assert state(web)[0] == "renamed"


def test_a_machine_on_which_a_job_is_under_way_is_left_alone(web, people, cloud):
    job = request_sync(acting(people.alice), machine=web)
    cloud.world.set_power(web.native_id, PowerState.STOPPED)
    cloud.world.take_elsewhere(web.native_id, "theirs")
    sync_some(cloud, web)
    assert state(web) == ("web", "running", True, {})
    run(job)
    assert state(web) == ("web", "stopped", True, {"theirs": None})


def test_a_clock_that_was_set_back_holds_up_no_reading(web, cloud):
    VirtualMachine.objects.filter(pk=web.pk).update(synced_at=timezone.now() + timedelta(hours=1))
    cloud.world.rename_machine(web.native_id, "renamed")
    cloud.sync()
    assert state(web)[0] == "renamed"
    assert VirtualMachine.objects.get(pk=web.pk).synced_at <= timezone.now()


# What it costs


def test_it_asks_once_for_each_machine_and_once_for_all_trees(web, db_machine, cloud):
    cloud.world.forget_calls()
    sync_some(cloud, web, db_machine)
    assert cloud.world.calls() == {"connect": 1, "read_machine": 2, "list_forests": 1}


def test_nothing_is_written_when_a_reading_fails(web, db_machine, cloud):
    cloud.world.rename_machine(db_machine.native_id, "renamed")
    cloud.world.refuse("read_machine", errors.Unreachable, machine_id=web.native_id)
    with pytest.raises(errors.Unreachable):
        sync_some(cloud, db_machine, web)
    assert state(db_machine)[0] == "db"


def test_unchanged_machines_cost_the_same_few_queries_however_many(db):
    def queries(count: int) -> int:
        cloud = Cloud(tuple(many_machines(count, 3)))
        with CaptureQueriesContext(connection) as found:
            sync_some(cloud, *VirtualMachine.objects.filter(hypervisor=cloud.hypervisor))
        return len(found)

    few = queries(2)
    assert queries(40) == few
    assert few < 20


def test_a_pool_nobody_knew_is_read_along(cloud):
    cloud.world._write(
        "INSERT INTO pool SELECT 'second', 'second', kind, total_bytes, other_bytes, active FROM pool LIMIT 1"
    )
    machine = cloud.machine("web")
    cloud.world._write("UPDATE volume SET pool_id = 'second' WHERE machine_id = ?", machine.native_id)
    cloud.world.forget_calls()
    sync_some(cloud, machine)
    assert cloud.world.calls()["list_pools"] == 1
    assert {volume.pool for volume in machine.volumes.all()} == {StoragePool.objects.get(name="second")}

"""What is read from a hypervisor is what stands here, nobody's doing is taken for another's, and reading costs the same
however much there is."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hypervisors.connections import open_driver
from hypervisors.drivers.simulated.world import Disk, Machine, many_machines
from hypervisors.records import PowerState
from snapshots import tree, tree_resync
from snapshots.choices import JobState
from snapshots.models import Event, Job, StoragePool, VirtualMachine, VMSnapshot, Volume
from snapshots.services import inventory_sync, tenancy
from snapshots.services.machine_actions import request_attach, request_detach, request_start, request_sync
from snapshots.services.snapshot_actions import request_create, request_delete
from tests.builders import Cloud, acting, drawn, run, take
from tests.domain.scenes import read_again


def told(machine: VirtualMachine) -> list[str]:
    """What was written down about the machine without a job, oldest first."""
    return list(Event.objects.filter(machine=machine, job=None).order_by("pk").values_list("action", flat=True))


def read_during(cloud: Cloud, meanwhile) -> None:
    """An endpoint is read; before what was read is written down, something happens."""
    read_from = timezone.now()
    with open_driver(cloud.hypervisor.pk) as driver:
        inventory = driver.read_inventory()
    meanwhile()
    inventory_sync.apply_inventory(cloud.hypervisor.pk, inventory, read_from)


def test_a_machine_that_appears_belongs_to_nobody_and_stands_at_its_beginning(cloud):
    cloud.world.define(Machine("new", memory_bytes=7, disks=(Disk(capacity_bytes=11), Disk(capacity_bytes=13))))
    cloud.sync()
    machine = cloud.machine("new")
    assert (machine.account, machine.memory_bytes, machine.power_state) == (None, 7, "running")
    assert machine.abilities.memory.allowed
    assert tree.current_of(machine.pk).is_anchor
    assert {(row.target, row.capacity_bytes) for row in machine.volumes.all()} == {("vda", 11), ("vdb", 13)}
    assert told(machine) == ["machine.appeared"]


def test_what_changes_on_a_machine_is_taken_over(web, cloud):
    cloud.world.set_power(web.native_id, PowerState.STOPPED)
    cloud.world.set_agent(web.native_id, True)
    cloud.sync()
    web.refresh_from_db()
    assert web.power_state == "stopped"
    assert web.abilities.quiesce.allowed
    assert web.account.name == "acme"


def test_a_machine_renamed_elsewhere_keeps_its_owner_and_its_snapshots(web, cloud):
    take(web, "first")
    cloud.world.rename_machine(web.native_id, "web2")
    cloud.sync()
    web.refresh_from_db()
    assert (web.name, web.account.name, list(drawn(web))) == ("web2", "acme", ["first"])
    assert told(web)[-1] == "machine.renamed"


def test_a_machine_that_vanishes_is_told_of_once_and_keeps_its_snapshots(web, people, cloud):
    take(web, "first")
    cloud.world.undefine(web.native_id)
    cloud.sync()
    cloud.sync()
    run(request_sync(acting(people.alice), machine=web))
    run(request_sync(acting(people.alice), machine=web))
    web.refresh_from_db()
    assert web.missing_since is not None
    assert web.power_state == "unknown"
    assert told(web).count("machine.vanished") == 1
    assert VMSnapshot.objects.get(machine=web, name="first").state == "Ready"


def test_a_machine_that_returns_is_the_same_one_and_what_it_lost_is_shown(web, cloud):
    take(web, "first")
    cloud.world.undefine(web.native_id)
    cloud.sync()
    cloud.world.define(Machine("web", native_id=web.native_id))
    cloud.sync()
    web.refresh_from_db()
    assert (web.missing_since, web.account.name) == (None, "acme")
    assert VMSnapshot.objects.get(machine=web, name="first").state == "Error"
    assert told(web)[-4:] == ["machine.vanished", "machine.returned", "snapshot.vanished", "snapshot.current"]


def test_volumes_move_between_machines_and_become_loose(web, db_machine, cloud):
    native_id = Volume.objects.get(machine=web, name="web-data").native_id
    for machine, target in ((db_machine, "vdb"), (None, "")):
        cloud.world._write(
            "UPDATE volume SET machine_id = ?, target = ? WHERE native_id = ?",
            machine.native_id if machine else None,
            target,
            native_id,
        )
        cloud.sync()
        volume = Volume.objects.get(native_id=native_id)
        assert (volume.machine_id, volume.target) == (machine.pk if machine else None, target)
        assert volume.account.name == "acme"


def test_reading_one_machine_leaves_the_volumes_of_all_others_alone(web, db_machine, people, cloud):
    taken = Volume.objects.get(machine=web, name="web-data")
    others = list(Volume.objects.exclude(pk=taken.pk).order_by("pk").values())
    cloud.world._write("UPDATE volume SET machine_id = NULL, target = '' WHERE native_id = ?", taken.native_id)
    run(request_sync(acting(people.alice), machine=web))
    taken.refresh_from_db()
    assert (taken.machine_id, taken.target, taken.missing_since) == (None, "", None)
    assert list(Volume.objects.exclude(pk=taken.pk).order_by("pk").values()) == others


def test_a_volume_that_is_gone_is_marked_missing_and_found_again(cloud):
    native_id = cloud.world.add_loose(Disk(name="short-lived"))
    cloud.sync()
    cloud.world._write("UPDATE volume SET native_id = 'hidden' WHERE native_id = ?", native_id)
    cloud.sync()
    assert Volume.objects.get(native_id=native_id).missing_since is not None
    cloud.world._write("UPDATE volume SET native_id = ? WHERE native_id = 'hidden'", native_id)
    cloud.sync()
    assert Volume.objects.get(native_id=native_id).missing_since is None


def test_pools_are_read_and_marked_when_they_go(cloud):
    pool = StoragePool.objects.get(hypervisor=cloud.hypervisor)
    assert pool.total_bytes > pool.free_bytes > 0
    cloud.world._write("UPDATE pool SET active = 0")
    cloud.sync()
    pool.refresh_from_db()
    assert (pool.active, pool.total_bytes, pool.free_bytes) == (False, None, None)
    cloud.world._write("DELETE FROM pool")
    cloud.sync()
    pool.refresh_from_db()
    assert pool.missing_since is not None


def test_the_endpoint_says_what_it_is_and_when_it_was_read(cloud):
    cloud.hypervisor.refresh_from_db()
    assert cloud.hypervisor.product == "Simulated hypervisor"
    assert cloud.hypervisor.state == "reachable"
    assert cloud.hypervisor.synced_at is not None
    assert cloud.hypervisor.native_id != ""


def test_an_endpoint_that_goes_and_comes_back_is_told_of_once_each(cloud):
    cloud.world.set_down(True)
    assert cloud.sync().error_code == "hypervisor_unreachable"
    cloud.sync()
    cloud.world.set_down(False)
    cloud.sync()
    cloud.sync()
    seen = Event.objects.filter(hypervisor=cloud.hypervisor, action__startswith="hypervisor.").order_by("pk")
    assert list(seen.values_list("action", flat=True)) == [
        "hypervisor.added",
        "hypervisor.unreachable",
        "hypervisor.reachable",
    ]


def test_an_endpoint_that_is_down_changes_nothing_of_what_is_known(web, cloud):
    take(web, "first")
    before = list(VMSnapshot.objects.order_by("pk").values()), list(VirtualMachine.objects.order_by("pk").values())
    cloud.world.set_down(True)
    cloud.sync()
    after = list(VMSnapshot.objects.order_by("pk").values()), list(VirtualMachine.objects.order_by("pk").values())
    assert after == before


# What happens while it is read


def test_a_machine_on_which_a_job_is_under_way_is_left_alone(web, people, cloud):
    job = request_create(acting(people.alice), machine=web, name="ours")
    cloud.world.take_elsewhere(web.native_id, "theirs")
    cloud.world.set_power(web.native_id, PowerState.STOPPED)
    cloud.sync()
    web.refresh_from_db()
    assert (web.power_state, list(drawn(web))) == ("running", ["ours"])
    run(job)
    read_again(cloud)
    assert set(drawn(web)) == {"ours", "theirs"}


def test_a_snapshot_deleted_while_the_endpoint_was_read_does_not_come_back(web, people, cloud):
    row = take(web, "first")
    read_during(cloud, lambda: run(request_delete(acting(people.alice), snapshot=row)))
    assert drawn(web) == {}


def test_a_snapshot_taken_while_the_endpoint_was_read_is_not_taken_for_lost(web, cloud):
    read_during(cloud, lambda: take(web, "first"))
    assert VMSnapshot.objects.get(machine=web, name="first").state == "Ready"


def test_a_machine_started_while_the_endpoint_was_read_stays_running(db_machine, people, cloud):
    read_during(cloud, lambda: run(request_start(acting(people.alice), machine=db_machine)))
    db_machine.refresh_from_db()
    assert db_machine.power_state == "running"


def test_a_volume_moved_by_us_while_the_endpoint_was_read_stays_where_it_went(web, db_machine, people, cloud):
    alice = acting(people.alice)
    data = Volume.objects.get(machine=web, name="web-data")
    read_during(cloud, lambda: run(request_detach(alice, volume=data)))
    data.refresh_from_db()
    assert (data.machine_id, data.missing_since) == (None, None)
    read_during(cloud, lambda: run(request_attach(alice, volume=data, machine=db_machine)))
    data.refresh_from_db()
    assert (data.machine_id, data.missing_since) == (db_machine.pk, None)
    read_again(cloud)
    data.refresh_from_db()
    assert (data.machine_id, data.target) == (db_machine.pk, "vdb")


def test_one_tree_that_cannot_be_written_does_not_keep_the_others_from_it(web, db_machine, cloud, monkeypatch):
    for machine in (web, db_machine):
        cloud.world.take_elsewhere(machine.native_id, "theirs")
    real = tree_resync.resync

    def fail_for_web(machine_pk, forest):
        if machine_pk == web.pk:
            raise DatabaseError("a value that does not fit")
        return real(machine_pk, forest)

    monkeypatch.setattr(tree_resync, "resync", fail_for_web)
    with pytest.raises(DatabaseError):
        cloud.sync()
    assert list(drawn(db_machine)) == ["theirs"]
    assert drawn(web) == {}
    assert Job.objects.order_by("-pk")[0].error_code == "internal_error"
    monkeypatch.undo()
    assert cloud.sync().state == JobState.SUCCEEDED
    assert list(drawn(web)) == ["theirs"]


# What it costs


def test_reading_again_what_has_not_changed_writes_to_no_tree_and_leaves_no_event(web, cloud):
    for name in ("first", "second"):
        take(web, name)
    cloud.world.take_elsewhere(web.native_id, "first")
    cloud.sync()
    events = Event.objects.count()
    with CaptureQueriesContext(connection) as queries:
        cloud.sync()
    written = [query["sql"] for query in queries if not query["sql"].startswith(("SELECT", "SAVEPOINT", "RELEASE"))]
    assert not [sql for sql in written if "snapshots_vmsnapshot" in sql or "snapshots_volume" in sql]
    assert Event.objects.count() == events


def test_reading_takes_the_same_number_of_queries_for_many_machines_as_for_few(db):
    def queries(count: int) -> int:
        cloud = Cloud(tuple(many_machines(count, 3)))
        with CaptureQueriesContext(connection) as found:
            cloud.sync()
        return len(found)

    few = queries(2)
    assert queries(40) == few
    assert few <= 32


def test_looking_at_one_machine_after_a_job_does_not_cost_more_on_a_larger_endpoint(people):
    def queries(count: int) -> int:
        cloud = Cloud(tuple(many_machines(count, 2)))
        machine = cloud.machine("machine-00000")
        job = request_create(acting(people.root), machine=machine, name="new")
        with CaptureQueriesContext(connection) as found:
            run(job)
        return len(found)

    assert queries(2) == queries(30)


def test_a_reading_says_how_old_it_is(web, cloud):
    VirtualMachine.objects.filter(pk=web.pk).update(synced_at=web.synced_at - timedelta(days=1))
    cloud.sync()
    web.refresh_from_db()
    assert web.synced_at > web.created_at


def test_machines_given_to_others_keep_what_was_read(web, people, cloud):
    take(web, "first")
    tenancy.assign_machine(acting(people.root), machine=web, account=people.other)
    cloud.sync()
    web.refresh_from_db()
    assert (web.account.name, list(drawn(web))) == ("other", ["first"])
    assert set(Volume.objects.filter(machine=web).values_list("account__name", flat=True)) == {"other"}

"""A machine that vanishes, returns, is renamed or moves between pools and endpoints stays the same row, with its owner, its
tree and its jobs, in whatever order the endpoints are read."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hypervisors.connections import open_driver
from hypervisors.drivers.simulated.world import Disk, Machine, Taken
from hypervisors.models import Hypervisor
from hypervisors.records import PowerState
from snapshots import tree
from snapshots.access import SYSTEM
from snapshots.models import Event, Job, StoragePool, VirtualMachine, VMSnapshot, Volume
from snapshots.services import drift_actions, inventory_sync, machine_actions, snapshot_actions, tenancy
from tests.builders import Cloud, acting, current_name, drawn, run, schedule, take
from tests.domain.scenes import read_again

NATIVE = "5f3c0000-0000-4000-8000-000000000001"


class Move:
    """A machine `web` of Alice's at the endpoint `a`, with the VM snapshots one (ours) and two below it (made elsewhere and
    adopted), and an endpoint `b` of the same kind beside it."""

    def __init__(self, people) -> None:
        self.people = people
        self.a = Cloud((Machine("web", native_id=NATIVE, power=PowerState.STOPPED), Machine("stays")))
        self.b = Cloud((Machine("other"),))
        tenancy.assign_machine(SYSTEM, machine=self.a.machine("web"), account=people.acme)
        self.row = self.a.machine("web")
        take(self.row, "one", people.alice)
        self.a.world.take_elsewhere(NATIVE, "two")
        read_again(self.a)
        drift_actions.adopt_machine(SYSTEM, machine=self.row)
        self.uuids = dict(VMSnapshot.objects.real().filter(machine=self.row).values_list("name", "uuid"))

    def arrive(self, cloud: Cloud | None = None) -> None:
        """It is at `b`, with the same two snapshots under other native ids, as hypervisors do it."""
        rows = VMSnapshot.objects.real().filter(machine=self.row).order_by("created_at")
        now = timezone.now()
        taken = [
            Taken(
                row.name,
                parent=None if row.parent.is_anchor else 0,
                token=str(row.uuid) if row.origin == "vmsnap" else None,
                age_seconds=(now - row.created_at).total_seconds(),
            )
            for row in rows
        ]
        world = (cloud or self.b).world
        world.define(Machine("web", native_id=NATIVE, power=PowerState.STOPPED, snapshots=taken))
        for native_id, name in world.snapshot_names(NATIVE).items():
            created_at = rows.get(name=name).created_at.timestamp()
            world._write("UPDATE snapshot SET created_at = ? WHERE native_id = ?", created_at, native_id)

    def leave(self) -> None:
        """It is not at `a` any more."""
        self.a.world.undefine(NATIVE)

    def assert_moved(self) -> None:
        """The one row, with all that was its own, is at `b`."""
        row = VirtualMachine.objects.get(native_id=NATIVE)
        assert (row.pk, row.uuid) == (self.row.pk, self.row.uuid)
        assert (row.hypervisor_id, row.missing_since) == (self.b.hypervisor.pk, None)
        assert row.account == self.people.acme
        assert row.power_state == "stopped"
        read_again(self.b)
        assert drawn(row) == {"one": None, "two": "one"}
        assert dict(VMSnapshot.objects.real().filter(machine=row).values_list("name", "uuid")) == self.uuids
        assert not VMSnapshot.objects.filter(machine=row).exclude(state="Ready").exists()
        assert current_name(row) == "two"
        assert tree.damaged_machines() == []
        assert Job.objects.filter(machine=row, action="create_snapshot").count() == 1
        assert list(Volume.objects.filter(machine=row).values_list("hypervisor", "account__name")) == [
            (self.b.hypervisor.pk, "acme")
        ]
        event = Event.objects.get(action="machine.moved")
        assert (event.machine_id, event.account) == (row.pk, self.people.acme)
        assert self.a.name in event.detail
        assert self.b.name in event.detail
        assert self.works_there()

    def works_there(self) -> bool:
        job = run(snapshot_actions.request_create(acting(self.people.alice), machine=self.row, name="three"))
        assert job.hypervisor_id == self.b.hypervisor.pk
        return job.state == "succeeded" and "three" in self.b.world.snapshot_names(NATIVE).values()


@pytest.fixture
def move(people) -> Move:
    """A machine about to move."""
    return Move(people)


# Between endpoints


def test_one_that_left_before_it_is_found_elsewhere_moves(move):
    move.leave()
    read_again(move.a)
    assert VirtualMachine.objects.get(pk=move.row.pk).missing_since is not None
    move.arrive()
    read_again(move.b)
    move.assert_moved()


def test_one_found_elsewhere_before_it_left_takes_the_place_of_the_fresh_row(move):
    move.arrive()
    read_again(move.b)
    fresh = move.b.machine("web")
    assert (fresh.account, fresh.pk != move.row.pk) == (None, True)
    assert VirtualMachine.objects.get(pk=move.row.pk).hypervisor_id == move.a.hypervisor.pk
    move.leave()
    read_again(move.a)
    move.assert_moved()
    assert not VirtualMachine.objects.filter(pk=fresh.pk).exists()


def test_where_it_is_found_first_does_not_matter_when_both_are_read_after_the_move(move):
    move.leave()
    move.arrive()
    read_again(move.b)
    read_again(move.a)
    move.assert_moved()


def test_one_seen_at_both_for_long_stays_at_the_first_and_moves_once_it_left(move):
    move.arrive()
    for _ in range(2):
        read_again(move.b)
        read_again(move.a)
    assert VirtualMachine.objects.filter(native_id=NATIVE).count() == 2
    assert not Event.objects.filter(action="machine.moved").exists()
    move.leave()
    read_again(move.a)
    move.assert_moved()


def test_one_that_comes_back_moves_back(move):
    move.leave()
    move.arrive()
    for cloud in (move.a, move.b):
        read_again(cloud)
    move.b.world.undefine(NATIVE)
    read_again(move.b)
    move.arrive(move.a)
    read_again(move.a)
    row = VirtualMachine.objects.get(native_id=NATIVE)
    assert (row.pk, row.hypervisor_id, row.missing_since) == (move.row.pk, move.a.hypervisor.pk, None)
    assert Event.objects.filter(action="machine.moved").count() == 2
    read_again(move.a)
    assert drawn(row) == {"one": None, "two": "one"}


def test_a_fresh_row_given_to_the_same_account_still_makes_room(move):
    move.arrive()
    read_again(move.b)
    tenancy.assign_machine(SYSTEM, machine=move.b.machine("web"), account=move.people.acme)
    move.leave()
    read_again(move.a)
    move.assert_moved()


def give_away(move: Move) -> None:
    tenancy.assign_machine(SYSTEM, machine=move.b.machine("web"), account=move.people.other)


def decide_that_it_is_nobodys(move: Move) -> None:
    give_away(move)
    tenancy.assign_machine(SYSTEM, machine=move.b.machine("web"), account=None)


def adopt(move: Move) -> None:
    drift_actions.adopt_machine(SYSTEM, machine=move.b.machine("web"))


def work(move: Move) -> None:
    run(machine_actions.request_start(acting(move.people.root), machine=move.b.machine("web")))


def schedule_one(move: Move) -> None:
    tenancy.assign_machine(SYSTEM, machine=move.b.machine("web"), account=move.people.acme)
    schedule(move.b.machine("web"))


@pytest.mark.parametrize(
    "touch", [give_away, decide_that_it_is_nobodys, adopt, work, schedule_one], ids=lambda touch: touch.__name__
)
def test_a_fresh_row_that_somebody_did_something_with_stays_beside_the_missing_one(move, touch):
    move.arrive()
    read_again(move.b)
    touch(move)
    fresh = move.b.machine("web")
    move.leave()
    read_again(move.a)
    assert VirtualMachine.objects.get(pk=move.row.pk).missing_since is not None
    assert VirtualMachine.objects.get(pk=fresh.pk).missing_since is None
    assert not Event.objects.filter(action="machine.moved").exists()


def test_a_machine_of_the_same_id_on_another_kind_is_another_machine(move):
    Hypervisor.objects.filter(pk=move.b.hypervisor.pk).update(kind="libvirt")
    move.leave()
    read_again(move.a)
    move.arrive()
    Hypervisor.objects.filter(pk=move.b.hypervisor.pk).update(kind="simulated")
    Hypervisor.objects.filter(pk=move.a.hypervisor.pk).update(kind="libvirt")
    read_again(move.b)
    assert VirtualMachine.objects.filter(native_id=NATIVE).count() == 2
    assert move.b.machine("web").account is None


def test_a_machine_does_not_move_while_a_job_holds_it_and_does_afterwards(move):
    move.leave()
    read_again(move.a)
    job = machine_actions.request_sync(acting(move.people.alice), machine=move.row)
    move.arrive()
    read_again(move.b)
    assert VirtualMachine.objects.get(native_id=NATIVE).hypervisor_id == move.a.hypervisor.pk
    run(job)
    read_again(move.b)
    move.assert_moved()


def test_a_snapshot_deleted_on_the_way_is_lost_and_one_made_on_the_way_is_marked(move):
    move.leave()
    read_again(move.a)
    move.arrive()
    natives = {name: native_id for native_id, name in move.b.world.snapshot_names(NATIVE).items()}
    move.b.world.delete_elsewhere(NATIVE, natives["one"])
    move.b.world.take_elsewhere(NATIVE, "new")
    read_again(move.b)
    rows = {row.name: row for row in VMSnapshot.objects.real().filter(machine=move.row)}
    assert rows["one"].lost
    assert (rows["two"].uuid, rows["two"].state) == (move.uuids["two"], "Ready")
    assert not rows["new"].counts


def test_an_action_right_after_a_move_finds_its_snapshot_by_looking_first(move):
    move.arrive()
    read_again(move.b)
    move.leave()
    read_again(move.a)
    one = VMSnapshot.objects.get(machine=move.row, name="one")
    job = run(snapshot_actions.request_delete(acting(move.people.alice), snapshot=one))
    assert (job.state, job.error_detail) == ("succeeded", "")
    assert list(move.b.world.snapshot_names(NATIVE).values()) == ["two"]
    assert drawn(move.row) == {"two": None}


def test_others_of_both_endpoints_stay_where_they_are(move):
    before = {row.native_id: (row.pk, row.hypervisor_id) for row in VirtualMachine.objects.exclude(native_id=NATIVE)}
    move.leave()
    move.arrive()
    for cloud in (move.a, move.b):
        read_again(cloud)
    after = {row.native_id: (row.pk, row.hypervisor_id) for row in VirtualMachine.objects.exclude(native_id=NATIVE)}
    assert after == before


# Between storage pools


def test_a_disk_moved_to_another_pool_changes_its_pool_and_nothing_else(people):
    cloud = Cloud((Machine("web", disks=(Disk(name="root"),)),))
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("web"), account=people.acme)
    machine, volume = cloud.machine("web"), Volume.objects.get(name="root")
    take(machine, "one")
    cloud.world._write(
        "INSERT INTO pool SELECT 'second', 'second', kind, total_bytes, other_bytes, active FROM pool LIMIT 1"
    )
    cloud.world._write("UPDATE volume SET pool_id = 'second' WHERE native_id = ?", volume.native_id)
    read_again(cloud)
    moved = Volume.objects.get(name="root")
    assert (moved.pk, moved.pool, moved.machine) == (volume.pk, StoragePool.objects.get(name="second"), machine)
    assert drawn(machine) == {"one": None}
    assert not Event.objects.filter(action__in=("machine.moved", "machine.vanished", "snapshot.moved")).exists()


# In reading single machines


def sync_some(cloud: Cloud, *native_ids: str) -> None:
    with open_driver(cloud.hypervisor.pk) as driver:
        inventory_sync.sync_machines(cloud.hypervisor.pk, driver, native_ids)


@pytest.mark.parametrize("found_first", [False, True])
def test_single_machines_move_as_in_a_reading_of_all(move, found_first):
    move.leave()
    move.arrive()
    steps = [lambda: sync_some(move.a, NATIVE), lambda: sync_some(move.b, NATIVE)]
    for step in reversed(steps) if found_first else steps:
        step()
    move.assert_moved()


def test_the_rule_about_old_readings_holds_for_a_machine_that_moved(move):
    """A reading of `a` that began before the move still has the machine; it must not bring it back."""
    read_from = timezone.now()
    with open_driver(move.a.hypervisor.pk) as driver:
        stale = driver.read_inventory()
    move.leave()
    move.arrive()
    for cloud in (move.a, move.b):
        read_again(cloud)
    inventory_sync.apply_inventory(move.a.hypervisor.pk, stale, read_from - timedelta(seconds=1))
    row = VirtualMachine.objects.get(pk=move.row.pk)
    assert (row.hypervisor_id, row.account) == (move.b.hypervisor.pk, move.people.acme)
    read_again(move.a)
    move.assert_moved()


def test_a_copy_that_nobody_wanted_goes_with_its_row(move):
    move.arrive()
    read_again(move.b)
    move.b.world.undefine(NATIVE)
    read_again(move.b)
    row = VirtualMachine.objects.get(native_id=NATIVE)
    assert (row.pk, row.hypervisor_id, row.missing_since) == (move.row.pk, move.a.hypervisor.pk, None)
    assert not Event.objects.filter(action="machine.moved").exists()

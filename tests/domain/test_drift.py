"""What others do on the hypervisor is seen, counts for nothing until it is adopted, and what they take away is never
dropped in silence."""

from hypervisors.drivers.simulated.world import Machine, Taken
from snapshots import tree
from snapshots.access import SYSTEM
from snapshots.choices import Origin, SnapshotState
from snapshots.models import Event, VMSnapshot
from snapshots.services import machine_actions, tenancy, tree_sync
from snapshots.services.drift_actions import acknowledge_lost, adopt_machine, adopt_snapshot
from snapshots.services.snapshot_actions import request_delete, request_rename
from tests.builders import Cloud, current_name, drawn, run, take
from tests.domain.drifting import counts, lose, made_elsewhere, told
from tests.domain.refusing import assert_refused
from tests.domain.scenes import read_again

# What vanishes


def test_ours_that_vanish_are_marked_lost_with_a_warning(web, cloud):
    row = lose(cloud, take(web, "ours"))
    assert (row.state, row.error_code, row.lost) == (SnapshotState.ERROR, "gone_on_hypervisor", True)
    assert counts(web) == (1, 0, 1)
    event = Event.objects.get(action="snapshot.vanished")
    assert (event.level, event.snapshot_name) == (Event.Level.WARNING, "ours")


def test_adopted_ones_that_vanish_are_lost_like_those_taken_here(web, theirs, alice, cloud):
    adopt_snapshot(alice, snapshot=theirs)
    assert lose(cloud, theirs).lost


def test_one_made_elsewhere_and_not_adopted_goes_with_an_event_and_its_children_move_up(web, theirs, cloud):
    take(web, "ours")
    cloud.world.delete_elsewhere(web.native_id, theirs.native_id)
    read_again(cloud)
    assert drawn(web) == {"ours": None}
    assert counts(web) == (1, 0, 0)
    event = Event.objects.get(action="snapshot.removed_elsewhere")
    assert (event.snapshot_uuid, event.snapshot_name, event.level) == (theirs.uuid, "theirs", Event.Level.INFO)
    assert tree.damaged_machines() == []


def test_a_lost_row_below_one_that_goes_moves_up_too(web, theirs, cloud):
    lost = take(web, "ours")
    cloud.world.delete_elsewhere(web.native_id, lost.native_id)
    cloud.world.delete_elsewhere(web.native_id, theirs.native_id)
    read_again(cloud)
    assert drawn(web) == {"ours": None}
    assert current_name(web) is None
    assert tree.damaged_machines() == []


def test_one_made_again_elsewhere_under_the_same_name_takes_that_name(web, theirs, cloud):
    cloud.world.delete_elsewhere(web.native_id, theirs.native_id)
    again = made_elsewhere(cloud, web, "theirs")
    assert again.pk != theirs.pk
    assert drawn(web) == {"theirs": None}


def test_a_lost_one_that_comes_back_is_ready_again_with_an_event(web, cloud):
    row = take(web, "ours")
    lose(cloud, row)
    cloud.world.take_elsewhere(web.native_id, "ours", token=str(row.uuid))
    read_again(cloud)
    row.refresh_from_db()
    assert (row.state, row.error_code, row.origin) == (SnapshotState.READY, "", Origin.VMSNAP)
    assert counts(web) == (1, 0, 0)
    assert "snapshot.returned" in told(web)


def test_one_whose_fate_was_unknown_and_that_is_gone_counts_as_lost(web, alice, cloud):
    row = take(web, "ours")
    tree.set_state(row.pk, SnapshotState.ERROR, code="outcome_unknown", detail="?")
    assert lose(cloud, row).lost


# Acknowledging


def test_a_lost_one_is_acknowledged_and_its_row_goes(web, alice, cloud):
    first, _ = take(web, "first"), take(web, "second")
    lose(cloud, first)
    cloud.world.forget_calls()
    acknowledge_lost(alice, snapshot=first)
    assert cloud.world.calls() == {}
    assert drawn(web) == {"second": None}
    assert counts(web) == (1, 0, 0)
    event = Event.objects.get(action="snapshot.acknowledged")
    assert (event.user_name, event.snapshot_uuid, event.snapshot_name) == ("alice", first.uuid, "first")
    read_again(cloud)
    assert drawn(web) == {"second": None}


def test_the_name_of_an_acknowledged_one_is_free_again(web, alice, cloud):
    acknowledge_lost(alice, snapshot=lose(cloud, take(web, "ours")))
    take(web, "ours")


def test_a_lost_one_is_acknowledged_also_while_its_machine_or_endpoint_is_away(web, alice, cloud):
    row = lose(cloud, take(web, "ours"))
    cloud.world.undefine(web.native_id)
    read_again(cloud)
    cloud.world.set_down(True)
    acknowledge_lost(alice, snapshot=row)
    assert drawn(web) == {}


def test_one_that_is_there_or_failed_otherwise_is_not_acknowledged(web, alice, cloud):
    row = take(web, "ours")
    assert_refused(cloud.world, "invalid_state", lambda: acknowledge_lost(alice, snapshot=row))
    tree.set_state(row.pk, SnapshotState.ERROR, code="out_of_space", detail="?")
    assert_refused(cloud.world, "invalid_state", lambda: acknowledge_lost(alice, snapshot=row))


def test_nothing_is_acknowledged_while_a_job_holds_the_machine(web, alice, cloud):
    row = lose(cloud, take(web, "ours"))
    job = machine_actions.request_sync(alice, machine=web)
    refusal = assert_refused(cloud.world, "vm_busy", lambda: acknowledge_lost(alice, snapshot=row))
    assert refusal.extra["job"] == str(job.uuid)


# Corrections and their events


def test_a_revert_made_elsewhere_moves_the_marker_with_an_event(web, cloud):
    first, _ = take(web, "first"), take(web, "second")
    cloud.world.revert_elsewhere(web.native_id, first.native_id)
    read_again(cloud)
    assert current_name(web) == "first"
    assert Event.objects.filter(action="snapshot.current", snapshot_name="first", job=None).count() == 1


def test_a_parent_that_changed_elsewhere_is_corrected_with_an_event(web, cloud):
    top, _ = take(web, "top"), take(web, "below")
    cloud.world.delete_elsewhere(web.native_id, top.native_id)
    read_again(cloud)
    assert drawn(web) == {"top": None, "below": None}
    assert Event.objects.get(action="snapshot.moved").snapshot_name == "below"


def test_equal_names_made_elsewhere_come_in_by_the_reading(web, cloud):
    for _ in range(3):
        cloud.world.take_elsewhere(web.native_id, "same")
    cloud.sync()
    assert sorted(drawn(web)) == ["same", "same (2)", "same (3)"]


def test_a_tree_of_a_thousand_with_several_roots_comes_in_with_few_events(db):
    cloud = Cloud(
        (Machine("big", snapshots=[Taken(f"n{n:04}", parent=None if n % 250 == 0 else n - 1) for n in range(1000)]),)
    )
    big = cloud.machine("big")
    assert counts(big) == (1000, 1000, 0)
    assert sum(parent is None for parent in drawn(big).values()) == 4
    assert tree.damaged_machines() == []
    assert told(big) == ["snapshot.appeared", "snapshot.current"]
    detail = Event.objects.get(machine=big, action="snapshot.appeared").detail
    assert detail.startswith("1000 VM snapshots taken outside this product were found: n0000, n0001")
    assert detail.endswith("and 995 more.")


def test_up_to_a_few_are_told_of_one_by_one(web, cloud):
    for number in range(tree_sync.TOLD_ONE_BY_ONE):
        cloud.world.take_elsewhere(web.native_id, f"n{number}")
    cloud.sync()
    assert told(web).count("snapshot.appeared") == tree_sync.TOLD_ONE_BY_ONE
    cloud.world.take_elsewhere(web.native_id, "one more")
    cloud.sync()
    assert told(web).count("snapshot.appeared") == tree_sync.TOLD_ONE_BY_ONE + 1


def test_lost_ones_are_named_each_however_many(web, alice, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = -1
    many = tree_sync.TOLD_ONE_BY_ONE + 1
    for number in range(many):
        cloud.world.take_elsewhere(web.native_id, f"n{number}")
    cloud.sync()
    adopt_machine(alice, machine=web)
    top = VMSnapshot.objects.get(machine=web, name="n0")
    cloud.world.delete_elsewhere(web.native_id, top.native_id, descendants=True)
    read_again(cloud)
    assert told(web).count("snapshot.vanished") == many
    assert counts(web) == (many, 0, many)


def test_what_is_told_of_a_machine_belongs_to_its_owner(web, theirs, people, cloud):
    assert Event.objects.get(action="snapshot.appeared").account == people.acme
    tenancy.assign_machine(SYSTEM, machine=web, account=people.other)
    cloud.world.delete_elsewhere(web.native_id, theirs.native_id)
    read_again(cloud)
    assert Event.objects.get(action="snapshot.removed_elsewhere").account == people.other


def test_one_made_elsewhere_can_be_renamed_and_deleted_without_being_adopted(web, theirs, alice):
    assert run(request_rename(alice, snapshot=theirs, name="ours now")).state == "succeeded"
    theirs.refresh_from_db()
    assert (theirs.name, theirs.counts) == ("ours now", False)
    assert run(request_delete(alice, snapshot=theirs)).state == "succeeded"
    assert drawn(web) == {}

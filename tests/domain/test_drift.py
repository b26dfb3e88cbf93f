"""What others do on the hypervisor is seen, counts for nothing until it is adopted, and what they take away is never
dropped in silence."""

import pytest

from hypervisors.drivers.simulated.world import Machine, Taken
from hypervisors.models import Hypervisor
from snapshots import tree
from snapshots.access import SYSTEM
from snapshots.choices import Origin, SnapshotState
from snapshots.limit_levels import Wanted, room_of
from snapshots.models import Event, VirtualMachine, VMSnapshot
from snapshots.services import drift_actions, limit_rules, machine_actions, snapshot_rules, tenancy, tree_sync
from snapshots.services.drift_actions import acknowledge_lost, adopt_machine, adopt_snapshot
from snapshots.services.snapshot_actions import request_create, request_delete, request_rename
from tests.builders import Cloud, acting, current_name, drawn, run, take
from tests.domain.refusing import assert_refused
from tests.domain.scenes import read_again


@pytest.fixture
def alice(people):
    """Alice at a page."""
    return acting(people.alice)


@pytest.fixture
def theirs(web, cloud) -> VMSnapshot:
    """A VM snapshot of `web` that somebody made elsewhere."""
    return made_elsewhere(cloud, web, "theirs")


def made_elsewhere(cloud: Cloud, machine: VirtualMachine, name: str) -> VMSnapshot:
    cloud.world.take_elsewhere(machine.native_id, name)
    cloud.sync()
    found: VMSnapshot = VMSnapshot.objects.get(machine=machine, name=name)
    return found


def lose(cloud: Cloud, row: VMSnapshot) -> VMSnapshot:
    """Somebody deletes it elsewhere, and that is found out."""
    cloud.world.delete_elsewhere(row.machine.native_id, row.native_id)
    read_again(cloud)
    row.refresh_from_db()
    return row


def switch_adoption(cloud: Cloud, on: bool) -> None:
    Hypervisor.objects.filter(pk=cloud.hypervisor.pk).update(adopt_automatically=on)


def counts(machine: VirtualMachine) -> tuple[int, int, int]:
    row = VirtualMachine.objects.get(pk=machine.pk)
    return row.snapshot_count, row.unadopted_count, row.lost_count


def told(machine: VirtualMachine, beginning: str = "snapshot.") -> list[str]:
    """What was written down about the machine, oldest first."""
    found = Event.objects.filter(machine=machine, action__startswith=beginning).order_by("pk")
    return list(found.values_list("action", flat=True))


# Adoption


def test_one_made_elsewhere_appears_marked_in_its_place_and_does_not_count(web, theirs, cloud):
    below = take(web, "ours")
    assert drawn(web) == {"theirs": None, "ours": "theirs"}
    assert (theirs.origin, theirs.adopted_at, theirs.counts) == (Origin.ELSEWHERE, None, False)
    assert list(VMSnapshot.objects.counted().filter(machine=web)) == [below]
    assert counts(web) == (2, 1, 0)
    assert VirtualMachine.objects.get(pk=web.pk).counted == 1


def test_an_operator_adopts_it_and_it_counts_from_then_on(web, theirs, alice):
    adopted = adopt_snapshot(alice, snapshot=theirs)
    assert (adopted.origin, adopted.counts) == (Origin.ELSEWHERE, True)
    assert adopted.adopted_at is not None
    assert counts(web) == (1, 0, 0)
    event = Event.objects.get(action="snapshot.adopted")
    assert (event.user_name, event.snapshot_uuid, event.snapshot_name) == ("alice", theirs.uuid, "theirs")


def test_adopting_twice_changes_nothing_the_second_time(web, theirs, alice):
    first = adopt_snapshot(alice, snapshot=theirs)
    again = adopt_snapshot(alice, snapshot=first)
    assert again.adopted_at == first.adopted_at
    assert told(web).count("snapshot.adopted") == 1


def test_one_taken_here_is_not_adopted(web, alice, cloud):
    ours = take(web, "ours")
    assert_refused(cloud.world, "invalid_state", lambda: adopt_snapshot(alice, snapshot=ours))


def test_one_that_is_being_deleted_is_not_adopted(web, theirs, alice, cloud):
    request_delete(alice, snapshot=theirs)
    refusal = assert_refused(cloud.world, "invalid_state", lambda: adopt_snapshot(alice, snapshot=theirs))
    assert "Only one that is Ready" in refusal.detail


def test_nothing_of_a_machine_that_is_missing_is_adopted(web, theirs, alice, cloud):
    cloud.world.undefine(web.native_id)
    cloud.sync()
    assert_refused(cloud.world, "invalid_state", lambda: adopt_snapshot(alice, snapshot=theirs))
    assert_refused(cloud.world, "invalid_state", lambda: adopt_machine(alice, machine=web))


@pytest.mark.parametrize(("who", "code"), [("bob", "forbidden"), ("charlie", "not_found"), ("nora", "not_found")])
def test_who_may_not_operate_the_machine_decides_nothing(web, theirs, people, cloud, who, code):
    actor = acting(getattr(people, who))
    assert_refused(cloud.world, code, lambda: adopt_snapshot(actor, snapshot=theirs))
    assert_refused(cloud.world, code, lambda: adopt_machine(actor, machine=web))
    adopt_snapshot(SYSTEM, snapshot=theirs)
    lost = lose(cloud, theirs)
    assert_refused(cloud.world, code, lambda: acknowledge_lost(actor, snapshot=lost))


def test_the_admin_of_its_domain_decides_too(web, theirs, people, cloud):
    dora = acting(people.dora)
    adopt_snapshot(dora, snapshot=theirs)
    acknowledge_lost(dora, snapshot=lose(cloud, theirs))
    assert drawn(web) == {}


def test_one_that_went_meanwhile_is_not_there_for_anybody(web, theirs, alice, cloud):
    lose_row = VMSnapshot.objects.get(pk=theirs.pk)
    cloud.world.delete_elsewhere(web.native_id, theirs.native_id)
    cloud.sync()
    for ask in (adopt_snapshot, acknowledge_lost):
        assert_refused(cloud.world, "not_found", lambda ask=ask: ask(alice, snapshot=lose_row))


def test_the_hidden_anchor_is_neither_adopted_nor_acknowledged(web, alice, cloud):
    anchor = tree.anchor_of(web.pk)
    for ask in (adopt_snapshot, acknowledge_lost):
        assert_refused(cloud.world, "not_found", lambda ask=ask: ask(alice, snapshot=anchor))


# Limits


def test_only_what_is_ours_counts_in_the_maximum_of_a_machine(web, alice, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 1
    for name in ("a", "b", "c"):
        made_elsewhere(cloud, web, name)
    take(web, "ours")
    refusal = assert_refused(cloud.world, "limit_exceeded", lambda: request_create(alice, machine=web, name="more"))
    assert (refusal.extra["used"], refusal.extra["limit"]) == (1, 1)
    assert "1 VM snapshot that counts" in refusal.detail


def test_adoption_is_refused_when_the_machine_is_full(web, theirs, alice, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 1
    ours = take(web, "ours")
    assert_refused(cloud.world, "limit_exceeded", lambda: adopt_snapshot(alice, snapshot=theirs))
    run(request_delete(alice, snapshot=ours))
    adopt_snapshot(alice, snapshot=theirs)
    assert_refused(cloud.world, "limit_exceeded", lambda: request_create(alice, machine=web, name="more"))


def test_all_of_a_machine_are_adopted_at_once(web, alice, cloud):
    for name in ("a", "b", "c"):
        made_elsewhere(cloud, web, name)
    assert [row.name for row in adopt_machine(alice, machine=web)] == ["a", "b", "c"]
    assert counts(web) == (3, 0, 0)
    assert told(web).count("snapshot.adopted") == 3
    assert_refused(cloud.world, "invalid_state", lambda: adopt_machine(alice, machine=web))


def test_all_of_a_machine_are_adopted_or_none(web, alice, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 2
    for name in ("a", "b", "c"):
        made_elsewhere(cloud, web, name)
    refusal = assert_refused(cloud.world, "limit_exceeded", lambda: adopt_machine(alice, machine=web))
    assert "no room for 3" in refusal.detail


def test_without_a_maximum_any_number_is_adopted(web, alice, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = -1
    made_elsewhere(cloud, web, "a")
    made_elsewhere(cloud, web, "b")
    assert len(adopt_machine(alice, machine=web)) == 2


def test_the_reason_told_beforehand_is_the_refusal_that_follows(web, theirs, alice, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 0
    machine = VirtualMachine.objects.select_related("hypervisor", "account__domain").get(pk=web.pk)
    room = room_of(machine.account, alice.user)
    refusal = assert_refused(cloud.world, "limit_exceeded", lambda: adopt_snapshot(alice, snapshot=theirs))
    assert limit_rules.why_not_another(machine, room).detail == refusal.detail
    refusal = assert_refused(cloud.world, "limit_exceeded", lambda: adopt_machine(alice, machine=web))
    assert limit_rules.why_not_another(machine, room, Wanted(1)).detail == refusal.detail
    refusal = assert_refused(cloud.world, "invalid_state", lambda: acknowledge_lost(alice, snapshot=theirs))
    assert snapshot_rules.why_not_acknowledge(theirs, None).detail == refusal.detail


# Automatic adoption


def test_an_endpoint_set_to_adopt_adopts_what_it_finds(web, cloud):
    switch_adoption(cloud, True)
    row = made_elsewhere(cloud, web, "theirs")
    assert row.counts
    assert told(web) == ["snapshot.appeared", "snapshot.current", "snapshot.adopted"]
    assert Event.objects.get(action="snapshot.adopted").user_name == ""


def test_switching_it_on_adopts_at_the_next_reading_what_was_there_before(web, theirs, cloud):
    assert not theirs.counts
    switch_adoption(cloud, True)
    cloud.sync()
    theirs.refresh_from_db()
    assert theirs.counts
    switch_adoption(cloud, False)
    assert not made_elsewhere(cloud, web, "later").counts


def test_what_the_maximum_leaves_stays_unadopted_and_is_told_of_once(web, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 2
    for name in ("a", "b", "c", "d"):
        cloud.world.take_elsewhere(web.native_id, name)
    switch_adoption(cloud, True)
    cloud.sync()
    cloud.sync()
    assert [row.name for row in VMSnapshot.objects.counted().filter(machine=web).order_by("created_at")] == ["a", "b"]
    event = Event.objects.get(action=drift_actions.LEFT_UNADOPTED)
    assert "c, d" in event.detail
    assert event.level == Event.Level.WARNING
    cloud.world.take_elsewhere(web.native_id, "e")
    cloud.sync()
    cloud.sync()
    assert Event.objects.filter(action=drift_actions.LEFT_UNADOPTED).count() == 2


def test_a_machine_that_is_full_already_is_told_of_once_after_switching_it_on(web, theirs, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 0
    switch_adoption(cloud, True)
    cloud.sync()
    cloud.sync()
    assert told(web).count(drift_actions.LEFT_UNADOPTED) == 1
    assert counts(web) == (1, 1, 0)


def test_a_machine_that_two_endpoints_have_is_not_adopted_from(web, cloud):
    other = Cloud((Machine("web", native_id=web.native_id, snapshots=(Taken("theirs"),)),))
    switch_adoption(other, True)
    other.sync()
    assert not VMSnapshot.objects.get(machine=other.machine("web"), name="theirs").counts


def test_one_of_the_machines_with_a_job_is_left_to_the_next_reading(web, theirs, alice, cloud):
    switch_adoption(cloud, True)
    job = machine_actions.request_sync(alice, machine=web)
    cloud.sync()
    theirs.refresh_from_db()
    assert not theirs.counts
    run(job)
    read_again(cloud)
    theirs.refresh_from_db()
    assert theirs.counts


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

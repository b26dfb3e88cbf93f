"""Making VM snapshots made elsewhere ours: by whom, within which limits, and by itself where an endpoint is set to."""

import pytest

from hypervisors.drivers.simulated.world import Machine, Taken
from snapshots import tree
from snapshots.access import SYSTEM
from snapshots.choices import Origin
from snapshots.limit_levels import Wanted, room_of
from snapshots.models import Event, VirtualMachine, VMSnapshot
from snapshots.services import drift_actions, limit_rules, machine_actions, snapshot_rules
from snapshots.services.drift_actions import acknowledge_lost, adopt_machine, adopt_snapshot
from snapshots.services.snapshot_actions import request_create, request_delete
from tests.builders import Cloud, acting, drawn, run, take
from tests.domain.drifting import counts, lose, made_elsewhere, switch_adoption, told
from tests.domain.refusing import assert_refused
from tests.domain.scenes import read_again

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

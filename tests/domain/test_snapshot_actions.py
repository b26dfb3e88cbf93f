"""Asking for VM snapshots: what passes, what is refused, and that a refusal changes nothing."""

import pytest

from hypervisors import errors
from hypervisors.drivers.simulated.world import Machine
from hypervisors.models import Hypervisor
from hypervisors.records import PowerAfterRevert, PowerState
from snapshots import tree
from snapshots.choices import JobState, Role, SnapshotState, SnapshotType
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services import snapshot_actions, snapshot_rules
from snapshots.services.snapshot_actions import (
    request_create,
    request_delete,
    request_delete_all,
    request_delete_tree,
    request_rename,
    request_revert,
)
from tests.builders import Cloud, acting, current_name, drawn, run, take, user
from tests.domain.refusing import assert_refused


def test_a_taken_snapshot_is_ready_current_and_below_the_one_before(web, people):
    first = take(web, "first", people.alice)
    take(web, "second", people.alice)
    assert drawn(web) == {"first": None, "second": "first"}
    assert current_name(web) == "second"
    assert first.state == "Ready"
    assert first.created_by == people.alice


def test_asking_for_a_snapshot_reserves_its_place_before_anything_is_done(web, alice, cloud):
    cloud.world.forget_calls()
    job = request_create(alice, machine=web, name="first", description="why", memory=True)
    row = job.snapshot
    assert (row.state, row.name, row.description) == (SnapshotState.ALLOCATED, "first", "why")
    assert (row.type, row.memory_bytes) == (SnapshotType.DISK_AND_MEMORY, web.memory_bytes)
    assert row.current is False
    assert VirtualMachine.objects.get(pk=web.pk).snapshot_count == 1
    assert cloud.world.calls() == {}


# Memory, quiesce, power


def test_the_memory_of_a_stopped_machine_cannot_be_kept(db_machine, alice, cloud):
    refusal = assert_refused(
        cloud.world, "invalid_state", lambda: request_create(alice, machine=db_machine, name="a", memory=True)
    )
    assert "db is stopped" in refusal.detail
    assert "Start it" in refusal.detail


def test_quiesce_without_a_guest_agent_is_refused_with_the_reason(web, alice, cloud):
    refusal = assert_refused(
        cloud.world, "not_supported", lambda: request_create(alice, machine=web, name="a", quiesce=True)
    )
    assert "guest agent" in refusal.detail


def test_a_guest_with_an_agent_can_be_quiesced(web, alice, cloud):
    cloud.world.set_agent(web.native_id, True)
    cloud.sync()
    assert run(request_create(alice, machine=web, name="a", quiesce=True)).state == JobState.SUCCEEDED


def test_quiesce_of_a_stopped_machine_is_refused(db_machine, alice, cloud):
    assert_refused(
        cloud.world, "invalid_state", lambda: request_create(alice, machine=db_machine, name="a", quiesce=True)
    )


def test_memory_and_quiesce_exclude_each_other(web, alice, cloud):
    refusal = assert_refused(
        cloud.world, "invalid", lambda: request_create(alice, machine=web, name="a", memory=True, quiesce=True)
    )
    assert "quiesce" in refusal.extra["fields"]


def test_a_suspended_machine_can_be_kept_with_its_memory(web, alice, cloud):
    cloud.world.set_power(web.native_id, PowerState.SUSPENDED)
    cloud.sync()
    assert run(request_create(alice, machine=web, name="a", memory=True)).state == JobState.SUCCEEDED


def test_a_machine_of_unknown_power_is_not_snapshotted_and_the_button_says_so(web, alice, cloud):
    cloud.world.set_power(web.native_id, PowerState.UNKNOWN)
    cloud.sync()
    web.refresh_from_db()
    refusal = assert_refused(cloud.world, "invalid_state", lambda: request_create(alice, machine=web, name="a"))
    assert snapshot_rules.why_not_take_any(web, None).detail == refusal.detail


def test_a_machine_with_a_raw_disk_is_refused_with_the_reason_of_its_hypervisor(people):
    cloud = Cloud((Machine("raw", missing=(("disk_when_running", "vda is raw. Convert it."),)),))
    machine = cloud.machine("raw")
    refusal = assert_refused(
        cloud.world, "not_supported", lambda: request_create(acting(people.root), machine=machine, name="a")
    )
    assert refusal.detail == "vda is raw. Convert it."


# The machine


def _requests(machine, snapshot, actor):
    return {
        "create": lambda: request_create(actor, machine=machine, name="another"),
        "revert": lambda: request_revert(actor, snapshot=snapshot, power=PowerAfterRevert.STOPPED),
        "delete": lambda: request_delete(actor, snapshot=snapshot),
        "delete_tree": lambda: request_delete_tree(actor, snapshot=snapshot),
        "delete_all": lambda: request_delete_all(actor, machine=machine),
        "rename": lambda: request_rename(actor, snapshot=snapshot, name="another"),
    }


REQUESTS = ["create", "revert", "delete", "delete_tree", "delete_all", "rename"]


@pytest.mark.parametrize("what", REQUESTS)
def test_a_busy_machine_refuses_and_names_the_job_and_who_asked_for_it(web, people, cloud, what):
    snapshot = take(web, "first", memory=False)
    job = request_create(acting(people.dora), machine=web, name="second")
    refusal = assert_refused(cloud.world, "vm_busy", _requests(web, snapshot, acting(people.alice))[what])
    assert refusal.extra["job"] == str(job.uuid)
    assert "Take VM snapshot" in refusal.detail
    assert "dora" in refusal.detail
    assert "web" in refusal.detail


@pytest.mark.parametrize("what", REQUESTS)
def test_a_machine_that_is_gone_from_its_hypervisor_refuses(web, people, cloud, what):
    snapshot = take(web, "first")
    cloud.world.undefine(web.native_id)
    cloud.sync()
    refusal = assert_refused(cloud.world, "invalid_state", _requests(web, snapshot, acting(people.alice))[what])
    assert "not on its hypervisor" in refusal.detail


@pytest.mark.parametrize("what", REQUESTS)
def test_a_machine_on_a_hypervisor_that_is_switched_off_refuses(web, people, cloud, what):
    snapshot = take(web, "first")
    Hypervisor.objects.filter(pk=cloud.hypervisor.pk).update(enabled=False)
    refusal = assert_refused(cloud.world, "invalid_state", _requests(web, snapshot, acting(people.alice))[what])
    assert cloud.name in refusal.detail


@pytest.mark.parametrize("what", REQUESTS)
@pytest.mark.parametrize(
    ("person", "code"),
    [("bob", "forbidden"), ("charlie", "not_found"), ("nora", "not_found")],
)
def test_readers_may_not_and_strangers_find_nothing(web, people, cloud, what, person, code):
    snapshot = take(web, "first")
    refusal = assert_refused(cloud.world, code, _requests(web, snapshot, acting(getattr(people, person)))[what])
    if code == "not_found":
        assert "web" not in refusal.detail


@pytest.mark.parametrize("person", ["alice", "dora", "root"])
def test_operators_and_admins_above_may(web, people, person):
    job = request_create(acting(getattr(people, person)), machine=web, name="a")
    assert job.requested_by.username == person


def test_a_domain_admin_of_another_organisation_finds_nothing(web, people, cloud):
    eve = user("eve", Role.DOMAIN_ADMIN, domain=people.elsewhere)
    assert_refused(cloud.world, "not_found", lambda: request_create(acting(eve), machine=web, name="a"))


def test_an_unassigned_machine_is_there_for_root_admins_only(people, cloud):
    machine = cloud.machine("unassigned")
    for person in (people.alice, people.dora, people.nora):
        assert_refused(
            cloud.world, "not_found", lambda who=person: request_create(acting(who), machine=machine, name="a")
        )
    request_create(acting(people.root), machine=machine, name="a")


def test_a_snapshot_that_went_meanwhile_is_not_found(web, alice, cloud):
    snapshot = take(web, "first")
    run(request_delete(alice, snapshot=snapshot))
    for what in ("revert", "delete", "delete_tree", "rename"):
        assert_refused(cloud.world, "not_found", _requests(web, snapshot, alice)[what])


def test_the_hidden_anchor_is_no_snapshot_for_anybody(web, people, cloud):
    anchor = tree.anchor_of(web.pk)
    for what in ("revert", "delete", "delete_tree", "rename"):
        assert_refused(cloud.world, "not_found", _requests(web, anchor, acting(people.root))[what])


@pytest.mark.parametrize("state", [SnapshotState.ALLOCATED, SnapshotState.CREATING, SnapshotState.ERROR])
@pytest.mark.parametrize("what", ["revert", "rename"])
def test_only_what_is_ready_can_be_reverted_to_or_renamed(web, alice, cloud, state, what):
    snapshot = take(web, "first", memory=False)
    tree.set_state(snapshot.pk, state)
    refusal = assert_refused(cloud.world, "invalid_state", _requests(web, snapshot, alice)[what])
    assert f"first is {state.value}" in refusal.detail


@pytest.mark.parametrize("state", [SnapshotState.ALLOCATED, SnapshotState.REVERTING, SnapshotState.EXPUNGING])
@pytest.mark.parametrize("what", ["delete", "delete_tree", "delete_all"])
def test_what_is_in_between_cannot_be_deleted(web, alice, cloud, state, what):
    snapshot = take(web, "first")
    take(web, "second")
    tree.set_state(snapshot.pk, state)
    assert_refused(cloud.world, "invalid_state", _requests(web, snapshot, alice)[what])


@pytest.mark.parametrize("what", REQUESTS)
def test_while_a_machine_is_being_reverted_nothing_else_happens_to_its_snapshots(web, alice, cloud, what):
    snapshot = take(web, "first")
    request_revert(alice, snapshot=snapshot)
    snapshot.refresh_from_db()
    assert snapshot.state == SnapshotState.REVERTING
    refusal = assert_refused(cloud.world, "vm_busy", _requests(web, snapshot, alice)[what])
    assert "Revert" in refusal.detail


# How many


def test_a_machine_holds_only_so_many_snapshots_and_the_refusal_counts_them(web, alice, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 2
    first = take(web, "first")
    take(web, "second")
    refusal = assert_refused(cloud.world, "limit_exceeded", lambda: request_create(alice, machine=web, name="third"))
    assert refusal.extra == {
        "level": "machine",
        "name": "web",
        "kind": "per_machine",
        "limit": 2,
        "used": 2,
        "wanted": 1,
        "raised_by": "a root admin",
    }
    assert "2" in refusal.detail
    assert_refused(
        cloud.world,
        "limit_exceeded",
        lambda: request_revert(alice, snapshot=first, safety_snapshot=True),
    )
    run(request_delete(alice, snapshot=first))
    request_create(alice, machine=web, name="third")


def test_what_is_only_reserved_counts_and_a_failure_gives_it_back(web, alice, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 1
    cloud.world.set_down(True)
    job = run(request_create(alice, machine=web, name="first"))
    assert job.state == JobState.FAILED
    assert drawn(web) == {}, "nothing had begun"
    cloud.world.set_down(False)
    cloud.world.refuse("create_snapshot", errors.OutOfSpace)
    reserved = request_create(alice, machine=web, name="second")
    assert VirtualMachine.objects.get(pk=web.pk).counted == 1
    assert run(reserved).state == JobState.FAILED
    row = VMSnapshot.objects.get(machine=web, parent__isnull=False)
    assert (row.state, row.failed, row.limited) == ("Error", True, False)
    assert VirtualMachine.objects.get(pk=web.pk).counted == 0
    take(web, "third")
    assert_refused(cloud.world, "limit_exceeded", lambda: request_create(alice, machine=web, name="fourth"))
    assert run(request_delete(alice, snapshot=row)).state == JobState.SUCCEEDED
    machine = VirtualMachine.objects.get(pk=web.pk)
    assert (machine.snapshot_count, machine.failed_count, machine.counted) == (1, 0, 1)


def test_minus_one_means_no_maximum(web, people, settings):
    settings.SNAPSHOTS_PER_MACHINE = -1
    take(web, "first")


# Delete


def test_deleting_one_moves_its_children_and_the_marker_up(web, alice):
    first, second = take(web, "first"), take(web, "second")
    take(web, "third")
    run(request_delete(alice, snapshot=second))
    assert drawn(web) == {"first": None, "third": "first"}
    run(request_delete(alice, snapshot=VMSnapshot.objects.get(machine=web, name="third")))
    assert current_name(web) == "first"
    run(request_delete(alice, snapshot=first))
    assert (drawn(web), current_name(web)) == ({}, None)


def test_asking_to_delete_a_branch_takes_hold_of_all_of_it_and_of_nothing_else(web, alice):
    first, second = take(web, "first"), take(web, "second")
    take(web, "third")
    job = request_delete_tree(alice, snapshot=second)
    assert job.arguments["names"] == ["second", "third"]
    states = dict(VMSnapshot.objects.filter(machine=web, parent__isnull=False).values_list("name", "state"))
    assert states == {"first": "Ready", "second": "Expunging", "third": "Expunging"}
    assert run(job).state == JobState.SUCCEEDED
    assert drawn(web) == {"first": None}
    assert first.pk == tree.current_of(web.pk).pk


@pytest.mark.parametrize("obstacle", ["missing", "disabled", "not allowed"])
def test_asking_to_delete_a_failed_row_is_never_refused_for_the_hypervisors_sake(web, alice, cloud, obstacle):
    snapshot = take(web, "first")
    tree.set_state(snapshot.pk, SnapshotState.ERROR, code="gone_on_hypervisor", detail="It is gone.")
    if obstacle == "missing":
        cloud.world.undefine(web.native_id)
        cloud.sync()
    elif obstacle == "disabled":
        Hypervisor.objects.filter(pk=cloud.hypervisor.pk).update(enabled=False)
    else:
        web.capabilities["delete"] = {"allowed": False, "reason": "Not here."}
        web.save(update_fields=["capabilities"])
    assert request_delete(alice, snapshot=snapshot).state == JobState.QUEUED


# Rename


def test_a_snapshot_gets_another_name_and_description_here_and_there(web, alice, cloud):
    snapshot = take(web, "first")
    assert run(request_rename(alice, snapshot=snapshot, name="new", description="why")).state == JobState.SUCCEEDED
    snapshot.refresh_from_db()
    assert (snapshot.name, snapshot.description) == ("new", "why")
    assert list(cloud.world.snapshot_names(web.native_id).values()) == ["new"]
    run(request_rename(alice, snapshot=snapshot, description="only this"))
    snapshot.refresh_from_db()
    assert (snapshot.name, snapshot.description) == ("new", "only this")


def test_a_rename_to_a_name_in_use_is_refused_and_to_its_own_is_not(web, alice, cloud):
    first = take(web, "first")
    take(web, "second")
    assert_refused(cloud.world, "name_taken", lambda: request_rename(alice, snapshot=first, name="second"))
    assert run(request_rename(alice, snapshot=first, name="first")).state == JobState.SUCCEEDED


def test_a_rename_takes_no_name_that_creating_would_not_take(web, alice, cloud):
    first = take(web, "first")
    for name in ("", "x" * 256, "a\nb"):
        assert_refused(cloud.world, "invalid", lambda text=name: request_rename(alice, snapshot=first, name=text))


def test_the_suggested_name_can_be_taken(web, alice):
    assert request_create(alice, machine=web, name=snapshot_actions.suggested_name()).state == JobState.QUEUED
    assert Job.objects.filter(machine=web).count() == 1

"""Asking for VM snapshots: what passes, what is refused, and that a refusal changes nothing."""

import unicodedata

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
    request_delete_tree,
    request_rename,
    request_revert,
)
from tests.builders import Cloud, acting, current_name, drawn, run, take, user
from tests.domain.refusing import assert_refused


@pytest.fixture
def alice(people):
    """Alice at a page."""
    return acting(people.alice)


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


# Names


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "x" * 255,
        "<script>alert(1)</script> & \"quoted\" 'twice'",
        "النسخة الأولى",
        "לפני השדרוג",
        "before 🚀 👩‍👩‍👧",
        "e\u0301te\u0301",
        "nəm ῥ ÿ",
        "'; DROP TABLE snapshots; --",
        "../../etc/passwd",
        "%s {0} $HOME `id`",
        "x\u202ey",
    ],
    ids=ascii,
)
def test_any_name_a_person_can_read_works_on_the_whole_way(web, cloud, name):
    row = take(web, name)
    wanted = unicodedata.normalize("NFC", name)
    assert row.name == wanted
    assert list(cloud.world.snapshot_names(web.native_id).values()) == [wanted]
    cloud.sync()
    assert drawn(web) == {wanted: None}
    assert run(request_delete(acting(None), snapshot=row)).state == JobState.SUCCEEDED


def test_space_around_a_name_is_not_part_of_it(web):
    assert take(web, "  first \n").name == "first"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "\u200b",
        "\u200e \u2060",
        "x" * 256,
        "a\x00b",
        "a\nb",
        "a\tb",
        "a\x1bb",
        "a\x7fb",
        "a\u2028b",
        "a\ud800b",
        "a\ufffeb",
        None,
        7,
    ],
    ids=ascii,
)
def test_a_name_that_cannot_be_kept_or_seen_is_refused(web, alice, cloud, name):
    refusal = assert_refused(cloud.world, "invalid", lambda: request_create(alice, machine=web, name=name))
    assert list(refusal.extra["fields"]) == ["name"]


def test_a_description_has_its_own_bounds(web, alice, cloud):
    for description in ("x" * 4001, "a\x00b", None):
        refusal = assert_refused(
            cloud.world,
            "invalid",
            lambda text=description: request_create(alice, machine=web, name="a", description=text),
        )
        assert list(refusal.extra["fields"]) == ["description"]
    job = request_create(alice, machine=web, name="a", description="one\r\ntwo\tthree")
    assert job.snapshot.description == "one\ntwo\tthree"


@pytest.mark.parametrize("name", ["first", " first ", "e\u0301te\u0301"], ids=ascii)
def test_a_name_in_use_on_the_machine_is_refused_and_named(web, db_machine, alice, cloud, name):
    take(web, "first")
    take(web, "\u00e9t\u00e9")
    wanted = unicodedata.normalize("NFC", name.strip())
    refusal = assert_refused(cloud.world, "name_taken", lambda: request_create(alice, machine=web, name=name))
    assert wanted in refusal.detail
    assert "web" in refusal.detail
    request_create(alice, machine=db_machine, name=name)


def test_names_that_differ_in_case_only_are_different(web, people):
    take(web, "first")
    take(web, "FIRST")


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
        "rename": lambda: request_rename(actor, snapshot=snapshot, name="another"),
    }


REQUESTS = ["create", "revert", "delete", "delete_tree", "rename"]


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


# Revert


def test_a_running_machine_is_not_reverted_to_disks_without_saying_what_becomes_of_its_power(web, alice, cloud):
    snapshot = take(web, "first", memory=False)
    refusal = assert_refused(cloud.world, "invalid_state", lambda: request_revert(alice, snapshot=snapshot))
    assert refusal.extra["choices"] == ["as_snapshot", "running", "stopped"]
    assert "web is running" in refusal.detail


@pytest.mark.parametrize(
    ("power", "after"), [(PowerAfterRevert.RUNNING, "running"), (PowerAfterRevert.STOPPED, "stopped")]
)
def test_after_a_revert_the_power_is_what_was_chosen(web, alice, power, after):
    snapshot = take(web, "first", memory=False)
    assert run(request_revert(alice, snapshot=snapshot, power=power)).state == JobState.SUCCEEDED
    web.refresh_from_db()
    assert web.power_state == after


def test_a_revert_to_kept_memory_goes_on_from_there(web, alice, cloud):
    snapshot = take(web, "first")
    cloud.world.let_run(web.native_id, 1000)
    counted = cloud.world.counter(web.native_id)
    assert run(request_revert(alice, snapshot=snapshot)).state == JobState.SUCCEEDED
    assert cloud.world.counter(web.native_id) < counted
    web.refresh_from_db()
    assert web.power_state == "running"


def test_memory_cannot_be_brought_back_to_a_fresh_start(web, alice, cloud):
    snapshot = take(web, "first")
    refusal = assert_refused(
        cloud.world,
        "not_supported",
        lambda: request_revert(alice, snapshot=snapshot, power=PowerAfterRevert.RUNNING),
    )
    assert "first" in refusal.detail


@pytest.mark.parametrize("state", [SnapshotState.ALLOCATED, SnapshotState.CREATING, SnapshotState.ERROR])
@pytest.mark.parametrize("what", ["revert", "rename"])
def test_only_what_is_ready_can_be_reverted_to_or_renamed(web, alice, cloud, state, what):
    snapshot = take(web, "first", memory=False)
    tree.set_state(snapshot.pk, state)
    refusal = assert_refused(cloud.world, "invalid_state", _requests(web, snapshot, alice)[what])
    assert f"first is {state.value}" in refusal.detail


@pytest.mark.parametrize("state", [SnapshotState.ALLOCATED, SnapshotState.REVERTING, SnapshotState.EXPUNGING])
@pytest.mark.parametrize("what", ["delete", "delete_tree"])
def test_what_is_in_between_cannot_be_deleted(web, alice, cloud, state, what):
    snapshot = take(web, "first")
    take(web, "second")
    tree.set_state(snapshot.pk, state)
    assert_refused(cloud.world, "invalid_state", _requests(web, snapshot, alice)[what])


@pytest.mark.parametrize("what", ["delete", "delete_tree", "revert", "rename", "create"])
def test_while_a_machine_is_being_reverted_nothing_else_happens_to_its_snapshots(web, alice, cloud, what):
    snapshot = take(web, "first")
    request_revert(alice, snapshot=snapshot)
    snapshot.refresh_from_db()
    assert snapshot.state == SnapshotState.REVERTING
    refusal = assert_refused(cloud.world, "vm_busy", _requests(web, snapshot, alice)[what])
    assert "Revert" in refusal.detail


def test_a_safety_snapshot_keeps_the_memory_when_there_is_some(web, db_machine, alice):
    for machine, kind in ((web, SnapshotType.DISK_AND_MEMORY), (db_machine, SnapshotType.DISK)):
        snapshot = take(machine, "first")
        job = request_revert(alice, snapshot=snapshot, safety_snapshot=True)
        safety = VMSnapshot.objects.get(uuid=job.arguments["safety_snapshot"])
        assert (safety.type, safety.state, safety.created_by) == (kind, SnapshotState.ALLOCATED, alice.user)
        assert run(job).state == JobState.SUCCEEDED


def test_safety_snapshots_of_the_longest_name_get_names_that_fit_and_differ(web, alice):
    snapshot = take(web, "x" * 255)
    for _ in range(3):
        assert run(request_revert(alice, snapshot=snapshot, safety_snapshot=True)).state == JobState.SUCCEEDED
    names = list(drawn(web))
    assert len(set(names)) == 4
    assert max(len(name) for name in names) == 255


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

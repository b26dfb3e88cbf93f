"""Deleting all VM snapshots of a machine: what it takes hold of, what it never takes along, and how it ends."""

import pytest

from hypervisors import errors
from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.drivers.simulated.world import Machine, Taken
from snapshots import tree
from snapshots.choices import JobAction, JobState, SnapshotState
from snapshots.models import Event, VirtualMachine, VMSnapshot
from snapshots.services import job_sweeper, snapshot_actions
from tests.builders import Cloud, acting, current_name, drawn, run, take
from tests.domain import scenes
from tests.domain.jobs.deaths import die_once_done, kill
from tests.domain.refusing import assert_refused
from tests.domain.scenes import Scene, assert_nothing_stays_in_between, changes_asked_for, later, sweep_once_lost


def delete_all(machine: VirtualMachine, **more):
    return snapshot_actions.request_delete_all(acting(None), machine=machine, **more)


def rows(machine: VirtualMachine) -> list[VMSnapshot]:
    return list(VMSnapshot.objects.filter(machine=machine, parent__isnull=False).order_by("lft"))


def ids(machine: VirtualMachine) -> set:
    return {row.uuid for row in rows(machine)}


@pytest.fixture
def forest(db) -> Cloud:
    """A machine `woods` with two trees, a with b and c below it, and d with e, made elsewhere all."""
    taken = (Taken("a"), Taken("b", parent=0), Taken("c", parent=0), Taken("d"), Taken("e", parent=3))
    return Cloud((Machine("woods", snapshots=taken),))


# Asking


def test_asking_takes_hold_of_every_tree_and_tells_the_job_which(forest):
    woods = forest.machine("woods")
    job = delete_all(woods)
    assert (job.action, job.snapshot, job.snapshot_name) == (JobAction.DELETE_ALL_SNAPSHOTS, None, "")
    assert job.arguments["names"] == ["a", "b", "c", "d", "e"]
    assert {row.state for row in rows(woods)} == {SnapshotState.EXPUNGING}


def test_several_trees_go_by_one_call(forest):
    woods = forest.machine("woods")
    forest.world.forget_calls()
    job = run(delete_all(woods))
    assert (job.state, job.error_detail) == (JobState.SUCCEEDED, "")
    assert (drawn(woods), current_name(woods)) == ({}, None)
    assert forest.world.snapshot_names(woods.native_id) == {}
    assert changes_asked_for(forest.world) == forest.world.calls()["delete_all"] == 1
    woods.refresh_from_db()
    assert woods.snapshot_count == 0
    assert_nothing_stays_in_between(Scene(forest, woods, job, "delete_all"))
    assert not Event.objects.filter(machine=woods, action="snapshot.removed_elsewhere").exists()


def test_a_machine_without_any_has_nothing_to_delete(cloud):
    plain = cloud.machine("plain")
    refusal = assert_refused(cloud.world, "invalid_state", lambda: delete_all(plain))
    assert "plain has no VM snapshot" in refusal.detail


def test_where_several_cannot_be_deleted_at_once_the_reason_is_told(db):
    missing = (("delete_descendants", "Not on this storage."),)
    cloud = Cloud((Machine("odd", missing=missing, snapshots=(Taken("a"),)),))
    machine = cloud.machine("odd")
    refusal = assert_refused(cloud.world, "not_supported", lambda: delete_all(machine))
    assert refusal.detail == "Not on this storage."


def test_one_that_nobody_was_shown_refuses_the_request_by_name(cloud):
    machine = cloud.machine("db")
    shown = ids(machine)
    cloud.world.take_elsewhere(machine.native_id, "new since")
    cloud.sync()
    refusal = assert_refused(cloud.world, "invalid_state", lambda: delete_all(machine, shown=shown))
    assert "new since" in refusal.detail
    assert_refused(cloud.world, "invalid_state", lambda: delete_all(machine, shown=()))
    assert delete_all(machine, shown=ids(machine)).state == JobState.QUEUED


def test_one_that_went_since_it_was_shown_is_no_reason_to_refuse(cloud):
    machine = cloud.machine("db")
    shown = ids(machine)
    run(snapshot_actions.request_delete(acting(None), snapshot=rows(machine)[0]))
    assert run(delete_all(machine, shown=shown)).state == JobState.SUCCEEDED
    assert drawn(machine) == {}


# What goes along, and what does not


def test_rows_of_what_is_lost_or_failed_go_along(cloud):
    machine = cloud.machine("plain")
    take(machine, "a")
    lost = take(machine, "b")
    take(machine, "c")
    cloud.world.delete_elsewhere(machine.native_id, lost.native_id)
    cloud.sync()
    cloud.world.refuse("create_snapshot", errors.OutOfSpace)
    run(snapshot_actions.request_create(acting(None), machine=machine, name="failed"))
    assert [row.name for row in rows(machine) if row.state == SnapshotState.ERROR] == ["b", "failed"]
    job = run(delete_all(machine))
    assert (job.state, drawn(machine), current_name(machine)) == (JobState.SUCCEEDED, {}, None)
    assert_nothing_stays_in_between(Scene(cloud, machine, job, "delete_all"))


def test_what_the_hypervisor_finished_late_goes_with_its_failed_row(cloud):
    scene = scenes.create(cloud)
    scene.world.finish_late("create_snapshot", 100_000)
    scene.run()
    with later(10_000):
        job_sweeper.sweep()
    scene.world.finish_operations()
    assert VMSnapshot.objects.get(name="new").state == SnapshotState.ERROR
    assert run(delete_all(scene.machine)).state == JobState.SUCCEEDED
    assert scene.world.snapshot_names(scene.native_id) == {}
    assert_nothing_stays_in_between(scene)


def test_where_only_lost_rows_are_left_the_hypervisor_is_asked_for_nothing(cloud):
    machine = cloud.machine("plain")
    row = take(machine, "a")
    cloud.world.delete_elsewhere(machine.native_id, row.native_id)
    cloud.sync()
    cloud.world.forget_calls()
    assert run(delete_all(machine)).state == JobState.SUCCEEDED
    assert changes_asked_for(cloud.world) == 0
    assert drawn(machine) == {}


@pytest.mark.parametrize("where", ["below the current one", "as another tree"])
def test_one_that_appeared_since_ends_the_job_by_name_and_nothing_is_deleted(cloud, where):
    scene = scenes.delete_all(cloud)
    if where == "as another tree":
        scene.world._write("UPDATE machine SET current_id = NULL WHERE native_id = ?", scene.native_id)
    scene.world.take_elsewhere(scene.native_id, "unseen")
    scene.world.forget_calls()
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_rejected")
    assert "unseen" in job.error_detail
    assert changes_asked_for(scene.world) == 0
    above = "c" if where == "below the current one" else None
    assert drawn(scene.machine) == {"a": None, "b": "a", "c": "b", "unseen": above}
    assert {row.state for row in rows(scene.machine)} == {SnapshotState.READY}
    assert_nothing_stays_in_between(scene)


def test_those_that_moved_or_went_since_are_no_reason_to_refuse(cloud):
    scene = scenes.delete_all(cloud)
    native = {name: native for native, name in scene.world.snapshot_names(scene.native_id).items()}
    scene.world.delete_elsewhere(scene.native_id, native["b"])
    scene.world._write("UPDATE snapshot SET parent_id = NULL WHERE native_id = ?", native["c"])
    assert scene.run().state == JobState.SUCCEEDED
    assert drawn(scene.machine) == {}
    assert_nothing_stays_in_between(scene)


# What goes wrong on the way


def test_a_deletion_that_breaks_off_half_way_keeps_what_is_left_and_no_row_of_what_is_gone(monkeypatch, forest):
    woods = forest.machine("woods")
    job = delete_all(woods)
    natives = {row.name: row.native_id for row in rows(woods)}

    def break_off(driver: SimulatedDriver, machine_id: str, watch: object) -> None:
        for name in ("e", "d", "c"):
            driver.delete_snapshot(machine_id, natives[name], watch)
        raise errors.Busy("Not now.")

    monkeypatch.setattr(SimulatedDriver, "delete_all", break_off)
    ended = run(job)
    assert (ended.state, ended.error_code) == (JobState.FAILED, "hypervisor_busy")
    assert drawn(woods) == {"a": None, "b": "a"}
    assert {row.state for row in rows(woods)} == {SnapshotState.READY}
    assert_nothing_stays_in_between(Scene(forest, woods, ended, "delete_all"))


def test_a_connection_lost_half_way_is_settled_by_what_is_left(monkeypatch, forest):
    woods = forest.machine("woods")
    job = delete_all(woods)
    natives = {row.name: row.native_id for row in rows(woods)}

    def lose_connection(driver: SimulatedDriver, machine_id: str, watch: object) -> None:
        driver.delete_with_descendants(machine_id, natives["a"], watch)
        raise errors.ConnectionLost("It broke.")

    monkeypatch.setattr(SimulatedDriver, "delete_all", lose_connection)
    ended = run(job)
    assert (ended.state, ended.error_code) == (JobState.FAILED, "hypervisor_unreachable")
    assert "was not done" in ended.error_detail
    assert drawn(woods) == {"d": None, "e": "d"}
    assert_nothing_stays_in_between(Scene(forest, woods, ended, "delete_all"))


def test_a_worker_that_died_once_it_was_done_leaves_a_job_that_counts_as_done_whatever_came_since(monkeypatch, cloud):
    scene = scenes.delete_all(cloud)
    kill(monkeypatch, scene, die_once_done)
    scene.world.take_elsewhere(scene.native_id, "since")
    sweep_once_lost()
    assert scene.ended().state == JobState.SUCCEEDED
    assert drawn(scene.machine) == {"since": None}
    assert_nothing_stays_in_between(scene)


def test_rows_that_are_gone_already_when_it_is_settled_count_as_deleted(monkeypatch, cloud):
    scene = scenes.delete_all(cloud)
    kill(monkeypatch, scene, die_once_done)
    tree.remove(rows(scene.machine)[0].pk)
    sweep_once_lost()
    assert scene.ended().state == JobState.SUCCEEDED
    assert_nothing_stays_in_between(scene)

"""What the hypervisor refuses, forgets, finishes late or never, and answers that are lost: a job ends as the hypervisor
shows, and nothing is repeated."""

import pytest

from hypervisors import errors
from hypervisors.models import Hypervisor
from snapshots.choices import JobAction, JobState, SnapshotState
from snapshots.models import Event, VMSnapshot
from snapshots.services import drift_actions, job_sweeper, jobs, snapshot_actions
from tests.builders import acting, current_name, drawn, run, take
from tests.domain import scenes
from tests.domain.scenes import (
    any_job,
    assert_nothing_stays_in_between,
    changes_asked_for,
    changing,
    later,
    read_again,
)


@any_job
def test_every_job_that_meets_no_fault_is_done_once(cloud, scene_of):
    scene = scene_of(cloud)
    before = scene.shape()
    scene.world.forget_calls()
    job = scene.run()
    assert (job.state, job.progress, job.error_code, job.phase) == (JobState.SUCCEEDED, 100, "", "")
    assert changes_asked_for(scene.world) == (0 if job.action == JobAction.SYNC_MACHINE else 1)
    assert (scene.shape() == before) == (job.action == JobAction.SYNC_MACHINE)
    assert_nothing_stays_in_between(scene)


# The hypervisor says no


REFUSALS = [
    errors.Busy,
    errors.OutOfSpace,
    errors.LoginRefused,
    errors.NotFound,
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.code)
@changing
def test_a_refusal_of_the_hypervisor_fails_the_job_with_its_code_and_leaves_all_as_it_was(cloud, scene_of, error):
    scene = scene_of(cloud)
    before, drawn_before = scene.shape(), drawn(scene.machine)
    scene.world.refuse(scene.operation, error, detail="This is why.")
    job = scene.run()
    assert (job.state, job.error_code, job.error_detail) == (JobState.FAILED, error.code, "This is why.")
    assert scene.shape() == before
    assert_nothing_stays_in_between(scene)
    new = VMSnapshot.objects.filter(machine=scene.machine, name="new").first()
    if new is not None and job.action == JobAction.CREATE_SNAPSHOT:
        assert (new.state, new.error_code, new.error_detail) == (SnapshotState.ERROR, error.code, "This is why.")
    else:
        assert drawn(scene.machine) == drawn_before
        assert not VMSnapshot.objects.filter(machine=scene.machine).exclude(state=SnapshotState.READY).exists()


@any_job
def test_an_endpoint_that_is_down_fails_the_job_and_is_marked_so(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.set_down(True)
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_unreachable")
    cloud.hypervisor.refresh_from_db()
    assert cloud.hypervisor.state == Hypervisor.State.UNREACHABLE
    assert job.error_detail in cloud.hypervisor.last_error
    scene.world.set_down(False)
    assert_nothing_stays_in_between(scene)


@changing
@pytest.mark.parametrize("error", [errors.OutOfReach, errors.NotPermitted])
def test_what_is_refused_for_one_machine_says_nothing_of_its_endpoint(cloud, scene_of, error):
    scene = scene_of(cloud)
    events = Event.objects.filter(action="hypervisor.unreachable")
    scene.world.refuse(scene.operation, error, detail="This is why.")
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, error.code)
    cloud.hypervisor.refresh_from_db()
    assert (cloud.hypervisor.state, cloud.hypervisor.last_error) == (Hypervisor.State.REACHABLE, "")
    assert not events.exists()


def test_a_wrong_password_fails_the_job_with_its_own_code(cloud):
    scene = scenes.create(cloud)
    scene.world.require_password("someone", "something else")
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_login_refused")
    assert "something else" not in job.error_detail


@changing
def test_a_machine_undefined_behind_our_back_fails_the_job_and_is_marked_missing(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.undefine(scene.native_id)
    job = scene.run()
    assert job.state == JobState.FAILED
    assert job.error_code == "gone_on_hypervisor"
    assert_nothing_stays_in_between(scene)


@pytest.mark.parametrize("scene_of", [scenes.revert, scenes.rename], ids=["revert", "rename"])
def test_a_snapshot_removed_behind_our_back_fails_the_job_and_is_shown_as_lost_at_once(cloud, scene_of):
    drift_actions.adopt_machine(acting(None), machine=cloud.machine("db"))
    scene = scene_of(cloud)
    row = scene.job.snapshot
    scene.world.delete_elsewhere(scene.native_id, row.native_id)
    scene.world.forget_calls()
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "gone_on_hypervisor")
    assert changes_asked_for(scene.world) == 0
    row.refresh_from_db()
    assert (row.state, row.error_code) == (SnapshotState.ERROR, "gone_on_hypervisor")
    assert_nothing_stays_in_between(scene)


@pytest.mark.parametrize("scene_of", [scenes.delete, scenes.delete_tree], ids=["one", "with descendants"])
def test_deleting_what_somebody_deleted_before_succeeds(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.delete_elsewhere(scene.native_id, scene.job.snapshot.native_id)
    assert scene.run().state == JobState.SUCCEEDED
    assert_nothing_stays_in_between(scene)
    assert drawn(scene.machine) == ({"a": None, "c": "a"} if scene_of is scenes.delete else {"a": None})


def test_a_full_pool_fails_the_taking_and_the_row_says_why(cloud):
    scene = scenes.create(cloud)
    scene.world.leave_free(scene.world.pool_id(), 1024)
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "out_of_space")
    row = VMSnapshot.objects.get(name="new")
    assert (row.state, row.error_code) == (SnapshotState.ERROR, "out_of_space")
    assert "bytes left" in row.error_detail
    assert current_name(scene.machine) == "c"


# The answer is lost


@any_job
def test_an_answer_that_was_lost_is_found_by_looking_and_nothing_is_done_twice(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.lose_answer(scene.operation)
    scene.world.forget_calls()
    job = scene.run()
    assert job.state == JobState.SUCCEEDED
    assert changes_asked_for(scene.world) == (0 if job.action == JobAction.SYNC_MACHINE else 1)
    assert_nothing_stays_in_between(scene)


@changing
def test_a_request_that_was_lost_on_the_way_is_found_not_to_have_been_done(cloud, scene_of):
    scene = scene_of(cloud)
    before = scene.shape()
    scene.world.refuse(scene.operation, errors.ConnectionLost)
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_unreachable")
    assert "was not done" in job.error_detail
    assert scene.shape() == before
    assert_nothing_stays_in_between(scene)


@changing
def test_what_the_hypervisor_finishes_late_is_waited_for_and_counts_as_done(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.finish_late(scene.operation, 3600)
    scene.world.forget_calls()
    job = scene.run()
    assert (job.state, job.phase[:32]) == (JobState.RUNNING, "The hypervisor is still at work:")
    assert job.settling_since is not None
    with later(60):
        job_sweeper.sweep()
        assert scene.ended().state == JobState.RUNNING
    scene.world.finish_operations()
    with later(120):
        job_sweeper.sweep()
    assert scene.ended().state == JobState.SUCCEEDED
    assert changes_asked_for(scene.world) == 1
    assert_nothing_stays_in_between(scene)


@pytest.mark.parametrize("scene_of", [scenes.create, scenes.delete, scenes.revert], ids=["create", "delete", "revert"])
def test_what_the_hypervisor_never_finishes_is_given_up_in_time_and_found_when_it_ends_after_all(
    cloud, scene_of, settings
):
    scene = scene_of(cloud)
    scene.world.finish_late(scene.operation, 100_000)
    assert scene.run().state == JobState.RUNNING
    with later(settings.SETTLE_WITHIN_SECONDS + 60):
        job_sweeper.sweep()
    job = scene.ended()
    assert (job.state, job.error_code) == (JobState.FAILED, "outcome_unknown")
    assert "still at work" in job.error_detail
    assert not VMSnapshot.objects.filter(machine=scene.machine, state__in=jobs.IN_BETWEEN).exists()
    scene.world.finish_operations()
    read_again(cloud)
    assert_nothing_stays_in_between(scene)


def test_a_call_beyond_its_deadline_is_settled_by_looking(cloud, settings):
    settings.JOB_DEADLINE_SECONDS = 0.05
    scene = scenes.create(cloud)
    scene.world.delay("create_snapshot", 3600)
    assert scene.run().state == JobState.RUNNING
    scene.world.finish_operations()
    with later(60):
        job_sweeper.sweep()
    assert scene.ended().state == JobState.SUCCEEDED
    assert current_name(scene.machine) == "new"


def test_a_guest_that_does_not_shut_down_says_nothing_against_its_endpoint(cloud):
    scene = scenes.stop(cloud)
    scene.world.finish_late("stop", 3600)
    scene.run()
    cloud.hypervisor.refresh_from_db()
    assert cloud.hypervisor.state == Hypervisor.State.REACHABLE


def test_an_endpoint_that_stays_away_while_the_outcome_is_sought_ends_the_job_in_time(cloud, settings):
    scene = scenes.create(cloud)
    scene.world.lose_answer("create_snapshot")
    scene.world.refuse("operation_in_flight", errors.Unreachable, times=None)
    assert scene.run().state == JobState.RUNNING
    with later(settings.SETTLE_WITHIN_SECONDS + 60):
        job_sweeper.sweep()
    job = scene.ended()
    assert (job.state, job.error_code) == (JobState.FAILED, "outcome_unknown")
    scene.world.clear_faults()
    read_again(cloud)
    assert_nothing_stays_in_between(scene)
    assert drawn(scene.machine)["new"] == "c"


def test_a_revert_to_where_the_machine_stood_already_is_never_guessed_to_be_done(cloud):
    machine = cloud.machine("plain")
    snapshot = take(machine, "a")
    cloud.world.lose_answer("revert_to")
    job = run(snapshot_actions.request_revert(acting(None), snapshot=snapshot))
    assert (job.state, job.error_code) == (JobState.FAILED, "outcome_unknown")
    snapshot.refresh_from_db()
    assert snapshot.state == SnapshotState.READY

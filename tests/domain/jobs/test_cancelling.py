"""A job that is cancelled leaves nothing in between, whether it waits or runs."""

import pytest

from hypervisors import errors
from snapshots.choices import JobState, SnapshotState
from snapshots.models import VMSnapshot
from snapshots.services import job_runner, jobs
from tests.builders import acting, drawn
from tests.domain import scenes
from tests.domain.scenes import (
    assert_nothing_stays_in_between,
    changing,
)


def test_a_cancelled_taking_that_the_hypervisor_undid_leaves_no_row(cloud):
    scene = scenes.create(cloud)
    scene.world.refuse("create_snapshot", errors.Cancelled)
    assert scene.run().state == JobState.CANCELLED
    assert drawn(scene.machine) == {"a": None, "b": "a", "c": "b"}
    assert_nothing_stays_in_between(scene)


@pytest.mark.parametrize("scene_of", [scenes.revert, scenes.delete, scenes.delete_tree, scenes.delete_all])
def test_a_cancelled_revert_or_deletion_leaves_all_ready(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.refuse(scene.operation, errors.Cancelled)
    assert scene.run().state == JobState.CANCELLED
    assert_nothing_stays_in_between(scene)
    assert not VMSnapshot.objects.filter(machine=scene.machine).exclude(state=SnapshotState.READY).exists()


@changing
def test_a_waiting_job_that_is_cancelled_never_reaches_the_hypervisor(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.forget_calls()
    jobs.request_cancel(acting(None), scene.job)
    assert scene.run().state == JobState.CANCELLED
    assert scene.world.calls() == {}
    assert_nothing_stays_in_between(scene)


def test_a_running_job_that_is_cancelled_stops_on_the_hypervisor(cloud):
    scene = scenes.create(cloud)
    scene.world.delay("create_snapshot", 3600)
    real = job_runner.JobWatch.report

    def cancel_when_it_runs(watch, percent: int, phase: str) -> None:
        real(watch, percent, phase)
        if scene.ended().cancel_requested_at is None:
            jobs.request_cancel(acting(None), scene.ended())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(job_runner.JobWatch, "report", cancel_when_it_runs)
        job = scene.run()
    assert (job.state, job.error_code) == (JobState.CANCELLED, "cancelled")
    assert "new" not in drawn(scene.machine)
    assert_nothing_stays_in_between(scene)

"""A revert with a safety snapshot takes it first and goes back only then, whatever goes wrong on the way."""

import pytest

from hypervisors import errors
from snapshots.choices import JobState, SnapshotState
from snapshots.models import VMSnapshot
from tests.builders import current_name
from tests.domain import scenes
from tests.domain.jobs.deaths import die_once_done, die_while_asking, kill
from tests.domain.scenes import (
    Scene,
    assert_nothing_stays_in_between,
    sweep_once_lost,
)


def _safety(scene: Scene) -> VMSnapshot | None:
    return VMSnapshot.objects.filter(uuid=scene.job.arguments["safety_snapshot"]).first()


def test_a_revert_takes_the_safety_snapshot_first_and_then_goes_back(cloud):
    scene = scenes.revert_safely(cloud)
    assert scene.run().state == JobState.SUCCEEDED
    safety = _safety(scene)
    assert safety is not None
    assert (safety.state, safety.parent.name) == (SnapshotState.READY, "c")
    assert current_name(scene.machine) == "a"
    assert_nothing_stays_in_between(scene)


def test_a_safety_snapshot_that_fails_gives_up_the_revert(cloud):
    scene = scenes.revert_safely(cloud)
    scene.world.refuse("create_snapshot", errors.OutOfSpace)
    scene.world.forget_calls()
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "out_of_space")
    assert scene.world.calls()["revert_to"] == 0
    assert current_name(scene.machine) == "c"
    safety = _safety(scene)
    assert safety is not None
    assert safety.state == SnapshotState.ERROR
    assert_nothing_stays_in_between(scene)


def test_a_revert_that_fails_after_its_safety_snapshot_keeps_that(cloud):
    scene = scenes.revert_safely(cloud)
    scene.world.refuse("revert_to", errors.Rejected)
    assert scene.run().error_code == "hypervisor_rejected"
    safety = _safety(scene)
    assert safety is not None
    assert (safety.state, safety.current) == (SnapshotState.READY, True)
    assert_nothing_stays_in_between(scene)


@pytest.mark.parametrize(
    ("operation", "after", "state"),
    [
        ("create_snapshot", False, JobState.FAILED),
        ("create_snapshot", True, JobState.FAILED),
        ("revert_to", False, JobState.FAILED),
        ("revert_to", True, JobState.SUCCEEDED),
    ],
)
def test_a_worker_killed_on_the_way_of_a_safe_revert(monkeypatch, cloud, operation, after, state):
    scene = scenes.revert_safely(cloud)
    scene.operation = operation
    kill(monkeypatch, scene, die_once_done if after else die_while_asking)
    sweep_once_lost()
    assert scene.ended().state == state
    assert_nothing_stays_in_between(scene)
    safety = _safety(scene)
    assert safety is not None
    taken = after or operation == "revert_to"
    assert safety.state == (SnapshotState.READY if taken else SnapshotState.ERROR)

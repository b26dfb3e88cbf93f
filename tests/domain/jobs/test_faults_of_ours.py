"""A fault inside the product ends a job as the hypervisor shows, and tells nothing of our inside."""

from django.db import DatabaseError

from hypervisors import errors
from hypervisors.drivers.simulated.driver import SimulatedDriver
from snapshots.choices import JobState
from snapshots.services import inventory_sync, job_sweeper
from tests.domain import scenes
from tests.domain.jobs.deaths import die_once_done, kill
from tests.domain.scenes import (
    assert_nothing_stays_in_between,
    changing,
    later,
    read_again,
    sweep_once_lost,
)


@changing
def test_a_fault_of_ours_after_the_deed_is_settled_by_looking(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)
    real = getattr(SimulatedDriver, scene.operation)

    def do_and_fail(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)
        raise KeyError("a bug")

    monkeypatch.setattr(SimulatedDriver, scene.operation, do_and_fail)
    assert scene.run().state == JobState.SUCCEEDED
    assert_nothing_stays_in_between(scene)


@changing
def test_a_fault_of_ours_before_the_deed_fails_the_job_and_tells_nothing_of_our_inside(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)
    before = scene.shape()

    def fail(*_: object, **__: object) -> None:
        raise KeyError("a secret of the inside")

    monkeypatch.setattr(SimulatedDriver, scene.operation, fail)
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "internal_error")
    assert "secret" not in job.error_detail
    assert scene.shape() == before
    assert_nothing_stays_in_between(scene)


@changing
def test_a_machine_that_cannot_be_read_after_the_deed_does_not_undo_it(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.refuse("read_machine", errors.Unreachable, times=None)
    assert scene.run().state == JobState.SUCCEEDED
    scene.world.clear_faults()
    read_again(cloud)
    assert_nothing_stays_in_between(scene)


@changing
def test_what_was_seen_after_the_deed_but_cannot_be_written_does_not_undo_it(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)

    def fail(*_: object) -> None:
        raise DatabaseError("a value that does not fit")

    with monkeypatch.context() as patched:
        patched.setattr(inventory_sync, "apply_machine", fail)
        assert scene.run().state == JobState.SUCCEEDED
    read_again(cloud)
    assert_nothing_stays_in_between(scene)


def test_a_job_whose_settling_fails_inside_the_product_still_ends_in_time(monkeypatch, cloud, settings):
    scene = scenes.create(cloud)
    kill(monkeypatch, scene, die_once_done)

    def fail(*_: object) -> None:
        raise DatabaseError("a value that does not fit")

    with monkeypatch.context() as patched:
        patched.setattr(inventory_sync, "apply_machine", fail)
        sweep_once_lost()
        assert scene.ended().state == JobState.RUNNING
        with later(settings.SETTLE_WITHIN_SECONDS + 120):
            job_sweeper.sweep()
    job = scene.ended()
    assert (job.state, job.error_code) == (JobState.FAILED, "outcome_unknown")
    read_again(cloud)
    assert_nothing_stays_in_between(scene)

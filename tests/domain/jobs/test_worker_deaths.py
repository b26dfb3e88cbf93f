"""A worker that dies, or is taken for dead and comes back: its job ends as the hypervisor shows, nothing is done twice, and
nothing stays in between."""

import pytest

from hypervisors import errors
from hypervisors.drivers.simulated.driver import SimulatedDriver
from snapshots.choices import JobState
from snapshots.models import Event, Job, VirtualMachine, VMSnapshot
from snapshots.services import job_runner, job_sweeper
from tests.domain import scenes
from tests.domain.jobs.deaths import AFTER, BEFORE, die, die_once_done, kill
from tests.domain.scenes import (
    Scene,
    assert_nothing_stays_in_between,
    changes_asked_for,
    changing,
    later,
    read_again,
    sweep_once_lost,
)


@pytest.mark.parametrize("moment", BEFORE, ids=lambda moment: moment.__name__[4:])
@changing
def test_a_worker_killed_before_the_deed_leaves_a_job_that_is_found_not_to_be_done(
    monkeypatch, cloud, scene_of, moment
):
    scene = scene_of(cloud)
    before = scene.shape()
    kill(monkeypatch, scene, moment)
    sweep_once_lost()
    job = scene.ended()
    assert (job.state, job.error_code) == (JobState.FAILED, "worker_lost")
    assert scene.shape() == before
    assert changes_asked_for(scene.world) == 0
    assert_nothing_stays_in_between(scene)


@pytest.mark.parametrize("moment", AFTER, ids=lambda moment: moment.__name__[4:])
@changing
def test_a_worker_killed_after_the_deed_leaves_a_job_that_is_found_to_be_done(monkeypatch, cloud, scene_of, moment):
    scene = scene_of(cloud)
    before, told_before = scene.shape(), _told_of_others(scene)
    kill(monkeypatch, scene, moment)
    sweep_once_lost()
    job = scene.ended()
    assert (job.state, job.error_code) == (JobState.SUCCEEDED, "")
    assert scene.shape() != before
    assert changes_asked_for(scene.world) == 1
    assert_nothing_stays_in_between(scene)
    assert _told_of_others(scene) == told_before, "what the job did is not taken for somebody else's doing"


def _told_of_others(scene: Scene) -> int:
    return Event.objects.filter(machine=scene.machine, action__startswith="snapshot.", job=None).count()


@pytest.mark.parametrize("scene_of", [scenes.delete, scenes.delete_tree, scenes.delete_all])
def test_what_a_killed_deletion_left_behind_is_cleared_away_before_it_counts_as_done(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)
    kill(monkeypatch, scene, die_once_done)
    asked: list[str] = []

    def cannot_yet(driver: SimulatedDriver, machine_id: str, watch: object) -> None:
        asked.append(machine_id)
        if len(asked) == 1:
            raise errors.Busy("The storage is locked.")

    monkeypatch.setattr(SimulatedDriver, "finish_deletions", cannot_yet)
    sweep_once_lost()
    assert scene.ended().state == JobState.RUNNING
    with later(120):
        job_sweeper.sweep()
    assert scene.ended().state == JobState.SUCCEEDED
    assert asked == [scene.machine.native_id] * 2


def test_a_worker_killed_while_it_settles_is_followed_by_another(monkeypatch, cloud):
    scene = scenes.create(cloud)
    kill(monkeypatch, scene, die_once_done)
    with monkeypatch.context() as patched:
        patched.setattr(job_runner, "_conclude", die)
        with pytest.raises(SystemExit):
            sweep_once_lost()
    assert scene.ended().state == JobState.RUNNING
    with later(120):
        job_sweeper.sweep()
    assert scene.ended().state == JobState.SUCCEEDED
    assert changes_asked_for(scene.world) == 1


def test_a_worker_killed_while_reading_an_endpoint_leaves_a_job_that_ends(monkeypatch, cloud):
    with monkeypatch.context() as patched:
        patched.setattr(SimulatedDriver, "list_machines", die)
        with pytest.raises(SystemExit):
            cloud.sync()
    sweep_once_lost()
    job = Job.objects.order_by("-pk")[0]
    assert (job.state, job.error_code) == (JobState.FAILED, "worker_lost")
    assert cloud.sync().state == JobState.SUCCEEDED


# A worker that was taken for dead comes back


@changing
def test_a_worker_taken_for_dead_comes_back_and_writes_nothing(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)
    real = getattr(SimulatedDriver, scene.operation)

    def sleep_through(*args: object, **kwargs: object) -> object:
        """While this call was under way another worker looked: not done. Then it is done after all."""
        monkeypatch.setattr(SimulatedDriver, scene.operation, real)
        sweep_once_lost()
        assert scene.ended().state == JobState.FAILED
        kept.append(_written(scene))
        return real(*args, **kwargs)

    kept: list[object] = []
    monkeypatch.setattr(SimulatedDriver, scene.operation, sleep_through)
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "worker_lost")
    assert _written(scene) == kept[0]
    read_again(cloud)
    assert_nothing_stays_in_between(scene)


def _written(scene: Scene) -> object:
    return (
        list(VMSnapshot.objects.filter(machine=scene.machine).order_by("pk").values()),
        VirtualMachine.objects.values().get(pk=scene.machine.pk),
        list(Event.objects.filter(machine=scene.machine).order_by("pk").values_list("action", flat=True)),
    )


def test_a_worker_taken_for_dead_before_it_began_asks_the_hypervisor_for_nothing(monkeypatch, cloud):
    scene = scenes.delete(cloud)
    real = job_runner._begin

    def sleep_through(*args: object) -> bool:
        monkeypatch.setattr(job_runner, "_begin", real)
        sweep_once_lost()
        return real(*args)

    monkeypatch.setattr(job_runner, "_begin", sleep_through)
    scene.world.forget_calls()
    scene.run()
    assert changes_asked_for(scene.world) == 0
    assert_nothing_stays_in_between(scene)


def test_a_worker_taken_for_dead_during_the_safety_snapshot_does_not_go_on_to_revert(monkeypatch, cloud):
    scene = scenes.revert_safely(cloud)
    real = SimulatedDriver.create_snapshot

    def sleep_through(*args: object, **kwargs: object) -> object:
        sweep_once_lost()
        return real(*args, **kwargs)

    monkeypatch.setattr(SimulatedDriver, "create_snapshot", sleep_through)
    scene.world.forget_calls()
    assert scene.run().error_code == "worker_lost"
    assert scene.world.calls()["revert_to"] == 0
    read_again(cloud)
    assert_nothing_stays_in_between(scene)

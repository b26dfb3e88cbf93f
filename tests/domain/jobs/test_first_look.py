"""Before a job changes a machine, its tree is read: what others did is written down first, and what makes no sense any more
ends with its reason before anything is asked of the hypervisor."""

import pytest

from hypervisors import errors
from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.models import Hypervisor
from snapshots import tree_resync
from snapshots.choices import JobAction, JobState, SnapshotState
from snapshots.models import Event, Job, VMSnapshot
from snapshots.services import drift_actions, job_runner, jobs
from tests.builders import Cloud, acting, current_name, drawn
from tests.domain import scenes
from tests.domain.scenes import (
    Scene,
    assert_nothing_stays_in_between,
    changes_asked_for,
    changing,
    sweep_once_lost,
)

# Those that nothing stops but what is tested, also on a machine with a VM snapshot more.
GO_ON = [scenes.create, scenes.revert, scenes.delete, scenes.rename, scenes.start, scenes.stop, scenes.consolidate]


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    """The VM snapshots of `db` are adopted."""
    drift_actions.adopt_machine(acting(None), machine=cloud.machine("db"))
    return cloud


def native(scene: Scene, name: str) -> str:
    names = scene.world.snapshot_names(scene.native_id)
    return next(native_id for native_id, found in names.items() if found == name)


def ended_before_it_began(scene: Scene, code: str) -> Job:
    """The job fails with this code, nothing was asked for, and nothing stays in between."""
    scene.world.forget_calls()
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, code)
    assert job.error_detail
    assert changes_asked_for(scene.world) == 0
    assert_nothing_stays_in_between(scene)
    return job


# What differs is written down first


@pytest.mark.parametrize("scene_of", GO_ON, ids=lambda scene_of: scene_of.__name__)
def test_what_others_did_is_written_down_before_the_job_asks_for_anything(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.take_elsewhere(scene.native_id, "theirs")
    real, seen = getattr(SimulatedDriver, scene.operation), []

    def look_into_the_rows(*args: object, **kwargs: object) -> object:
        seen.append("theirs" in drawn(scene.machine))
        return real(*args, **kwargs)

    monkeypatch.setattr(SimulatedDriver, scene.operation, look_into_the_rows)
    assert scene.run().state == JobState.SUCCEEDED
    assert seen == [True]
    assert Event.objects.filter(action="snapshot.appeared", snapshot_name="theirs").count() == 1
    assert_nothing_stays_in_between(scene)


@changing
def test_one_machine_is_looked_at_once_before_and_once_after(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.forget_calls()
    assert scene.run().state == JobState.SUCCEEDED
    calls = scene.world.calls()
    assert calls == {"connect": 1, "list_forests": 2, "read_machine": 1, scene.operation: 1}


def test_a_snapshot_taken_now_stems_from_where_the_machine_was_found(cloud):
    scene = scenes.create(cloud)
    scene.world.revert_elsewhere(scene.native_id, native(scene, "a"))
    assert scene.run().state == JobState.SUCCEEDED
    assert drawn(scene.machine)["new"] == "a"
    assert_nothing_stays_in_between(scene)


def test_a_revert_knows_where_the_machine_stood_from_the_look_before_it(cloud):
    scene = scenes.revert(cloud)
    scene.world.revert_elsewhere(scene.native_id, native(scene, "a"))
    scene.world.lose_answer("revert_to")
    assert scene.run().error_code == "outcome_unknown", "it stood there already, so the look afterwards tells nothing"


def test_a_sync_has_nothing_to_look_at_beforehand(cloud):
    scene = scenes.sync(cloud)
    scene.world.forget_calls()
    assert scene.run().state == JobState.SUCCEEDED
    assert scene.world.calls() == {"connect": 1, "list_forests": 1, "read_machine": 1}


# What makes no sense any more


@pytest.mark.parametrize(
    "scene_of", [scenes.revert, scenes.revert_safely, scenes.rename], ids=lambda scene_of: scene_of.__name__
)
def test_a_target_that_is_lost_ends_the_job(cloud, scene_of):
    scene = scene_of(cloud)
    row = scene.job.snapshot
    scene.world.delete_elsewhere(scene.native_id, row.native_id)
    job = ended_before_it_began(scene, "gone_on_hypervisor")
    assert row.name in job.error_detail
    row.refresh_from_db()
    assert row.lost
    assert Event.objects.filter(action="snapshot.vanished", snapshot_name=row.name).count() == 1


@pytest.mark.parametrize("scene_of", [scenes.revert, scenes.rename], ids=lambda scene_of: scene_of.__name__)
def test_a_target_that_was_never_adopted_and_is_gone_ends_the_job_too(db, scene_of):
    scene = scene_of(Cloud(scenes.MACHINES))
    row = scene.job.snapshot
    scene.world.delete_elsewhere(scene.native_id, row.native_id)
    ended_before_it_began(scene, "gone_on_hypervisor")
    assert not VMSnapshot.objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize("adopted", [True, False])
@pytest.mark.parametrize("scene_of", [scenes.delete, scenes.delete_tree], ids=lambda scene_of: scene_of.__name__)
def test_deleting_what_is_gone_is_done_without_asking(db, scene_of, adopted):
    cloud = Cloud(scenes.MACHINES)
    if adopted:
        drift_actions.adopt_machine(acting(None), machine=cloud.machine("db"))
    scene = scene_of(cloud)
    scene.world.delete_elsewhere(scene.native_id, native(scene, "b"), descendants=scene_of is scenes.delete_tree)
    scene.world.forget_calls()
    assert scene.run().state == JobState.SUCCEEDED
    assert changes_asked_for(scene.world) == 0
    assert drawn(scene.machine) == ({"a": None, "c": "a"} if scene_of is scenes.delete else {"a": None})
    assert_nothing_stays_in_between(scene)


def test_a_snapshot_whose_name_somebody_took_is_not_taken_and_leaves_no_row(cloud):
    scene = scenes.create(cloud)
    scene.world.take_elsewhere(scene.native_id, "new")
    ended_before_it_began(scene, "name_taken")
    assert set(drawn(scene.machine).values()) == {None, "a", "b", "c"}
    assert [row.origin for row in VMSnapshot.objects.filter(machine=scene.machine, name__startswith="new")] == [
        "elsewhere"
    ]


def test_a_name_somebody_took_is_not_given_to_another(cloud):
    scene = scenes.rename(cloud)
    scene.world.take_elsewhere(scene.native_id, "z")
    ended_before_it_began(scene, "name_taken")
    assert drawn(scene.machine) == {"a": None, "b": "a", "c": "b", "z": "c"}


def test_a_safety_snapshot_whose_name_somebody_took_gives_up_the_revert(cloud):
    scene = scenes.revert_safely(cloud)
    scene.world.take_elsewhere(scene.native_id, "Before revert to a")
    ended_before_it_began(scene, "name_taken")
    assert current_name(scene.machine).startswith("Before revert to a")


def test_deleting_with_descendants_is_refused_when_there_is_one_nobody_was_shown(cloud):
    scene = scenes.delete_tree(cloud)
    scene.world.take_elsewhere(scene.native_id, "unseen")
    job = ended_before_it_began(scene, "hypervisor_rejected")
    assert "unseen" in job.error_detail
    assert drawn(scene.machine) == {"a": None, "b": "a", "c": "b", "unseen": "c"}


def test_one_that_moved_below_is_not_deleted_with_the_others(monkeypatch, cloud):
    scene = scenes.delete_tree(cloud)
    scene.world._write("UPDATE snapshot SET parent_id = NULL WHERE name = 'b'")
    scene.world._write("UPDATE snapshot SET parent_id = ? WHERE name = 'a'", native(scene, "c"))
    job = ended_before_it_began(scene, "hypervisor_rejected")
    assert ": a." in job.error_detail


@pytest.mark.parametrize("scene_of", [scenes.attach, scenes.detach], ids=lambda scene_of: scene_of.__name__)
def test_volumes_are_locked_by_a_snapshot_made_elsewhere_since(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.take_elsewhere(scene.native_id, "theirs")
    job = ended_before_it_began(scene, "volumes_locked")
    assert "theirs" in job.error_detail


@changing
def test_a_machine_that_is_gone_ends_the_job_and_is_marked_missing(cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.undefine(scene.native_id)
    ended_before_it_began(scene, "gone_on_hypervisor")
    scene.machine.refresh_from_db()
    assert scene.machine.missing_since is not None


# The look itself fails


LOOK_FAILS = [
    errors.Unreachable,
    errors.ConnectionLost,
    errors.TimedOut,
    errors.LoginRefused,
    errors.Busy,
    errors.HypervisorError,
]


@pytest.mark.parametrize("error", LOOK_FAILS, ids=lambda error: error.__name__)
@changing
def test_a_look_that_fails_ends_the_job_with_its_error_and_nothing_is_asked(cloud, scene_of, error):
    scene = scene_of(cloud)
    before, drawn_before = scene.shape(), drawn(scene.machine)
    scene.world.refuse("list_forests", error, detail="This is why.")
    scene.world.forget_calls()
    job = scene.run()
    assert (job.state, job.error_code, job.error_detail) == (JobState.FAILED, error.code, "This is why.")
    assert changes_asked_for(scene.world) == 0
    assert scene.shape() == before
    if scene.job.action == JobAction.CREATE_SNAPSHOT:
        drawn_before.pop("new")
    assert drawn(scene.machine) == drawn_before
    assert_nothing_stays_in_between(scene)


@changing
def test_a_look_that_takes_too_long_ends_the_job_in_time(cloud, scene_of, settings):
    settings.HYPERVISOR_TIMEOUT_SECONDS = 0.05
    scene = scene_of(cloud)
    scene.world.delay("list_forests", 3600)
    scene.world.forget_calls()
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_timeout")
    assert changes_asked_for(scene.world) == 0
    scene.world.clear_faults()
    assert not VMSnapshot.objects.filter(machine=scene.machine, state__in=jobs.IN_BETWEEN).exists()


@changing
def test_a_fault_of_ours_in_the_look_is_settled_and_tells_nothing_of_our_inside(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)

    def fail(*_: object, **__: object) -> None:
        raise KeyError("a secret of the inside")

    with monkeypatch.context() as patched:
        patched.setattr(tree_resync, "tree_differs", fail)
        job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "internal_error")
    assert "secret" not in job.error_detail
    assert changes_asked_for(scene.world) == 0
    assert_nothing_stays_in_between(scene)


def test_an_endpoint_that_does_not_answer_the_look_is_marked_so(cloud):
    scene = scenes.delete(cloud)
    scene.world.refuse("list_forests", errors.Unreachable)
    scene.run()
    cloud.hypervisor.refresh_from_db()
    assert cloud.hypervisor.state == Hypervisor.State.UNREACHABLE


# Claims


@changing
def test_a_worker_taken_for_dead_during_the_look_writes_and_asks_nothing(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)
    scene.world.take_elsewhere(scene.native_id, "theirs")
    real = SimulatedDriver.list_forests

    def sleep_through(*args: object, **kwargs: object) -> object:
        found = real(*args, **kwargs)
        monkeypatch.setattr(SimulatedDriver, "list_forests", real)
        sweep_once_lost()
        assert scene.ended().state == JobState.FAILED
        return found

    scene.world.forget_calls()
    monkeypatch.setattr(SimulatedDriver, "list_forests", sleep_through)
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "worker_lost")
    assert changes_asked_for(scene.world) == 0
    assert Event.objects.filter(action="snapshot.appeared", snapshot_name="theirs").count() == 1
    assert_nothing_stays_in_between(scene)


@changing
def test_a_worker_killed_during_the_look_leaves_a_job_that_was_not_done(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)

    def die(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr(SimulatedDriver, "list_forests", die)
        with pytest.raises(SystemExit):
            job_runner.run_job(scene.job.pk)
    sweep_once_lost()
    job = scene.ended()
    assert (job.state, job.error_code) == (JobState.FAILED, "worker_lost")
    assert changes_asked_for(scene.world) == 0
    assert_nothing_stays_in_between(scene)


def test_nothing_is_half_written_when_the_tree_cannot_be(monkeypatch, cloud):
    scene = scenes.revert(cloud)
    scene.world.take_elsewhere(scene.native_id, "theirs")

    def fail(*_: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(tree_resync, "make_current", fail)
        scene.run()
    assert changes_asked_for(scene.world) == 0
    row = scene.job.snapshot
    row.refresh_from_db()
    assert row.state in (SnapshotState.READY, SnapshotState.REVERTING)

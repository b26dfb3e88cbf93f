"""Deleting works for rows of what failed or was lost, and takes along nothing that nobody was shown."""

import pytest

from hypervisors import errors
from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.models import Hypervisor
from snapshots import tree
from snapshots.choices import JobState, SnapshotState
from snapshots.models import VMSnapshot
from snapshots.services import job_sweeper, snapshot_actions
from tests.builders import acting, current_name, drawn, run, take
from tests.domain import scenes
from tests.domain.jobs.deaths import die_once_done, kill
from tests.domain.scenes import (
    Scene,
    assert_nothing_stays_in_between,
    later,
    sweep_once_lost,
)


def _lost_row(cloud) -> VMSnapshot:
    machine = cloud.machine("plain")
    row = take(machine, "a")
    cloud.world.delete_elsewhere(machine.native_id, row.native_id)
    cloud.sync()
    row.refresh_from_db()
    assert row.state == SnapshotState.ERROR
    return row


def _switch_off(cloud) -> None:
    Hypervisor.objects.filter(pk=cloud.hypervisor.pk).update(enabled=False)


OBSTACLES = {
    "endpoint down": lambda cloud: cloud.world.set_down(True),
    "login refused": lambda cloud: cloud.world.require_password("someone", "else"),
    "endpoint silent": lambda cloud: cloud.world.refuse("connect", errors.TimedOut, times=None),
    "endpoint switched off": _switch_off,
    "driver missing": lambda cloud: cloud.world.refuse("connect", errors.DriverMissing, times=None),
    "machine undefined": lambda cloud: cloud.world.undefine(cloud.machine("plain").native_id),
    "answer lost": lambda cloud: cloud.world.refuse("list_forests", errors.ConnectionLost, times=None),
    "nothing wrong": lambda cloud: None,
}


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=OBSTACLES.keys())
def test_the_row_of_a_failed_snapshot_can_always_be_deleted(cloud, obstacle):
    row = _lost_row(cloud)
    obstacle(cloud)
    assert run(snapshot_actions.request_delete(acting(None), snapshot=row)).state == JobState.SUCCEEDED
    assert not VMSnapshot.objects.filter(pk=row.pk).exists()


def _finished_late(cloud):
    """A VM snapshot whose taking was given up, and which the hypervisor finished after that; with its row."""
    scene = scenes.create(cloud)
    scene.world.finish_late("create_snapshot", 100_000)
    scene.run()
    with later(10_000):
        job_sweeper.sweep()
    scene.world.finish_operations()
    row = VMSnapshot.objects.get(name="new")
    return scene, row


def test_the_row_of_a_failed_snapshot_stays_failed_when_its_snapshot_is_there_and_cannot_be_deleted(cloud):
    scene, row = _finished_late(cloud)
    assert row.state == SnapshotState.ERROR
    scene.world.refuse("delete_snapshot", errors.Busy)
    job = run(snapshot_actions.request_delete(acting(None), snapshot=row))
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_busy")
    row.refresh_from_db()
    assert row.state == SnapshotState.READY, "the look after the failure has found it"
    assert_nothing_stays_in_between(scene)


@pytest.mark.parametrize("with_descendants", [False, True])
def test_deleting_a_failed_row_also_deletes_what_the_hypervisor_finished_late(cloud, with_descendants):
    scene, row = _finished_late(cloud)
    request = snapshot_actions.request_delete_tree if with_descendants else snapshot_actions.request_delete
    assert run(request(acting(None), snapshot=row)).state == JobState.SUCCEEDED
    assert set(scene.world.snapshot_names(scene.native_id).values()) == {"a", "b", "c"}
    assert_nothing_stays_in_between(scene)


def test_a_branch_with_lost_rows_in_between_is_deleted_as_a_whole(cloud):
    machine = cloud.machine("plain")
    for name in ("a", "b", "c", "d"):
        take(machine, name)
    natives = {name: native for native, name in cloud.world.snapshot_names(machine.native_id).items()}
    cloud.world.delete_elsewhere(machine.native_id, natives["b"])
    cloud.sync()
    top = VMSnapshot.objects.get(machine=machine, name="a")
    assert run(snapshot_actions.request_delete_tree(acting(None), snapshot=top)).state == JobState.SUCCEEDED
    assert drawn(machine) == {}
    assert cloud.world.snapshot_names(machine.native_id) == {}
    assert current_name(machine) is None


def test_deleting_with_descendants_never_takes_along_what_nobody_was_shown(cloud):
    scene = scenes.delete_tree(cloud)
    scene.world.take_elsewhere(scene.native_id, "taken a moment ago")
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_rejected")
    assert "taken a moment ago" in job.error_detail
    assert drawn(scene.machine) == {"a": None, "b": "a", "c": "b", "taken a moment ago": "c"}
    assert_nothing_stays_in_between(scene)


def test_a_deletion_of_several_trees_that_breaks_off_keeps_what_is_left_and_no_row_of_what_is_gone(cloud):
    machine = cloud.machine("plain")
    take(machine, "top")
    for name in ("one", "two"):
        run(snapshot_actions.request_revert(acting(None), snapshot=VMSnapshot.objects.get(machine=machine, name="top")))
        take(machine, name)
    top = VMSnapshot.objects.get(machine=machine, name="top")
    cloud.world.delete_elsewhere(machine.native_id, top.native_id)
    job = snapshot_actions.request_delete_tree(acting(None), snapshot=top)
    real = SimulatedDriver.delete_with_descendants
    asked: list[str] = []

    def refuse_the_second(self, machine_id, snapshot_id, watch):
        asked.append(snapshot_id)
        if len(asked) == 2:
            raise errors.Busy("Not now.")
        return real(self, machine_id, snapshot_id, watch)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SimulatedDriver, "delete_with_descendants", refuse_the_second)
        ended = run(job)
    assert (ended.state, ended.error_code) == (JobState.FAILED, "hypervisor_busy")
    assert drawn(machine) == {"top": None, "two": None}
    top.refresh_from_db()
    assert (top.state, top.error_code) == (SnapshotState.ERROR, "gone_on_hypervisor"), "another's doing is not ours"
    assert_nothing_stays_in_between(Scene(cloud, machine, ended, "delete_with_descendants"))


def test_settling_a_deletion_whose_row_is_gone_already_counts_it_as_done(monkeypatch, cloud):
    scene = scenes.delete(cloud)
    kill(monkeypatch, scene, die_once_done)
    tree.remove(scene.job.snapshot.pk)
    sweep_once_lost()
    assert scene.ended().state == JobState.SUCCEEDED
    assert_nothing_stays_in_between(scene)


@pytest.mark.parametrize("scene_of", [scenes.create, scenes.revert, scenes.rename], ids=["create", "revert", "rename"])
def test_a_job_whose_snapshot_row_is_gone_ends(monkeypatch, cloud, scene_of):
    scene = scene_of(cloud)
    tree.remove(scene.job.snapshot.pk)
    job = scene.run()
    assert (job.state, job.error_code) == (JobState.FAILED, "not_found")

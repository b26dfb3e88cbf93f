"""Going back to a VM snapshot: what becomes of the machine's power and memory, and what keeps the state that is left."""

import pytest

from hypervisors.records import PowerAfterRevert
from snapshots.choices import JobState, SnapshotState, SnapshotType
from snapshots.models import VMSnapshot
from snapshots.services.snapshot_actions import (
    request_revert,
)
from tests.builders import drawn, run, take
from tests.domain.refusing import assert_refused


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

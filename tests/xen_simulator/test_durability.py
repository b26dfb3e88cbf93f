"""A killed server finds everything again, and what it was in the middle of is as a real one would leave it."""

import contextlib
import http.client
from pathlib import Path
from typing import Any

import pytest
import XenAPI

from hypervisors.xen_simulator.process import XenSimulator
from tests.xen_simulator.client import details, logged_in, unconnected
from tests.xen_simulator.ground import Ground


def unordered(records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Records with their sets in one order: a set has none."""
    return {
        ref: {name: sorted(value) if isinstance(value, list) else value for name, value in record.items()}
        for ref, record in records.items()
    }


def test_a_killed_server_has_its_machines_and_snapshots_at_the_next_start(own_xen: XenSimulator) -> None:
    with logged_in(own_xen) as api:
        ground = Ground(own_xen, api)
        vm = ground.machine("kept", power="Running", tags=["a"])
        first = ground.do("VM.checkpoint", vm, "first")
        ground.do("VM.snapshot", vm, "second")
        ground.do("VM.revert", first)
        own_xen.control.write(ground.disk_uuid(vm), 5, b"written")
        classes = ("VM", "VDI", "VBD", "SR", "VIF", "host", "pool")
        before = {name: unordered(getattr(api, name).get_all_records()) for name in classes}
        port, authority = own_xen.port, own_xen.ca_certificate
    own_xen.kill()
    own_xen.start()
    assert (own_xen.port, own_xen.ca_certificate) == (port, authority)
    with logged_in(own_xen) as api:
        for name, records in before.items():
            assert unordered(getattr(api, name).get_all_records()) == records, name
        ground = Ground(own_xen, api)
        assert ground.tree(vm) == ({"first": None, "second": "first"}, "first")
        assert own_xen.control.read(ground.disk_uuid(vm), 5, 7) == b"written"
        ground.do("VM.snapshot", vm, "third")


def test_tasks_and_sessions_end_with_the_server(own_xen: XenSimulator) -> None:
    session = unconnected(own_xen)
    session.login_with_password("root", own_xen.password)
    held = own_xen.control.hold("VM.snapshot")
    vm = next(ref for ref, record in session.xenapi.VM.get_all_records().items() if record["name_label"] == "halted")
    task = session.xenapi.Async.VM.snapshot(vm, "never taken")
    assert own_xen.control.wait_held(held)
    handle = session.handle
    session("close")()
    own_xen.kill()
    own_xen.start()
    answer = getattr(unconnected(own_xen), "VM.get_all")(handle)
    assert answer["ErrorDescription"] == ["SESSION_INVALID", handle]
    with logged_in(own_xen) as api:
        with pytest.raises(XenAPI.Failure) as gone:
            api.task.get_status(task)
        assert details(gone) == ["HANDLE_INVALID", "task", task]
        assert api.VM.get_snapshots(vm) == []


REVERT_STEPS = {"fields": True, "disks-destroyed": False, "clone-0": False, "disks-cloned": False, "devices": True}


@pytest.mark.parametrize("step", REVERT_STEPS)
def test_a_server_that_dies_during_a_revert_leaves_a_machine_that_can_be_reverted_again(
    own_xen: XenSimulator, step: str
) -> None:
    with logged_in(own_xen) as api:
        ground = Ground(own_xen, api)
        vm = ground.machine(disks=1)
        own_xen.control.write(ground.disk_uuid(vm), 0, b"right")
        made = ground.do("VM.snapshot", vm, "taken")
        own_xen.control.write(ground.disk_uuid(vm), 0, b"wrong")
        own_xen.control.die("VM.revert", step=step)
        with contextlib.suppress(OSError, http.client.HTTPException):  # it may die before it answers
            api.Async.VM.revert(made)
        assert own_xen.wait_dead() != 0
    own_xen.start()
    with logged_in(own_xen) as api:
        ground = Ground(own_xen, api)
        assert api.VM.get_power_state(vm) == "Halted"
        assert api.VM.get_current_operations(vm) == api.VM.get_current_operations(made) == {}
        assert bool(ground.disks(vm)) == REVERT_STEPS[step]
        ground.do("VM.revert", made)
        assert own_xen.control.read(ground.disk_uuid(vm), 0, 5) == b"right"


def test_a_server_that_dies_between_two_disks_has_taken_no_snapshot(own_xen: XenSimulator) -> None:
    with logged_in(own_xen) as api:
        ground = Ground(own_xen, api)
        vm = ground.machine(disks=2)
        own_xen.control.die("VM.snapshot", step="disk-1")
        with contextlib.suppress(OSError, http.client.HTTPException):  # it may die before it answers
            api.Async.VM.snapshot(vm, "half")
        own_xen.wait_dead()
    own_xen.start()
    with logged_in(own_xen) as api:
        ground = Ground(own_xen, api)
        assert ground.tree(vm) == ({}, None)
        orphan = ground.api.VDI.get_snapshots(ground.disks(vm)["0"])
        assert len(orphan) == 1  # leaked, as on a real pool
        ground.do("VM.snapshot", vm, "whole")


def test_files_that_nobody_knows_go_at_the_next_start(own_xen: XenSimulator) -> None:
    with logged_in(own_xen) as api:
        uuid = api.SR.get_uuid(api.SR.get_all()[0])
    stray = own_xen.folder / "repositories" / uuid / "stray.layer"
    stray.write_bytes(b"left behind")
    own_xen.restart()
    assert not stray.exists()


def test_a_second_server_is_refused_the_same_folder(own_xen: XenSimulator, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError):
        XenSimulator(own_xen.folder).start()
    assert "runs already" in capfd.readouterr().err


def test_a_world_that_does_not_exist_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError):
        XenSimulator(tmp_path, world="flat").start()
    assert "flat" in capfd.readouterr().err


def test_a_large_pool_is_made_as_described(tmp_path: Path) -> None:
    with XenSimulator(tmp_path, world="large:20:3") as xen, logged_in(xen) as api:
        records = api.VM.get_all_records()
        snapshots = [record for record in records.values() if record["is_a_snapshot"]]
        assert (len(records), len(snapshots)) == (20 * 4 + 1, 60)
        assert all(record["parent"] in records for record in snapshots if record["name_label"] != "snapshot 1")


def test_the_demos_pool_shows_reasons_tags_and_states(tmp_path: Path) -> None:
    with XenSimulator(tmp_path, world="demo") as xen, logged_in(xen) as api:
        machines = [record for record in api.VM.get_all_records().values() if not record["is_control_domain"]]
        assert {record["power_state"] for record in machines} == {"Running", "Halted", "Suspended"}
        assert all(record["tags"] for record in machines)
        assert any(record["attached_PCIs"] for record in machines)
        assert any("snapshot" in record["blocked_operations"] for record in machines)
        assert sum(record["content_type"] == "user" for record in api.SR.get_all_records().values()) == 2
        loose = [r for r in api.VDI.get_all_records().values() if not r["VBDs"] and r["type"] == "user"]
        assert [record["name_label"] for record in loose] == ["spare-disk"]

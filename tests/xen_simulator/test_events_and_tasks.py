"""Events by tokens, tasks with progress, cancellation, and what becomes of both."""

import threading
from typing import Any

import pytest
import XenAPI

from hypervisors.xen_simulator.model import CLASSES, Type
from hypervisors.xen_simulator.process import XenSimulator
from tests.xen_simulator.client import details, ended, logged_in
from tests.xen_simulator.conforming import faults_of
from tests.xen_simulator.ground import Ground


def changes(api: Any, classes: list[str], token: str, seconds: float = 0.0) -> tuple[list[dict[str, Any]], str]:
    answer = api.event_from(classes, token, seconds)
    return answer["events"], answer["token"]


def test_the_empty_token_gives_everything_with_records(ground: Ground) -> None:
    ground.machine()
    events, _token = changes(ground.api, ["VM", "sr"], "")
    assert {event["class"] for event in events} == {"vm", "sr"}
    assert {event["ref"] for event in events} == set(ground.api.VM.get_all()) | set(ground.api.SR.get_all())
    for event in events:
        assert event.keys() == {"id", "timestamp", "class", "operation", "ref", "snapshot"}
        assert event["operation"] == "add"
        name = "VM" if event["class"] == "vm" else "SR"
        assert faults_of(Type("record", name), event["snapshot"], name) == []
        for field in ("id", "timestamp", "class", "ref"):
            assert faults_of(CLASSES["event"].fields[field].type, event[field], field) == []


def test_a_later_token_gives_what_changed_and_nothing_else(ground: Ground) -> None:
    vm, other = ground.machine("one"), ground.machine("another")
    _all, token = changes(ground.api, ["vm"], "")
    assert changes(ground.api, ["vm"], token)[0] == []
    ground.api.VM.set_name_label(vm, "renamed")
    ground.api.VM.set_name_label(vm, "renamed again")
    made = ground.machine("made")
    ground.api.VM.destroy(other)
    events, _token = changes(ground.api, ["vm"], token)
    seen = {event["ref"]: event for event in events}
    assert {ref: event["operation"] for ref, event in seen.items()} == {vm: "mod", made: "add", other: "del"}
    assert seen[vm]["snapshot"]["name_label"] == "renamed again"
    assert "snapshot" not in seen[other]


def test_what_came_and_went_between_two_looks_is_not_told(ground: Ground) -> None:
    _all, token = changes(ground.api, ["vm"], "")
    ground.api.VM.destroy(ground.machine("short-lived"))
    assert changes(ground.api, ["vm"], token)[0] == []


def test_a_wait_ends_with_the_first_change(ground: Ground) -> None:
    vm = ground.machine()
    _all, token = changes(ground.api, [f"vm/{vm}"], "")
    ready, told = threading.Event(), []

    def wait() -> None:
        with logged_in(ground.xen) as api:
            ready.set()
            told.extend(changes(api, [f"vm/{vm}"], token, 50.0)[0])

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert ready.wait(30)
    ground.machine("not asked for")
    ground.api.VM.set_name_label(vm, "changed")
    waiting.join(30)
    assert not waiting.is_alive()
    assert [(event["ref"], event["operation"]) for event in told] == [(vm, "mod")]


def test_a_token_survives_another_session_and_a_restart(own_xen: XenSimulator) -> None:
    with logged_in(own_xen) as api:
        _all, token = changes(api, ["*"], "")
        vm = own_xen.control.add_machine({"name": "new"})["vm"]
    own_xen.kill()
    own_xen.start()
    with logged_in(own_xen) as api:
        events, _token = changes(api, ["vm"], token)
        assert [(event["ref"], event["operation"]) for event in events] == [(vm, "add")]


def test_counts_show_how_many_there_are(ground: Ground) -> None:
    answer = ground.api.event_from(["vm", "vdi"], "", 0.0)
    assert answer["valid_ref_counts"] == {"vm": len(ground.api.VM.get_all()), "vdi": len(ground.api.VDI.get_all())}


@pytest.mark.parametrize("token", ["x", "1", "00000000000000000000,1", "0,0,0"])
def test_a_token_that_cannot_be_read_is_refused(api: Any, token: str) -> None:
    with pytest.raises(XenAPI.Failure) as refused:
        api.event_from(["vm"], token, 0.0)
    assert details(refused) == ["EVENT_FROM_TOKEN_PARSE_FAILURE", token]


@pytest.mark.parametrize("text", ["", "vm/", "vm/a/b"])
def test_a_subscription_that_cannot_be_read_is_refused(api: Any, text: str) -> None:
    with pytest.raises(XenAPI.Failure) as refused:
        api.event_from([text], "", 0.0)
    assert details(refused) == ["EVENT_SUBSCRIPTION_PARSE_FAILURE", text]


def test_an_injected_event_is_told(ground: Ground) -> None:
    vm = ground.machine()
    token = ground.api.event.inject("VM", vm)
    assert [event["ref"] for event in changes(ground.api, ["vm"], token)[0]] == [vm]


def test_a_task_shows_progress_and_the_operation_on_the_machine(ground: Ground) -> None:
    vm = ground.machine(disks=2)
    held = ground.xen.control.hold("VM.snapshot", step="disk-1")
    task = ground.api.Async.VM.snapshot(vm, "taken")
    assert ground.xen.control.wait_held(held)
    record = ground.api.task.get_record(task)
    assert (record["status"], record["result"]) == ("pending", "")
    assert 0 < record["progress"] < 1
    assert "cancel" in record["allowed_operations"]
    assert ground.api.VM.get_current_operations(vm) == {task: "snapshot"}
    ground.xen.control.release(held)
    done = ended(ground.api, task)
    assert (done["status"], done["progress"], done["error_info"]) == ("success", 1.0, [])
    assert ground.api.VM.get_current_operations(vm) == {}


@pytest.mark.parametrize("message", ["VM.snapshot", "VM.checkpoint"])
def test_a_cancellation_is_a_request_that_the_work_notices(ground: Ground, message: str) -> None:
    vm = ground.machine(disks=2, power="Running")
    before = set(ground.api.VDI.get_all())
    held = ground.xen.control.hold(message, step="disk-1")
    task = getattr(ground.api, f"Async.{message}")(vm, "taken")
    assert ground.xen.control.wait_held(held)
    ground.api.task.cancel(task)
    done = ended(ground.api, task)
    assert (done["status"], done["error_info"]) == ("cancelled", ["TASK_CANCELLED", task])
    assert ground.tree(vm) == ({}, None)
    assert ground.api.VM.get_power_state(vm) == "Running"
    ground.xen.control.collect_garbage()
    assert {vdi for vdi in ground.api.VDI.get_all() if ground.api.VDI.get_managed(vdi)} <= before


def test_a_revert_cannot_be_cancelled(ground: Ground) -> None:
    vm = ground.machine()
    made = ground.do("VM.snapshot", vm, "taken")
    held = ground.xen.control.hold("VM.revert", step="disks-destroyed")
    task = ground.api.Async.VM.revert(made)
    assert ground.xen.control.wait_held(held)
    assert "cancel" not in ground.api.task.get_allowed_operations(task)
    with pytest.raises(XenAPI.Failure) as refused:
        ground.api.task.cancel(task)
    assert details(refused)[0] == "OPERATION_NOT_ALLOWED"
    ground.xen.control.release(held)
    assert ended(ground.api, task)["status"] == "success"


def test_a_failure_is_kept_in_the_task(ground: Ground) -> None:
    vm = ground.machine()
    done = ended(ground.api, ground.api.Async.VM.checkpoint(vm, "no memory"))
    assert done["status"] == "failure"
    assert done["error_info"] == ["VM_BAD_POWER_STATE", vm, "paused, suspended, running", "halted"]


def test_finished_tasks_are_collected_when_there_are_too_many(ground: Ground) -> None:
    vm = ground.machine()
    tasks = [ground.api.Async.VM.update_allowed_operations(vm) for _ in range(230)]
    for task in tasks[-3:]:
        ended(ground.api, task)
    left = set(ground.api.task.get_all())
    assert tasks[-1] in left
    with pytest.raises(XenAPI.Failure) as gone:
        ground.api.task.get_record(tasks[0])
    assert details(gone) == ["HANDLE_INVALID", "task", tasks[0]]


def test_a_call_waits_for_the_one_in_its_way(own_xen: XenSimulator) -> None:
    with logged_in(own_xen) as api:
        ground = Ground(own_xen, api)
        vm = ground.machine(power="Running")
        held = own_xen.control.hold("VM.clean_shutdown", step="ask")
        first = api.Async.VM.clean_shutdown(vm)
        assert own_xen.control.wait_held(held)
        second = api.Async.VM.snapshot(vm, "afterwards")
        assert api.task.get_status(second) == "pending"
        own_xen.control.release(held)
        assert ended(api, first)["status"] == ended(api, second)["status"] == "success"
        taken = ground.snapshot(vm, "afterwards")
        assert api.VM.get_snapshot_info(taken)["power-state-at-snapshot"] == "Halted"


def test_two_snapshots_of_one_machine_may_run_together(ground: Ground) -> None:
    vm = ground.machine()
    held = ground.xen.control.hold("VM.snapshot", step="disks")
    first = ground.api.Async.VM.snapshot(vm, "first")
    assert ground.xen.control.wait_held(held)
    ground.do("VM.snapshot", vm, "second")
    ground.xen.control.release(held)
    ended(ground.api, first)
    assert ground.tree(vm)[0] == {"second": None, "first": "second"}

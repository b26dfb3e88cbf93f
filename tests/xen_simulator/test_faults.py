"""Faults on request, and who may do what."""

import http.client
from typing import Any

import pytest
import XenAPI

from hypervisors.xen_simulator.model import CLASSES
from hypervisors.xen_simulator.process import ControlRefused, XenSimulator
from tests.xen_simulator.client import VerifiedTransport, details, ended, logged_in, trusting, unconnected
from tests.xen_simulator.ground import Ground


def test_a_refusal_comes_once_and_changes_nothing(ground: Ground) -> None:
    vm = ground.machine()
    ground.xen.control.refuse("VM.snapshot", "VM_IS_IMMOBILE", [vm])
    assert ended(ground.api, ground.api.Async.VM.snapshot(vm, "a"))["error_info"] == ["VM_IS_IMMOBILE", vm]
    assert ground.tree(vm) == ({}, None)
    ground.do("VM.snapshot", vm, "a")


def test_a_lost_answer_means_that_it_was_done(ground: Ground) -> None:
    vm = ground.machine()
    ground.xen.control.lose_answer("VM.snapshot")
    with pytest.raises(http.client.RemoteDisconnected):
        ground.api.VM.snapshot(vm, "done")
    assert ground.tree(vm)[0] == {"done": None}


def test_the_stock_transport_repeats_a_call_whose_answer_was_lost(ground: Ground) -> None:
    """Why a driver must not use it for calls that change something."""
    vm = ground.machine()
    session = XenAPI.Session(ground.xen.url, transport=VerifiedTransport(context=trusting(ground.xen)))
    session.login_with_password("root", ground.xen.password)
    ground.xen.control.lose_answer("VM.snapshot")
    session.xenapi.VM.snapshot(vm, "twice")
    assert len(ground.api.VM.get_snapshots(vm)) == 2


def test_a_forgotten_task_was_done_too(ground: Ground) -> None:
    vm = ground.machine()
    ground.xen.control.forget_task("VM.snapshot")
    task = ground.api.Async.VM.snapshot(vm, "done")
    answer = {"events": []}
    token = ""
    while not any(event["operation"] == "del" for event in answer["events"]):
        answer = ground.api.event_from([f"task/{task}", f"vm/{vm}"], token, 30.0)
        token = answer["token"]
        if task not in ground.api.task.get_all():
            break
    with pytest.raises(XenAPI.Failure) as gone:
        ground.api.task.get_status(task)
    assert details(gone)[0] == "HANDLE_INVALID"
    assert ground.tree(vm)[0] == {"done": None}


def test_a_task_that_never_ends_stays_pending_until_it_is_let_go(ground: Ground) -> None:
    vm = ground.machine()
    stuck = ground.xen.control.never_end("VM.snapshot", step="disk-0")
    task = ground.api.Async.VM.snapshot(vm, "never")
    assert ground.xen.control.wait_held(stuck)
    assert ground.api.task.get_status(task) == "pending"
    ground.api.task.cancel(task)
    assert ended(ground.api, task)["status"] == "cancelled"


def test_an_expired_session_is_invalid_and_the_client_logs_in_again_unseen(xen: XenSimulator) -> None:
    session = unconnected(xen)
    session.login_with_password("root", xen.password)
    before = session.handle
    xen.control.expire_sessions()
    assert getattr(unconnected(xen), "VM.get_all")(before)["ErrorDescription"] == ["SESSION_INVALID", before]
    assert session.xenapi.VM.get_all()
    assert session.handle != before


def test_idle_sessions_end(tmp_path: Any) -> None:
    with XenSimulator(tmp_path, world="empty", session_seconds=0) as xen:
        session = unconnected(xen)
        session.login_with_password("root", xen.password)
        answer = getattr(unconnected(xen), "VM.get_all")(session.handle)
        assert answer["ErrorDescription"] == ["SESSION_INVALID", session.handle]


def test_a_member_sends_logins_to_the_coordinator(tmp_path: Any, xen: XenSimulator) -> None:
    xen.control.redirect("192.0.2.1")
    with pytest.raises(XenAPI.Failure) as sent:
        unconnected(xen).login_with_password("root", xen.password)
    assert details(sent) == ["HOST_IS_SLAVE", "192.0.2.1"]
    xen.control.redirect("")
    unconnected(xen).login_with_password("root", xen.password)
    with XenSimulator(tmp_path, world="empty", member_of=xen.address) as member:
        with pytest.raises(XenAPI.Failure) as sent:
            unconnected(member).login_with_password("root", member.password)
        assert details(sent) == ["HOST_IS_SLAVE", xen.address]


def test_a_machine_that_vanishes_leaves_its_snapshots_or_not(ground: Ground) -> None:
    vm = ground.machine(power="Running")
    made = ground.do("VM.snapshot", vm, "left")
    ground.xen.control.vanish(ground.api.VM.get_uuid(vm))
    assert vm not in ground.api.VM.get_all()
    assert ground.api.VM.get_snapshot_of(made) == vm
    other = ground.machine()
    gone = ground.do("VM.snapshot", other, "gone")
    ground.xen.control.vanish(ground.api.VM.get_uuid(other), snapshots=True)
    assert not {other, gone} & set(ground.api.VM.get_all())


def test_what_was_called_is_logged(ground: Ground) -> None:
    ground.xen.control.clear()
    vm = ground.machine()
    ground.do("VM.snapshot", vm, "a")
    assert ("Async.VM.snapshot", "root", 2) in ground.xen.control.calls()


def test_the_control_door_takes_the_token_and_known_orders_only(xen: XenSimulator) -> None:
    for token in ("", "Bearer wrong", "Bearer ümlaut"):
        connection = http.client.HTTPSConnection("127.0.0.1", xen.port, context=trusting(xen), timeout=30)
        connection.request("POST", "/simulator", b'{"do": "clear"}', {"Authorization": token.encode()})
        assert connection.getresponse().status == 401
        connection.close()
    for order, more in (
        ("fly", {}),
        ("fault", {"kind": "flood", "message": "VM.start"}),
        ("fault", {"kind": "die", "message": "VM.fly"}),
        ("fault", {"kind": "refuse", "message": "VM.start", "code": "VM_IS_TIRED"}),
    ):
        with pytest.raises(ControlRefused):
            xen.control.order(order, **more)


# Who may do what


def test_a_wrong_password_and_a_stranger_are_refused_alike(xen: XenSimulator) -> None:
    for user in ("root", "nobody"):
        with pytest.raises(XenAPI.Failure) as refused:
            unconnected(xen).login_with_password(user, "wrong")
        assert details(refused) == ["SESSION_AUTHENTICATION_FAILED"]


ALLOWED = {
    "viewer": set(),
    "operator": {"VM.start", "VM.add_tags"},
    "vmadmin": {"VM.start", "VM.add_tags", "VM.set_name_label", "VM.destroy", "VDI.set_name_label"},
    "root": {
        "VM.start", "VM.add_tags", "VM.set_name_label", "VM.destroy", "VDI.set_name_label", "VM.snapshot", "VM.checkpoint",
        "SR.scan", "SR.set_name_label",
    },
}  # fmt: skip


@pytest.mark.parametrize("user", ALLOWED)
def test_a_role_allows_what_the_model_says(ground: Ground, user: str) -> None:
    with logged_in(ground.xen, user) as api:
        assert api.VM.get_all()
        for called in sorted(ALLOWED["root"]):
            vm = ground.machine(power="Running" if called == "VM.checkpoint" else "Halted")
            params = {
                "VM.start": (vm, False, False),
                "VM.destroy": (vm,),
                "SR.scan": (ground.repository(),),
                "SR.set_name_label": (ground.repository("Second storage"), "Second storage"),
                "VDI.set_name_label": (ground.disks(vm)["0"], "n"),
            }.get(called, (vm, "n"))
            if called in ALLOWED[user]:
                getattr(api, called)(*params)
                continue
            with pytest.raises(XenAPI.Failure) as refused:
                getattr(api, called)(*params)
            assert details(refused)[:2] == ["RBAC_PERMISSION_DENIED", called.lower()]
            if called in ASYNC:
                task = getattr(api, f"Async.{called}")(*params)
                assert ended(api, task)["error_info"][0] == "RBAC_PERMISSION_DENIED"


ASYNC = {name for name in ALLOWED["root"] if CLASSES[name.split(".")[0]].messages[name.split(".")[1]].asynchronous}


def test_a_session_tells_what_it_may(xen: XenSimulator) -> None:
    session = unconnected(xen)
    session.login_with_password("operator", xen.accounts["operator"].password)
    record = session.xenapi.session.get_record(session.handle)
    assert record["is_local_superuser"] is False
    assert "vm.start" in record["rbac_permissions"]
    assert "vm.snapshot" not in record["rbac_permissions"]


def test_tasks_of_others_are_not_ended_by_a_lesser_account(ground: Ground) -> None:
    held = ground.xen.control.hold("VM.snapshot", step="disk-0")
    task = ground.api.Async.VM.snapshot(ground.machine(), "a")
    assert ground.xen.control.wait_held(held)
    with logged_in(ground.xen, "operator") as api:
        for called in ("task.cancel", "task.destroy"):
            with pytest.raises(XenAPI.Failure) as refused:
                getattr(api, called)(task)
            assert details(refused)[0] == "RBAC_PERMISSION_DENIED"
        own = api.task.create("mine", "")
        api.task.destroy(own)
    ground.xen.control.release(held)
    ended(ground.api, task)


def test_a_logged_out_session_is_invalid(xen: XenSimulator) -> None:
    session = unconnected(xen)
    session.login_with_password("root", xen.password)
    handle = session.handle
    session.xenapi.session.logout()
    assert getattr(unconnected(xen), "VM.get_all")(handle)["ErrorDescription"][0] == "SESSION_INVALID"

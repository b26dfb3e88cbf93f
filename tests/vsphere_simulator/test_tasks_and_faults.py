"""What a test can have happen to calls and tasks, on a vCenter and on a host without one."""

import http.client
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from .client import Client
from .commands import SimulatorError
from .server import VsphereSimulator
from .world import Machine

FAULTS = (
    "ApplicationQuiesceFault",
    "ConcurrentAccess",
    "FileFault",
    "FileLocked",
    "FilesystemQuiesceFault",
    "InsufficientResourcesFault",
    "InsufficientStorageSpace",
    "InvalidName",
    "InvalidPowerState",
    "InvalidState",
    "MemorySnapshotOnIndependentDisk",
    "MultipleSnapshotsNotSupported",
    "NoDiskSpace",
    "NoPermission",
    "NotSupported",
    "HostNotConnected",
    "SnapshotDisabled",
    "SnapshotFault",
    "SnapshotIncompatibleDeviceInVm",
    "SnapshotLocked",
    "SnapshotNoChange",
    "TaskInProgress",
    "TooManySnapshotLevels",
    "ToolsUnavailable",
    "VmConfigFault",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_arrives_as_its_own_class_from_the_task_and_from_the_call(
    server: VsphereSimulator, client: Client, fault: str
) -> None:
    machine = client.machine("off")
    expected = getattr(vim.fault, fault, None) or getattr(vmodl.fault, fault)
    for at_call in (False, True):
        server.fail("CreateSnapshot_Task", fault, machine="off", at_call=at_call, message="as told")
        with pytest.raises(expected) as met:
            client.take(machine, "no")
        assert met.value.msg == "as told"
    client.take(machine, "again")
    assert client.forest(machine) == ({"again": None}, "again")


def test_a_plan_for_another_machine_or_an_unknown_fault_changes_nothing(
    server: VsphereSimulator, client: Client
) -> None:
    with pytest.raises(SimulatorError, match="NoSuchFault"):
        server.fail("CreateSnapshot_Task", "NoSuchFault")
    server.fail("CreateSnapshot_Task", "SnapshotFault", machine="on")
    client.take(client.machine("off"), "fine")


def test_a_held_task_shows_progress_keeps_others_away_and_ends_when_released(
    server: VsphereSimulator, client: Client
) -> None:
    machine = client.machine("off")
    server.hold("CreateSnapshot_Task")
    task = machine.CreateSnapshot_Task("held", "", False, False)
    held = server.held_task()
    assert (held.method, held.machine) == ("CreateSnapshot_Task", "off")
    server.progress(held, 40)
    info = client.read(task, "info.state", "info.progress", "info.cancelable", "info.entity")
    assert (info["info.state"], info["info.progress"], info["info.cancelable"]) == ("running", 40, True)
    assert info["info.entity"] == machine
    assert task in client.read(machine, "recentTask")["recentTask"]
    with pytest.raises(vim.fault.TaskInProgress):
        client.take(machine, "second")
    assert client.forest(machine) == ({}, None)
    server.release(held)
    client.outcome(task)
    assert client.forest(machine) == ({"held": None}, "held")


def test_a_cancelled_task_ends_as_such_and_a_stubborn_one_refuses(server: VsphereSimulator, client: Client) -> None:
    machine = client.machine("off")
    server.hold("CreateSnapshot_Task", cancelable=False)
    task = machine.CreateSnapshot_Task("held", "", False, False)
    with pytest.raises(vmodl.fault.NotSupported):
        task.CancelTask()
    server.release(server.held_task())
    with pytest.raises(vim.fault.InvalidState):
        task.CancelTask()
    server.hold("CreateSnapshot_Task")
    task = machine.CreateSnapshot_Task("cancelled", "", False, False)
    task.CancelTask()
    with pytest.raises(vmodl.fault.RequestCanceled):
        client.outcome(task)
    assert client.forest(machine) == ({"held": None}, "held")


@pytest.mark.parametrize("done", [True, False])
def test_a_forgotten_task_is_not_found_whether_its_work_was_done_or_not(
    server: VsphereSimulator, client: Client, done: bool
) -> None:
    machine = client.machine("off")
    server.hold("CreateSnapshot_Task")
    task = machine.CreateSnapshot_Task("held", "", False, False)
    server.forget(server.held_task(), done=done)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        client.read(task, "info.state")
    assert client.forest(machine) == (({"held": None}, "held") if done else ({}, None))


def test_a_task_of_a_machine_that_is_deleted_ends_and_the_machine_is_not_found(
    server: VsphereSimulator, client: Client
) -> None:
    server.add_machine(Machine("short-lived", running=True))
    machine = client.machine("short-lived")
    server.hold("CreateSnapshot_Task")
    task = machine.CreateSnapshot_Task("held", "", False, False)
    server.delete_machine("short-lived")
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        client.outcome(task)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        client.read(machine, "name")


def test_a_question_keeps_the_task_waiting_for_the_answer(server: VsphereSimulator, client: Client) -> None:
    machine = client.machine("off")
    server.ask("off", "The disk is full. Retry?")
    task = machine.CreateSnapshot_Task("asked", "", False, False)
    question = client.read(machine, "runtime.question")["runtime.question"]
    assert question.text == "The disk is full. Retry?"
    assert client.read(task, "info.state")["info.state"] == "running"
    machine.AnswerVM(question.id, question.choice.choiceInfo[0].key)
    client.outcome(task)
    assert "runtime.question" not in client.read(machine, "runtime.question")


def test_consolidation_is_needed_until_it_is_done(server: VsphereSimulator, client: Client) -> None:
    machine = client.machine("off")
    server.set_needs_consolidation("off", needed=True)
    assert client.read(machine, "runtime.consolidationNeeded")["runtime.consolidationNeeded"] is True
    client.outcome(machine.ConsolidateVMDisks_Task())
    assert client.read(machine, "runtime.consolidationNeeded")["runtime.consolidationNeeded"] is False


@pytest.mark.parametrize(("when", "left"), [("before", {}), ("after", {"unheard": None})])
def test_a_lost_answer_leaves_the_work_undone_or_done(
    server: VsphereSimulator, client: Client, when: Any, left: dict[str, None]
) -> None:
    machine = client.machine("off")
    server.drop("CreateSnapshot_Task", when)
    with pytest.raises((http.client.HTTPException, OSError)):
        machine.CreateSnapshot_Task("unheard", "", False, False)
    assert client.forest(machine)[0] == left


def test_a_privilege_that_was_taken_is_told_and_missed(server: VsphereSimulator, client: Client) -> None:
    machine = client.machine("off")
    taken, other = "VirtualMachine.State.CreateSnapshot", "VirtualMachine.State.RemoveSnapshot"
    server.take_privileges(taken)
    key = client.read(client.content.sessionManager, "currentSession")["currentSession"].key
    (told,) = client.content.authorizationManager.HasPrivilegeOnEntities([machine], key, [taken, other])
    assert {each.privId: each.isGranted for each in told.privAvailability} == {taken: False, other: True}
    with pytest.raises(vim.fault.NoPermission) as refusal:
        client.take(machine, "no")
    assert refusal.value.privilegeId == taken


def test_a_disk_can_be_detached_only_with_the_privilege(server: VsphereSimulator, client: Client) -> None:
    machine = client.machine("off")
    server.take_privileges("VirtualMachine.Config.RemoveDisk")
    removed = vim.vm.device.VirtualDeviceSpec(operation="remove", device=client.disks(machine)[-1])
    with pytest.raises(vim.fault.NoPermission) as refusal:
        client.outcome(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[removed])))
    assert refusal.value.privilegeId == "VirtualMachine.Config.RemoveDisk"
    assert len(client.disks(machine)) == 2

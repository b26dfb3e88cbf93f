"""What the driver makes of what XenServer refuses, and of what it would rather not be asked for."""

import pytest

from hypervisors import errors
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.records import PowerState, SnapshotForest, SnapshotKind
from hypervisors.xen_simulator.process import XenSimulator

from ..contract import Watching
from .ground import OFF, forest, take
from .pool import (
    add_machine,
    client_of,
    disks_of_the_pool,
)


@pytest.mark.parametrize(
    ("code", "params", "kind", "word"),
    [
        ("VM_BAD_POWER_STATE", ["OpaqueRef:x", "running, paused", "halted"], errors.Rejected, "power state"),
        ("VM_BAD_POWER_STATE", ["OpaqueRef:x", "running; paused", "halted"], errors.Rejected, "power state"),
        ("VM_BAD_POWER_STATE", [], errors.Rejected, "power state"),
        ("OTHER_OPERATION_IN_PROGRESS", ["VM", "OpaqueRef:x"], errors.Busy, "something else"),
        ("SR_FULL", ["1", "0"], errors.OutOfSpace, "room"),
        ("SR_BACKEND_FAILURE_44", ["", "There is insufficient space", ""], errors.OutOfSpace, "room"),
        ("SR_BACKEND_FAILURE", ["", "", "No space left on device"], errors.OutOfSpace, "room"),
        ("SR_BACKEND_FAILURE_109", ["", "The snapshot chain is too long", ""], errors.Rejected, "30 levels"),
        ("SR_BACKEND_FAILURE_9999", [], errors.Rejected, "storage"),
        ("SR_OPERATION_NOT_SUPPORTED", ["OpaqueRef:x"], errors.Unsupported, "storage"),
        ("VM_HAS_VUSBS", ["OpaqueRef:x"], errors.Unsupported, "USB"),
        ("VM_HAS_PCI_ATTACHED", ["OpaqueRef:x"], errors.Unsupported, "PCI"),
        ("VM_HAS_VGPU", ["OpaqueRef:x"], errors.Unsupported, "graphics"),
        ("VM_IS_IMMOBILE", ["OpaqueRef:x"], errors.Unsupported, "host"),
        ("VM_LACKS_FEATURE", ["OpaqueRef:x"], errors.Unsupported, "VM Tools"),
        ("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION", [], errors.Unsupported, "reset"),
        ("OPERATION_BLOCKED", ["OpaqueRef:x", "KEYS"], errors.Unsupported, "KEYS"),
        ("NOT_SUPPORTED_DURING_UPGRADE", [], errors.Rejected, "upgraded"),
        ("LICENCE_RESTRICTION", ["checkpoint"], errors.Unsupported, "licence"),
        ("RBAC_PERMISSION_DENIED", ["vm.snapshot", "no"], errors.NotPermitted, "vm.snapshot"),
        ("MESSAGE_REMOVED", [], errors.Unsupported, "release"),
        ("TOO_MANY_PENDING_TASKS", [], errors.Busy, "work"),
    ],
)
def test_a_refusal_of_the_work_arrives_as_the_named_error_and_leaves_nothing(
    pool: XenSimulator,
    driver: XenServerDriver,
    machine: str,
    code: str,
    params: list[str],
    kind: type[errors.HypervisorError],
    word: str,
) -> None:
    pool.control.refuse("VM.snapshot", code, params)
    with pytest.raises(kind) as refusal:
        take(driver, machine)
    assert word in refusal.value.detail
    assert code in refusal.value.detail
    assert refusal.value.outcome_known
    assert forest(driver, machine) == SnapshotForest()


def test_a_refusal_in_the_middle_of_the_work_leaves_no_disk(
    pool: XenSimulator, driver: XenServerDriver, running: str
) -> None:
    before = disks_of_the_pool(pool)
    pool.control.refuse("VM.snapshot", "SR_FULL", ["1", "0"], step="disk-0")
    with pytest.raises(errors.OutOfSpace):
        take(driver, running)
    assert forest(driver, running) == SnapshotForest()
    assert disks_of_the_pool(pool) >= before
    assert len(disks_of_the_pool(pool)) == len(before)


def test_a_full_repository_is_out_of_space(pool: XenSimulator, driver: XenServerDriver, machine: str) -> None:
    (repository,) = driver.list_pools()
    pool.control.fill(repository.native_id)
    with pytest.raises(errors.OutOfSpace):
        take(driver, machine)
    assert forest(driver, machine) == SnapshotForest()


def test_memory_of_a_paused_machine_is_refused_because_xenserver_would_leave_it_out(
    pool: XenSimulator, driver: XenServerDriver
) -> None:
    paused = add_machine(pool, power="Paused")
    with pytest.raises(errors.Rejected, match="paused"):
        take(driver, paused, memory=True)
    assert take(driver, paused).kind == SnapshotKind.DISK


def test_memory_of_a_suspended_machine_is_kept_and_it_stays_suspended(
    pool: XenSimulator, driver: XenServerDriver
) -> None:
    suspended = add_machine(pool, power="Suspended")
    assert take(driver, suspended, memory=True).kind == SnapshotKind.DISK_AND_MEMORY
    assert driver.read_machine(suspended).power_state == PowerState.SUSPENDED


@pytest.mark.parametrize(
    ("trait", "word"),
    [({"pci": True}, "PCI"), ({"vgpu": True}, "graphics"), ({"tools": False}, "VM Tools")],
    ids=["PCI", "vGPU", "no tools"],
)
def test_what_keeps_memory_from_being_saved_is_told_beforehand(
    pool: XenSimulator, driver: XenServerDriver, trait: dict[str, bool], word: str
) -> None:
    machine = add_machine(pool, power="Running", **trait)
    can = driver.read_machine(machine).capabilities
    assert not can.memory.allowed
    assert word in can.memory.reason
    assert can.disk_when_running.allowed


def test_a_guest_without_drivers_takes_and_gives_no_disks_while_it_runs(
    pool: XenSimulator, driver: XenServerDriver
) -> None:
    can = driver.read_machine(add_machine(pool, power="Running", tools=False)).capabilities
    assert "VM Tools" in can.attach.reason
    assert "VM Tools" in can.detach.reason
    can = driver.read_machine(add_machine(pool, tools=False)).capabilities
    assert can.attach.allowed
    assert can.detach.allowed


@pytest.mark.parametrize("operation", ["snapshot", "checkpoint", "revert", "start"])
def test_a_blocked_operation_is_refused_with_the_administrators_reason(
    pool: XenSimulator, driver: XenServerDriver, operation: str
) -> None:
    machine = add_machine(pool, blocked={operation: "ASK_JO"})
    can = driver.read_machine(machine).capabilities
    ability = {"snapshot": can.disk_when_stopped, "checkpoint": can.memory, "revert": can.revert, "start": can.start}
    assert "ASK_JO" in ability[operation].reason


def test_an_operation_of_somebody_else_makes_it_busy_at_once(
    pool: XenSimulator, driver: XenServerDriver, running: str
) -> None:
    """XenServer itself would let us wait for up to two hours."""
    snapshot = take(driver, running)
    held = pool.control.hold("VM.clean_shutdown", step="ask")
    api = client_of(pool).xenapi
    api.Async.VM.clean_shutdown(api.VM.get_by_uuid(running))
    assert pool.control.wait_held(held)
    calls = (
        lambda: take(driver, running, "another"),
        lambda: driver.revert_to(running, snapshot.native_id, OFF, Watching()),
        lambda: driver.delete_snapshot(running, snapshot.native_id, Watching()),
        lambda: driver.stop(running, True, Watching()),
    )
    for call in calls:
        with pytest.raises(errors.Busy) as refusal:
            call()
        assert "shuts the machine down" in refusal.value.detail
    assert "shuts the machine down" in str(driver.operation_in_flight(running))
    pool.control.release(held)

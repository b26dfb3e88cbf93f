"""Sessions that end, answers that are lost, servers and machines that go away during the work."""

from collections.abc import Callable

import pytest

from hypervisors import errors
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.records import PowerState, SnapshotForest
from hypervisors.xen_simulator.process import XenSimulator

from ..contract import Watching, request
from ..contract_ground import Clock
from .ground import AS_IT_WAS, Meanwhile, forest, take
from .pool import (
    add_machine,
    calls_of,
    client_of,
    disks_of_the_pool,
)


def test_a_session_that_expires_while_a_task_is_looked_at_is_renewed(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    held = pool.control.hold("VM.snapshot", step="disks")
    taking = Meanwhile(lambda: take(driver, machine, "through a renewed session"))
    assert pool.control.wait_held(held)
    pool.control.expire_sessions()
    pool.control.release(held)
    assert taking.result().name == "through a renewed session"
    assert calls_of(pool, "VM.snapshot") == 1


def test_a_password_that_changes_meanwhile_leaves_the_outcome_open(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    held = pool.control.hold("VM.snapshot", step="disks")
    taking = Meanwhile(lambda: take(driver, machine))
    assert pool.control.wait_held(held)
    pool.control.refuse("session.login_with_password", "SESSION_AUTHENTICATION_FAILED", [], times=None)
    pool.control.expire_sessions()
    error = taking.result()
    assert isinstance(error, errors.ConnectionLost)
    assert not error.outcome_known
    pool.control.clear()


def test_a_lost_answer_is_no_reason_to_ask_for_the_same_snapshot_again(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    pool.control.lose_answer("Async.VM.snapshot")
    with pytest.raises(errors.ConnectionLost) as lost:
        take(driver, machine)
    assert not lost.value.outcome_known
    assert calls_of(pool, "VM.snapshot") == 1


@pytest.mark.parametrize(
    ("message", "power", "change"),
    [
        ("Async.VM.checkpoint", "Running", lambda d, m, s: take(d, m, memory=True)),
        ("Async.VM.revert", "Running", lambda d, m, s: d.revert_to(m, s, AS_IT_WAS, Watching())),
        ("Async.VM.destroy", "Halted", lambda d, m, s: d.delete_snapshot(m, s, Watching())),
        ("Async.VDI.destroy", "Halted", lambda d, m, s: d.delete_with_descendants(m, s, Watching())),
        ("Async.VDI.destroy", "Halted", lambda d, m, s: d.delete_all(m, Watching())),
        ("VM.set_name_label", "Halted", lambda d, m, s: d.rename_snapshot(m, s, "another", "")),
        ("Async.VM.start", "Halted", lambda d, m, s: d.start(m, Watching())),
        ("Async.VM.clean_shutdown", "Running", lambda d, m, s: d.stop(m, False, Watching())),
        ("Async.VM.hard_shutdown", "Running", lambda d, m, s: d.stop(m, True, Watching())),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_change_is_asked_for_again_when_its_answer_is_lost(
    pool: XenSimulator,
    driver: XenServerDriver,
    message: str,
    power: str,
    change: Callable[[XenServerDriver, str, str], object],
) -> None:
    machine = add_machine(pool, power=power)
    made = take(driver, machine)
    pool.control.clear()
    pool.control.lose_answer(message)
    with pytest.raises(errors.ConnectionLost) as lost:
        change(driver, machine, made.native_id)
    assert not lost.value.outcome_known
    assert calls_of(pool, message.removeprefix("Async.")) == 1


@pytest.mark.parametrize("message", ["task.get_record", "VM.get_by_uuid", "VM.get_all_records"])
def test_a_lost_answer_of_a_read_is_asked_for_once_more(
    pool: XenSimulator, driver: XenServerDriver, machine: str, message: str
) -> None:
    pool.control.lose_answer(message)
    take(driver, machine, "taken all the same")
    assert [s.name for s in driver.list_forests()[machine].snapshots] == ["taken all the same"]


@pytest.mark.parametrize(
    "message", ["VM.set_name_description", "VM.remove_from_other_config", "VM.add_to_other_config", "VM.set_name_label"]
)
def test_a_snapshot_that_is_half_labelled_is_known_by_name_and_token(
    pool: XenSimulator, driver: XenServerDriver, machine: str, message: str
) -> None:
    asked = request("before [vmsnap] the upgrade", "as described")
    pool.control.die(message)
    with pytest.raises(errors.HypervisorError) as lost:
        driver.create_snapshot(machine, asked, Watching())
    assert not lost.value.outcome_known
    pool.wait_dead()
    pool.start()
    found = forest(driver, machine).by_token(asked.token)
    assert found is not None
    assert found.name == asked.name
    assert found.description in ("", asked.description)
    with pytest.raises(errors.Rejected, match="already"):
        driver.create_snapshot(machine, asked, Watching())
    driver.rename_snapshot(machine, found.native_id, "renamed", "anew")
    renamed = forest(driver, machine).by_token(asked.token)
    assert renamed is not None
    assert (renamed.name, renamed.description) == ("renamed", "anew")


def test_the_token_of_a_snapshot_is_not_that_of_what_is_made_of_it(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    """XenServer copies the entry to a clone, and from the clone to its snapshots."""
    snapshot = take(driver, machine)
    api = client_of(pool).xenapi
    clone = api.VM.clone(api.VM.get_by_uuid(snapshot.native_id), "a clone")
    api.VM.set_is_a_template(clone, False)
    api.VM.snapshot(clone, "made elsewhere")
    (seen,) = forest(driver, api.VM.get_uuid(clone)).snapshots
    assert (seen.name, seen.token) == ("made elsewhere", None)


@pytest.mark.parametrize("step", [None, "disks"])
def test_a_server_killed_during_a_task_leaves_the_outcome_open_and_serves_again(
    pool: XenSimulator, driver: XenServerDriver, machine: str, step: str | None
) -> None:
    pool.control.die("VM.snapshot", step=step)
    asked = request()
    with pytest.raises(errors.HypervisorError) as lost:
        driver.create_snapshot(machine, asked, Watching())
    assert not lost.value.outcome_known
    pool.wait_dead()
    with pytest.raises(errors.Unreachable) as away:
        driver.read_machine(machine)
    assert away.value.outcome_known
    pool.start()
    assert driver.operation_in_flight(machine) is None
    assert take(driver, machine, "afterwards").name == "afterwards"


def test_a_snapshot_whose_task_was_forgotten_is_found_by_its_token(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    pool.control.forget_task("VM.snapshot")
    asked = request("forgotten", "as described")
    made = driver.create_snapshot(machine, asked, Watching())
    assert (made.name, made.description, made.token) == (asked.name, asked.description, asked.token)


def test_a_revert_whose_task_was_forgotten_has_an_open_outcome(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    snapshot = take(driver, machine)
    pool.control.forget_task("VM.revert")
    with pytest.raises(errors.HypervisorError, match="no longer knows") as lost:
        driver.revert_to(machine, snapshot.native_id, AS_IT_WAS, Watching())
    assert not lost.value.outcome_known


def test_a_deletion_whose_task_was_forgotten_has_an_open_outcome(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    snapshot = take(driver, machine)
    pool.control.forget_task("VM.destroy")
    with pytest.raises(errors.HypervisorError, match="no longer knows") as lost:
        driver.delete_snapshot(machine, snapshot.native_id, Watching())
    assert not lost.value.outcome_known


def test_a_machine_deleted_during_the_work_ends_the_job_with_an_error(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    held = pool.control.hold("VM.snapshot", step="disks")
    taking = Meanwhile(lambda: take(driver, machine))
    assert pool.control.wait_held(held)
    pool.control.vanish(machine)
    pool.control.release(held)
    assert isinstance(taking.result(), errors.HypervisorError)
    with pytest.raises(errors.NotFound):
        driver.read_machine(machine)
    assert driver.list_forests([machine]) == {}


def test_work_that_never_ends_is_given_up_in_time(
    pool: XenSimulator, driver: XenServerDriver, machine: str, clock: Clock
) -> None:
    held = pool.control.hold("VM.snapshot", step="disks")
    taking = Meanwhile(lambda: take(driver, machine))
    assert pool.control.wait_held(held)
    clock.ahead = 1000.0
    late = taking.result()
    assert isinstance(late, errors.TimedOut)
    assert not late.outcome_known
    assert "snapshot" in str(driver.operation_in_flight(machine))
    pool.control.release(held)


def test_a_snapshot_is_stopped_on_request_and_nothing_of_it_stays(
    pool: XenSimulator, driver: XenServerDriver, running: str
) -> None:
    before = disks_of_the_pool(pool)
    held = pool.control.hold("VM.snapshot", step="disk-0")
    watch = Watching()
    taking = Meanwhile(lambda: driver.create_snapshot(running, request(), watch))
    assert pool.control.wait_held(held)
    watch.cancel = True
    assert isinstance(taking.result(), errors.Cancelled)
    assert forest(driver, running) == SnapshotForest()
    assert len(disks_of_the_pool(pool)) == len(before)
    assert driver.read_machine(running).power_state == PowerState.RUNNING


def test_a_revert_is_not_stopped_half_way(pool: XenSimulator, driver: XenServerDriver, machine: str) -> None:
    snapshot = take(driver, machine)
    held = pool.control.hold("VM.revert", step="disks-destroyed")
    watch = Watching(cancel=True)
    reverting = Meanwhile(lambda: driver.revert_to(machine, snapshot.native_id, AS_IT_WAS, watch))
    assert pool.control.wait_held(held)
    pool.control.release(held)
    assert reverting.result() is None
    assert calls_of(pool, "task.cancel") == 0


def test_a_machine_that_xenserver_could_not_resume_after_its_memory_was_saved_is_told_of(
    pool: XenSimulator, driver: XenServerDriver, running: str
) -> None:
    pool.control.refuse("VM.checkpoint", "VM_CHECKPOINT_RESUME_FAILED", [], step="disks")
    with pytest.raises(errors.Rejected) as refusal:
        take(driver, running, memory=True)
    assert "resumed" in refusal.value.detail
    assert not refusal.value.outcome_known


@pytest.mark.parametrize("message", ["VM.set_name_description", "VM.get_record"])
def test_a_refusal_after_the_snapshot_was_taken_does_not_say_that_nothing_happened(
    pool: XenSimulator, driver: XenServerDriver, machine: str, message: str
) -> None:
    asked = request()
    held = pool.control.hold("VM.snapshot", step="disks")
    taking = Meanwhile(lambda: driver.create_snapshot(machine, asked, Watching()))
    assert pool.control.wait_held(held)
    pool.control.refuse(message, "HOST_OFFLINE", ["OpaqueRef:x"], times=None)
    pool.control.release(held)
    error = taking.result()
    assert isinstance(error, errors.Unreachable)
    assert not error.outcome_known
    pool.control.clear()
    assert forest(driver, machine).by_token(asked.token)

"""Tasks that the vSphere driver follows, over the simulator, which holds them still: progress, cancelling, questions,
deadlines, and machines and servers that go away meanwhile."""

from dataclasses import replace
from functools import partial

import pytest

from hypervisors.drivers.vmware import tasks
from hypervisors.drivers.vmware.driver import VMwareDriver
from hypervisors.errors import (
    Busy,
    Cancelled,
    ConnectionLost,
    HypervisorError,
    NotFound,
    Rejected,
    TimedOut,
)
from hypervisors.records import PowerAfterRevert, SnapshotForest
from tests.vsphere_simulator.server import VsphereSimulator

from ..contract import Watching, request
from ..contract_ground import Clock
from .under_way import CREATE, Job, taking
from .vsphere_ground import login_to, named, needs_simulator, until_true

pytestmark = needs_simulator


FAR_AHEAD_SECONDS = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The one by which tasks are followed."""
    clock = Clock()
    monkeypatch.setattr(tasks, "time", clock)
    return clock


def test_progress_is_passed_on_and_never_falls(server: VsphereSimulator, web: str) -> None:
    server.hold(CREATE)
    job, task = taking(server, web)
    for percent in (20, 70, 40):
        server.progress(task, percent)
        highest = max(20, percent)
        until_true(partial(_reported, job.watch, highest))
    server.release(task)
    job.ended()
    percents = [percent for percent, _ in job.watch.reports]
    assert percents == sorted(percents)
    assert {20, 70, 100} <= set(percents)
    assert {phase for _, phase in job.watch.reports[:-1]} == {"Saving disks and memory"}


def _reported(watch: Watching, percent: int) -> bool:
    return any(told >= percent for told, _ in list(watch.reports))


def test_a_task_is_cancelled_on_request_and_nothing_stays(
    server: VsphereSimulator, driver: VMwareDriver, web: str
) -> None:
    server.hold(CREATE)
    job, _ = taking(server, web)
    job.watch.cancel = True
    job.failed(Cancelled)
    assert driver.list_forests([web])[web] == SnapshotForest()
    assert driver.operation_in_flight(web) is None


def test_a_task_that_cannot_be_cancelled_goes_on(server: VsphereSimulator, driver: VMwareDriver, web: str) -> None:
    server.hold(CREATE, cancelable=False)
    asked = server.calls().get("CancelTask", 0)
    job, task = taking(server, web)
    job.watch.cancel = True
    server.progress(task, 50)
    until_true(partial(_reported, job.watch, 50))
    server.release(task)
    assert job.ended().error is None
    assert server.calls().get("CancelTask", 0) == asked
    assert driver.list_forests([web])[web].snapshots == (job.result,)


def test_what_others_are_doing_is_in_flight_and_makes_us_wait(
    server: VsphereSimulator, driver: VMwareDriver, web: str
) -> None:
    server.hold(CREATE)
    job, task = taking(server, web)
    server.progress(task, 42)
    assert "42 %" in (driver.operation_in_flight(web) or "")
    with pytest.raises(Busy):
        driver.create_snapshot(web, request("second"), Watching())
    server.release(task)
    job.ended()
    assert driver.operation_in_flight(web) is None


def test_a_task_without_end_is_given_up_at_the_deadline(
    server: VsphereSimulator, driver: VMwareDriver, web: str, clock: Clock
) -> None:
    server.hold(CREATE)
    job, _ = taking(server, web)
    clock.ahead = FAR_AHEAD_SECONDS
    late = job.failed(TimedOut)
    assert not late.outcome_known
    assert driver.operation_in_flight(web) is not None


def test_a_question_is_told_while_the_task_waits_and_named_at_the_deadline(
    server: VsphereSimulator, driver: VMwareDriver, web: str, clock: Clock
) -> None:
    server.hold(CREATE)
    server.ask("web", "msg.hbacommon.outofspace:There is no more space. Retry?")
    job, _ = taking(server, web)
    until_true(lambda: any("There is no more space" in phase for _, phase in list(job.watch.reports)))
    clock.ahead = FAR_AHEAD_SECONDS
    late = job.failed(TimedOut)
    assert "There is no more space" in late.detail
    assert "msg." not in late.detail
    assert "There is no more space" in driver.read_machine(web).question


@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
def test_a_task_that_the_server_forgot_has_an_unknown_outcome(
    server: VsphereSimulator, driver: VMwareDriver, web: str, done: bool
) -> None:
    server.hold(CREATE)
    job, task = taking(server, web)
    server.forget(task, done=done)
    error = job.failed(HypervisorError)
    assert not error.outcome_known
    assert bool(driver.list_forests([web])[web].snapshots) == done


def test_a_machine_deleted_during_its_task_is_not_found(server: VsphereSimulator, driver: VMwareDriver) -> None:
    goes = named(driver, "goes")
    server.hold(CREATE)
    job, _ = taking(server, goes)
    server.delete_machine("goes")
    job.failed(NotFound)
    assert driver.list_forests([goes]) == {}
    with pytest.raises(NotFound):
        driver.read_machine(goes)


def test_a_server_started_anew_during_a_task_leaves_the_outcome_open(server: VsphereSimulator, web: str) -> None:
    server.hold(CREATE)
    job, _ = taking(server, web)
    server.restart()
    error = job.failed(HypervisorError)
    assert not error.outcome_known
    # The question that was under way breaks with the server; one that is asked afterwards finds the task forgotten.
    assert "broke during the call" in error.detail or "no longer knows the task" in error.detail


def test_a_server_that_stays_away_during_a_task_leaves_the_outcome_open(server: VsphereSimulator, web: str) -> None:
    server.hold(CREATE)
    drivers: list[VMwareDriver] = []

    def take(driver: VMwareDriver, watch: Watching) -> None:
        drivers.append(driver)
        driver.create_snapshot(web, request(memory=True), watch)

    job = Job(take, login_to(server))
    server.held_task()
    server.kill()
    connection = drivers[0]._connection
    connection._login = replace(connection._login, timeout_seconds=1.0)
    error = job.failed(ConnectionLost)
    assert not error.outcome_known
    server.start()


def test_a_revert_that_cannot_set_the_power_says_so(server: VsphereSimulator, driver: VMwareDriver, web: str) -> None:
    made = driver.create_snapshot(web, request("disks only"), Watching())
    server.fail("PowerOnVM_Task", "InsufficientResourcesFault")
    with pytest.raises(Rejected) as refusal:
        driver.revert_to(web, made.native_id, PowerAfterRevert.RUNNING, Watching())
    assert "was put back" in refusal.value.detail
    assert not refusal.value.outcome_known
    assert driver.list_forests([web])[web].current_id == made.native_id

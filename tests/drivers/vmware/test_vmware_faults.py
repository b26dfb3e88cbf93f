"""What the vSphere driver makes of faults, lost sessions and lost answers, over the simulator that raises them."""

from collections.abc import Callable
from typing import Any

import pytest

from hypervisors.drivers.vmware import power
from hypervisors.drivers.vmware.driver import VMwareDriver
from hypervisors.errors import (
    Busy,
    Cancelled,
    ConnectionLost,
    HypervisorError,
    LoginRefused,
    NotFound,
    NotPermitted,
    OutOfReach,
    OutOfSpace,
    Rejected,
    TimedOut,
    Unreachable,
    Unsupported,
)
from hypervisors.records import PowerAfterRevert, PowerState, SnapshotForest
from tests.vsphere_simulator.server import VsphereSimulator

from ..contract import Watching, request, shape
from .under_way import CREATE, Job, taking
from .vsphere_ground import login_to, needs_simulator, until_true

pytestmark = needs_simulator


# Each fault class


FAULTS: list[tuple[str, type[HypervisorError], str]] = [
    ("TaskInProgress", Busy, "Another task"),
    ("ConcurrentAccess", Busy, "somebody else"),
    ("FileLocked", Busy, "locked"),
    ("ResourceInUse", Busy, "in use"),
    ("SnapshotLocked", Busy, "somebody else"),
    ("NoDiskSpace", OutOfSpace, "no room"),
    ("InsufficientStorageSpace", OutOfSpace, "room"),
    ("InsufficientResourcesFault", Rejected, "memory or processor"),
    ("ApplicationQuiesceFault", Rejected, "without quiesce"),
    ("FilesystemQuiesceFault", Rejected, "without quiesce"),
    ("ToolsUnavailable", Rejected, "without quiesce"),
    ("TooManySnapshotLevels", Rejected, "32"),
    ("SnapshotNoChange", Rejected, "has not changed"),
    ("MemorySnapshotOnIndependentDisk", Unsupported, "independent"),
    ("SnapshotIncompatibleDeviceInVm", Unsupported, "device"),
    ("SnapshotDisabled", Unsupported, "switched off"),
    ("MultipleSnapshotsNotSupported", Unsupported, "one VM snapshot only"),
    ("SnapshotFault", Rejected, "snapshot operation"),
    ("InvalidPowerState", Rejected, "suspended"),
    ("InvalidState", Rejected, "state"),
    ("FileNotFound", Rejected, "missing"),
    ("CannotAccessFile", Rejected, "cannot be opened"),
    ("FileFault", Rejected, "cannot be used"),
    ("InaccessibleDatastore", Rejected, "cannot be reached"),
    ("InvalidDatastore", Rejected, "datastore"),
    ("VmConfigFault", Rejected, "configuration"),
    ("InvalidName", Rejected, "name"),
    ("Timedout", TimedOut, "too long"),
    ("HostNotConnected", OutOfReach, "host"),
    ("HostNotReachable", OutOfReach, "host"),
    ("NotSupported", Unsupported, "does not support"),
    ("RestrictedVersion", Unsupported, "licence"),
    ("NotEnoughLicenses", Unsupported, "licence"),
    ("ManagedObjectNotFound", NotFound, "any more"),
    ("NoPermission", NotPermitted, "privilege"),
    ("RequestCanceled", Cancelled, "cancelled"),
    ("SystemError", Rejected, "refused"),
]


class TestFaults:
    @pytest.fixture
    def server(self, lasting_server: VsphereSimulator) -> VsphereSimulator:
        """Faults change nothing, so the server need not begin anew."""
        return lasting_server

    @pytest.mark.parametrize(("fault", "kind", "words"), FAULTS, ids=[fault for fault, _, _ in FAULTS])
    @pytest.mark.parametrize("at_call", [False, True], ids=["in the task", "at the call"])
    def test_each_fault_is_our_named_error_with_a_way_out(
        self,
        server: VsphereSimulator,
        driver: VMwareDriver,
        web: str,
        fault: str,
        kind: type[HypervisorError],
        words: str,
        at_call: bool,
    ) -> None:
        server.fail(CREATE, fault, at_call=at_call, message="Die Sache ging schief.")
        with pytest.raises(HypervisorError) as refusal:
            driver.create_snapshot(web, request(memory=True), Watching())
        assert type(refusal.value) is kind
        assert words in refusal.value.detail
        assert "Die Sache ging schief" in refusal.value.detail
        assert driver.list_forests([web])[web] == SnapshotForest()

    def test_the_servers_words_are_quoted_as_text_and_not_at_any_length(
        self, server: VsphereSimulator, driver: VMwareDriver, web: str
    ) -> None:
        server.fail(CREATE, "SnapshotFault", message="<script>\n" + "very long " * 1000)
        with pytest.raises(Rejected) as refusal:
            driver.create_snapshot(web, request(), Watching())
        assert "<script> very long" in refusal.value.detail
        assert "\n" not in refusal.value.detail
        assert len(refusal.value.detail) < 500

    def test_a_missing_privilege_is_named_with_its_object(
        self, server: VsphereSimulator, driver: VMwareDriver, web: str
    ) -> None:
        server.take_privileges("VirtualMachine.State.CreateSnapshot")
        with pytest.raises(LoginRefused) as refusal:
            driver.create_snapshot(web, request(), Watching())
        assert "VirtualMachine.State.CreateSnapshot" in refusal.value.detail
        assert "web" in refusal.value.detail

    @pytest.mark.parametrize(
        ("method", "call"),
        [
            ("RevertToSnapshot_Task", lambda d, m, s: d.revert_to(m, s, PowerAfterRevert.AS_SNAPSHOT, Watching())),
            ("RemoveSnapshot_Task", lambda d, m, s: d.delete_snapshot(m, s, Watching())),
            ("RemoveAllSnapshots_Task", lambda d, m, s: d.delete_all(m, Watching())),
            ("PowerOffVM_Task", lambda d, m, s: d.stop(m, True, Watching())),
        ],
        ids=["revert", "delete", "delete all", "stop"],
    )
    def test_every_task_passes_its_fault_on(
        self,
        server: VsphereSimulator,
        driver: VMwareDriver,
        web: str,
        method: str,
        call: Callable[[VMwareDriver, str, str], None],
    ) -> None:
        made = driver.create_snapshot(web, request("stays"), Watching())
        server.fail(method, "TaskInProgress")
        with pytest.raises(Busy):
            call(driver, web, made.native_id)
        assert shape(driver.list_forests([web])[web]) == {"stays": None}
        driver.delete_snapshot(web, made.native_id, Watching())

    @pytest.mark.parametrize("method", ["RenameSnapshot", "ShutdownGuest"])
    def test_calls_without_a_task_pass_their_fault_on(
        self, server: VsphereSimulator, driver: VMwareDriver, web: str, method: str
    ) -> None:
        made = driver.create_snapshot(web, request("stays"), Watching())
        server.fail(method, "TaskInProgress", at_call=True)
        calls: dict[str, Callable[[], None]] = {
            "RenameSnapshot": lambda: driver.rename_snapshot(web, made.native_id, "other", ""),
            "ShutdownGuest": lambda: driver.stop(web, False, Watching()),
        }
        with pytest.raises(Busy):
            calls[method]()
        assert shape(driver.list_forests([web])[web]) == {"stays": None}
        driver.delete_snapshot(web, made.native_id, Watching())

    def test_a_guest_without_tools_is_not_shut_down_and_the_way_out_is_said(
        self, server: VsphereSimulator, driver: VMwareDriver, web: str
    ) -> None:
        server.fail("ShutdownGuest", "ToolsUnavailable", at_call=True)
        with pytest.raises(Rejected) as refusal:
            driver.stop(web, False, Watching())
        assert "by force" in refusal.value.detail
        assert driver.read_machine(web).power_state == PowerState.RUNNING

    def test_a_deaf_guest_keeps_its_power(
        self, server: VsphereSimulator, driver: VMwareDriver, web: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(power, "ASK_AGAIN_SECONDS", 0.1)
        server.set_deaf("web", deaf=True)
        with pytest.raises(TimedOut) as late:
            driver.stop(web, False, Watching(cancel=True))
        assert "by force" in late.value.detail
        assert driver.read_machine(web).power_state == PowerState.RUNNING

    def test_a_deaf_guest_is_asked_again_until_it_hears(
        self, server: VsphereSimulator, driver: VMwareDriver, web: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(power, "ASK_AGAIN_SECONDS", 0.1)
        server.set_deaf("web", deaf=True)
        before = server.calls().get("ShutdownGuest", 0)
        job = Job(lambda own, watch: own.stop(web, False, watch), login_to(server))
        until_true(lambda: server.calls().get("ShutdownGuest", 0) > before + 2)
        server.set_deaf("web", deaf=False)
        assert job.ended().error is None
        assert driver.read_machine(web).power_state == PowerState.STOPPED
        driver.start(web, Watching())


# Sessions


def test_a_session_that_ended_is_begun_anew_once(server: VsphereSimulator, driver: VMwareDriver, web: str) -> None:
    before = server.calls()["Login"]
    server.end_sessions()
    assert driver.read_machine(web).name == "web"
    assert driver.read_machine(web).name == "web"
    assert server.calls()["Login"] == before + 1


def test_a_changing_call_whose_session_ended_is_carried_out_once(
    server: VsphereSimulator, driver: VMwareDriver, web: str
) -> None:
    server.fail(CREATE, "NotAuthenticated", at_call=True)
    made = driver.create_snapshot(web, request("once"), Watching())
    assert driver.list_forests([web])[web].snapshots == (made,)


def test_a_session_that_does_not_come_back_is_a_refused_login(server: VsphereSimulator, driver: VMwareDriver) -> None:
    server.fail("RetrievePropertiesEx", "NotAuthenticated", at_call=True, times=2)
    with pytest.raises(LoginRefused):
        driver.list_pools()


def test_a_refused_password_is_sent_once(server: VsphereSimulator, driver: VMwareDriver, web: str) -> None:
    """The server would lock the account."""
    server.end_sessions()
    server.fail("Login", "InvalidLogin", at_call=True, times=0)
    before = server.calls()["Login"]
    for _ in range(3):
        with pytest.raises(LoginRefused):
            driver.read_machine(web)
    assert server.calls()["Login"] == before + 1


def test_the_session_is_given_back(server: VsphereSimulator) -> None:
    before = server.sessions()
    driver = VMwareDriver(login_to(server))
    assert server.sessions() == before + 1
    driver.close()
    assert server.sessions() == before
    with pytest.raises(Unreachable):
        driver.describe()


def test_a_session_ending_while_a_task_is_followed_does_not_matter(server: VsphereSimulator, web: str) -> None:
    server.hold(CREATE)
    job, task = taking(server, web)
    server.progress(task, 30)
    server.end_sessions()
    server.progress(task, 60)
    server.release(task)
    assert job.ended().error is None
    assert job.result.name == "under way"


def test_a_driver_does_not_work_in_another_process(driver: VMwareDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver._connection, "_process", -1)
    with pytest.raises(Unreachable):
        driver.list_pools()
    driver.close()  # Must not log the other process out.
    monkeypatch.undo()
    assert driver.list_pools()


# Answers that are lost


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_to_a_changing_call_is_never_sent_again(
    server: VsphereSimulator, driver: VMwareDriver, web: str, when: Any
) -> None:
    asked = request("lost answer")
    before = server.calls().get(CREATE, 0)
    server.drop(CREATE, when)
    with pytest.raises(ConnectionLost) as lost:
        driver.create_snapshot(web, asked, Watching())
    assert not lost.value.outcome_known
    assert server.calls()[CREATE] == before + 1
    found = driver.list_forests([web])[web].by_token(asked.token)
    assert (found is not None) == (when == "after")


def test_a_lost_answer_to_a_read_is_asked_for_again(server: VsphereSimulator, driver: VMwareDriver) -> None:
    server.drop("RetrievePropertiesEx", "before")
    assert driver.list_pools()

"""Promises about taking snapshots and going back to them."""

from collections.abc import Callable
from datetime import UTC, timedelta

import pytest

from hypervisors.driver import HypervisorDriver
from hypervisors.errors import Cancelled, NotFound, Rejected, Unsupported
from hypervisors.records import (
    PowerAfterRevert,
    PowerState,
    SnapshotForest,
    SnapshotKind,
    SnapshotRecord,
    SnapshotRequest,
)

from .contract_ground import HARD_NAMES, NOBODY, Ground, Subject, Watching, current, request, shape, token


class Growing(Ground):
    """How a tree grows: create and revert."""

    # Taking snapshots

    def test_a_new_snapshot_is_current_and_carries_what_was_asked_for(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        asked = request("before the upgrade", description="Kernel 6.1 → 6.12", memory=subject.memory)
        made = driver.create_snapshot(subject.machine_id, asked, Watching())
        assert (made.name, made.description, made.token) == (asked.name, asked.description, asked.token)
        assert made.kind == (SnapshotKind.DISK_AND_MEMORY if subject.memory else SnapshotKind.DISK)
        assert made.parent_id is None
        assert made.created_at.tzinfo is not None
        assert made.created_at.utcoffset() == UTC.utcoffset(None) == timedelta(0)
        assert made.measured_bytes is None or made.measured_bytes >= 0
        forest = self.forest(driver, subject.machine_id)
        assert forest == SnapshotForest((made,), made.native_id)
        assert forest.by_token(asked.token) == made

    def test_another_connection_sees_the_same_forest(
        self, driver: HypervisorDriver, subject: Subject, connect: Callable[[], HypervisorDriver]
    ) -> None:
        self.take(driver, subject, "one")
        self.take(driver, subject, "two")
        assert connect().list_forests([subject.machine_id]) == driver.list_forests([subject.machine_id])

    def test_each_snapshot_hangs_below_the_one_that_was_current(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        for name in ("one", "two", "three"):
            self.take(driver, subject, name)
        forest = self.forest(driver, subject.machine_id)
        assert shape(forest) == {"one": None, "two": "one", "three": "two"}
        assert [snapshot.name for snapshot in forest.snapshots] == ["one", "two", "three"]
        assert current(forest) == "three"

    def test_a_disk_snapshot_leaves_a_stopped_machine_stopped(
        self, driver: HypervisorDriver, stopped_machine: str
    ) -> None:
        def attempt() -> SnapshotRecord:
            return driver.create_snapshot(stopped_machine, request(), Watching())

        if self.refused_for_want_of(driver.read_machine(stopped_machine).capabilities.disk_when_stopped, attempt):
            return
        assert attempt().kind == SnapshotKind.DISK
        assert driver.read_machine(stopped_machine).power_state == PowerState.STOPPED

    def test_a_disk_snapshot_leaves_a_running_machine_running(
        self, driver: HypervisorDriver, running_machine: str
    ) -> None:
        def attempt() -> SnapshotRecord:
            return driver.create_snapshot(running_machine, request(), Watching())

        if self.refused_for_want_of(driver.read_machine(running_machine).capabilities.disk_when_running, attempt):
            assert self.forest(driver, running_machine) == SnapshotForest()
            return
        assert attempt().kind == SnapshotKind.DISK
        assert driver.read_machine(running_machine).power_state == PowerState.RUNNING

    def test_a_memory_snapshot_leaves_a_running_machine_running(
        self, driver: HypervisorDriver, running_machine: str
    ) -> None:
        def attempt() -> SnapshotRecord:
            return driver.create_snapshot(running_machine, request(memory=True), Watching())

        if self.refused_for_want_of(driver.read_machine(running_machine).capabilities.memory, attempt):
            return
        assert attempt().kind == SnapshotKind.DISK_AND_MEMORY
        assert driver.read_machine(running_machine).power_state == PowerState.RUNNING

    def test_memory_of_a_stopped_machine_is_refused_and_nothing_is_left(
        self, driver: HypervisorDriver, stopped_machine: str
    ) -> None:
        ability = driver.read_machine(stopped_machine).capabilities.memory
        with pytest.raises(Rejected if ability.allowed else Unsupported) as refusal:
            driver.create_snapshot(stopped_machine, request(memory=True), Watching())
        assert refusal.value.detail
        assert self.forest(driver, stopped_machine) == SnapshotForest()

    def test_quiesce_settles_the_guest_or_is_refused_with_the_reason(
        self, driver: HypervisorDriver, running_machine: str
    ) -> None:
        def attempt() -> SnapshotRecord:
            return driver.create_snapshot(running_machine, request(quiesce=True), Watching())

        if self.refused_for_want_of(driver.read_machine(running_machine).capabilities.quiesce, attempt):
            assert self.forest(driver, running_machine) == SnapshotForest()
            return
        assert attempt().kind == SnapshotKind.DISK

    def test_memory_and_quiesce_exclude_each_other(self, driver: HypervisorDriver, running_machine: str) -> None:
        with pytest.raises((Rejected, Unsupported)):
            driver.create_snapshot(running_machine, request(memory=True, quiesce=True), Watching())
        assert self.forest(driver, running_machine) == SnapshotForest()

    @pytest.mark.parametrize("name", HARD_NAMES.values(), ids=HARD_NAMES.keys())
    def test_any_name_and_description_come_back_as_they_went(
        self, driver: HypervisorDriver, subject: Subject, name: str
    ) -> None:
        self.take(driver, subject, name, description=f"{name} described")
        (seen,) = self.forest(driver, subject.machine_id).snapshots
        assert (seen.name, seen.description) == (name, f"{name} described")

    def test_a_machine_without_the_ability_refuses_with_its_reason(self, driver: HypervisorDriver) -> None:
        """Over all machines of the endpoint, so that one with a raw disk is met."""
        for machine in driver.list_machines():
            can = machine.capabilities
            needed = {
                PowerState.RUNNING: ((can.disk_when_running, False), (can.memory, True)),
                PowerState.STOPPED: ((can.disk_when_stopped, False),),
            }.get(machine.power_state, ())
            for ability, memory in needed:
                if ability.allowed:
                    continue
                with pytest.raises(Unsupported) as refusal:
                    driver.create_snapshot(machine.native_id, request(memory=memory), Watching())
                assert refusal.value.detail == ability.reason
                assert self.forest(driver, machine.native_id) == SnapshotForest()

    def test_the_same_request_twice_is_rejected_and_what_it_made_first_stays(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        asked = request(memory=subject.memory)
        driver.create_snapshot(subject.machine_id, asked, Watching())
        before = self.forest(driver, subject.machine_id)
        with pytest.raises(Rejected):
            driver.create_snapshot(subject.machine_id, asked, Watching())
        assert self.forest(driver, subject.machine_id) == before
        assert before.by_token(asked.token)

    def test_progress_rises_and_ends_within_a_hundred(self, driver: HypervisorDriver, subject: Subject) -> None:
        watch = Watching()
        driver.create_snapshot(subject.machine_id, request(memory=subject.memory), watch)
        percents = [percent for percent, _ in watch.reports]
        assert percents
        assert percents == sorted(percents)
        assert 0 <= percents[0] <= percents[-1] <= 100
        assert all(phase for _, phase in watch.reports)

    def test_a_cancelled_snapshot_leaves_nothing_behind(self, driver: HypervisorDriver, running_machine: str) -> None:
        can = driver.read_machine(running_machine).capabilities
        if not (can.memory.allowed or can.disk_when_running.allowed):
            pytest.skip(f"no snapshot can be taken here: {can.memory.reason}")
        asked = request(memory=can.memory.allowed)
        if not can.cancel.allowed:
            driver.create_snapshot(running_machine, asked, Watching(cancel=True))
            assert self.forest(driver, running_machine).by_token(asked.token)
            return
        with pytest.raises(Cancelled):
            driver.create_snapshot(running_machine, asked, Watching(cancel=True))
        assert self.forest(driver, running_machine) == SnapshotForest()
        assert driver.read_machine(running_machine).power_state == PowerState.RUNNING
        assert driver.operation_in_flight(running_machine) is None

    # Reverting

    def test_after_a_revert_the_snapshot_is_current_and_the_next_one_branches(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        root = self.take(driver, subject, "root")
        self.take(driver, subject, "left")
        self.revert(driver, subject, root)
        assert current(self.forest(driver, subject.machine_id)) == "root"
        self.take(driver, subject, "right")
        forest = self.forest(driver, subject.machine_id)
        assert shape(forest) == {"root": None, "left": "root", "right": "root"}
        assert current(forest) == "right"

    @pytest.mark.parametrize(
        ("power", "then"),
        [
            (PowerAfterRevert.AS_SNAPSHOT, PowerState.STOPPED),
            (PowerAfterRevert.STOPPED, PowerState.STOPPED),
            (PowerAfterRevert.RUNNING, PowerState.RUNNING),
        ],
    )
    @pytest.mark.parametrize("now", [PowerState.STOPPED, PowerState.RUNNING])
    def test_revert_to_a_disk_snapshot_leaves_the_power_that_was_chosen(
        self,
        driver: HypervisorDriver,
        stopped_machine: str,
        now: PowerState,
        power: PowerAfterRevert,
        then: PowerState,
    ) -> None:
        can = driver.read_machine(stopped_machine).capabilities

        def take() -> SnapshotRecord:
            return driver.create_snapshot(stopped_machine, request(), Watching())

        if self.refused_for_want_of(can.disk_when_stopped, take):
            return
        snapshot = take()
        if now == PowerState.RUNNING:
            driver.start(stopped_machine, Watching())

        def attempt() -> None:
            driver.revert_to(stopped_machine, snapshot.native_id, power, Watching())

        if self.refused_for_want_of(can.revert, attempt):
            return
        if power != PowerAfterRevert.AS_SNAPSHOT and self.refused_for_want_of(can.power_choice, attempt):
            return
        attempt()
        assert driver.read_machine(stopped_machine).power_state == then
        assert self.forest(driver, stopped_machine).current_id == snapshot.native_id

    @pytest.mark.parametrize(
        ("power", "then"),
        [
            (PowerAfterRevert.AS_SNAPSHOT, PowerState.RUNNING),
            (PowerAfterRevert.STOPPED, PowerState.STOPPED),
            (PowerAfterRevert.RUNNING, PowerState.RUNNING),
        ],
    )
    def test_revert_to_a_memory_snapshot_leaves_the_power_that_was_chosen(
        self, driver: HypervisorDriver, running_machine: str, power: PowerAfterRevert, then: PowerState
    ) -> None:
        can = driver.read_machine(running_machine).capabilities

        def take() -> SnapshotRecord:
            return driver.create_snapshot(running_machine, request(memory=True), Watching())

        if self.refused_for_want_of(can.memory, take):
            return
        snapshot = take()
        driver.stop(running_machine, True, Watching())

        def attempt() -> None:
            driver.revert_to(running_machine, snapshot.native_id, power, Watching())

        if self.refused_for_want_of(can.revert, attempt):
            return
        if power != PowerAfterRevert.AS_SNAPSHOT and self.refused_for_want_of(can.power_choice, attempt):
            return
        attempt()
        assert driver.read_machine(running_machine).power_state == then
        assert self.forest(driver, running_machine).current_id == snapshot.native_id

    def test_revert_to_a_snapshot_that_is_gone_changes_nothing(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        self.take(driver, subject, "stays")
        before = self.forest(driver, subject.machine_id)
        with pytest.raises(NotFound):
            driver.revert_to(subject.machine_id, NOBODY, PowerAfterRevert.AS_SNAPSHOT, Watching())
        assert self.forest(driver, subject.machine_id) == before


class GuestsCount(Ground):
    """For a hypervisor whose running guests count in their memory."""

    @pytest.fixture
    def counter(self) -> Callable[[str], int]:
        """Reads what a running machine's memory has counted to."""
        raise NotImplementedError

    @pytest.fixture
    def let_run(self) -> Callable[[str], None]:
        """Returns once the machine's counter has moved on by several steps."""
        raise NotImplementedError

    def test_a_memory_revert_takes_the_guest_back_in_time(
        self,
        driver: HypervisorDriver,
        running_machine: str,
        counter: Callable[[str], int],
        let_run: Callable[[str], None],
    ) -> None:
        asked = SnapshotRequest(token=token(), name="then", memory=True)
        snapshot = driver.create_snapshot(running_machine, asked, Watching())
        let_run(running_machine)
        before = counter(running_machine)
        driver.revert_to(running_machine, snapshot.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
        assert counter(running_machine) < before

"""Promises about being told what changed. Every driver keeps `AnswersAboutChanges`; those with `tells_changes` inherit
`TellsChanges` too, and `TellsOfComingAndGoing` where a test can make machines and take them away."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hypervisors.driver import HypervisorDriver
from hypervisors.errors import Unsupported
from hypervisors.records import Changes

from .contract_ground import Elsewhere, Ground, Subject, Watching, request

NEWS_WITHIN_SECONDS = 20.0
"""How long a hypervisor may take to tell what has happened on it. Only a failure lasts that long."""
QUIET_SECONDS = 0.5
"""How long is waited for nothing."""
MOST_CALLS = 50


class AnswersAboutChanges(Ground):
    """Said by every driver, whether it tells changes or not."""

    def test_what_changed_is_told_or_the_question_is_refused(self, driver: HypervisorDriver) -> None:
        if driver.tells_changes:
            assert isinstance(self, TellsChanges), "a driver that tells changes is tested on it"
            return
        with pytest.raises(Unsupported) as refusal:
            driver.wait_for_changes("", 0.0)
        assert refusal.value.detail


@dataclass
class Follower:
    """Asks for changes again and again, each time with the cursor of the last answer."""

    driver: HypervisorDriver
    cursor: str = ""

    def ask(self, wait_seconds: float) -> Changes:
        changes = self.driver.wait_for_changes(self.cursor, wait_seconds)
        self.cursor = changes.cursor
        return changes

    def settle(self) -> None:
        """Until nothing more is told."""
        for _ in range(MOST_CALLS):
            if self.ask(QUIET_SECONDS).machine_ids == frozenset():
                return
        raise AssertionError("It never stops telling of changes, though nobody makes any.")

    def until_told_of(self, machine_id: str) -> frozenset[str]:
        """Every machine that is told of until this one is, by several answers if need be."""
        told: set[str] = set()
        for _ in range(MOST_CALLS):
            changes = self.ask(NEWS_WITHIN_SECONDS)
            assert changes.machine_ids is not None, "it says that everything changed"
            assert changes.machine_ids or changes.pools, "nothing was told in time"
            told |= changes.machine_ids
            if machine_id in told:
                return frozenset(told)
        raise AssertionError("It tells of other things only.")


class TellsChanges(Ground):
    """For a driver that is told by its hypervisor what changed. Somebody else is a second connection of the driver."""

    @pytest.fixture
    def follower(self, driver: HypervisorDriver) -> Follower:
        """Has asked once and heard everything there was to hear."""
        follower = Follower(driver)
        assert follower.ask(0.0).machine_ids is None
        follower.settle()
        return follower

    @pytest.fixture
    def other(self, connect: Callable[[], HypervisorDriver]) -> HypervisorDriver:
        """Somebody else's connection."""
        return connect()

    def test_at_the_start_everything_counts_as_changed(self, driver: HypervisorDriver) -> None:
        changes = driver.wait_for_changes("", 0.0)
        assert (changes.machine_ids, changes.pools) == (None, True)
        assert changes.cursor

    def test_starting_over_tells_everything_again(self, driver: HypervisorDriver, follower: Follower) -> None:
        assert driver.wait_for_changes("", 0.0).machine_ids is None

    def test_a_cursor_that_nobody_gave_tells_everything(self, driver: HypervisorDriver, follower: Follower) -> None:
        changes = driver.wait_for_changes("no such cursor", 0.0)
        assert changes.machine_ids is None
        follower.cursor = changes.cursor
        follower.settle()

    def test_nothing_is_told_when_nothing_changed(self, follower: Follower) -> None:
        assert follower.ask(QUIET_SECONDS).machine_ids == frozenset()
        assert follower.ask(0.0).machine_ids == frozenset()

    def test_reading_is_no_change(self, follower: Follower, other: HypervisorDriver, subject: Subject) -> None:
        other.read_inventory()
        follower.driver.read_machine(subject.machine_id)
        follower.driver.list_forests([subject.machine_id])
        assert follower.ask(QUIET_SECONDS).machine_ids == frozenset()

    def test_a_snapshot_made_elsewhere_names_its_machine_alone(
        self, follower: Follower, elsewhere: Elsewhere, subject: Subject
    ) -> None:
        elsewhere.take(subject.machine_id, "made-elsewhere")
        assert follower.until_told_of(subject.machine_id) == {subject.machine_id}

    def test_a_snapshot_deleted_elsewhere_names_its_machine_alone(
        self, follower: Follower, elsewhere: Elsewhere, subject: Subject
    ) -> None:
        snapshot = self.take(follower.driver, subject, "to-go")
        follower.settle()
        elsewhere.delete(subject.machine_id, snapshot.native_id)
        assert follower.until_told_of(subject.machine_id) == {subject.machine_id}

    def test_a_revert_elsewhere_names_its_machine_alone(
        self, follower: Follower, other: HypervisorDriver, subject: Subject
    ) -> None:
        first = self.take(follower.driver, subject, "first")
        self.take(follower.driver, subject, "second")
        follower.settle()
        self.revert(other, subject, first)
        assert follower.until_told_of(subject.machine_id) == {subject.machine_id}

    def test_a_renaming_elsewhere_names_its_machine_alone(
        self, follower: Follower, other: HypervisorDriver, subject: Subject
    ) -> None:
        snapshot = self.take(follower.driver, subject, "before")
        follower.settle()

        def rename() -> None:
            other.rename_snapshot(subject.machine_id, snapshot.native_id, "after", "")

        if self.refused_for_want_of(other.read_machine(subject.machine_id).capabilities.rename, rename):
            return
        rename()
        assert follower.until_told_of(subject.machine_id) == {subject.machine_id}

    def test_a_machine_started_elsewhere_is_told(
        self, follower: Follower, other: HypervisorDriver, stopped_machine: str
    ) -> None:
        other.start(stopped_machine, Watching())
        assert follower.until_told_of(stopped_machine) == {stopped_machine}

    def test_a_machine_stopped_elsewhere_is_told(
        self, follower: Follower, other: HypervisorDriver, running_machine: str
    ) -> None:
        other.stop(running_machine, True, Watching())
        assert follower.until_told_of(running_machine) == {running_machine}

    def test_what_the_driver_itself_changed_is_told_too(self, follower: Follower, subject: Subject) -> None:
        self.take(follower.driver, subject, "by-itself")
        assert follower.until_told_of(subject.machine_id) == {subject.machine_id}

    def test_a_change_between_a_read_and_the_next_call_is_told(
        self, follower: Follower, elsewhere: Elsewhere, subject: Subject
    ) -> None:
        assert follower.ask(0.0).machine_ids == frozenset()
        assert self.forest(follower.driver, subject.machine_id).snapshots == ()
        elsewhere.take(subject.machine_id, "behind-the-back")
        assert follower.until_told_of(subject.machine_id) == {subject.machine_id}
        assert [s.name for s in self.forest(follower.driver, subject.machine_id).snapshots] == ["behind-the-back"]

    def test_a_chain_of_calls_loses_nothing_and_repeats_nothing(
        self, follower: Follower, other: HypervisorDriver, subject: Subject, stopped_machine: str, running_machine: str
    ) -> None:
        for name in ("one", "two", "three"):
            other.create_snapshot(subject.machine_id, request(name, memory=subject.memory), Watching())
            assert follower.until_told_of(subject.machine_id) == {subject.machine_id}
            follower.settle()
        other.start(stopped_machine, Watching())
        other.stop(running_machine, True, Watching())
        told = follower.until_told_of(stopped_machine)
        if running_machine not in told:
            told |= follower.until_told_of(running_machine)
        assert told == {stopped_machine, running_machine}
        follower.settle()
        assert follower.ask(0.0).machine_ids == frozenset()

    def test_a_change_ends_the_waiting(self, follower: Follower, elsewhere: Elsewhere, subject: Subject) -> None:
        told: list[frozenset[str]] = []
        # Whether it waits already when the change is made does not matter to what it answers.
        waiting = threading.Thread(target=lambda: told.append(follower.until_told_of(subject.machine_id)))
        waiting.start()
        elsewhere.take(subject.machine_id, "while-waiting")
        waiting.join(3 * NEWS_WITHIN_SECONDS)
        assert told == [{subject.machine_id}]


class TellsOfComingAndGoing(TellsChanges):
    """For a hypervisor on which the tests can make machines and take them away."""

    @pytest.fixture
    def come(self) -> Callable[[], str]:
        """Makes a machine, which stays off; answers its native id. What is left of it at the end goes."""
        raise NotImplementedError

    @pytest.fixture
    def go(self) -> Callable[[str], None]:
        """Takes a machine away for good."""
        raise NotImplementedError

    def test_a_machine_that_appears_is_told(self, follower: Follower, come: Callable[[], str]) -> None:
        appeared = come()
        assert follower.until_told_of(appeared) == {appeared}
        assert follower.driver.read_machine(appeared).native_id == appeared

    def test_a_machine_that_vanishes_is_told(
        self, come: Callable[[], str], go: Callable[[str], None], driver: HypervisorDriver
    ) -> None:
        leaving = come()
        follower = Follower(driver)
        follower.ask(0.0)
        follower.settle()
        go(leaving)
        assert follower.until_told_of(leaving) == {leaving}
        assert leaving not in driver.list_forests([leaving])

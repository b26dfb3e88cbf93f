"""Promises about deleting and renaming snapshots, and about those that others make and delete."""

import pytest

from hypervisors.driver import HypervisorDriver
from hypervisors.errors import NotFound, Unsupported
from hypervisors.records import PowerAfterRevert, PowerState, SnapshotForest

from .contract_ground import HARD_NAMES, NOBODY, Elsewhere, Ground, Subject, Watching, current, shape


class Pruning(Ground):
    """How a tree changes otherwise."""

    # Deleting

    def test_the_children_of_a_deleted_snapshot_move_to_its_parent(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        self.take(driver, subject, "root")
        middle = self.take(driver, subject, "middle")
        self.take(driver, subject, "left")
        self.revert(driver, subject, middle)
        self.take(driver, subject, "right")
        driver.delete_snapshot(subject.machine_id, middle.native_id, Watching())
        forest = self.forest(driver, subject.machine_id)
        assert shape(forest) == {"root": None, "left": "root", "right": "root"}
        assert current(forest) == "right"

    def test_the_children_of_a_deleted_root_become_roots(self, driver: HypervisorDriver, subject: Subject) -> None:
        root = self.take(driver, subject, "root")
        self.take(driver, subject, "left")
        self.revert(driver, subject, root)
        self.take(driver, subject, "right")
        driver.delete_snapshot(subject.machine_id, root.native_id, Watching())
        assert shape(self.forest(driver, subject.machine_id)) == {"left": None, "right": None}

    def test_when_the_current_one_is_deleted_its_parent_becomes_current(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        root = self.take(driver, subject, "root")
        leaf = self.take(driver, subject, "leaf")
        driver.delete_snapshot(subject.machine_id, leaf.native_id, Watching())
        assert current(self.forest(driver, subject.machine_id)) == "root"
        driver.delete_snapshot(subject.machine_id, root.native_id, Watching())
        assert self.forest(driver, subject.machine_id) == SnapshotForest()

    def test_when_the_current_one_is_deleted_its_children_are_not_current(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        self.take(driver, subject, "root")
        middle = self.take(driver, subject, "middle")
        self.take(driver, subject, "leaf")
        self.revert(driver, subject, middle)
        driver.delete_snapshot(subject.machine_id, middle.native_id, Watching())
        forest = self.forest(driver, subject.machine_id)
        assert shape(forest) == {"root": None, "leaf": "root"}
        assert current(forest) == "root"
        self.take(driver, subject, "next")
        assert shape(self.forest(driver, subject.machine_id)) == {"root": None, "leaf": "root", "next": "root"}

    def test_delete_with_descendants_takes_the_branch_and_leaves_the_rest(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        root = self.take(driver, subject, "root")
        branch = self.take(driver, subject, "branch")
        self.take(driver, subject, "twig")
        self.revert(driver, subject, branch)
        self.take(driver, subject, "other twig")
        self.revert(driver, subject, root)
        self.take(driver, subject, "sibling")
        power = driver.read_machine(subject.machine_id).power_state
        driver.delete_with_descendants(subject.machine_id, branch.native_id, Watching())
        forest = self.forest(driver, subject.machine_id)
        assert shape(forest) == {"root": None, "sibling": "root"}
        assert current(forest) == "sibling"
        assert driver.read_machine(subject.machine_id).power_state == power

    def test_when_the_current_one_goes_with_the_branch_the_branchs_parent_becomes_current(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        root = self.take(driver, subject, "root")
        branch = self.take(driver, subject, "branch")
        self.take(driver, subject, "twig")
        power = driver.read_machine(subject.machine_id).power_state
        driver.delete_with_descendants(subject.machine_id, branch.native_id, Watching())
        forest = self.forest(driver, subject.machine_id)
        assert shape(forest) == {"root": None}
        assert current(forest) == "root"
        assert driver.read_machine(subject.machine_id).power_state == power
        driver.delete_with_descendants(subject.machine_id, root.native_id, Watching())
        assert self.forest(driver, subject.machine_id) == SnapshotForest()

    def test_deleting_a_snapshot_that_is_gone_is_not_found(self, driver: HypervisorDriver, subject: Subject) -> None:
        self.take(driver, subject, "stays")
        before = self.forest(driver, subject.machine_id)
        with pytest.raises(NotFound):
            driver.delete_snapshot(subject.machine_id, NOBODY, Watching())
        with pytest.raises(NotFound):
            driver.delete_with_descendants(subject.machine_id, NOBODY, Watching())
        assert self.forest(driver, subject.machine_id) == before

    def test_a_snapshot_of_another_machine_is_not_found(
        self, driver: HypervisorDriver, subject: Subject, stopped_machine: str, running_machine: str
    ) -> None:
        snapshot = self.take(driver, subject, "mine")
        (other,) = {stopped_machine, running_machine} - {subject.machine_id}
        for call in (
            lambda: driver.delete_snapshot(other, snapshot.native_id, Watching()),
            lambda: driver.delete_with_descendants(other, snapshot.native_id, Watching()),
            lambda: driver.revert_to(other, snapshot.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching()),
            lambda: driver.rename_snapshot(other, snapshot.native_id, "theirs", ""),
        ):
            with pytest.raises(NotFound):
                call()
        assert shape(self.forest(driver, subject.machine_id)) == {"mine": None}

    # Deleting all

    def test_delete_all_takes_every_tree_whatever_its_shape_and_leaves_the_machine_as_it_is(
        self, driver: HypervisorDriver, subject: Subject
    ) -> None:
        self._plant_two_trees(driver, subject)
        power = driver.read_machine(subject.machine_id).power_state
        watch = Watching()
        driver.delete_all(subject.machine_id, watch)
        assert self.forest(driver, subject.machine_id) == SnapshotForest(), "no snapshot, and no marker"
        assert driver.read_machine(subject.machine_id).power_state == power
        percents = [percent for percent, _ in watch.reports]
        assert percents == sorted(percents)
        assert percents[-1] == 100
        after = self.take(driver, subject, "after that")
        assert (shape(self.forest(driver, subject.machine_id)), after.parent_id) == ({"after that": None}, None)

    def test_delete_all_takes_those_with_memory_and_the_machine_runs_on(
        self, driver: HypervisorDriver, running_machine: str
    ) -> None:
        running = Subject(running_machine, memory=True)
        ability = driver.read_machine(running_machine).capabilities.memory
        if self.refused_for_want_of(ability, lambda: self.take(driver, running, "with memory")):
            return
        first = self.take(driver, running, "first")
        self.take(driver, running, "second")
        self.revert(driver, running, first)
        driver.delete_all(running_machine, Watching())
        assert self.forest(driver, running_machine) == SnapshotForest()
        assert driver.read_machine(running_machine).power_state == PowerState.RUNNING

    def test_delete_all_takes_those_made_elsewhere_too(
        self, driver: HypervisorDriver, subject: Subject, elsewhere: Elsewhere
    ) -> None:
        self.take(driver, subject, "ours")
        elsewhere.take(subject.machine_id, "theirs")
        driver.delete_all(subject.machine_id, Watching())
        assert self.forest(driver, subject.machine_id) == SnapshotForest()

    def test_where_there_is_none_delete_all_does_nothing(self, driver: HypervisorDriver, subject: Subject) -> None:
        before = driver.read_machine(subject.machine_id)
        driver.delete_all(subject.machine_id, Watching())
        assert self.forest(driver, subject.machine_id) == SnapshotForest()
        assert driver.read_machine(subject.machine_id).power_state == before.power_state

    def test_delete_all_leaves_other_machines_alone(
        self, driver: HypervisorDriver, subject: Subject, stopped_machine: str, running_machine: str
    ) -> None:
        self.take(driver, subject, "stays")
        (other,) = {stopped_machine, running_machine} - {subject.machine_id}
        driver.delete_all(other, Watching())
        assert shape(self.forest(driver, subject.machine_id)) == {"stays": None}

    def _plant_two_trees(self, driver: HypervisorDriver, subject: Subject) -> None:
        """Two trees, one of them branched; the machine stands in the middle of the other."""
        root = self.take(driver, subject, "root")
        left = self.take(driver, subject, "left")
        self.take(driver, subject, "below left")
        self.revert(driver, subject, root)
        right = self.take(driver, subject, "right")
        for name in ("below right", "beside it"):
            self.revert(driver, subject, right)
            self.take(driver, subject, name)
        self.revert(driver, subject, left)
        driver.delete_snapshot(subject.machine_id, root.native_id, Watching())
        forest = self.forest(driver, subject.machine_id)
        assert shape(forest) == {
            "left": None,
            "below left": "left",
            "right": None,
            "below right": "right",
            "beside it": "right",
        }
        assert current(forest) == "left"

    # Renaming

    @pytest.mark.parametrize("name", HARD_NAMES.values(), ids=HARD_NAMES.keys())
    def test_a_renamed_snapshot_keeps_its_id_token_and_place(
        self, driver: HypervisorDriver, subject: Subject, name: str
    ) -> None:
        root = self.take(driver, subject, "root")
        self.take(driver, subject, "leaf")
        before = self.forest(driver, subject.machine_id)

        def attempt() -> None:
            driver.rename_snapshot(subject.machine_id, root.native_id, name, f"{name} described")

        if self.refused_for_want_of(driver.read_machine(subject.machine_id).capabilities.rename, attempt):
            return
        attempt()
        after = self.forest(driver, subject.machine_id)
        seen = after.by_id()[root.native_id]
        assert (seen.name, seen.description) == (name, f"{name} described")
        assert (seen.token, seen.created_at, seen.kind) == (root.token, root.created_at, root.kind)
        assert shape(after) == {name: None, "leaf": name}
        assert after.current_id == before.current_id

    def test_renaming_a_snapshot_that_is_gone_is_not_found(self, driver: HypervisorDriver, subject: Subject) -> None:
        ability = driver.read_machine(subject.machine_id).capabilities.rename
        with pytest.raises(NotFound if ability.allowed else (NotFound, Unsupported)):
            driver.rename_snapshot(subject.machine_id, NOBODY, "name", "")

    # Snapshots made elsewhere

    def test_a_snapshot_made_elsewhere_is_seen_and_ours_hangs_below_it(
        self, driver: HypervisorDriver, subject: Subject, elsewhere: Elsewhere
    ) -> None:
        self.take(driver, subject, "ours")
        elsewhere.take(subject.machine_id, "theirs")
        self.take(driver, subject, "ours again")
        forest = self.forest(driver, subject.machine_id)
        assert shape(forest) == {"ours": None, "theirs": "ours", "ours again": "theirs"}
        assert {snapshot.name: snapshot.token is None for snapshot in forest.snapshots} == {
            "ours": False,
            "theirs": True,
            "ours again": False,
        }

    def test_a_snapshot_removed_behind_our_back_is_not_found(
        self, driver: HypervisorDriver, subject: Subject, elsewhere: Elsewhere
    ) -> None:
        snapshot = self.take(driver, subject, "ours")
        elsewhere.delete(subject.machine_id, snapshot.native_id)
        with pytest.raises(NotFound):
            self.revert(driver, subject, snapshot)
        with pytest.raises(NotFound):
            driver.delete_snapshot(subject.machine_id, snapshot.native_id, Watching())
        assert self.forest(driver, subject.machine_id) == SnapshotForest()

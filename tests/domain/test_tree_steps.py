"""The tree in the database equals the tree on the hypervisor, whatever is done to either and in whatever order."""

import itertools
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hypervisors.drivers.simulated.world import Machine
from hypervisors.records import PowerState
from snapshots.choices import SnapshotState
from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.services import snapshot_actions
from tests.builders import Cloud, acting, current_name, drawn, run, take
from tests.domain.forests import assert_whole


@dataclass
class Node:
    """A snapshot in the model: its name and its parent's number."""

    name: str
    parent: int | None


class TreeSteps(RuleBasedStateMachine):
    """Anything, in any order, through the product and behind its back, beside a plain dict that says what should be."""

    names = (f"s{number}" for number in itertools.count())

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[int, Node] = {}
        self.current: int | None = None
        self.numbers = itertools.count()
        self.stale = False

    @initialize()
    def begin(self) -> None:
        self.cloud = Cloud((Machine("web", power=PowerState.STOPPED), Machine("other", power=PowerState.STOPPED)))
        self.world = self.cloud.world
        self.machine = self.cloud.machine("web")
        self.other = self.cloud.machine("other")
        take(self.other, "theirs")
        self.others_tree = self._numbers(self.other)

    def _numbers(self, machine: VirtualMachine) -> list[tuple[object, ...]]:
        columns = ("pk", "parent_id", "tree_id", "lft", "rght", "level", "name", "state", "current")
        return list(VMSnapshot.objects.filter(machine=machine).order_by("pk").values_list(*columns))

    def _add(self) -> str:
        number = next(self.numbers)
        self.nodes[number] = Node(f"s{number}", self.current)
        self.current = number
        return f"s{number}"

    def _pick(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.nodes)))

    def _row(self, number: int) -> VMSnapshot:
        return VMSnapshot.objects.get(machine=self.machine, name=self.nodes[number].name)

    def _native(self, number: int) -> str:
        names = self.world.snapshot_names(self.machine.native_id)
        return next(native for native, name in names.items() if name == self.nodes[number].name)

    def _forget(self, number: int) -> None:
        gone = self.nodes.pop(number)
        for node in self.nodes.values():
            if node.parent == number:
                node.parent = gone.parent
        if self.current == number:
            self.current = gone.parent

    def _forget_all_below(self, number: int) -> None:
        parent = self.nodes[number].parent
        doomed = {number}
        while more := {key for key, node in self.nodes.items() if node.parent in doomed} - doomed:
            doomed |= more
        if self.current in doomed:
            self.current = parent
        for key in doomed:
            del self.nodes[key]

    def _do(self, job: object) -> None:
        ended = run(job)
        assert ended.state == "succeeded", (ended.action, ended.error_code, ended.error_detail)

    # Through the product

    @precondition(lambda self: len(self.nodes) < 8 and not self.stale)
    @rule()
    def create(self) -> None:
        self._do(snapshot_actions.request_create(acting(None), machine=self.machine, name=self._add()))

    @precondition(lambda self: self.nodes and not self.stale)
    @rule(data=st.data(), safety=st.booleans())
    def revert(self, data: st.DataObject, safety: bool) -> None:
        number = self._pick(data)
        safety = safety and len(self.nodes) < 8
        job = snapshot_actions.request_revert(acting(None), snapshot=self._row(number), safety_snapshot=safety)
        if safety:
            key = next(self.numbers)
            self.nodes[key] = Node(VMSnapshot.objects.get(uuid=job.arguments["safety_snapshot"]).name, self.current)
        self.current = number
        self._do(job)

    @precondition(lambda self: self.nodes and not self.stale)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        number = self._pick(data)
        self._do(snapshot_actions.request_delete(acting(None), snapshot=self._row(number)))
        self._forget(number)

    @precondition(lambda self: self.nodes and not self.stale)
    @rule(data=st.data())
    def delete_with_descendants(self, data: st.DataObject) -> None:
        number = self._pick(data)
        self._do(snapshot_actions.request_delete_tree(acting(None), snapshot=self._row(number)))
        self._forget_all_below(number)

    @precondition(lambda self: self.nodes and not self.stale)
    @rule()
    def delete_all(self) -> None:
        self._do(snapshot_actions.request_delete_all(acting(None), machine=self.machine))
        self.nodes.clear()
        self.current = None

    @precondition(lambda self: self.nodes and not self.stale)
    @rule(data=st.data())
    def rename(self, data: st.DataObject) -> None:
        number = self._pick(data)
        name = f"r{next(self.numbers)}"
        self._do(snapshot_actions.request_rename(acting(None), snapshot=self._row(number), name=name))
        self.nodes[number].name = name

    # Behind its back

    @precondition(lambda self: len(self.nodes) < 8)
    @rule()
    def take_elsewhere(self) -> None:
        self.world.take_elsewhere(self.machine.native_id, self._add())
        self.stale = True

    @precondition(lambda self: self.nodes)
    @rule(data=st.data(), descendants=st.booleans())
    def delete_elsewhere(self, data: st.DataObject, descendants: bool) -> None:
        number = self._pick(data)
        self.world.delete_elsewhere(self.machine.native_id, self._native(number), descendants)
        (self._forget_all_below if descendants else self._forget)(number)
        self.stale = True

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def revert_elsewhere(self, data: st.DataObject) -> None:
        number = self._pick(data)
        self.world.revert_elsewhere(self.machine.native_id, self._native(number))
        self.current = number
        self.stale = True

    @precondition(lambda self: len(self.nodes) > 1)
    @rule(data=st.data())
    def swap_names_elsewhere(self, data: st.DataObject) -> None:
        first, second = data.draw(st.lists(st.sampled_from(sorted(self.nodes)), min_size=2, max_size=2, unique=True))
        natives = self._native(first), self._native(second)
        self.nodes[first].name, self.nodes[second].name = self.nodes[second].name, self.nodes[first].name
        for number, native in zip((first, second), natives, strict=True):
            self.world.rename_elsewhere(self.machine.native_id, native, self.nodes[number].name)
        self.stale = True

    @precondition(lambda self: self.stale)
    @rule()
    def sync(self) -> None:
        self.cloud.sync()
        # What was lost behind our back stays as Error until somebody deletes the row.
        for row in VMSnapshot.objects.filter(machine=self.machine, state=SnapshotState.ERROR):
            assert row.error_code == "gone_on_hypervisor"
            self._do(snapshot_actions.request_delete(acting(None), snapshot=row))
        self.stale = False

    @invariant()
    def the_tree_is_whole(self) -> None:
        if not hasattr(self, "machine"):
            return
        assert_whole(self.machine)
        assert self._numbers(self.other) == self.others_tree

    @invariant()
    def the_database_the_hypervisor_and_the_model_agree(self) -> None:
        if not hasattr(self, "machine") or self.stale:
            return
        parents = {node.name: node.parent for node in self.nodes.values()}
        wanted = {name: None if parent is None else self.nodes[parent].name for name, parent in parents.items()}
        assert drawn(self.machine) == wanted
        assert current_name(self.machine) == (None if self.current is None else self.nodes[self.current].name)
        assert sorted(self.world.snapshot_names(self.machine.native_id).values()) == sorted(wanted)
        assert not VMSnapshot.objects.filter(machine=self.machine).exclude(state=SnapshotState.READY).exists()


class TestTreeSteps(TestCase):
    """Each run of steps in a transaction of its own."""

    def test_the_trees_agree_whatever_is_done_in_whatever_order(self) -> None:
        case = TreeSteps.TestCase
        case.settings = settings(
            max_examples=12,
            stateful_step_count=18,
            deadline=None,
            # How long steps take says nothing: each goes through the whole product, on a computer that may be busy.
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        case().runTest()

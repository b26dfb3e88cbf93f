"""The allocation of each machine in each pool equals the design's formula, whatever was done in whatever order, and is what
it was before once the last VM snapshot is gone."""

from collections import defaultdict

import pytest
from django.db import transaction
from django.test import override_settings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hypervisors.drivers.simulated.world import Disk, Machine, Pool
from hypervisors.records import PowerAfterRevert, PowerState
from snapshots.access import SYSTEM
from snapshots.models import MachineAllocation, VirtualMachine, VMSnapshot
from snapshots.refusals import Refusal
from snapshots.services import drift_actions, snapshot_actions
from tests.builders import Cloud, run

GIB = 1024**3
MEMORY = 3 * GIB
FAST, SLOW = 7 * GIB, 5 * GIB
LIFE = Machine(
    "m",
    power=PowerState.RUNNING,
    memory_bytes=MEMORY,
    disks=(Disk(FAST, pool="fast", name="a"), Disk(SLOW, pool="slow", name="b")),
)
ROOMY = (Pool("fast", 4000 * GIB), Pool("slow", 4000 * GIB), Pool("default"))

Sizes = dict[str, tuple[int, int, int]]


class Model:
    """The tree as parent links, and the formula as it stands in the design; nothing of the product's arithmetic."""

    def __init__(self) -> None:
        self.parents: dict[str, str | None] = {}
        self.memory: set[str] = set()
        self.lost: set[str] = set()
        self.current: str | None = None

    def take(self, name: str, memory: bool) -> None:
        self.parents[name] = self.current
        self.current = name
        if memory:
            self.memory.add(name)

    def forget(self, name: str) -> None:
        above = self.parents.pop(name)
        self.parents = {key: above if parent == name else parent for key, parent in self.parents.items()}
        self.current = above if self.current == name else self.current
        self.memory.discard(name)
        self.lost.discard(name)

    def sizes(self) -> Sizes:
        # What is lost counts for nothing: it is taken out of a copy as if it had been deleted.
        there = Model()
        there.parents, there.memory, there.lost = dict(self.parents), set(self.memory), set(self.lost)
        for name in self.lost:
            there.forget(name)
        children: dict[str | None, list[str]] = defaultdict(list)
        for name, parent in there.parents.items():
            children[parent].append(name)
        paths = sum(not children[name] for name in there.parents)
        held = MEMORY * len(there.memory)
        return {"fast": (FAST, FAST * max(paths - 1, 0), held), "slow": (SLOW, SLOW * max(paths - 1, 0), 0)}


class Life:
    """One machine and its model, side by side."""

    def __init__(self) -> None:
        self.cloud = Cloud((LIFE,), pools=ROOMY)
        self.world, self.model, self.number = self.cloud.world, Model(), 0
        self.native = self.machine.native_id

    @property
    def machine(self) -> VirtualMachine:
        return self.cloud.machine("m")

    def row(self, name: str) -> VMSnapshot:
        found: VMSnapshot = VMSnapshot.objects.get(machine=self.machine, name=name)
        return found

    def new_name(self) -> str:
        self.number += 1
        return f"s{self.number}"

    def chosen(self, pick: int) -> str | None:
        there = [name for name in self.model.parents if name not in self.model.lost]
        return there[pick % len(there)] if there else None

    def create(self, pick: int) -> None:
        name, memory = self.new_name(), bool(pick % 2)
        run(snapshot_actions.request_create(SYSTEM, machine=self.machine, name=name, memory=memory))
        self.model.take(name, memory)

    def create_elsewhere(self, pick: int) -> None:
        name, memory = self.new_name(), bool(pick % 2)
        self.world.take_elsewhere(self.native, name, memory=memory)
        self.cloud.sync()
        self.model.take(name, memory)

    def revert(self, pick: int) -> None:
        if name := self.chosen(pick):
            row = self.row(name)
            holds_memory = name in self.model.memory
            power = PowerAfterRevert.AS_SNAPSHOT if holds_memory else PowerAfterRevert.RUNNING
            run(snapshot_actions.request_revert(SYSTEM, snapshot=row, power=power))
            self.model.current = name

    def delete(self, pick: int) -> None:
        if name := self.chosen(pick):
            run(snapshot_actions.request_delete(SYSTEM, snapshot=self.row(name)))
            self.model.forget(name)

    def delete_all(self, pick: int) -> None:
        if self.model.parents:
            run(snapshot_actions.request_delete_all(SYSTEM, machine=self.machine))
            self.model = Model()

    def adopt(self, pick: int) -> None:
        if self.machine.unadopted_count:
            drift_actions.adopt_machine(SYSTEM, machine=self.machine)

    def lose(self, pick: int) -> None:
        if name := self.chosen(pick):
            row = self.row(name)
            self.world.delete_elsewhere(self.native, row.native_id)
            self.cloud.sync()
            if row.counts:
                if self.model.current == name:
                    self.model.current = self.above(name)
                self.model.lost.add(name)
            else:
                self.model.forget(name)

    def acknowledge(self, pick: int) -> None:
        for name in sorted(self.model.lost)[:1]:
            drift_actions.acknowledge_lost(SYSTEM, snapshot=self.row(name))
            self.model.forget(name)

    def above(self, name: str) -> str | None:
        parent = self.model.parents[name]
        while parent in self.model.lost:
            parent = self.model.parents[parent]  # type: ignore[index]  # what is lost is a name
        return parent

    def sizes(self) -> Sizes:
        rows = MachineAllocation.objects.filter(machine=self.machine).select_related("pool")
        return {row.pool.name: (row.volume_bytes, row.disk_bytes, row.memory_bytes) for row in rows if row.pool}


TAKING = ("create", "create", "create_elsewhere", "revert", "revert")
DEEDS = (*TAKING, "delete", "delete_all", "adopt", "lose", "acknowledge")


@pytest.mark.django_db
@override_settings(SNAPSHOTS_PER_MACHINE=-1)
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    # Each life takes a second, so that shortening one that fails would take many minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 20)), min_size=1, max_size=14))
def test_in_every_order_the_books_equal_the_formula(db: None, deeds: list[tuple[str, int]]) -> None:
    with transaction.atomic():
        life = Life()
        before = life.sizes()
        assert before == {"fast": (FAST, 0, 0), "slow": (SLOW, 0, 0)}
        for deed, pick in deeds:
            getattr(life, deed)(pick)
            assert life.sizes() == life.model.sizes(), (deed, pick)
        while life.model.lost:
            life.acknowledge(0)
        while life.model.parents:
            life.delete(0)
            assert life.sizes() == life.model.sizes()
        assert life.sizes() == before
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_a_refused_vm_snapshot_leaves_the_books_as_they_were(cloud: Cloud) -> None:
    machine = cloud.machine("web")
    before = list(MachineAllocation.objects.order_by("pk").values())
    with pytest.raises(Refusal):
        snapshot_actions.request_create(SYSTEM, machine=machine, name="both", memory=True, quiesce=True)
    assert list(MachineAllocation.objects.order_by("pk").values()) == before

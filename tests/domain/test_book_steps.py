"""What is in use of limits equals what the rows say, at every place, whatever happens and in whatever order; and what the
rows say equals a plain count."""

import itertools
from collections import Counter

from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hypervisors import errors
from hypervisors.drivers.simulated.world import Disk, Machine
from hypervisors.records import PowerState
from snapshots.access import SYSTEM
from snapshots.models import Job, LimitUse, VirtualMachine, VMSnapshot
from snapshots.services import drift_actions, moving, snapshot_actions, tenancy
from snapshots.services.book_check import check_books
from snapshots.services.jobs import request_cancel
from tests.builders import Cloud, account, domain, run

PLACES = ("first", "second", "third")


class BookSteps(RuleBasedStateMachine):
    """Takes, failures, cancellations, deletions, adoptions, losses and moves, beside a plain count of what should be in use
    of each machine."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count()
        self.counting: dict[str, set[str]] = {"a": set(), "b": set()}
        self.waiting: Job | None = None

    @initialize()
    def begin(self) -> None:
        self.undo = transaction.atomic()
        self.undo.__enter__()
        disks = (Disk(), Disk())
        self.cloud = Cloud(
            (Machine("a", power=PowerState.RUNNING, disks=disks), Machine("b", power=PowerState.STOPPED, disks=disks))
        )
        self.top = domain("top")
        self.domains = {name: domain(name, self.top) for name in PLACES}
        self.owners = {name: account(name, self.domains[name]) for name in PLACES}
        for machine, owner in (("a", "first"), ("b", "second")):
            tenancy.assign_machine(SYSTEM, machine=self.machine(machine), account=self.owners[owner])

    def teardown(self) -> None:
        if hasattr(self, "undo"):
            transaction.set_rollback(True)
            self.undo.__exit__(None, None, None)

    def machine(self, name: str) -> VirtualMachine:
        return self.cloud.machine(name)

    def rows(self, name: str) -> list[VMSnapshot]:
        return list(VMSnapshot.objects.real().filter(machine=self.machine(name)).order_by("pk"))

    def new_name(self) -> str:
        return f"s{next(self.numbers)}"

    def draw_row(self, data: st.DataObject, among: list[VMSnapshot]) -> VMSnapshot | None:
        return data.draw(st.sampled_from(among)) if among else None

    @precondition(lambda self: self.waiting is None)
    @rule(name=st.sampled_from("ab"), memory=st.booleans(), fails=st.booleans())
    def take(self, name: str, memory: bool, fails: bool) -> None:
        if len(self.rows(name)) > 5:
            return
        wanted = self.new_name()
        if fails:
            self.cloud.world.refuse("create_snapshot", errors.OutOfSpace)
        machine = self.machine(name)
        memory = memory and machine.power_state == "running"
        job = run(snapshot_actions.request_create(SYSTEM, machine=machine, name=wanted, memory=memory))
        assert job.state == ("failed" if fails else "succeeded")
        if not fails:
            self.counting[name].add(wanted)

    @precondition(lambda self: self.waiting is None)
    @rule(name=st.sampled_from("ab"))
    def ask(self, name: str) -> None:
        if len(self.rows(name)) > 5:
            return
        wanted = self.new_name()
        self.waiting = snapshot_actions.request_create(SYSTEM, machine=self.machine(name), name=wanted)
        self.counting[name].add(wanted)

    @precondition(lambda self: self.waiting is not None)
    @rule(cancel=st.booleans())
    def settle_what_was_asked(self, cancel: bool) -> None:
        job, self.waiting = self.waiting, None
        assert job is not None
        if cancel:
            request_cancel(SYSTEM, job)
            self.counting[job.machine_name].discard(job.snapshot_name)
        else:
            assert run(job).state == "succeeded"

    @precondition(lambda self: self.waiting is None)
    @rule(name=st.sampled_from("ab"), data=st.data(), descendants=st.booleans())
    def delete(self, name: str, data: st.DataObject, descendants: bool) -> None:
        row = self.draw_row(data, self.rows(name))
        if row is None:
            return
        ask = snapshot_actions.request_delete_tree if descendants else snapshot_actions.request_delete
        assert run(ask(SYSTEM, snapshot=row)).state == "succeeded"
        self.counting[name] &= {left.name for left in self.rows(name)}

    @precondition(lambda self: self.waiting is None)
    @rule(name=st.sampled_from("ab"))
    def delete_all(self, name: str) -> None:
        if not self.rows(name):
            return
        assert run(snapshot_actions.request_delete_all(SYSTEM, machine=self.machine(name))).state == "succeeded"
        self.counting[name].clear()

    @precondition(lambda self: self.waiting is None)
    @rule(name=st.sampled_from("ab"), memory=st.booleans())
    def somebody_takes_one_elsewhere(self, name: str, memory: bool) -> None:
        machine = self.machine(name)
        if len(self.rows(name)) > 5:
            return
        self.cloud.world.take_elsewhere(machine.native_id, self.new_name(), memory=memory and name == "a")
        self.cloud.sync()

    @precondition(lambda self: self.waiting is None)
    @rule(name=st.sampled_from("ab"), data=st.data())
    def adopt(self, name: str, data: st.DataObject) -> None:
        row = self.draw_row(data, [row for row in self.rows(name) if not row.counts])
        if row is not None:
            drift_actions.adopt_snapshot(SYSTEM, snapshot=row)
            self.counting[name].add(row.name)

    @precondition(lambda self: self.waiting is None)
    @rule(name=st.sampled_from("ab"), data=st.data())
    def lose(self, name: str, data: st.DataObject) -> None:
        row = self.draw_row(data, [row for row in self.rows(name) if row.native_id and row.present])
        if row is not None:
            self.cloud.world.delete_elsewhere(self.machine(name).native_id, row.native_id)
            self.cloud.sync()
            self.counting[name].discard(row.name)

    @precondition(lambda self: self.waiting is None)
    @rule(name=st.sampled_from("ab"), data=st.data())
    def acknowledge(self, name: str, data: st.DataObject) -> None:
        row = self.draw_row(data, [row for row in self.rows(name) if row.lost])
        if row is not None:
            drift_actions.acknowledge_lost(SYSTEM, snapshot=row)

    @precondition(lambda self: self.waiting is None)
    @rule(name=st.sampled_from("ab"), owner=st.sampled_from((*PLACES, None)))
    def give(self, name: str, owner: str | None) -> None:
        to = None if owner is None else self.owners[owner]
        tenancy.assign_machine(SYSTEM, machine=self.machine(name), account=to)

    @rule(name=st.sampled_from(PLACES), to=st.sampled_from(PLACES))
    def move_account(self, name: str, to: str) -> None:
        self.owners[name].refresh_from_db()
        moving.move_account(SYSTEM, account=self.owners[name], domain=self.domains[to])

    @rule(name=st.sampled_from(PLACES), below=st.booleans())
    def move_domain(self, name: str, below: bool) -> None:
        moving.move_domain(SYSTEM, domain=self.domains[name], parent=self.top if below else None)

    @invariant()
    def the_books_say_what_the_rows_say(self) -> None:
        assert check_books(repair=False) == []
        wanted: Counter[str] = Counter()
        for name, counting in self.counting.items():
            machine = self.machine(name)
            assert machine.counted == len(counting)
            if machine.account is not None:
                wanted[f"account {machine.account.name}"] += len(counting)
                for key in machine.account.domain.ancestor_ids:
                    wanted[f"domain {key}"] += len(counting)
        for use in LimitUse.objects.select_related("account"):
            place = f"domain {use.domain_id}" if use.account is None else f"account {use.account.name}"
            assert use.snapshots == wanted[place], place


class TestBookSteps(TestCase):
    """Each run of steps is undone after it."""

    def test_the_books_agree_whatever_happens_in_whatever_order(self) -> None:
        case = BookSteps.TestCase
        case.settings = settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        case().runTest()

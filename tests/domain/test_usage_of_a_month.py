"""A month of activity on a simulated hypervisor, through the services and jobs of the product: its usage records are what a
calculation finds that knows only how the trees looked after each deed, and counts their leaves itself.

The clock stands still during a deed and jumps between two, so that everything a deed changes is changed at one moment.
"""

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from pytest_django import Settings

from hypervisors import errors
from hypervisors.drivers.simulated.world import Disk, Machine
from hypervisors.records import PowerState
from snapshots.choices import GONE, Origin, SnapshotType, UsageChange, UsageType
from snapshots.models import Job, UsageEvent, UsagePeriod, VirtualMachine, VMSnapshot, Volume
from snapshots.refusals import Refusal
from snapshots.services import drift_actions, moving, tenancy
from snapshots.services.jobs import request_cancel
from snapshots.services.scheduled_snapshots import prune_scheduled_snapshots, take_due_snapshots
from snapshots.services.snapshot_actions import (
    request_create,
    request_delete,
    request_delete_all,
    request_delete_tree,
    request_rename,
    request_revert,
)
from snapshots.services.usage_aggregation import close_due_periods
from tests.builders import MIB, SYSTEM, Cloud, People, run, schedule
from tests.usage import all_records, at, months_of_records, months_written, prove_all

pytestmark = pytest.mark.django_db

START = at("2026-02-10 00:00")
DAYS = 31
DEEDS = 320
KINDS_OF_DEEDS = 22
MICROSECOND = timedelta(microseconds=1)
MACHINES = tuple(
    Machine(name, power=power, disks=(Disk(name=f"{name}-root"), Disk(name=f"{name}-data")))
    for name, power in (("one", PowerState.STOPPED), ("two", PowerState.RUNNING), ("three", PowerState.RUNNING))
)

Facts = dict[Any, tuple[int, int, int | None]]


class NothingToChoose(Exception):
    """There is no VM snapshot or job that this could be done to."""


class Month:
    """The deeds of a month, and what the trees looked like after each."""

    def __init__(self, seed: int, cloud: Cloud, people: People, clock: Any) -> None:
        self.random = random.Random(seed)
        self.cloud, self.people, self.clock = cloud, people, clock
        self.seen: list[tuple[datetime, Facts]] = []
        self.done: dict[str, int] = defaultdict(int)
        self.waiting: list[Job] = []

    def live(self, close: Callable[[], object]) -> None:
        """Do it all; `close` is called now and then, as the tick would."""
        moments = sorted(self.random.randrange(1, DAYS * 86_400_000_000) for _ in range(DEEDS))
        for moment in moments:
            self.clock.move_to(START + moment * MICROSECOND)
            self.act()
            self.seen.append((START + moment * MICROSECOND, self.look()))
            if self.random.random() < 0.1:
                close()

    def act(self) -> None:
        """One deed by chance; one that is refused is none."""
        deeds = (self.create,) * 4 + (self.delete, self.delete_tree, self.delete_all, self.revert, self.rename)
        deeds += (self.transfer, self.transfer, self.lose, self.make_elsewhere, self.adopt, self.adopt, self.grow)
        deeds += (self.acknowledge,) * 3
        deeds += (self.fail_to_create, self.fail_to_create, self.delete_failed, self.move_account, self.move_domain)
        deeds += (self.take_scheduled, self.prune_scheduled)
        deeds += (self.ask_to_create, self.ask_to_delete, self.carry_out, self.carry_out, self.cancel)
        deed = self.random.choice(deeds)
        try:
            deed(self.cloud.machine(self.random.choice(MACHINES).name))
        except (Refusal, NothingToChoose):
            return
        self.done[deed.__name__] += 1

    def one_of(self, machine: VirtualMachine, **conditions: Any) -> VMSnapshot:
        rows = list(VMSnapshot.objects.filter(machine=machine, parent__isnull=False, **conditions).order_by("pk"))
        if not rows:
            raise NothingToChoose
        return self.random.choice(rows)

    def longest_waiting(self) -> Job:
        if not self.waiting:
            raise NothingToChoose
        return self.waiting.pop(0)

    def create(self, machine: VirtualMachine) -> None:
        self.cloud.world.write_disk(machine.native_id, "more", self.random.randrange(50) * MIB)
        name = f"taken at {self.clock_text()}"
        memory = machine.power_state == PowerState.RUNNING and self.random.random() < 0.7
        assert run(request_create(SYSTEM, machine=machine, name=name, memory=memory)).state == "succeeded"

    def fail_to_create(self, machine: VirtualMachine) -> None:
        job = request_create(SYSTEM, machine=machine, name=f"failed at {self.clock_text()}")
        self.cloud.world.refuse("create_snapshot", errors.OutOfSpace)
        assert run(job).state == "failed"

    def delete_failed(self, machine: VirtualMachine) -> None:
        snapshot = self.one_of(machine, name__startswith="failed")
        job = request_delete(SYSTEM, snapshot=snapshot)
        if self.random.random() < 0.3:
            run(job)
        else:  # it takes a while, in which the books of the machine are written again
            self.waiting.append(job)
            self.move_account(machine)

    def take_scheduled(self, machine: VirtualMachine) -> None:
        self.carry_out_all(take_due_snapshots())

    def prune_scheduled(self, machine: VirtualMachine) -> None:
        self.carry_out_all(prune_scheduled_snapshots())

    def carry_out_all(self, jobs: list[Job]) -> None:
        if not jobs:
            raise NothingToChoose
        for job in jobs:
            assert run(job).state == "succeeded", job.error_detail

    def ask_to_create(self, machine: VirtualMachine) -> None:
        self.waiting.append(request_create(SYSTEM, machine=machine, name=f"asked for at {self.clock_text()}"))

    def ask_to_delete(self, machine: VirtualMachine) -> None:
        self.waiting.append(request_delete(SYSTEM, snapshot=self.one_of(machine)))

    def carry_out(self, machine: VirtualMachine) -> None:
        run(self.longest_waiting())

    def cancel(self, machine: VirtualMachine) -> None:
        assert request_cancel(SYSTEM, self.longest_waiting()).state == "cancelled"

    def move_account(self, machine: VirtualMachine) -> None:
        owner = self.people.other if machine.account_id == self.people.other.pk else self.people.acme
        owner.refresh_from_db()
        places = [self.people.engineering, self.people.organisation, self.people.elsewhere]
        place = self.random.choice([place for place in places if place != owner.domain])
        moving.move_account(SYSTEM, account=owner, domain=place)

    def move_domain(self, machine: VirtualMachine) -> None:
        place = self.random.choice([self.people.organisation, self.people.elsewhere, None])
        moving.move_domain(SYSTEM, domain=self.people.engineering, parent=place)

    def delete(self, machine: VirtualMachine) -> None:
        run(request_delete(SYSTEM, snapshot=self.one_of(machine)))

    def delete_tree(self, machine: VirtualMachine) -> None:
        run(request_delete_tree(SYSTEM, snapshot=self.one_of(machine)))

    def delete_all(self, machine: VirtualMachine) -> None:
        assert run(request_delete_all(SYSTEM, machine=machine)).state == "succeeded"

    def revert(self, machine: VirtualMachine) -> None:
        safety = self.random.random() < 0.5
        run(request_revert(SYSTEM, snapshot=self.one_of(machine, state="Ready"), safety_snapshot=safety))

    def rename(self, machine: VirtualMachine) -> None:
        snapshot = self.one_of(machine, state="Ready")
        run(request_rename(SYSTEM, snapshot=snapshot, name=f"named at {self.clock_text()}"))

    def transfer(self, machine: VirtualMachine) -> None:
        owner = self.random.choice([self.people.acme, self.people.other, self.people.acme, self.people.other, None])
        tenancy.assign_machine(SYSTEM, machine=machine, account=owner)

    def lose(self, machine: VirtualMachine) -> None:
        try:
            self.cloud.world.delete_elsewhere(machine.native_id, self.one_of(machine, state="Ready").native_id)
        except errors.NotFound as already:  # which no reading of all could tell while a job holds the machine
            raise NothingToChoose from already
        self.cloud.sync()

    def make_elsewhere(self, machine: VirtualMachine) -> None:
        self.cloud.world.take_elsewhere(machine.native_id, f"elsewhere at {self.clock_text()}")
        self.cloud.sync()

    def adopt(self, machine: VirtualMachine) -> None:
        drift_actions.adopt_snapshot(SYSTEM, snapshot=self.one_of(machine, origin=Origin.ELSEWHERE, adopted_at=None))

    def acknowledge(self, machine: VirtualMachine) -> None:
        drift_actions.acknowledge_lost(SYSTEM, snapshot=self.one_of(machine, error_code=GONE))

    def grow(self, machine: VirtualMachine) -> None:
        volume = Volume.objects.filter(machine=machine).order_by("pk")[self.random.randrange(2)]
        self.cloud.world.resize_volume(volume.native_id, volume.capacity_bytes + self.random.randrange(1, 9) * MIB)
        self.cloud.sync()

    def clock_text(self) -> str:
        return f"{self.random.getrandbits(40):x}"

    def look(self) -> Facts:
        """What is billed at this moment, from the rows of machines, volumes and VM snapshots alone: by VM snapshot, type
        and place the allocated and the measured size."""
        found: Facts = {}
        for machine in VirtualMachine.objects.select_related("account__domain", "hypervisor"):
            volumes = list(Volume.objects.filter(machine=machine).select_related("pool").order_by("target"))
            size = sum(volume.capacity_bytes for volume in volumes)
            rows = list(VMSnapshot.objects.filter(machine=machine, parent__isnull=False))
            held = held_by_each(rows, size, machine.memory_bytes)
            if machine.account is None:
                continue
            first = volumes[0].pool
            place = (
                machine.uuid,
                machine.account.uuid,
                machine.account.domain.uuid,
                first.uuid if first else None,
                machine.hypervisor.uuid,
            )
            for row in rows:
                ours = row.origin == Origin.VMSNAP or row.adopted_at is not None
                if ours and row.native_id and row.error_code != GONE:
                    found[row.uuid, UsageType.VM_SNAPSHOT, place] = (size, 0, 0)
                    found[row.uuid, UsageType.VM_SNAPSHOT_ON_PRIMARY, place] = (
                        held[row.pk],
                        row.measured_bytes or 0,
                        row.measured_bytes,
                    )
        return found


def held_by_each(rows: list[VMSnapshot], volume_bytes: int, machine_memory_bytes: int) -> dict[int, int]:
    """What each is estimated to hold: its memory, and the volumes once if it ends a path that is not the oldest. What is
    lost is not there any more, what is above and below it is."""
    above = {row.pk: row.parent_id for row in rows}
    there = [row for row in rows if row.error_code != GONE]
    passed = set()
    for row in there:
        key = above[row.pk]
        while key in above:
            passed.add(key)
            key = above[key]
    ends = [row.pk for row in there if row.pk not in passed]
    held = {}
    for row in there:
        held[row.pk] = volume_bytes if row.pk in ends and row.pk != min(ends) else 0
        if row.type == SnapshotType.DISK_AND_MEMORY:
            held[row.pk] += row.memory_bytes or machine_memory_bytes
    return held


def expected(seen: list[tuple[datetime, Facts]], end: datetime) -> dict[Any, tuple[int, int, int, int]]:
    """From one look to the next everything was as it was seen: added up by day, microsecond by microsecond."""
    sums: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for number, (begin, facts) in enumerate(seen):
        until = seen[number + 1][0] if number + 1 < len(seen) else end
        while begin < until:
            day = begin.replace(hour=0, minute=0, second=0, microsecond=0)
            stop = min(until, day + timedelta(days=1))
            lasted = (stop - begin) // MICROSECOND
            for (uuid, kind, place), (allocated, measured, known) in facts.items():
                row = sums[day, uuid, kind, place]
                row[0] += lasted
                row[1] += lasted * allocated
                row[2] += lasted * measured
                row[3] += lasted if known is None else 0
            begin = stop
    return {key: (one, two, three, four) for key, (one, two, three, four) in sums.items()}


def close_and_compare() -> None:
    """What is kept by month is what the records add up to."""
    close_due_periods()
    assert months_written() == months_of_records()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_month_is_billed_as_the_trees_looked(seed: int, people: People, settings: Settings) -> None:
    settings.SNAPSHOTS_PER_MACHINE = 30
    settings.SCHEDULE_LATE_SECONDS = DAYS * 86_400  # ticks come by chance here, and hours apart
    with time_machine.travel(START, tick=False) as clock:
        month = Month(seed, Cloud(MACHINES), people, clock)
        for machine, owner in zip(MACHINES, (people.acme, people.acme, people.other), strict=True):
            tenancy.assign_machine(SYSTEM, machine=month.cloud.machine(machine.name), account=owner)
            schedule(month.cloud.machine(machine.name), frequency="hourly", minute=0, keep=2)
        month.live(close_and_compare)
        clock.move_to(START + timedelta(days=DAYS, hours=1))
        close_due_periods()
    assert all_records() == expected(month.seen, START + timedelta(days=DAYS))
    prove_all()
    # The month was worth the name.
    assert UsagePeriod.objects.count() >= DAYS - 3
    assert set(UsageEvent.objects.values_list("change", flat=True)) == set(UsageChange)
    assert len(month.done) == KINDS_OF_DEEDS, month.done

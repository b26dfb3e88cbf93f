"""A storage pool does not become fuller than it may, and says so before and after."""

from decimal import Decimal
from typing import Any

import pytest

from hypervisors.drivers.simulated.world import Disk, Machine, Pool
from hypervisors.records import PowerAfterRevert, PowerState
from snapshots.access import SYSTEM, Actor
from snapshots.models import Event, MachineAllocation, PoolPolicy, StoragePool, VirtualMachine, VMSnapshot
from snapshots.pool_room import PoolRoom, policy_in_force, rooms_of
from snapshots.refusals import CapacityExceeded, Forbidden, Invalid
from snapshots.services.capacity_rules import why_not_fit
from snapshots.services.pool_policies import set_policy
from snapshots.services.snapshot_actions import request_create, request_delete, request_revert
from tests.builders import Cloud, People, acting, run, take
from tests.domain.refusing import assert_refused

GIB = 1024**3
PETABYTE = 1024**5


def full_cloud(disk: int = 400, memory: int = 40, power: PowerState = PowerState.RUNNING) -> Cloud:
    """A pool of 500 GiB with 20 GiB of loose volumes and one machine with a disk and memory of so many GiB."""
    return Cloud((Machine("big", power=power, memory_bytes=memory * GIB, disks=(Disk(disk * GIB),)),))


def pool_of(machine: VirtualMachine) -> StoragePool:
    pool = machine.volumes.get().pool
    assert pool is not None
    return pool


def room_of(machine: VirtualMachine) -> PoolRoom:
    pool = pool_of(machine)
    return rooms_of([pool])[pool.pk]


def test_volumes_loose_ones_too_and_the_estimate_are_allocated(db: None) -> None:
    machine = full_cloud(disk=100, memory=1).machine("big")
    assert room_of(machine).allocated_bytes == 120 * GIB
    take(machine, "one", memory=True)
    room = room_of(machine)
    assert (room.volume_bytes, room.estimated_bytes) == (120 * GIB, GIB)
    assert room.percent == 25  # 24.2 rounded up
    assert room.state == "ok"


def test_a_vm_snapshot_that_would_pass_the_threshold_is_refused_with_the_figures(db: None) -> None:
    cloud = full_cloud()
    machine = cloud.machine("big")

    def ask() -> Any:
        return request_create(SYSTEM, machine=machine, name="too much", memory=True)

    refusal = assert_refused(cloud.world, "capacity_exceeded", ask)
    assert refusal.detail == (
        "The storage pool default is 84 % allocated. This VM snapshot is estimated to add 40 GiB, which makes 92 %; none "
        "that makes it fuller than 90 % is taken. Delete VM snapshots that are no longer needed, take one without memory, "
        "or ask a root admin for more room."
    )
    assert refusal.extra == {
        "pool": str(pool_of(machine).uuid),
        "wanted_bytes": 40 * GIB,
        "percent": 84,
        "percent_after": 92,
        "threshold_percent": 90,
    }
    assert not VMSnapshot.objects.filter(machine=machine, name="too much").exists()


def test_one_that_adds_nothing_is_taken_however_full_the_pool_is(db: None) -> None:
    machine = full_cloud(disk=490).machine("big")
    assert room_of(machine).state == "over"
    assert take(machine, "disks only", memory=False).state == "Ready"
    assert room_of(machine).estimated_bytes == 0


def test_a_new_branch_adds_the_volumes_once_more(db: None) -> None:
    cloud = full_cloud(disk=200, power=PowerState.STOPPED)
    machine = cloud.machine("big")
    first = take(machine, "first")
    take(machine, "second")
    run(request_revert(SYSTEM, snapshot=first))
    assert room_of(machine).allocated_bytes == 220 * GIB
    take(machine, "branch")  # 420 of 500
    assert room_of(machine).allocated_bytes == 420 * GIB
    run(request_revert(SYSTEM, snapshot=VMSnapshot.objects.get(pk=first.pk)))

    def ask() -> Any:
        return request_create(SYSTEM, machine=cloud.machine("big"), name="third")

    assert_refused(cloud.world, "capacity_exceeded", ask)


def test_a_safety_snapshot_counts_too_and_nothing_is_reverted_without_room_for_it(db: None) -> None:
    cloud = full_cloud()
    snapshot = take(cloud.machine("big"), "disks only", memory=False)

    def ask() -> Any:
        return request_revert(SYSTEM, snapshot=snapshot, power=PowerAfterRevert.STOPPED, safety_snapshot=True)

    assert_refused(cloud.world, "capacity_exceeded", ask)
    assert VMSnapshot.objects.get(pk=snapshot.pk).state == "Ready"


def test_what_was_refused_fits_after_something_is_deleted(db: None) -> None:
    cloud = full_cloud(disk=380, memory=40)
    machine = cloud.machine("big")
    first = take(machine, "first", memory=True)  # 440 of 500
    with pytest.raises(CapacityExceeded):
        request_create(SYSTEM, machine=machine, name="second", memory=True)
    run(request_delete(SYSTEM, snapshot=first))
    assert take(machine, "second", memory=True).state == "Ready"


def test_each_volume_counts_in_its_own_pool_and_memory_in_that_of_the_first(db: None) -> None:
    disks = (Disk(50 * GIB, pool="fast"), Disk(80 * GIB, pool="slow"))
    cloud = Cloud(
        (Machine("big", memory_bytes=10 * GIB, disks=disks),),
        pools=(Pool("fast", 100 * GIB), Pool("slow", 1000 * GIB), Pool("default")),
    )
    machine = cloud.machine("big")
    first = take(machine, "first", memory=True)
    take(machine, "second", memory=False)
    run(request_revert(SYSTEM, snapshot=first))
    held = {
        row.pool.name: (row.volume_bytes, row.disk_bytes, row.memory_bytes)
        for row in MachineAllocation.objects.filter(machine=machine).select_related("pool")
        if row.pool
    }
    assert held == {"fast": (50 * GIB, 0, 10 * GIB), "slow": (80 * GIB, 0, 0)}
    # A branch brings 50 GiB more into the first pool, which has 60 of 100, and would fit into the second.
    with pytest.raises(CapacityExceeded) as refused:
        request_create(SYSTEM, machine=machine, name="branch", memory=False)
    assert "storage pool fast is 60 % allocated" in refused.value.detail
    assert "add 50 GiB, which makes 110 %" in refused.value.detail


def test_a_pool_whose_size_is_not_known_refuses_nothing(db: None) -> None:
    machine = full_cloud(disk=490).machine("big")
    StoragePool.objects.update(total_bytes=None)
    room = room_of(machine)
    assert (room.percent, room.state, room.threshold_bytes) == (None, "unknown", None)
    assert take(machine, "with memory", memory=True).state == "Ready"


def test_the_warning_band_is_told_once_when_it_is_entered(db: None) -> None:
    machine = full_cloud(disk=370, memory=15).machine("big")
    assert room_of(machine).state == "ok"  # 390 of 500
    take(machine, "first", memory=True)
    assert room_of(machine).state == "warning"
    take(machine, "second", memory=True)
    told = Event.objects.get(action="storage_pool.nearly_full")
    assert told.level == Event.Level.WARNING
    assert told.snapshot_name == "first"
    assert told.detail == (
        "default is 81 % allocated with this VM snapshot; none that makes it fuller than 90 % is taken."
    )


def test_exactly_at_the_threshold_is_taken_and_a_byte_more_is_refused(db: None) -> None:
    # 20 GiB of loose volumes and 390 of its disk: 410 of 500; the memory makes it 450, which is 90 %.
    machine = full_cloud(disk=390).machine("big")
    assert take(machine, "to the brim", memory=True).state == "Ready"
    room = room_of(machine)
    assert (room.percent, room.state) == (90, "warning")
    refusal = why_not_fit(room, 1)
    assert refusal is not None
    assert "which makes 91 %; none that makes it fuller than 90 % is taken." in refusal.detail


def test_overcommit_makes_room(db: None, root: Actor) -> None:
    machine = full_cloud().machine("big")
    set_policy(root, pool=pool_of(machine), warning_percent=None, threshold_percent=None, overcommit=Decimal("1.5"))
    assert take(machine, "fits", memory=True).state == "Ready"
    assert room_of(machine).allowed_bytes == 750 * GIB
    assert Event.objects.get(action="storage_pool.policy_set").detail == (
        "default: warns above 80 %, refuses above 90 %, overcommit 1.5. "
        "Before: warns above 80 %, refuses above 90 %, overcommit 1.0."
    )


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"threshold_percent": 0}, "threshold_percent"),
        ({"threshold_percent": 101}, "threshold_percent"),
        ({"threshold_percent": -1}, "threshold_percent"),
        ({"warning_percent": 0}, "warning_percent"),
        ({"warning_percent": 91}, "warning_percent"),
        ({"warning_percent": 70, "threshold_percent": 60}, "warning_percent"),
        ({"overcommit": Decimal("0")}, "overcommit"),
        ({"overcommit": Decimal("-2")}, "overcommit"),
        ({"overcommit": Decimal("1.001")}, "overcommit"),
        ({"overcommit": Decimal("1001")}, "overcommit"),
        ({"overcommit": Decimal("NaN")}, "overcommit"),
        ({"overcommit": Decimal("Infinity")}, "overcommit"),
    ],
)
def test_a_policy_out_of_bounds_is_refused(cloud: Cloud, root: Actor, values: dict[str, Any], field: str) -> None:
    pool = StoragePool.objects.get()
    asked = {"warning_percent": None, "threshold_percent": None, "overcommit": None} | values
    with pytest.raises(Invalid) as refused:
        set_policy(root, pool=pool, **asked)
    assert list(refused.value.extra["fields"]) == [field]
    assert not PoolPolicy.objects.filter(set_at__isnull=False).exists()


def test_a_default_warning_above_a_pools_own_threshold_begins_at_that(cloud: Cloud, root: Actor) -> None:
    pool = StoragePool.objects.get()
    set_policy(root, pool=pool, warning_percent=None, threshold_percent=50, overcommit=None)
    assert policy_in_force(PoolPolicy.objects.get(pool=pool))["warning_percent"] == 50


@pytest.mark.parametrize("who", ["alice", "bob", "charlie", "dora", "nora"])
def test_nobody_but_root_admins_says_how_full_a_pool_may_become(cloud: Cloud, people: People, who: str) -> None:
    person = acting(getattr(people, who))
    with pytest.raises(Forbidden):
        set_policy(person, pool=StoragePool.objects.get(), warning_percent=None, threshold_percent=100, overcommit=None)


def test_petabytes_are_counted_exactly(db: None) -> None:
    pool = StoragePool(name="huge", total_bytes=7000 * PETABYTE)
    room = PoolRoom(pool, 5600 * PETABYTE, 699 * PETABYTE, None, **policy_in_force(None))
    assert room.threshold_bytes == 6300 * PETABYTE
    assert why_not_fit(room, PETABYTE) is None
    assert why_not_fit(room, PETABYTE + 1) is not None


def test_a_pool_of_no_size_is_full_with_anything_in_it(db: None) -> None:
    pool = StoragePool(name="none", total_bytes=0)
    assert PoolRoom(pool, 0, 0, None, **policy_in_force(None)).state == "ok"
    assert PoolRoom(pool, 1, 0, None, **policy_in_force(None)).state == "over"

"""A deleted snapshot leaves nothing on the storage, whatever dies on the way."""

import pytest

from hypervisors import errors
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.records import SnapshotForest
from hypervisors.xen_simulator.process import XenSimulator

from ..contract import Watching, current, shape
from .ground import AS_IT_WAS, forest, take
from .pool import (
    add_machine,
    client_of,
    disks_of_the_pool,
    login_to,
)


@pytest.mark.parametrize("memory", [False, True])
def test_a_deleted_snapshot_leaves_no_disk_and_no_memory_image(
    pool: XenSimulator, driver: XenServerDriver, running: str, memory: bool
) -> None:
    before = disks_of_the_pool(pool)
    snapshot = take(driver, running, memory=memory)
    assert len(disks_of_the_pool(pool)) > len(before)
    driver.delete_snapshot(running, snapshot.native_id, Watching())
    assert disks_of_the_pool(pool) == before


@pytest.mark.parametrize(
    ("message", "step", "memory", "finish"),
    [
        ("VDI.add_to_other_config", None, False, "delete"),
        ("VM.hard_shutdown", None, True, "delete"),
        ("VM.destroy", None, True, "delete"),
        ("VM.destroy", "destroy", False, "delete"),
        ("VDI.destroy", None, False, "delete"),
        ("VDI.destroy", None, True, "delete"),
        ("VDI.destroy", None, False, "delete_with_descendants"),
        ("VDI.destroy", None, True, "delete_all"),
        ("VM.destroy", "destroy", True, "delete_all"),
        ("VM.destroy", "destroy", False, "finish_deletions"),
        ("VDI.destroy", None, True, "finish_deletions"),
    ],
)
def test_a_deletion_that_dies_at_any_step_leaves_nothing_once_it_is_repeated(
    pool: XenSimulator, machine: str, message: str, step: str | None, memory: bool, finish: str
) -> None:
    machine = add_machine(pool, power="Running")
    before = disks_of_the_pool(pool)
    with XenServerDriver(login_to(pool)) as first:
        snapshot = take(first, machine, memory=memory)
        pool.control.die(message, step=step)
        with pytest.raises(errors.HypervisorError) as lost:
            first.delete_snapshot(machine, snapshot.native_id, Watching())
        assert not lost.value.outcome_known
    pool.wait_dead()
    pool.start()
    with XenServerDriver(login_to(pool)) as second:
        if finish == "finish_deletions":
            second.finish_deletions(machine, Watching())
            if snapshot.native_id in forest(second, machine).by_id():
                second.delete_snapshot(machine, snapshot.native_id, Watching())
        elif finish == "delete_all":
            second.delete_all(machine, Watching())
        else:
            again = second.delete_snapshot if finish == "delete" else second.delete_with_descendants
            again(machine, snapshot.native_id, Watching())
        assert forest(second, machine) == SnapshotForest()
        assert disks_of_the_pool(pool) == before
        with pytest.raises(errors.NotFound):
            second.delete_snapshot(machine, snapshot.native_id, Watching())


def test_a_disk_that_cannot_be_destroyed_now_is_destroyed_by_the_next_attempt(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    before = disks_of_the_pool(pool)
    snapshot = take(driver, machine)
    pool.control.refuse("VDI.destroy", "VDI_IN_USE", ["OpaqueRef:x"])
    with pytest.raises(errors.Busy, match="still there") as refusal:
        driver.delete_snapshot(machine, snapshot.native_id, Watching())
    assert not refusal.value.outcome_known
    assert forest(driver, machine) == SnapshotForest()
    driver.finish_deletions(machine, Watching())
    assert disks_of_the_pool(pool) == before


def test_finishing_deletions_touches_no_disk_of_a_snapshot_that_is_there(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    snapshot = take(driver, machine)
    pool.control.refuse("VM.destroy", "OPERATION_NOT_ALLOWED", ["not now"])
    with pytest.raises(errors.Rejected):
        driver.delete_snapshot(machine, snapshot.native_id, Watching())
    disks = disks_of_the_pool(pool)
    driver.finish_deletions(machine, Watching())
    assert disks_of_the_pool(pool) == disks
    driver.revert_to(machine, snapshot.native_id, AS_IT_WAS, Watching())
    assert len(driver.read_machine(machine).volumes) == 1


def test_a_disk_that_another_machine_uses_stays_when_its_snapshot_goes(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    snapshot = take(driver, machine)
    api = client_of(pool).xenapi
    ref = api.VM.get_by_uuid(snapshot.native_id)
    (slot,) = [slot for slot in api.VM.get_VBDs(ref) if api.VBD.get_type(slot) == "Disk"]
    disk = api.VBD.get_VDI(slot)
    other = api.VM.get_by_uuid(add_machine(pool))
    record = {"VM": other, "VDI": disk, "userdevice": "9", "bootable": False, "mode": "RO", "type": "Disk"}
    record |= {"empty": False, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
    api.VBD.create(record | {"unpluggable": True})
    driver.delete_snapshot(machine, snapshot.native_id, Watching())
    assert forest(driver, machine) == SnapshotForest()
    assert api.VDI.get_uuid(disk)


def test_a_deletion_that_an_administrator_blocked_is_refused_with_the_reason(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    snapshot = take(driver, machine)
    api = client_of(pool).xenapi
    ref = api.VM.get_by_uuid(snapshot.native_id)
    api.VM.add_to_blocked_operations(ref, "destroy", "LEGAL_HOLD")
    with pytest.raises(errors.Unsupported, match="LEGAL_HOLD"):
        driver.delete_snapshot(machine, snapshot.native_id, Watching())
    assert forest(driver, machine).by_id().keys() == {snapshot.native_id}


def test_a_failure_half_way_through_a_branch_leaves_a_smaller_whole_tree(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    for name in ("root", "middle", "leaf"):
        take(driver, machine, name)
    root, middle, _ = forest(driver, machine).snapshots
    pool.control.refuse("VM.destroy", "OPERATION_NOT_ALLOWED", ["not this one"], times=1)
    with pytest.raises(errors.Rejected):
        driver.delete_with_descendants(machine, middle.native_id, Watching())
    assert shape(forest(driver, machine)) == {"root": None, "middle": "root", "leaf": "middle"}
    driver.delete_with_descendants(machine, middle.native_id, Watching())
    assert shape(forest(driver, machine)) == {"root": None}
    assert current(forest(driver, machine)) == "root"
    assert root.native_id == forest(driver, machine).current_id


def test_deleting_all_of_several_trees_leaves_no_disk_and_no_memory_image(
    pool: XenSimulator, driver: XenServerDriver, running: str
) -> None:
    before = disks_of_the_pool(pool)
    root = take(driver, running, "root", memory=True)
    take(driver, running, "left", memory=True)
    driver.revert_to(running, root.native_id, AS_IT_WAS, Watching())
    take(driver, running, "right")
    driver.delete_snapshot(running, root.native_id, Watching())
    assert shape(forest(driver, running)) == {"left": None, "right": None}
    driver.delete_all(running, Watching())
    assert forest(driver, running) == SnapshotForest()
    # The disks that the revert replaced are others now, but none more.
    assert len(disks_of_the_pool(pool)) == len(before)


def test_a_failure_half_way_through_all_leaves_a_smaller_whole_forest(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    before = disks_of_the_pool(pool)
    for name in ("root", "middle", "leaf"):
        take(driver, machine, name)
    _, middle, _ = forest(driver, machine).snapshots
    api = client_of(pool).xenapi
    ref = api.VM.get_by_uuid(middle.native_id)
    api.VM.add_to_blocked_operations(ref, "destroy", "LEGAL_HOLD")
    with pytest.raises(errors.Unsupported, match="LEGAL_HOLD"):
        driver.delete_all(machine, Watching())
    assert shape(forest(driver, machine)) == {"root": None, "middle": "root"}
    assert current(forest(driver, machine)) == "middle"
    api.VM.remove_from_blocked_operations(ref, "destroy")
    driver.delete_all(machine, Watching())
    assert disks_of_the_pool(pool) == before

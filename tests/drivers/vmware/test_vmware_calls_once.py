"""Whatever the vSphere driver changes it asks for once, and drivers at work beside each other share nothing."""

import threading
from collections.abc import Callable

import pytest
from pyVim import connect as library

from hypervisors.drivers.vmware.driver import VMwareDriver
from hypervisors.drivers.vmware.errors import moref
from hypervisors.errors import ConnectionLost
from hypervisors.records import PowerAfterRevert, SnapshotForest
from tests.vsphere_simulator.server import VsphereSimulator
from tests.vsphere_simulator.world import LooseDisk, Machine, World

from ..contract import Watching, request
from .vsphere_ground import login_to, named, needs_simulator

pytestmark = needs_simulator

AS_IT_WAS = PowerAfterRevert.AS_SNAPSHOT
AT_MOST_SECONDS = 60
WORLD = World(machines=(Machine("there", running=True),), loose_disks=(LooseDisk("[LocalDS_0] spare/spare.vmdk"),))


@pytest.fixture
def server(lasting_server: VsphereSimulator) -> VsphereSimulator:
    return lasting_server


CHANGES: dict[str, tuple[bool, Callable[[VMwareDriver, str, str], object]]] = {
    # The method on the wire: whether the machine runs before, and what the driver is asked for.
    "RevertToSnapshot_Task": (True, lambda d, m, s: d.revert_to(m, s, AS_IT_WAS, Watching())),
    "RemoveSnapshot_Task": (True, lambda d, m, s: d.delete_snapshot(m, s, Watching())),
    "RemoveAllSnapshots_Task": (True, lambda d, m, s: d.delete_all(m, Watching())),
    "RenameSnapshot": (True, lambda d, m, s: d.rename_snapshot(m, s, "another name", "")),
    "PowerOnVM_Task": (False, lambda d, m, s: d.start(m, Watching())),
    "PowerOffVM_Task": (True, lambda d, m, s: d.stop(m, True, Watching())),
    "ShutdownGuest": (True, lambda d, m, s: d.stop(m, False, Watching())),
    "ConsolidateVMDisks_Task": (True, lambda d, m, s: d.consolidate_disks(m, Watching())),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", CHANGES)
def test_no_change_is_asked_for_again_when_its_answer_is_lost(
    server: VsphereSimulator, driver: VMwareDriver, method: str, when: str
) -> None:
    running, change = CHANGES[method]
    name = f"{method} {when}"
    server.add_machine(Machine(name, running=running))
    machine = named(driver, name)
    snapshot = driver.create_snapshot(machine, request("stands"), Watching())
    server.set_needs_consolidation(name, needed=True)
    before = server.calls().get(method, 0)
    server.drop(method, when)
    with pytest.raises(ConnectionLost) as lost:
        change(driver, machine, snapshot.native_id)
    assert not lost.value.outcome_known
    assert server.calls()[method] == before + 1


def test_several_trees_are_deleted_by_one_task_and_an_empty_machine_by_none(
    server: VsphereSimulator, driver: VMwareDriver
) -> None:
    server.add_machine(Machine("two trees", running=True))
    machine = named(driver, "two trees")
    root = driver.create_snapshot(machine, request("root"), Watching())
    for name in ("left", "right"):
        driver.revert_to(machine, root.native_id, PowerAfterRevert.RUNNING, Watching())
        driver.create_snapshot(machine, request(name, memory=True), Watching())
    driver.delete_snapshot(machine, root.native_id, Watching())
    assert [snapshot.parent_id for snapshot in driver.list_forests([machine])[machine].snapshots] == [None, None]
    before, free = server.calls(), _free_bytes(driver)
    driver.delete_all(machine, Watching())
    assert _free_bytes(driver) >= free + 2 * driver.read_machine(machine).memory_bytes, "both memory images are gone"
    assert driver.list_forests([machine])[machine] == SnapshotForest()
    driver.delete_all(machine, Watching())
    after = server.calls()
    assert after["RemoveAllSnapshots_Task"] == before.get("RemoveAllSnapshots_Task", 0) + 1
    assert after["RemoveSnapshot_Task"] == before["RemoveSnapshot_Task"]


def _free_bytes(driver: VMwareDriver) -> int:
    return sum(pool.free_bytes or 0 for pool in driver.list_pools())


def test_a_branch_that_is_all_there_is_goes_without_the_call_that_would_take_more(
    server: VsphereSimulator, driver: VMwareDriver
) -> None:
    server.add_machine(Machine("one tree", running=True))
    machine = named(driver, "one tree")
    root = driver.create_snapshot(machine, request("root"), Watching())
    driver.create_snapshot(machine, request("leaf"), Watching())
    before = server.calls()
    driver.delete_with_descendants(machine, root.native_id, Watching())
    assert driver.list_forests([machine])[machine] == SnapshotForest()
    after = server.calls()
    assert after["RemoveSnapshot_Task"] == before.get("RemoveSnapshot_Task", 0) + 1
    assert after.get("RemoveAllSnapshots_Task") == before.get("RemoveAllSnapshots_Task")


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_disk_is_attached_or_detached_twice_when_the_answer_is_lost(
    server: VsphereSimulator, driver: VMwareDriver, when: str
) -> None:
    method, name = "ReconfigVM_Task", f"disks {when}"
    server.add_machine(Machine(name))
    machine = named(driver, name)
    (spare,) = driver.list_loose_volumes()
    asked = server.calls().get(method, 0)
    server.drop(method, when)
    with pytest.raises(ConnectionLost):
        driver.attach_volume(machine, spare.native_id)
    attached = spare.native_id in {volume.native_id for volume in driver.read_machine(machine).volumes}
    assert attached == (when == "after")
    if not attached:
        driver.attach_volume(machine, spare.native_id)
    assert server.calls()[method] == asked + (1 if attached else 2)
    asked = server.calls()[method]
    server.drop(method, when)
    with pytest.raises(ConnectionLost):
        driver.detach_volume(machine, spare.native_id, Watching())
    attached = spare.native_id in {volume.native_id for volume in driver.read_machine(machine).volumes}
    assert attached == (when == "before")
    if attached:
        driver.detach_volume(machine, spare.native_id, Watching())
    assert server.calls()[method] == asked + (2 if attached else 1)
    assert [volume.native_id for volume in driver.list_loose_volumes()] == [spare.native_id]


def test_drivers_in_threads_beside_each_other_have_sessions_and_collectors_of_their_own(
    server: VsphereSimulator,
) -> None:
    before = server.sessions()
    meet = threading.Barrier(3, timeout=AT_MOST_SECONDS)
    seen: dict[str, tuple[str, str]] = {}
    read: dict[str, list[str]] = {}

    def work(name: str, leaves_first: bool) -> None:
        with VMwareDriver(login_to(server)) as driver:
            seen[name] = (driver._connection.session_key, moref(driver._connection.collector))
            meet.wait()
            driver.wait_for_changes("", 0.0)
            meet.wait()
            if not leaves_first:
                meet.wait()  # The other has given everything back by now.
                read[name] = [machine.name for machine in driver.list_machines()]
        if leaves_first:
            meet.wait()
            read[name] = []

    threads = [
        threading.Thread(target=work, args=(name, leaves_first)) for name, leaves_first in (("a", True), ("b", False))
    ]
    for thread in threads:
        thread.start()
    meet.wait()
    assert server.sessions() == before + 2
    meet.wait()
    meet.wait()
    for thread in threads:
        thread.join(AT_MOST_SECONDS)
    assert not seen.keys() ^ {"a", "b"}
    assert seen["a"][0] != seen["b"][0]
    assert seen["a"][1] != seen["b"][1]
    assert "there" in read["b"]
    assert server.sessions() == before


def test_nothing_is_kept_in_the_librarys_global_connection(driver: VMwareDriver) -> None:
    assert driver.list_machines()
    assert library.GetSi() is None

"""Volumes that keep their ids, disks in and out of guests, power."""

import pytest

from hypervisors import errors
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.records import PowerState
from hypervisors.xen_simulator.process import XenSimulator

from ..contract import Watching
from ..contract_ground import Clock
from .ground import AS_IT_WAS, Meanwhile, forest, take
from .pool import (
    ElsewhereInThePool,
    add_machine,
    calls_of,
    client_of,
    disks_of_the_pool,
)


def test_a_volume_keeps_its_id_when_a_revert_replaces_its_disk(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    (before,) = driver.read_machine(machine).volumes
    snapshot = take(driver, machine)
    for _ in range(2):
        driver.revert_to(machine, snapshot.native_id, AS_IT_WAS, Watching())
        (after,) = driver.read_machine(machine).volumes
        assert (after.native_id, after.target) == (before.native_id, before.target)
        listed = {record.native_id: record for record in driver.list_machines()}
        assert listed[machine].volumes == (after,)
    assert before.native_id not in disks_of_the_pool(pool), "the disk itself is another one"
    driver.delete_snapshot(machine, snapshot.native_id, Watching())
    driver.detach_volume(machine, after.native_id, Watching())
    assert before.native_id in {volume.native_id for volume in driver.list_loose_volumes()}
    assert driver.attach_volume(machine, before.native_id).native_id == before.native_id


def test_a_volume_keeps_its_id_when_somebody_else_reverts(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    (before,) = driver.read_machine(machine).volumes
    snapshot = take(driver, machine)
    somebody = ElsewhereInThePool(pool)
    api = client_of(pool).xenapi
    somebody.finished(api.Async.VM.revert(api.VM.get_by_uuid(snapshot.native_id)))
    assert [volume.native_id for volume in driver.read_machine(machine).volumes] == [before.native_id]


def test_a_volume_keeps_its_id_when_we_revert_to_somebody_elses_snapshot(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    (before,) = driver.read_machine(machine).volumes
    ElsewhereInThePool(pool).take(machine, "theirs")
    (theirs,) = forest(driver, machine).snapshots
    driver.revert_to(machine, theirs.native_id, AS_IT_WAS, Watching())
    assert [volume.native_id for volume in driver.read_machine(machine).volumes] == [before.native_id]


def test_the_volumes_of_a_cloned_machine_have_ids_of_their_own(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    snapshot = take(driver, machine)
    driver.revert_to(machine, snapshot.native_id, AS_IT_WAS, Watching())
    api = client_of(pool).xenapi
    clone = api.VM.get_uuid(api.VM.clone(api.VM.get_by_uuid(machine), "a clone"))
    machines = {record.native_id: record for record in driver.list_machines()}
    ids = [volume.native_id for record in machines.values() for volume in record.volumes]
    assert len(ids) == len(set(ids))
    assert machines[clone] == driver.read_machine(clone)


def test_a_disk_that_the_guest_does_not_take_is_taken_out_again(
    pool: XenSimulator, driver: XenServerDriver, running: str, machine: str
) -> None:
    (volume,) = driver.read_machine(machine).volumes
    driver.detach_volume(machine, volume.native_id, Watching())
    pool.control.refuse("VBD.plug", "DEVICE_ATTACH_TIMEOUT", ["VBD", "OpaqueRef:x"])
    had = driver.read_machine(running).volumes
    with pytest.raises(errors.TimedOut) as late:
        driver.attach_volume(running, volume.native_id)
    assert late.value.outcome_known
    assert driver.read_machine(running).volumes == had
    attached = driver.attach_volume(running, volume.native_id)
    assert attached in driver.read_machine(running).volumes
    driver.detach_volume(running, volume.native_id, Watching())
    assert driver.read_machine(running).volumes == had


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("DEVICE_DETACH_REJECTED", errors.Busy),
        ("DEVICE_DETACH_TIMEOUT", errors.TimedOut),
        ("VBD_NOT_UNPLUGGABLE", errors.Unsupported),
        ("VM_MISSING_PV_DRIVERS", errors.Unsupported),
        ("OPERATION_NOT_ALLOWED", errors.Rejected),
    ],
)
def test_a_disk_that_the_guest_does_not_give_back_stays(
    pool: XenSimulator, driver: XenServerDriver, running: str, code: str, kind: type[errors.HypervisorError]
) -> None:
    (volume,) = driver.read_machine(running).volumes
    pool.control.refuse("VBD.unplug", code, ["VBD", "OpaqueRef:x", "in use"])
    with pytest.raises(kind):
        driver.detach_volume(running, volume.native_id, Watching())
    assert [seen.native_id for seen in driver.read_machine(running).volumes] == [volume.native_id]


def test_a_disk_that_the_guest_gave_back_by_itself_meanwhile_is_detached(
    pool: XenSimulator, driver: XenServerDriver, running: str
) -> None:
    (volume,) = driver.read_machine(running).volumes
    held = pool.control.hold("VBD.unplug")
    detaching = Meanwhile(lambda: driver.detach_volume(running, volume.native_id, Watching()))
    assert pool.control.wait_held(held)
    somebody, api = ElsewhereInThePool(pool), client_of(pool).xenapi
    (slot,) = [s for s in api.VM.get_VBDs(api.VM.get_by_uuid(running)) if api.VBD.get_type(s) == "Disk"]
    somebody.finished(api.Async.VBD.unplug(slot))
    pool.control.release(held)
    assert detaching.result() is None
    assert driver.read_machine(running).volumes == ()


def test_a_guest_that_does_not_shut_down_is_not_forced(
    pool: XenSimulator, driver: XenServerDriver, running: str, clock: Clock
) -> None:
    held = pool.control.hold("VM.clean_shutdown", step="ask")
    stopping = Meanwhile(lambda: driver.stop(running, False, Watching()))
    assert pool.control.wait_held(held)
    clock.ahead = 1000.0
    late = stopping.result()
    assert isinstance(late, errors.TimedOut)
    assert "by force" in late.detail
    assert calls_of(pool, "VM.hard_shutdown") == 0
    pool.control.release(held)


@pytest.mark.parametrize("code", ["VM_SHUTDOWN_TIMEOUT", "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT"])
def test_a_guest_that_xenserver_gave_up_asking_has_timed_out(
    pool: XenSimulator, driver: XenServerDriver, running: str, code: str
) -> None:
    pool.control.refuse("VM.clean_shutdown", code, ["OpaqueRef:x", "1"])
    with pytest.raises(errors.TimedOut) as late:
        driver.stop(running, False, Watching())
    assert late.value.outcome_known
    assert driver.read_machine(running).power_state == PowerState.RUNNING


@pytest.mark.parametrize("state", ["Suspended", "Paused"])
def test_a_machine_that_keeps_its_memory_goes_on_or_is_stopped_by_force(
    pool: XenSimulator, driver: XenServerDriver, state: str
) -> None:
    machine = add_machine(pool, power=state)
    assert driver.read_machine(machine).power_state == PowerState.SUSPENDED
    with pytest.raises(errors.Rejected, match="suspended"):
        driver.stop(machine, False, Watching())
    driver.start(machine, Watching())
    assert driver.read_machine(machine).power_state == PowerState.RUNNING
    other = add_machine(pool, power=state)
    driver.stop(other, True, Watching())
    assert driver.read_machine(other).power_state == PowerState.STOPPED


def test_a_machine_for_which_no_host_has_room_is_refused(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    pool.control.refuse("VM.start", "HOST_NOT_ENOUGH_FREE_MEMORY", ["1", "0"])
    with pytest.raises(errors.Rejected, match="memory"):
        driver.start(machine, Watching())

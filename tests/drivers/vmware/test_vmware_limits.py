"""What a machine over the simulator can have done to it, and what is refused with the reason: volumes, quiesce,
consolidation, large and odd trees."""

import pytest

from hypervisors.drivers.vmware import attaching
from hypervisors.drivers.vmware.driver import VMwareDriver
from hypervisors.errors import (
    Busy,
    NotFound,
    OutOfReach,
    Rejected,
    Unsupported,
)
from hypervisors.records import PowerState
from tests.vsphere_simulator.server import VsphereSimulator

from ..contract import Watching, request
from .under_way import CREATE
from .vsphere_ground import administrator_at, named, needs_simulator

pytestmark = needs_simulator


# Attaching


def test_a_volume_whose_file_is_missing_is_not_found(server: VsphereSimulator, driver: VMwareDriver, web: str) -> None:
    (loose,) = driver.list_loose_volumes()
    server.fail("ReconfigVM_Task", "FileNotFound")
    with pytest.raises(NotFound):
        driver.attach_volume(web, loose.native_id)
    assert loose in driver.list_loose_volumes()


def test_volumes_stay_where_they_are_while_there_are_snapshots(driver: VMwareDriver, web: str) -> None:
    (loose,) = driver.list_loose_volumes()
    before = driver.read_machine(web).volumes
    driver.create_snapshot(web, request("holds them"), Watching())
    after = driver.read_machine(web).volumes
    assert [volume.native_id for volume in after] == [volume.native_id for volume in before]
    for call in (
        lambda: driver.attach_volume(web, loose.native_id),
        lambda: driver.detach_volume(web, before[0].native_id, Watching()),
    ):
        with pytest.raises(Rejected) as refusal:
            call()
        assert "VM snapshots" in refusal.value.detail


def test_places_on_the_bus_are_taken_in_turn_and_never_the_controllers_own(
    server: VsphereSimulator, driver: VMwareDriver
) -> None:
    devices = [
        attaching.vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing"),
        *(
            attaching.vim.vm.device.VirtualDisk(key=2000 + unit, controllerKey=1000, unitNumber=unit)
            for unit in range(7)
        ),
    ]
    device = attaching._device(devices, "[a] b.vmdk", None, True)
    assert (device.controllerKey, device.unitNumber) == (1000, 8)
    devices += [
        attaching.vim.vm.device.VirtualDisk(key=2000 + unit, controllerKey=1000, unitNumber=unit)
        for unit in range(8, 16)
    ]
    with pytest.raises(Unsupported) as full:
        attaching._device(devices, "[a] b.vmdk", None, True)
    assert "controller" in full.value.detail
    devices.append(attaching.vim.vm.device.VirtualLsiLogicController(key=1001, busNumber=1, sharedBus="virtualSharing"))
    with pytest.raises(Unsupported):
        attaching._device(devices, "[a] b.vmdk", None, True)
    devices.append(attaching.vim.vm.device.VirtualIDEController(key=200, busNumber=0))
    with pytest.raises(Unsupported):
        attaching._device(devices, "[a] b.vmdk", None, running=True)
    assert attaching._device(devices, "[a] b.vmdk", None, running=False).controllerKey == 200


# Quiesce, consolidation, machines that cannot


def test_a_guest_that_is_at_rest_for_it_needs_no_word(driver: VMwareDriver, web: str) -> None:
    watch = Watching()
    driver.create_snapshot(web, request("at rest", quiesce=True), watch)
    assert watch.reports[-1] == (100, "The VM snapshot is taken")


def test_quiesce_of_a_guest_without_tools_is_refused_with_the_reason(
    server: VsphereSimulator, driver: VMwareDriver, web: str
) -> None:
    server.set_tools("web", installed=False)
    ability = driver.read_machine(web).capabilities.quiesce
    assert "VMware Tools" in ability.reason
    with pytest.raises(Unsupported) as refusal:
        driver.create_snapshot(web, request(quiesce=True), Watching())
    assert refusal.value.detail == ability.reason


def test_disks_that_need_it_are_consolidated(server: VsphereSimulator, driver: VMwareDriver, web: str) -> None:
    before = server.calls().get("ConsolidateVMDisks_Task", 0)
    driver.consolidate_disks(web, Watching())
    assert server.calls().get("ConsolidateVMDisks_Task", 0) == before
    server.set_needs_consolidation("web", needed=True)
    assert driver.read_machine(web).needs_consolidation
    driver.consolidate_disks(web, Watching())
    assert server.calls()["ConsolidateVMDisks_Task"] == before + 1
    assert not driver.read_machine(web).needs_consolidation


def test_disks_that_cannot_be_consolidated_say_why(server: VsphereSimulator, driver: VMwareDriver, web: str) -> None:
    server.set_needs_consolidation("web", needed=True)
    server.fail("ConsolidateVMDisks_Task", "FileLocked")
    with pytest.raises(Busy):
        driver.consolidate_disks(web, Watching())
    assert driver.read_machine(web).needs_consolidation


def test_an_independent_disk_forbids_snapshots_with_the_reason(
    server: VsphereSimulator, driver: VMwareDriver, web: str
) -> None:
    server.make_disks_independent("web")
    can = driver.read_machine(web).capabilities
    for ability in (can.memory, can.disk_when_running, can.disk_when_stopped, can.quiesce):
        assert "independent" in ability.reason
    with pytest.raises(Unsupported):
        driver.create_snapshot(web, request(), Watching())


def test_methods_that_somebody_switched_off_are_missing_with_the_reason(
    server: VsphereSimulator, driver: VMwareDriver, web: str
) -> None:
    server.set_disabled_methods("web", "CreateSnapshot_Task", "ReconfigVM_Task", "PowerOnVM_Task")
    can = driver.read_machine(web).capabilities
    assert "switched off" in can.memory.reason
    assert "switched off" in can.attach.reason
    assert can.start.allowed  # A running machine cannot be started just now, which does not last.


@pytest.mark.parametrize("state", ["inaccessible", "orphaned", "invalid"])
def test_a_machine_that_vcenter_cannot_read_has_no_known_forest(
    server: VsphereSimulator, driver: VMwareDriver, web: str, state: str
) -> None:
    """vCenter says "no snapshots" then, and that must not be taken for the truth."""
    driver.create_snapshot(web, request("is still there"), Watching())
    server.set_connection_state("web", state)
    assert web in {machine.native_id for machine in driver.list_machines()}
    assert driver.read_machine(web).power_state == PowerState.UNKNOWN
    assert web not in driver.list_forests()
    assert web not in driver.read_inventory().forests
    for call in (
        lambda: driver.list_forests([web]),
        lambda: driver.create_snapshot(web, request(), Watching()),
        lambda: driver.start(web, Watching()),
    ):
        with pytest.raises(OutOfReach):
            call()


# Large and odd trees


def test_the_thirty_third_level_is_refused_before_the_server_is_asked(
    server: VsphereSimulator, driver: VMwareDriver
) -> None:
    db = named(driver, "db")
    with administrator_at(server) as administrator:
        for level in range(32):
            administrator.take(db, f"level {level}")
    before = server.calls()[CREATE]
    with pytest.raises(Rejected) as refusal:
        driver.create_snapshot(db, request("one too many"), Watching())
    assert "32" in refusal.value.detail
    assert server.calls()[CREATE] == before


def test_snapshots_with_the_same_name_are_told_apart(server: VsphereSimulator, driver: VMwareDriver, web: str) -> None:
    first = driver.create_snapshot(web, request("same"), Watching())
    second = driver.create_snapshot(web, request("same"), Watching())
    driver.delete_snapshot(web, first.native_id, Watching())
    (left,) = driver.list_forests([web])[web].snapshots
    assert (left.native_id, left.token) == (second.native_id, second.token)


def test_a_snapshot_renamed_elsewhere_shows_its_new_name_and_keeps_its_token(
    server: VsphereSimulator, driver: VMwareDriver, web: str
) -> None:
    made = driver.create_snapshot(web, request("a name of more than eighty characters " * 5, "words"), Watching())
    with administrator_at(server) as administrator:
        administrator.rename(made.native_id, "renamed elsewhere")
    (seen,) = driver.list_forests([web])[web].snapshots
    assert (seen.name, seen.description, seen.token) == ("renamed elsewhere", "words", made.token)

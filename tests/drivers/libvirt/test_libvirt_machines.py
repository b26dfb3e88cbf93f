"""The libvirt driver on real machines: disks in and out, power, full storage, names on the hypervisor, things done
behind our back."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import libvirt
import pytest
from lxml import etree

from hypervisors.driver import Login
from hypervisors.drivers.libvirt import power
from hypervisors.drivers.libvirt.driver import LibvirtDriver
from hypervisors.errors import Busy, HypervisorError, NotFound, OutOfSpace, Rejected, TimedOut, Unsupported
from hypervisors.lab import DiskSpec, Lab, MachineSpec
from hypervisors.records import PowerAfterRevert, PowerState, SnapshotForest, SnapshotRequest, VolumeRecord

from ..contract import Watching, current, request, shape

pytestmark = pytest.mark.lab

MIB = 1 << 20


@pytest.fixture(scope="module")
def guest(driver_lab: Lab) -> str:
    """A running machine's id; its guest answers the power button and lets go of disks."""
    driver_lab.add(MachineSpec("guest", (DiskSpec("system", 16 * MIB), DiskSpec("data", 16 * MIB))))
    driver_lab.wait_for_tick("guest")
    return driver_lab.virsh("domuuid", "guest").strip()


@pytest.fixture(scope="module")
def idle(driver_lab: Lab) -> str:
    """A stopped machine's id. Its guest, once started, is stuck in the firmware: it has nothing to boot from."""
    driver_lab.add(MachineSpec("idle", (DiskSpec("system", 16 * MIB),), starts=False))
    root = etree.fromstring(driver_lab.virsh("dumpxml", "idle"))
    for name in ("kernel", "initrd", "cmdline"):
        root.find("os").remove(root.find(f"os/{name}"))
    driver_lab.virsh("define", "/dev/stdin", text=etree.tostring(root, encoding="unicode"))
    return driver_lab.virsh("domuuid", "idle").strip()


@pytest.fixture
def driver(driver_lab: Lab, guest: str, idle: str) -> Iterator[LibvirtDriver]:
    """A driver, and both machines without snapshots and in their power state; the guest has booted."""
    with LibvirtDriver(Login(driver_lab.uri)) as driver:
        for machine_id in (guest, idle):
            for snapshot in reversed(driver.list_forests([machine_id])[machine_id].snapshots):
                driver.delete_snapshot(machine_id, snapshot.native_id, Watching())
        driver.start(guest, Watching())
        # An earlier test may have left it off or still booting: then its memory is empty and it hears no power button.
        driver_lab.wait_for_console("guest", r"^tick \d+\n", start=len(driver_lab.console("guest")))
        driver.stop(idle, True, Watching())
        yield driver


@pytest.fixture
def loose(driver_lab: Lab, driver: LibvirtDriver) -> Iterator[VolumeRecord]:
    """A volume that is attached to no machine."""
    name = f"loose-{uuid4().hex[:8]}.qcow2"
    driver_lab.virsh("vol-create-as", "default", name, "8M", "--format", "qcow2")
    (volume,) = [volume for volume in driver.list_loose_volumes() if volume.name == name]
    yield volume
    for machine in driver.list_machines():
        if volume.native_id in {disk.native_id for disk in machine.volumes}:
            driver.stop(machine.native_id, True, Watching())
            driver.detach_volume(machine.native_id, volume.native_id, Watching())
    driver_lab.virsh("vol-delete", name, "--pool", "default")


def attached(driver: LibvirtDriver, machine_id: str) -> dict[str, str]:
    return {disk.target: disk.native_id for disk in driver.read_machine(machine_id).volumes}


def stored(lab: Lab, machine_id: str) -> str:
    return lab.virsh("dumpxml", "--inactive", machine_id)


# Disks in and out


def test_a_volume_attached_to_a_running_machine_is_there_now_and_after_a_restart(
    driver_lab: Lab, driver: LibvirtDriver, guest: str, loose: VolumeRecord
) -> None:
    made = driver.attach_volume(guest, loose.native_id)
    assert (made.native_id, made.target, made.capacity_bytes) == (loose.native_id, "vdc", 8 * MIB)
    assert attached(driver, guest)["vdc"] == loose.native_id
    assert loose.native_id in stored(driver_lab, guest)
    assert loose.native_id not in {volume.native_id for volume in driver.list_loose_volumes()}


def test_a_volume_detached_from_a_running_machine_is_gone_for_good_and_loose_again(
    driver_lab: Lab, driver: LibvirtDriver, guest: str, loose: VolumeRecord
) -> None:
    driver_lab.wait_for_console("guest", r"^tick \d+\n", start=len(driver_lab.console("guest")))
    driver.attach_volume(guest, loose.native_id)
    driver.detach_volume(guest, loose.native_id, Watching())
    assert loose.native_id not in attached(driver, guest).values()
    assert loose.native_id not in stored(driver_lab, guest)
    assert loose.native_id in {volume.native_id for volume in driver.list_loose_volumes()}


def test_a_stopped_machine_takes_and_gives_back_a_volume(driver: LibvirtDriver, idle: str, loose: VolumeRecord) -> None:
    driver.attach_volume(idle, loose.native_id)
    assert attached(driver, idle)["vdb"] == loose.native_id
    driver.detach_volume(idle, loose.native_id, Watching())
    assert loose.native_id not in attached(driver, idle).values()


def test_a_guest_that_does_not_let_go_keeps_the_volume_wholly(
    driver_lab: Lab, driver: LibvirtDriver, idle: str, loose: VolumeRecord
) -> None:
    driver.attach_volume(idle, loose.native_id)
    driver.start(idle, Watching())
    with pytest.raises(TimedOut):
        driver.detach_volume(idle, loose.native_id, Watching(deadline_seconds=7))
    assert loose.native_id in attached(driver, idle).values()
    assert loose.native_id in stored(driver_lab, idle)


def test_a_volume_attached_elsewhere_is_busy(driver: LibvirtDriver, guest: str, idle: str, loose: VolumeRecord) -> None:
    driver.attach_volume(idle, loose.native_id)
    with pytest.raises(Busy):
        driver.attach_volume(guest, loose.native_id)
    assert loose.native_id not in attached(driver, guest).values()


def test_only_disks_that_nothing_uses_are_loose(driver_lab: Lab, driver: LibvirtDriver, loose: VolumeRecord) -> None:
    folder = str(Path(loose.native_id).parent)
    driver_lab.virsh("vol-create-as", "default", "install.iso", "1M", "--format", "raw")
    driver_lab.virsh("vol-create-as", "default", "base.qcow2", "1M", "--format", "qcow2")
    driver_lab.virsh(
        *("vol-create-as", "default", "above.qcow2", "1M", "--format", "qcow2"),
        *("--backing-vol", f"{folder}/base.qcow2", "--backing-vol-format", "qcow2"),
    )
    try:
        names = {volume.name for volume in driver.list_loose_volumes()}
    finally:
        for name in ("above.qcow2", "base.qcow2", "install.iso"):
            driver_lab.virsh("vol-delete", name, "--pool", "default")
    assert names == {loose.name, "above.qcow2"}


# Power


def test_a_guest_that_listens_shuts_down_when_asked(driver_lab: Lab, driver: LibvirtDriver, guest: str) -> None:
    # A guest that still boots hears nothing.
    driver_lab.wait_for_console("guest", r"^tick \d+\n", start=len(driver_lab.console("guest")))
    driver.stop(guest, False, Watching())
    assert driver.read_machine(guest).power_state == PowerState.STOPPED


def test_a_guest_that_is_deaf_stays_on(driver: LibvirtDriver, idle: str) -> None:
    driver.start(idle, Watching())
    with pytest.raises(TimedOut):
        driver.stop(idle, False, Watching(deadline_seconds=1))
    assert driver.read_machine(idle).power_state == PowerState.RUNNING


def test_a_guest_that_is_still_starting_is_asked_again_until_it_hears(
    driver_lab: Lab, driver: LibvirtDriver, guest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "ASK_AGAIN_SECONDS", 1.0)
    driver.stop(guest, True, Watching())
    driver.start(guest, Watching())
    driver.stop(guest, False, Watching(deadline_seconds=90))
    assert driver.read_machine(guest).power_state == PowerState.STOPPED


def test_a_suspended_machine_is_seen_so_keeps_so_over_a_snapshot_and_is_resumed_by_start(
    driver_lab: Lab, driver: LibvirtDriver, guest: str
) -> None:
    driver_lab.virsh("suspend", guest)
    assert driver.read_machine(guest).power_state == PowerState.SUSPENDED
    taken = driver.create_snapshot(guest, request(memory=True), Watching())
    assert driver.read_machine(guest).power_state == PowerState.SUSPENDED
    with pytest.raises(Rejected):
        driver.stop(guest, False, Watching())
    driver.start(guest, Watching())
    assert driver.read_machine(guest).power_state == PowerState.RUNNING
    driver.revert_to(guest, taken.native_id, PowerAfterRevert.RUNNING, Watching())
    assert driver.read_machine(guest).power_state == PowerState.RUNNING
    driver.revert_to(guest, taken.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
    assert driver.read_machine(guest).power_state == PowerState.SUSPENDED


# Snapshots on the hypervisor


def test_virsh_draws_the_same_tree_with_readable_names(driver_lab: Lab, driver: LibvirtDriver, guest: str) -> None:
    first = driver.create_snapshot(guest, request("Before the upgrade", memory=True), Watching())
    driver.create_snapshot(guest, request("größer & <schöner>", memory=True), Watching())
    driver.revert_to(guest, first.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
    driver.create_snapshot(guest, request("لقطة", "zweite Zeile", memory=True), Watching())
    drawn = driver_lab.virsh("snapshot-list", "--tree", guest).split()
    names = [word for word in drawn if word not in ("|", "+-")]
    forest = driver.list_forests([guest])[guest]
    assert sorted(names) == sorted(snapshot.native_id for snapshot in forest.snapshots)
    assert names[0].startswith("before-the-upgrade-")
    assert any(name.startswith("grosser-schoner-") for name in names)
    assert driver_lab.virsh("snapshot-current", "--name", guest).strip() == forest.current_id
    assert "zweite Zeile" in driver_lab.virsh("snapshot-dumpxml", guest, str(forest.current_id))


def test_renaming_the_current_snapshot_of_a_running_machine_keeps_marker_children_and_memory(
    driver: LibvirtDriver, guest: str
) -> None:
    root = driver.create_snapshot(guest, request("root", memory=True), Watching())
    driver.create_snapshot(guest, request("leaf", memory=True), Watching())
    driver.revert_to(guest, root.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
    driver.rename_snapshot(guest, root.native_id, "new & <name>", "")
    forest = driver.list_forests([guest])[guest]
    assert shape(forest) == {"new & <name>": None, "leaf": "new & <name>"}
    assert current(forest) == "new & <name>"
    driver.revert_to(guest, root.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
    assert driver.read_machine(guest).power_state == PowerState.RUNNING


def test_a_snapshot_made_elsewhere_can_be_renamed_and_stays_one_made_elsewhere(
    driver_lab: Lab, driver: LibvirtDriver, idle: str
) -> None:
    driver_lab.virsh("snapshot-create-as", idle, "theirs", "their words")
    (seen,) = driver.list_forests([idle])[idle].snapshots
    assert (seen.name, seen.description, seen.token) == ("theirs", "their words", None)
    driver.rename_snapshot(idle, "theirs", "our name", "our words")
    (seen,) = driver.list_forests([idle])[idle].snapshots
    assert (seen.native_id, seen.name, seen.description, seen.token) == ("theirs", "our name", "our words", None)


def test_memory_images_are_measured_and_disks_are_not(driver: LibvirtDriver, guest: str, idle: str) -> None:
    with_memory = driver.create_snapshot(guest, request(memory=True), Watching())
    assert with_memory.measured_bytes is not None
    assert MIB < with_memory.measured_bytes < 200 * MIB
    assert driver.create_snapshot(idle, request(), Watching()).measured_bytes is None


def test_a_snapshot_in_a_full_pool_leaves_nothing_behind(driver_lab: Lab, driver: LibvirtDriver) -> None:
    if driver_lab.small_pool_reason:
        pytest.skip(driver_lab.small_pool_reason)
    driver_lab.up(["tiny-1"])
    driver_lab.wait_for_tick("tiny-1")
    tiny = driver_lab.virsh("domuuid", "tiny-1").strip()
    driver_lab.fill_small_pool()
    try:
        with pytest.raises(OutOfSpace) as full:
            driver.create_snapshot(tiny, request(memory=True), Watching())
        assert full.value.outcome_known
        assert driver.list_forests([tiny])[tiny] == SnapshotForest()
        assert "no snapshot" in driver_lab.virsh("qemu-monitor-command", "--hmp", tiny, "info snapshots")
    finally:
        driver_lab.empty_small_pool()
    made = driver.create_snapshot(tiny, request(memory=True), Watching())
    assert driver.read_machine(tiny).power_state == PowerState.RUNNING
    # This pool's files are seen by libvirt alone, so the size came through libvirt.
    assert made.measured_bytes is not None
    assert made.measured_bytes > MIB


def test_external_snapshots_made_elsewhere_are_shown_and_not_reverted_by_a_libvirt_that_cannot(
    driver_lab: Lab, driver: LibvirtDriver, guest: str
) -> None:
    if libvirt.getVersion() >= 9_009_000:
        pytest.skip("this libvirt can revert external snapshots")
    driver_lab.add(MachineSpec("outer", (DiskSpec("system", 16 * MIB),), starts=False))
    outer = driver_lab.virsh("domuuid", "outer").strip()
    driver_lab.virsh("snapshot-create-as", outer, "outside", "--disk-only")
    (seen,) = driver.list_forests([outer])[outer].snapshots
    assert (seen.native_id, seen.kind.value) == ("outside", "Disk")
    (base,) = [Path(disk.native_id).with_name("outer-system.qcow2") for disk in driver.read_machine(outer).volumes]
    assert str(base) not in {volume.native_id for volume in driver.list_loose_volumes()}
    with pytest.raises(Busy):
        driver.attach_volume(guest, str(base))
    with pytest.raises(Unsupported):
        driver.revert_to(outer, "outside", PowerAfterRevert.AS_SNAPSHOT, Watching())
    assert driver.read_machine(outer).power_state == PowerState.STOPPED


def test_a_machine_with_a_raw_disk_says_which_disk_and_refuses(driver_lab: Lab, driver: LibvirtDriver) -> None:
    driver_lab.add(MachineSpec("mixed", (DiskSpec("a", MIB), DiskSpec("b", MIB, format="raw")), starts=False))
    mixed = driver_lab.virsh("domuuid", "mixed").strip()
    ability = driver.read_machine(mixed).capabilities.disk_when_stopped
    assert "vdb (mixed-b.raw)" in ability.reason
    with pytest.raises(Unsupported) as refusal:
        driver.create_snapshot(mixed, request(), Watching())
    assert refusal.value.detail == ability.reason
    assert driver.list_forests([mixed])[mixed] == SnapshotForest()


def test_a_machine_undefined_behind_our_back_is_not_found_and_missing_from_lists(
    driver_lab: Lab, driver: LibvirtDriver
) -> None:
    driver_lab.add(MachineSpec("leaving", (DiskSpec("system", MIB),), starts=False))
    leaving = driver_lab.virsh("domuuid", "leaving").strip()
    assert leaving in driver.list_forests()
    driver_lab.remove("leaving")
    assert leaving not in {machine.native_id for machine in driver.list_machines()}
    assert leaving not in driver.list_forests([leaving])
    with pytest.raises(NotFound):
        driver.create_snapshot(leaving, request(), Watching())


def test_a_transient_machine_says_that_its_snapshots_would_be_lost(driver_lab: Lab, driver: LibvirtDriver) -> None:
    root = etree.fromstring(driver_lab.virsh("dumpxml", "--inactive", "idle"))
    root.find("name").text = "passing"
    root.remove(root.find("uuid"))
    root.find("devices").remove(root.find("devices/disk"))
    driver_lab.virsh("create", "/dev/stdin", text=etree.tostring(root, encoding="unicode"))
    passing = driver_lab.virsh("domuuid", "passing").strip()
    assert "transient" in driver.read_machine(passing).capabilities.memory.reason
    driver.stop(passing, True, Watching())
    with pytest.raises(NotFound):
        driver.read_machine(passing)


def test_a_name_that_xml_cannot_hold_is_rejected(driver: LibvirtDriver, idle: str) -> None:
    asked = SnapshotRequest(token=str(uuid4()), name="bell \x07")
    with pytest.raises(Rejected):
        driver.create_snapshot(idle, asked, Watching())
    assert driver.list_forests([idle])[idle] == SnapshotForest()


def test_a_revert_that_fails_on_the_way_tells_what_became_of_the_machine(
    driver_lab: Lab, driver: LibvirtDriver, guest: str
) -> None:
    taken = driver.create_snapshot(guest, request(memory=True), Watching())
    # The image loses the snapshot, libvirt does not know.
    driver_lab.virsh("qemu-monitor-command", "--hmp", guest, f"delvm {taken.native_id}")
    with pytest.raises(HypervisorError) as failure:
        driver.revert_to(guest, taken.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
    assert driver.read_machine(guest).power_state == PowerState.STOPPED
    assert "The machine is now stopped" in failure.value.detail
    assert not failure.value.outcome_known
    driver.delete_snapshot(guest, taken.native_id, Watching())
    driver.start(guest, Watching())
    assert driver.read_machine(guest).power_state == PowerState.RUNNING


def test_one_machine_and_its_forest_read_as_the_whole_endpoint_gives_them(
    driver: LibvirtDriver, guest: str, idle: str
) -> None:
    driver.create_snapshot(idle, request("one"), Watching())
    assert driver.list_forests([idle, guest]).keys() == {idle, guest}
    assert driver.read_machine(idle) in driver.list_machines()


def test_memory_put_aside_on_the_hypervisor_is_not_loaded_over_reverted_disks(
    driver_lab: Lab, driver: LibvirtDriver, guest: str
) -> None:
    driver.stop(guest, True, Watching())
    taken = driver.create_snapshot(guest, request(), Watching())
    driver.start(guest, Watching())
    driver_lab.virsh("managedsave", guest)
    driver.revert_to(guest, taken.native_id, PowerAfterRevert.RUNNING, Watching())
    assert driver.read_machine(guest).power_state == PowerState.RUNNING
    assert re.search(r"Managed save:\s+no", driver_lab.virsh("dominfo", guest))

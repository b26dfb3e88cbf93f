"""Snapshots and disks, as vSphere keeps them, on a vCenter and on a host without one."""

from typing import Any

import pytest
from pyVmomi import vim, vmodl

from .client import Client
from .server import VsphereSimulator
from .world import Machine


def test_a_new_snapshot_is_current_and_hangs_below_the_one_before(client: Client) -> None:
    machine = client.machine("off")
    client.take(machine, "one")
    client.take(machine, "two")
    client.outcome(client.node(machine, "one").snapshot.RevertToSnapshot_Task())
    client.take(machine, "three")
    assert client.forest(machine) == ({"one": None, "two": "one", "three": "one"}, "three")


def test_memory_is_kept_of_a_running_machine_only_and_decides_what_a_revert_leads_to(client: Client) -> None:
    machine = client.machine("on")
    client.take(machine, "with", memory=True)
    client.take(machine, "without")
    assert (client.node(machine, "with").state, client.node(machine, "without").state) == ("poweredOn", "poweredOff")

    def power() -> str:
        return str(client.read(machine, "runtime.powerState")["runtime.powerState"])

    assert power() == "poweredOn"
    client.outcome(client.node(machine, "without").snapshot.RevertToSnapshot_Task())
    assert power() == "poweredOff"
    client.outcome(client.node(machine, "with").snapshot.RevertToSnapshot_Task())
    assert power() == "poweredOn"
    client.outcome(client.node(machine, "with").snapshot.RevertToSnapshot_Task(suppressPowerOn=True))
    assert power() == "poweredOff"
    client.take(machine, "of a machine that is off", memory=True)
    assert client.node(machine, "of a machine that is off").state == "poweredOff"


def test_quiesce_needs_tools_in_a_running_guest(server: VsphereSimulator, client: Client) -> None:
    machine = client.machine("on")
    client.take(machine, "with tools", quiesce=True)
    server.set_tools("on", installed=False)
    client.take(machine, "without", quiesce=True)
    server.set_tools("on", installed=True)
    assert client.node(machine, "with tools").quiesced
    assert not client.node(machine, "without").quiesced


def test_removing_one_moves_its_children_up_and_its_parent_becomes_current(client: Client) -> None:
    machine = client.machine("off")
    for name in ("one", "two", "three"):
        client.take(machine, name)
    client.outcome(client.node(machine, "two").snapshot.RemoveSnapshot_Task(False))
    assert client.forest(machine) == ({"one": None, "three": "one"}, "three")
    client.outcome(client.node(machine, "three").snapshot.RemoveSnapshot_Task(False))
    assert client.forest(machine) == ({"one": None}, "one")


def test_removing_a_branch_with_the_current_one_in_it_makes_the_branchs_parent_current(client: Client) -> None:
    machine = client.machine("off")
    for name in ("one", "two", "three"):
        client.take(machine, name)
    client.outcome(client.node(machine, "two").snapshot.RemoveSnapshot_Task(True))
    assert client.forest(machine) == ({"one": None}, "one")
    client.outcome(machine.RemoveAllSnapshots_Task())
    assert client.forest(machine) == ({}, None)


def test_a_snapshot_that_is_gone_is_not_found(client: Client) -> None:
    machine = client.machine("off")
    snapshot = client.take(machine, "one")
    client.outcome(snapshot.RemoveSnapshot_Task(False))
    for call in (
        lambda: snapshot.RemoveSnapshot_Task(False),
        lambda: snapshot.RevertToSnapshot_Task(),
        lambda: snapshot.RenameSnapshot("name", ""),
    ):
        with pytest.raises(vmodl.fault.ManagedObjectNotFound):
            call()


def test_a_renamed_snapshot_can_lose_its_description_or_keep_it(client: Client) -> None:
    machine = client.machine("off")
    snapshot = client.outcome(machine.CreateSnapshot_Task("old", "words", False, False))
    snapshot.RenameSnapshot(name="new")
    assert client.node(machine, "new").description == "words"
    snapshot.RenameSnapshot(name="newer", description="")
    assert client.node(machine, "newer").description == ""


def test_a_chain_of_more_than_32_is_refused(client: Client) -> None:
    machine = client.machine("off")
    for number in range(32):
        client.take(machine, f"number {number}")
    with pytest.raises(vim.fault.TooManySnapshotLevels):
        client.take(machine, "one too many")


# Disks


def test_a_snapshot_puts_a_delta_below_each_disk_whose_uuid_stays(client: Client) -> None:
    machine = client.machine("off")
    before = [(disk.backing.fileName, disk.backing.uuid) for disk in client.disks(machine)]
    client.take(machine, "one")
    after = client.disks(machine)
    assert [(disk.backing.parent.fileName, disk.backing.uuid) for disk in after] == before
    assert {disk.backing.fileName for disk in after}.isdisjoint(name for name, _ in before)
    client.outcome(client.node(machine, "one").snapshot.RemoveSnapshot_Task(False))
    assert [(disk.backing.fileName, disk.backing.uuid) for disk in client.disks(machine)] == before


def test_layout_tells_what_a_snapshot_occupies_and_the_datastore_is_charged(client: Client) -> None:
    machine = client.machine("on")
    store = next(each for each in client.view(vim.Datastore).view if client.read(each, "name")["name"] == "LocalDS_0")
    free = client.read(store, "summary.freeSpace")["summary.freeSpace"]
    client.take(machine, "one", memory=True)
    seen = client.read(machine, "layoutEx.file", "layoutEx.snapshot", "config.hardware.memoryMB")
    sizes = {file.key: file.size for file in seen["layoutEx.file"]}
    (layout,) = seen["layoutEx.snapshot"]
    assert sizes[layout.memoryKey] == seen["config.hardware.memoryMB"] * 2**20
    taken = free - client.read(store, "summary.freeSpace")["summary.freeSpace"]
    delta = next(file for file in seen["layoutEx.file"] if file.name.endswith("-000001.vmdk") or "disk1-0" in file.name)
    assert taken == sizes[layout.memoryKey] + sizes[layout.dataKey] + delta.size
    client.outcome(machine.RemoveAllSnapshots_Task())
    assert client.read(store, "summary.freeSpace")["summary.freeSpace"] == free


def test_a_loose_disk_is_found_by_search_with_its_size(client: Client) -> None:
    store = next(each for each in client.view(vim.Datastore).view if client.read(each, "name")["name"] == "LocalDS_0")
    query = vim.host.DatastoreBrowser.VmDiskQuery(
        details=vim.host.DatastoreBrowser.VmDiskQuery.Details(diskType=True, capacityKb=True, hardwareVersion=False)
    )
    details = vim.host.DatastoreBrowser.FileInfo.Details(fileType=True, fileSize=True, modification=False)
    search = vim.host.DatastoreBrowser.SearchSpec(query=[query], details=details, matchPattern=["*.vmdk"])
    browser = client.read(store, "browser")["browser"]
    found = client.outcome(browser.SearchDatastoreSubFolders_Task("[LocalDS_0]", search))
    (spare,) = [file for folder in found if folder.folderPath == "[LocalDS_0] spare/" for file in folder.file]
    assert (spare.path, spare.capacityKb) == ("spare.vmdk", 2**20)


def test_a_loose_disk_can_be_attached_and_detached_again_and_again(client: Client) -> None:
    machine = client.machine("off")
    for _ in range(2):
        attach_spare(client, machine)
        attached = client.disks(machine)[-1]
        assert attached.capacityInKB == 2**20
        removed = vim.vm.device.VirtualDeviceSpec(operation="remove", device=attached)
        client.outcome(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[removed])))
        assert len(client.disks(machine)) == 2


def test_a_revert_takes_away_a_disk_attached_since(client: Client) -> None:
    machine = client.machine("off")
    snapshot = client.take(machine, "before")
    attach_spare(client, machine)
    client.outcome(snapshot.RevertToSnapshot_Task())
    assert len(client.disks(machine)) == 2


def test_a_disk_that_a_running_machine_uses_is_locked(client: Client) -> None:
    attach_spare(client, client.machine("on"))
    with pytest.raises(vim.fault.FileLocked):
        attach_spare(client, client.machine("off"))
    machine = client.machine("on")
    removed = vim.vm.device.VirtualDeviceSpec(operation="remove", device=client.disks(machine)[-1])
    client.outcome(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[removed])))


def attach_spare(client: Client, machine: Any) -> None:
    devices = client.read(machine, "config.hardware.device")["config.hardware.device"]
    controller = next(each for each in devices if isinstance(each, vim.vm.device.VirtualSCSIController))
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName="[LocalDS_0] spare/spare.vmdk", diskMode="persistent"
    )
    disk = vim.vm.device.VirtualDisk(key=-1, controllerKey=controller.key, unitNumber=5, backing=backing)
    added = vim.vm.device.VirtualDeviceSpec(operation="add", device=disk)
    client.outcome(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[added])))


def test_memory_is_not_kept_with_an_independent_disk(server: VsphereSimulator, client: Client) -> None:
    server.add_machine(Machine("odd", running=True))
    try:
        server.make_disks_independent("odd")
        machine = client.machine("odd")
        with pytest.raises(vim.fault.MemorySnapshotOnIndependentDisk):
            client.take(machine, "no", memory=True)
        client.take(machine, "yes")
        assert [disk.backing.parent for disk in client.disks(machine)] == [None]
    finally:
        server.delete_machine("odd")

"""What devices allow, and volumes on their disks, checked on pyvmomi's objects built from recorded facts."""

from typing import Any

import pytest
from pyVmomi import vim

from hypervisors.drivers.vmware.abilities import abilities
from hypervisors.drivers.vmware.disks import disks_of, volume_record
from hypervisors.drivers.vmware.properties import Seen
from hypervisors.drivers.vmware.storage import pool_record

from .recorded import SCSI, D, disk, flat, seen


class TestDevices:
    def of(self, *devices: Any, **values: Any) -> Any:
        return abilities(seen(**values), disks_of([SCSI, *devices], {}))

    def test_an_ordinary_machine_can_do_everything(self) -> None:
        assert {name for name, one in self.of(disk()).as_json().items() if not one["allowed"]} == set()

    @pytest.mark.parametrize(
        ("device", "word"),
        [
            (disk(flat("[ds] a.vmdk", mode="independent_persistent")), "independent"),
            (disk(flat("[ds] a.vmdk", mode="independent_nonpersistent")), "independent"),
            (disk(flat("[ds] a.vmdk", sharing="sharingMultiWriter")), "shared"),
            (
                disk(
                    D.VirtualDisk.RawDiskMappingVer1BackingInfo(
                        fileName="[ds] a.vmdk", compatibilityMode="physicalMode", diskMode="persistent"
                    )
                ),
                "physical mode",
            ),
        ],
        ids=["independent", "independent and forgetful", "several writers", "raw"],
    )
    def test_disks_that_no_snapshot_would_hold_forbid_it(self, device: Any, word: str) -> None:
        can = self.of(device)
        for ability in (can.memory, can.quiesce, can.disk_when_running, can.disk_when_stopped):
            assert word in ability.reason
            assert "Hard disk 1" in ability.reason

    def test_a_raw_disk_in_virtual_mode_can_have_snapshots(self) -> None:
        backing = D.VirtualDisk.RawDiskMappingVer1BackingInfo(
            fileName="[ds] a.vmdk", compatibilityMode="virtualMode", diskMode="persistent"
        )
        assert self.of(disk(backing)).disk_when_stopped.allowed

    @pytest.mark.parametrize("sharing", ["virtualSharing", "physicalSharing"])
    def test_a_shared_bus_forbids_snapshots(self, sharing: str) -> None:
        shared = D.VirtualLsiLogicSASController(key=1001, busNumber=1, sharedBus=sharing)
        can = abilities(seen(), disks_of([shared, disk(controller=1001)], {}))
        assert "shared" in can.disk_when_stopped.reason

    @pytest.mark.parametrize(
        ("flag", "missing"),
        [
            ("snapshotOperationsSupported", {"memory", "quiesce", "disk_when_running", "disk_when_stopped"}),
            ("memorySnapshotsSupported", {"memory"}),
            ("quiescedSnapshotsSupported", {"quiesce"}),
            ("poweredOffSnapshotsSupported", {"disk_when_stopped"}),
            ("revertToSnapshotSupported", {"revert"}),
        ],
    )
    def test_what_the_server_says_the_machine_cannot_is_believed(self, flag: str, missing: set[str]) -> None:
        can = self.of(disk(), **{f"capability__{flag}": False})
        assert {name for name, one in can.as_json().items() if not one["allowed"]} == missing
        assert self.of(disk(), **{f"capability__{flag}": True}) == self.of(disk())

    def test_a_method_that_is_switched_off_while_a_task_runs_is_the_moment_only(self) -> None:
        task = [vim.Task("task-1", None)]
        assert self.of(disk(), disabledMethod=["CreateSnapshot_Task"], recentTask=task).memory.allowed
        assert not self.of(disk(), disabledMethod=["CreateSnapshot_Task"]).memory.allowed

    @pytest.mark.parametrize(
        ("tools", "power", "allowed"),
        [
            ("toolsNotInstalled", "poweredOff", False),
            ("toolsNotInstalled", "poweredOn", False),
            ("toolsNotRunning", "poweredOn", False),
            ("toolsNotRunning", "poweredOff", True),
            ("toolsOld", "poweredOn", True),
            ("toolsOk", "poweredOn", True),
            (None, "poweredOn", True),
        ],
    )
    def test_quiesce_needs_the_tools_and_not_the_moments_power(self, tools: Any, power: str, allowed: bool) -> None:
        can = self.of(disk(), guest__toolsStatus=tools, runtime__powerState=power)
        assert can.quiesce.allowed is allowed


class TestVolumes:
    def volume(self, backing: Any) -> Any:
        (found,) = disks_of([SCSI, disk(backing)], {})
        return volume_record(found, {})

    def test_a_volume_keeps_its_id_while_snapshots_lengthen_its_chain(self) -> None:
        base = flat("[ds] web/web.vmdk")
        one = flat("[ds] web/web-000001.vmdk", parent=base)
        two = flat("[ds] web/web-000002.vmdk", parent=one)
        assert {self.volume(backing).native_id for backing in (base, one, two)} == {"datastore-12 web/web.vmdk"}
        assert self.volume(two).name == "web.vmdk"
        assert self.volume(two).target == "scsi0:0"

    def test_linked_clones_of_one_machine_have_volumes_of_their_own(self) -> None:
        original = flat("[ds] golden/golden-000001.vmdk", parent=flat("[ds] golden/golden.vmdk"))
        clones = [flat(f"[ds] {name}/{name}.vmdk", parent=original) for name in ("one", "two")]
        assert [self.volume(clone).native_id for clone in clones] == [
            "datastore-12 one/one.vmdk",
            "datastore-12 two/two.vmdk",
        ]
        later = flat("[ds] one/one-000001.vmdk", parent=clones[0])
        assert self.volume(later).native_id == "datastore-12 one/one.vmdk"

    def test_snapshots_kept_in_another_folder_do_not_change_the_id(self) -> None:
        base = flat("[ds] web/web.vmdk")
        assert self.volume(flat("[ds] elsewhere/web-000001.vmdk", parent=base)).native_id == "datastore-12 web/web.vmdk"

    def test_datastores_with_the_same_name_are_told_apart(self) -> None:
        other = flat("[ds] web/web.vmdk")
        other.datastore = vim.Datastore("datastore-99", None)
        assert self.volume(other).native_id == "datastore-99 web/web.vmdk"

    @pytest.mark.parametrize(
        ("controller", "target"),
        [
            (D.VirtualLsiLogicController(key=1000, busNumber=1, sharedBus="noSharing"), "scsi1:0"),
            (D.VirtualAHCIController(key=1000, busNumber=0), "sata0:0"),
            (D.VirtualNVMEController(key=1000, busNumber=2), "nvme2:0"),
            (D.VirtualIDEController(key=1000, busNumber=1), "ide1:0"),
        ],
    )
    def test_the_place_in_the_machine_is_bus_and_unit(self, controller: Any, target: str) -> None:
        (found,) = disks_of([controller, disk()], {})
        assert found.target == target

    @pytest.mark.parametrize(
        ("values", "active"),
        [
            ({"summary.accessible": True, "summary.maintenanceMode": "normal"}, True),
            ({"summary.accessible": True}, True),
            ({"summary.accessible": False, "summary.maintenanceMode": "normal"}, False),
            ({"summary.accessible": True, "summary.maintenanceMode": "inMaintenance"}, False),
            ({"summary.accessible": True, "summary.maintenanceMode": "enteringMaintenance"}, False),
        ],
    )
    def test_a_datastore_is_active_when_it_can_be_used(self, values: dict[str, Any], active: bool) -> None:
        sizes = {"name": "ds", "summary.capacity": 100, "summary.freeSpace": 40}
        record = pool_record(Seen(vim.Datastore("datastore-12", None), {**sizes, **values}))
        assert (record.active, record.total_bytes, record.free_bytes) == (
            (True, 100, 40) if active else (False, None, None)
        )

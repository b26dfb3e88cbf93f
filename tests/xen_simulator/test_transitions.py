"""The table of transitions, run through the simulator by the official client; and what a tree is made of."""

import pytest
import XenAPI

from tests.xen_simulator.ground import NULL, Ground
from tests.xen_simulator.transitions import TRANSITIONS, Transition


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: row.name)
def test_a_call_turns_the_tree_before_into_the_tree_after(ground: Ground, row: Transition) -> None:
    vm = ground.machine(power=row.power_at_first)
    for verb, name in row.before:
        ground.step(vm, verb, name)
    if row.refused:
        with pytest.raises(XenAPI.Failure) as refused:
            ground.step(vm, *row.call)
        assert refused.value.details[0] == row.refused
    else:
        ground.step(vm, *row.call)
    assert ground.tree(vm) == (row.tree, row.stands)
    assert ground.api.VM.get_power_state(vm) == row.power
    for name, state in row.states.items():
        assert ground.api.VM.get_power_state(ground.snapshot(vm, name)) == state


def test_a_snapshot_is_a_record_of_a_machine_with_disks_of_its_own(ground: Ground) -> None:
    vm = ground.machine(disks=2, power="Running", tags=["tagged"], description="what it is for")
    made = ground.do("VM.snapshot", vm, "taken")
    record = ground.api.VM.get_record(made)
    assert (record["is_a_snapshot"], record["is_a_template"], record["snapshot_of"]) == (True, True, vm)
    assert record["snapshot_info"] == {"power-state-at-snapshot": "Running", "disk-snapshot-type": "crash_consistent"}
    assert (record["name_label"], record["name_description"], record["tags"]) == ("taken", "what it is for", ["tagged"])
    assert record["snapshot_metadata"]
    assert record["transportable_snapshot_id"] == ""
    assert ground.api.VM.get_current_operations(vm) == {}
    ours, theirs = ground.disks(vm), ground.disks(made)
    for place in ("0", "1"):
        disk = ground.api.VDI.get_record(theirs[place])
        assert (disk["is_a_snapshot"], disk["snapshot_of"]) == (True, ours[place])
    for vbd in ground.api.VM.get_VBDs(made):
        device = ground.api.VBD.get_record(vbd)
        assert ("owner" in device["other_config"]) == (device["type"] == "Disk")
        assert not device["currently_attached"]


def test_the_disks_of_a_checkpoint_are_flagged_attached(ground: Ground) -> None:
    vm = ground.machine(power="Running")
    made = ground.do("VM.checkpoint", vm, "with memory")
    image = ground.api.VM.get_suspend_VDI(made)
    assert ground.api.VDI.get_type(image) == "suspend"
    assert ground.api.VM.get_suspend_VDI(vm) == NULL
    with pytest.raises(XenAPI.Failure) as refused:
        ground.api.VDI.destroy(ground.disks(made)["0"])
    assert refused.value.details[0] == "VDI_IN_USE"
    ground.api.VM.destroy(made)
    assert ground.api.VDI.get_is_a_snapshot(image)


def test_disks_can_be_left_out_of_a_snapshot(ground: Ground) -> None:
    vm = ground.machine(disks=2)
    made = ground.do("VM.snapshot", vm, "without one", [ground.disks(vm)["1"]])
    assert list(ground.disks(made)) == ["0"]


def test_a_revert_brings_the_fields_back_and_gives_new_disks(ground: Ground) -> None:
    api = ground.api
    vm = ground.machine("before", disks=2)
    uuid, disks, macs = api.VM.get_uuid(vm), ground.disks(vm), [api.VIF.get_MAC(vif) for vif in api.VM.get_VIFs(vm)]
    made = ground.do("VM.snapshot", vm, "taken")
    generation = api.VM.get_generation_id(vm)
    api.VM.set_name_label(vm, "after")
    api.VM.set_name_description(vm, "changed")
    api.VM.set_tags(vm, ["new"])
    added = api.VDI.create(
        {
            "name_label": "added",
            "SR": ground.repository(),
            "virtual_size": "1048576",
            "type": "user",
            "other_config": {},
        }
    )
    plugged = api.VBD.create({"VM": vm, "VDI": added, "userdevice": "autodetect", "mode": "RW", "type": "Disk"})
    assert api.VBD.get_userdevice(plugged) not in disks
    ground.do("VM.revert", made)
    record = api.VM.get_record(vm)
    assert (record["name_label"], record["name_description"]) == ("before", "")
    assert (record["uuid"], record["tags"], record["parent"]) == (uuid, ["new"], made)
    assert not record["is_a_snapshot"]
    assert not record["is_a_template"]
    assert record["generation_id"] != generation
    restored = ground.disks(vm)
    assert restored.keys() == disks.keys()
    assert not set(restored.values()) & set(disks.values())
    assert api.VDI.get_VBDs(added) == []
    assert [api.VIF.get_MAC(vif) for vif in api.VM.get_VIFs(vm)] == macs
    assert {api.VDI.get_snapshot_of(vdi) for vdi in ground.disks(made).values()} == set(restored.values())
    for vdi in disks.values():
        with pytest.raises(XenAPI.Failure) as gone:
            api.VDI.get_uuid(vdi)
        assert gone.value.details[:2] == ["HANDLE_INVALID", "VDI"]


def test_all_snapshots_of_a_disk_belong_to_its_successor_after_a_revert(ground: Ground) -> None:
    vm = ground.machine()
    first, second = ground.do("VM.snapshot", vm, "first"), ground.do("VM.snapshot", vm, "second")
    ground.do("VM.revert", first)
    now = ground.disks(vm)["0"]
    assert ground.api.VDI.get_snapshot_of(ground.disks(second)["0"]) == now
    assert set(ground.api.VDI.get_snapshots(now)) == {ground.disks(each)["0"] for each in (first, second)}


def test_destroying_a_machine_leaves_its_snapshots_and_a_revert_makes_it_again(ground: Ground) -> None:
    api = ground.api
    vm = ground.machine("comes back")
    uuid = api.VM.get_uuid(vm)
    first, second = ground.do("VM.snapshot", vm, "first"), ground.do("VM.snapshot", vm, "second")
    api.VM.destroy(vm)
    assert api.VM.get_snapshot_of(first) == vm
    with pytest.raises(XenAPI.Failure):
        api.VM.get_uuid(vm)
    ground.do("VM.revert", first)
    again = api.VM.get_by_uuid(uuid)
    assert api.VM.get_name_label(again) == "comes back"
    assert ground.tree(again) == ({"first": None, "second": "first"}, "first")
    assert api.VM.get_snapshot_of(second) == again


def test_a_clone_starts_a_tree_of_its_own(ground: Ground) -> None:
    vm = ground.machine()
    made = ground.do("VM.snapshot", vm, "taken")
    clone = ground.do("VM.clone", made, "twin")
    record = ground.api.VM.get_record(clone)
    assert (record["is_a_snapshot"], record["parent"], record["snapshots"]) == (False, NULL, [])
    assert record["power_state"] == "Halted"


def test_a_failure_in_the_middle_of_a_revert_leaves_the_machine_halted_and_damaged(ground: Ground) -> None:
    vm = ground.machine(power="Running", disks=2)
    made = ground.do("VM.snapshot", vm, "taken")
    ground.xen.control.refuse("VM.revert", "SR_BACKEND_FAILURE_44", ["", "no space", ""], step="clone-0")
    with pytest.raises(XenAPI.Failure) as failed:
        ground.api.VM.revert(made)
    assert failed.value.details == ["SR_BACKEND_FAILURE_44", "", "no space", ""]
    assert ground.api.VM.get_power_state(vm) == "Halted"
    assert ground.disks(vm) == {}


def test_another_failure_of_a_revert_names_the_snapshot_before_the_machine(ground: Ground) -> None:
    vm = ground.machine()
    made = ground.do("VM.snapshot", vm, "taken")
    ground.xen.control.refuse("VM.revert", "INTERNAL_ERROR", ["storage went away"], step="disks-cloned")
    with pytest.raises(XenAPI.Failure) as failed:
        ground.api.VM.revert(made)
    assert failed.value.details == ["VM_REVERT_FAILED", made, vm]

"""Disks are files: what they hold, what they cost, what leaks, and what the collector gives back."""

from pathlib import Path
from typing import Any

import pytest
import XenAPI

from hypervisors.xen_simulator.process import XenSimulator
from tests.xen_simulator.client import details, logged_in
from tests.xen_simulator.ground import MIB, Ground


def figures(ground: Ground) -> dict[str, int]:
    """The repository's figures, measured now."""
    sr = ground.repository()
    ground.api.SR.scan(sr)
    record = ground.api.SR.get_record(sr)
    return {name: int(record[name]) for name in ("physical_utilisation", "virtual_allocation", "physical_size")}


def on_disk(ground: Ground) -> int:
    """What the repository's files really occupy."""
    folder = ground.xen.folder / "repositories" / ground.api.SR.get_uuid(ground.repository())
    return sum(path.stat().st_blocks * 512 for path in Path(folder).iterdir())


def own_size(ground: Ground, vdi: str) -> int:
    return int(ground.api.VDI.get_physical_utilisation(vdi))


def base_of(ground: Ground, uuid: str) -> dict[str, Any]:
    """The record of the layer right below a disk."""
    below = ground.api.VDI.get_sm_config(ground.api.VDI.get_by_uuid(uuid))["vhd-parent"]
    record: dict[str, Any] = ground.api.VDI.get_record(ground.api.VDI.get_by_uuid(below))
    return record


def test_a_revert_brings_back_what_was_written(ground: Ground) -> None:
    vm, control = ground.machine(disks=2), ground.xen.control
    for place in ("0", "1"):
        control.write(ground.disk_uuid(vm, place), 10 * MIB + 100, b"before " + place.encode())
    made = ground.do("VM.snapshot", vm, "taken")
    for place in ("0", "1"):
        control.write(ground.disk_uuid(vm, place), 10 * MIB + 103, b"AFTER")
        assert control.read(ground.disk_uuid(vm, place), 10 * MIB + 100, 8) == b"befAFTER"
    ground.do("VM.revert", made)
    for place in ("0", "1"):
        assert control.read(ground.disk_uuid(vm, place), 10 * MIB + 100, 8) == b"before " + place.encode()
        assert control.read(ground.disk_uuid(made, place), 10 * MIB + 100, 8) == b"before " + place.encode()


def test_a_snapshot_moves_the_data_into_a_hidden_base_copy(ground: Ground) -> None:
    vm = ground.machine()
    disk = ground.disk_uuid(vm)
    before = own_size(ground, ground.disks(vm)["0"])
    made = ground.do("VM.snapshot", vm, "taken")
    base = base_of(ground, disk)
    assert (base["name_label"], base["managed"], base["read_only"]) == ("base copy", False, True)
    assert int(base["physical_utilisation"]) == before
    assert ground.xen.control.chain(disk)[1:] == ground.xen.control.chain(ground.disk_uuid(made))[1:] == [base["uuid"]]
    for leaf in (ground.disks(vm)["0"], ground.disks(made)["0"]):
        assert own_size(ground, leaf) < 32 * 1024 < before


def test_the_figures_are_those_of_the_files(ground: Ground) -> None:
    vm = ground.machine(power="Running")
    ground.do("VM.checkpoint", vm, "kept")
    ground.xen.control.write(ground.disk_uuid(vm), 0, b"x" * MIB)
    assert figures(ground)["physical_utilisation"] == on_disk(ground)


def test_disks_that_nobody_destroys_go_on_costing_space(ground: Ground) -> None:
    ground.xen.control.collect_garbage()
    before = figures(ground)
    vm = ground.machine(disks=1)
    ground.xen.control.write(ground.disk_uuid(vm), 0, b"y" * MIB)
    made = ground.do("VM.snapshot", vm, "taken")
    ours, theirs = ground.disks(vm)["0"], ground.disks(made)["0"]
    ground.api.VM.destroy(made)
    ground.api.VM.destroy(vm)
    ground.xen.control.collect_garbage()
    leaked = figures(ground)
    assert leaked["physical_utilisation"] >= before["physical_utilisation"] + MIB
    assert leaked["virtual_allocation"] == before["virtual_allocation"] + 2 * 256 * MIB
    for vdi in (theirs, ours):
        assert ground.api.VDI.get_VBDs(vdi) == []
        ground.api.VDI.destroy(vdi)
    assert figures(ground)["physical_utilisation"] >= before["physical_utilisation"] + MIB  # until it is collected
    ground.xen.control.collect_garbage()
    assert figures(ground) == before


def test_the_collector_coalesces_and_nothing_is_lost(ground: Ground) -> None:
    vm, control = ground.machine(), ground.xen.control
    control.collect_garbage()  # what other tests have left
    taken = []
    for number in range(4):
        control.write(ground.disk_uuid(vm), number * MIB, f"part {number}".encode())
        taken.append(ground.do("VM.snapshot", vm, f"snapshot {number}"))
    assert len(control.chain(ground.disk_uuid(vm))) == 5
    for snapshot in taken[:3]:
        vdi = ground.disks(snapshot)["0"]
        ground.api.VM.destroy(snapshot)
        ground.api.VDI.destroy(vdi)
    assert len(control.chain(ground.disk_uuid(vm))) == 5
    assert control.collect_garbage() == 3
    assert len(control.chain(ground.disk_uuid(vm))) == 2
    for disk in (ground.disk_uuid(vm), ground.disk_uuid(taken[3])):
        for number in range(4):
            assert control.read(disk, number * MIB, 6) == f"part {number}".encode()


def test_a_chain_that_is_too_long_is_refused_and_grows_no_further(ground: Ground) -> None:
    vm, control = ground.machine(), ground.xen.control
    for number in range(29):
        control.write(ground.disk_uuid(vm), 0, str(number).encode())
        ground.api.VM.snapshot(vm, f"snapshot {number}")
    control.write(ground.disk_uuid(vm), 0, b"one more")
    with pytest.raises(XenAPI.Failure) as refused:
        ground.api.VM.snapshot(vm, "too many")
    assert details(refused)[0] == "SR_BACKEND_FAILURE_109"
    assert len(control.chain(ground.disk_uuid(vm))) == 30
    assert len(ground.api.VM.get_snapshots(vm)) == 29


def test_reverting_again_and_again_does_not_lengthen_the_chain(ground: Ground) -> None:
    vm = ground.machine()
    made = ground.do("VM.snapshot", vm, "taken")
    for _ in range(5):
        ground.do("VM.revert", made)
    assert len(ground.xen.control.chain(ground.disk_uuid(vm))) == 2


def test_a_full_repository_refuses_and_leaves_nothing_half_done(ground: Ground) -> None:
    vm = ground.machine(disks=2, power="Running")
    before = set(ground.api.VDI.get_all())
    ground.xen.control.fill(ground.api.SR.get_uuid(ground.repository()))
    for message in ("VM.snapshot", "VM.checkpoint", "VM.suspend"):
        with pytest.raises(XenAPI.Failure) as refused:
            getattr(ground.api, message)(*((vm, "x") if message != "VM.suspend" else (vm,)))
        assert details(refused) == ["SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""]
    assert set(ground.api.VDI.get_all()) == before
    assert ground.api.VM.get_power_state(vm) == "Running"
    assert ground.api.VM.get_current_operations(vm) == {}
    ground.xen.control.clear()
    ground.do("VM.checkpoint", vm, "fits again")


def test_a_small_repository_fills_up_with_what_is_written_to_it(tmp_path: Path) -> None:
    world = {"repositories": [{"name": "Local storage", "size": MIB}]}
    with XenSimulator(tmp_path, world=world) as xen, logged_in(xen) as api:
        sr = api.SR.get_all()[0]
        record = {"name_label": "disk", "SR": sr, "virtual_size": str(64 * MIB), "type": "user", "other_config": {}}
        vdi = api.VDI.create(record)  # thin: how large it says it is costs nothing
        xen.control.write(api.VDI.get_uuid(vdi), 0, b"x" * MIB)
        api.SR.scan(sr)
        for called, params in (("VDI.create", (record,)), ("VDI.snapshot", (vdi,)), ("VDI.clone", (vdi,))):
            with pytest.raises(XenAPI.Failure) as refused:
                getattr(api, called)(*params)
            assert details(refused)[0] == "SR_BACKEND_FAILURE_44"
        api.VDI.destroy(vdi)
        assert int(api.SR.get_physical_utilisation(sr)) == 0
        api.VDI.create(record)


def test_no_space_for_the_second_disk_takes_back_the_first(ground: Ground) -> None:
    vm = ground.machine(disks=2)
    ground.xen.control.refuse("VM.snapshot", "SR_BACKEND_FAILURE_44", ["", "no space", ""], step="disk-1")
    before = {vdi for vdi in ground.api.VDI.get_all() if ground.api.VDI.get_managed(vdi)}
    with pytest.raises(XenAPI.Failure):
        ground.api.VM.snapshot(vm, "taken")
    assert {vdi for vdi in ground.api.VDI.get_all() if ground.api.VDI.get_managed(vdi)} == before
    assert ground.tree(vm) == ({}, None)


def test_a_disk_is_made_attached_plugged_and_taken_away_again(ground: Ground) -> None:
    api = ground.api
    vm = ground.machine(power="Running")
    made = {
        "name_label": "more",
        "SR": ground.repository(),
        "virtual_size": str(MIB),
        "type": "user",
        "other_config": {},
    }
    vdi = api.VDI.create(made)
    vbd = api.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "autodetect", "mode": "RW", "type": "Disk"})
    assert "plug" in api.VBD.get_allowed_operations(vbd)
    api.VBD.plug(vbd)
    assert api.VBD.get_currently_attached(vbd)
    assert api.VBD.get_device(vbd) == "xvd" + "abcdefghij"[int(api.VBD.get_userdevice(vbd))]
    assert "destroy" not in api.VDI.get_allowed_operations(vdi)
    api.VBD.unplug(vbd)
    api.VBD.destroy(vbd)
    assert vbd not in api.VM.get_VBDs(vm)
    assert "destroy" in api.VDI.get_allowed_operations(vdi)
    api.VDI.destroy(vdi)


def test_the_memory_image_costs_space_while_it_is_kept(ground: Ground) -> None:
    vm = ground.machine(power="Running")
    made = ground.do("VM.checkpoint", vm, "kept")
    image = ground.api.VM.get_suspend_VDI(made)
    uuid = ground.api.VDI.get_uuid(image)
    held = sum(own_size(ground, ground.api.VDI.get_by_uuid(layer)) for layer in ground.xen.control.chain(uuid))
    assert held >= 64 * MIB // 64

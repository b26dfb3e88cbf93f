"""Every error the simulator raises exists in the model, has the model's parameters, and may come from that message."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import XenAPI

import hypervisors.xen_simulator as package
from hypervisors.xen_simulator.model import GENERIC_ERRORS, error_parameters, find_message
from tests.xen_simulator.client import details
from tests.xen_simulator.ground import MIB, NULL, Ground

# Where the real server sends other parameters than the model declares: how many it sends, one by one.
ARITY_EXCEPTIONS = {
    "VDI_IN_USE": {1, 2},  # the path of VBDs sends one
    "VM_IS_TEMPLATE": {2},  # sends the operation too
}
# Raised by checks before any operation, though the messages do not declare them (reference, 5.2 and 5.7).
FROM_LIFECYCLE = {
    "VM_BAD_POWER_STATE",
    "VM_IS_SNAPSHOT",
    "VM_IS_TEMPLATE",
    "REVERT_ONLY_ALLOWED_ON_SNAPSHOT",
    "PROVISION_ONLY_ALLOWED_ON_TEMPLATE",
    "VM_HAS_PCI_ATTACHED",
    "VM_HAS_VUSBS",
    "VM_HAS_VGPU",
    "VM_IS_IMMOBILE",
    "VM_LACKS_FEATURE",
    "VM_MISSING_PV_DRIVERS",
    "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION",
    "SR_BACKEND_FAILURE_44",
    "SR_BACKEND_FAILURE_109",
    "SR_OPERATION_NOT_SUPPORTED",
    "VDI_IN_USE",
    "VDI_NOT_MANAGED",
    "VDI_READONLY",
    "VDI_INCOMPATIBLE_TYPE",
    "DEVICE_ALREADY_EXISTS",
    "DEVICE_ALREADY_ATTACHED",
    "INVALID_DEVICE",
    "VBD_NOT_UNPLUGGABLE",
    "VM_NO_SUSPEND_SR",
}


def raised_in_source() -> list[tuple[str, str, int | None]]:
    """Every `XenFailure(...)` of the simulator: where, the code, how many parameters (None: not to be seen)."""
    found = []
    for path in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "XenFailure"):
                continue
            code = node.args[0]
            if isinstance(code, ast.Constant):
                starred = any(isinstance(argument, ast.Starred) for argument in node.args)
                where = f"{path.name}:{node.lineno}"
                found.append((where, str(code.value), None if starred else len(node.args) - 1))
    return found


def test_every_raised_code_exists_and_has_its_parameters() -> None:
    raised = raised_in_source()
    assert len(raised) > 50
    for where, code, count in raised:
        declared = error_parameters(code)
        if declared is not None and count is not None:
            assert count in ARITY_EXCEPTIONS.get(code, {len(declared)}), f"{where} {code}"


def test_no_exception_is_listed_in_vain() -> None:
    codes = {code for _where, code, _count in raised_in_source()}
    assert set(ARITY_EXCEPTIONS) <= codes
    assert codes >= FROM_LIFECYCLE


def test_an_invented_code_would_be_found() -> None:
    with pytest.raises(KeyError):
        error_parameters("VM_IS_TOO_LARGE")


@dataclass(frozen=True)
class Refusal:
    """A call that is refused, and with what. In `params`, "vm" stands for the machine."""

    message: str
    code: str
    call: Callable[[Ground], tuple[Any, ...]]
    params: tuple[str, ...] | None = None


def _vm(**more: Any) -> Callable[[Ground], tuple[Any, ...]]:
    return lambda ground: (ground.machine(**more),)


def _vm_and(*params: Any, **more: Any) -> Callable[[Ground], tuple[Any, ...]]:
    return lambda ground: (ground.machine(**more), *params)


def _plugged(state: str, attached: bool = True) -> Callable[[Ground], tuple[Any, ...]]:
    def make(ground: Ground) -> tuple[Any, ...]:
        vm = ground.machine(power=state)
        vbd = next(each for each in ground.api.VM.get_VBDs(vm) if ground.api.VBD.get_type(each) == "Disk")
        if not attached:
            ground.api.VBD.unplug(vbd)
        return (vbd,)

    return make


def _vbd_record(**changes: Any) -> Callable[[Ground], tuple[Any, ...]]:
    def make(ground: Ground) -> tuple[Any, ...]:
        vm = ground.machine()
        disk = ground.disks(ground.machine())["0"]
        return ({"VM": vm, "VDI": disk, "userdevice": "5", "mode": "RW", "type": "Disk", **changes},)

    return make


def _fixed(ground: Ground) -> tuple[Any, ...]:
    (vbd,) = _plugged("Running")(ground)
    ground.api.VBD.set_unpluggable(vbd, False)
    return (vbd,)


def _resetting(ground: Ground) -> tuple[Any, ...]:
    vm = ground.machine()
    ground.api.VDI.set_on_boot(ground.disks(vm)["0"], "reset")
    return (vm, "taken")


def _base_copy(ground: Ground) -> tuple[Any, ...]:
    vm = ground.machine()
    ground.do("VM.snapshot", vm, "taken")
    return (ground.api.VDI.get_by_uuid(ground.xen.control.chain(ground.disk_uuid(vm))[1]),)


def _image(ground: Ground) -> tuple[Any, ...]:
    image = ground.api.VM.get_suspend_VDI(ground.machine(power="Suspended"))
    return ({"VM": ground.machine(), "VDI": image, "userdevice": "5", "mode": "RW", "type": "Disk"},)


def _read_only(ground: Ground) -> tuple[Any, ...]:
    (record,) = _vbd_record()(ground)
    ground.api.VDI.set_read_only(record["VDI"], True)
    return (record,)


def _shared(ground: Ground) -> tuple[Any, ...]:
    """A VBD of a running machine for a disk that another one holds."""
    holder, other = ground.machine(power="Running"), ground.machine(power="Running")
    disk = ground.disks(holder)["0"]
    return (ground.api.VBD.create({"VM": other, "VDI": disk, "userdevice": "5", "mode": "RW", "type": "Disk"}),)


def _attached(ground: Ground) -> tuple[Any, ...]:
    return (ground.disks(ground.machine(power="Running"))["0"],)


def _snapshot(ground: Ground) -> tuple[Any, ...]:
    return (ground.do("VM.snapshot", ground.machine(), "taken"),)


REFUSALS = (
    Refusal("VM.snapshot", "OPERATION_BLOCKED", _vm_and("a", blocked={"snapshot": "LOCKED"}), ("vm", "LOCKED")),
    Refusal("VM.snapshot", "VM_HAS_VUSBS", _vm_and("a", usb=True), ("vm",)),
    Refusal("VM.snapshot", "VM_IS_TEMPLATE", _vm_and("a", template=True), ("vm", "snapshot")),
    Refusal("VM.snapshot", "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION", _resetting, ()),
    Refusal("VM.snapshot", "HANDLE_INVALID", lambda _ground: (NULL, "a"), ("VM", NULL)),
    Refusal("VM.checkpoint", "VM_BAD_POWER_STATE", _vm_and("a"), ("vm", "paused, suspended, running", "halted")),
    Refusal("VM.checkpoint", "VM_HAS_PCI_ATTACHED", _vm_and("a", power="Running", pci=True), ("vm",)),
    Refusal("VM.checkpoint", "VM_HAS_VGPU", _vm_and("a", power="Running", vgpu=True), ("vm",)),
    Refusal("VM.checkpoint", "VM_LACKS_FEATURE", _vm_and("a", power="Running", tools=False), ("vm",)),
    Refusal("VM.revert", "REVERT_ONLY_ALLOWED_ON_SNAPSHOT", _vm(), ()),
    Refusal("VM.start", "VM_BAD_POWER_STATE", _vm_and(False, False, power="Running"), ("vm", "halted", "running")),
    Refusal("VM.start", "VM_IS_SNAPSHOT", lambda ground: (*_snapshot(ground), False, False), ("vm", "start")),
    Refusal("VM.resume", "VM_BAD_POWER_STATE", _vm_and(False, False), ("vm", "suspended", "halted")),
    Refusal("VM.clean_shutdown", "VM_MISSING_PV_DRIVERS", _vm(power="Running", tools=False), ("vm",)),
    Refusal("VM.destroy", "VM_BAD_POWER_STATE", _vm(power="Running"), ("vm", "halted, suspended", "running")),
    Refusal("VM.provision", "PROVISION_ONLY_ALLOWED_ON_TEMPLATE", _vm(), ()),
    Refusal("VM.set_VCPUs_max", "VM_BAD_POWER_STATE", _vm_and("2", power="Running"), ("vm", "halted;suspended", "running")),
    Refusal("VBD.create", "DEVICE_ALREADY_EXISTS", _vbd_record(userdevice="0"), ("0",)),
    Refusal("VBD.create", "INVALID_DEVICE", _vbd_record(userdevice="xvda"), ("xvda",)),
    Refusal("VBD.create", "VDI_READONLY", _read_only),
    Refusal("VBD.create", "VDI_INCOMPATIBLE_TYPE", _image),
    Refusal("VBD.plug", "VM_BAD_POWER_STATE", _plugged("Halted")),
    Refusal("VBD.plug", "DEVICE_ALREADY_ATTACHED", _plugged("Running"), ("vm",)),
    Refusal("VBD.plug", "VDI_IN_USE", _shared),
    Refusal("VBD.unplug", "DEVICE_ALREADY_DETACHED", _plugged("Running", attached=False), ("vm",)),
    Refusal("VBD.unplug", "VBD_NOT_UNPLUGGABLE", _fixed, ("vm",)),
    Refusal("VBD.destroy", "OPERATION_NOT_ALLOWED", _plugged("Running")),
    Refusal("VBD.eject", "VBD_NOT_REMOVABLE_MEDIA", _plugged("Halted"), ("vm",)),
    Refusal("VDI.destroy", "VDI_NOT_MANAGED", _base_copy, ("vm",)),
    Refusal("VDI.destroy", "VDI_IN_USE", _attached, ("vm", "destroy")),
    Refusal("VDI.revert", "UNIMPLEMENTED_IN_SM_BACKEND", lambda ground: (ground.disks(ground.machine())["0"],)),
    Refusal("VDI.create", "INVALID_VALUE", lambda ground: ({"SR": ground.repository(), "virtual_size": "0"},)),
    Refusal("VDI.create", "HANDLE_INVALID", lambda _ground: ({"virtual_size": str(MIB)},), ("SR", NULL)),
    Refusal("VM.get_by_uuid", "UUID_INVALID", lambda _ground: ("nobody",), ("VM", "nobody")),
    Refusal(
        "VM.add_to_blocked_operations",
        "MAP_DUPLICATE_KEY",
        _vm_and("snapshot", "again", blocked={"snapshot": "LOCKED"}),
    ),
    Refusal("task.cancel", "HANDLE_INVALID", lambda _ground: (NULL,), ("task", NULL)),
)  # fmt: skip


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: f"{row.message} {row.code}")
def test_a_refusal_is_one_that_the_message_may_give(ground: Ground, row: Refusal) -> None:
    params = row.call(ground)
    with pytest.raises(XenAPI.Failure) as refused:
        getattr(ground.api, row.message)(*params)
    code, *rest = details(refused)
    assert code == row.code
    message = find_message(row.message)
    assert message is not None
    assert code in message.errors or code in GENERIC_ERRORS or code in FROM_LIFECYCLE
    declared = error_parameters(code)
    assert declared is None or len(rest) in ARITY_EXCEPTIONS.get(code, {len(declared)})
    if row.params is not None:
        assert tuple(params[0] if wanted == "vm" else wanted for wanted in row.params) == tuple(rest)


def test_a_disk_in_use_is_told_with_one_parameter_by_the_path_of_vbds(ground: Ground) -> None:
    (vbd,) = _shared(ground)
    with pytest.raises(XenAPI.Failure) as refused:
        ground.api.VBD.plug(vbd)
    assert details(refused) == ["VDI_IN_USE", ground.api.VBD.get_VDI(vbd)]


def test_an_operation_in_the_way_is_named(ground: Ground) -> None:
    vm = ground.machine(power="Running")
    held = ground.xen.control.hold("VM.clean_shutdown", step="ask")
    task = ground.api.Async.VM.clean_shutdown(vm)
    assert ground.xen.control.wait_held(held)
    with pytest.raises(XenAPI.Failure) as refused:
        ground.api.VM.snapshot(vm, "taken")
    assert details(refused) == ["OTHER_OPERATION_IN_PROGRESS", "VM", vm, "clean_shutdown", task]
    assert ground.api.VM.get_current_operations(vm) == {task: "clean_shutdown"}
    assert "snapshot" not in ground.api.VM.get_allowed_operations(vm)
    ground.xen.control.release(held)


def test_what_is_not_allowed_is_not_offered(ground: Ground) -> None:
    free = ground.machine(power="Running")
    assert {"snapshot", "checkpoint", "clean_shutdown"} <= set(ground.api.VM.get_allowed_operations(free))
    assert "start" not in ground.api.VM.get_allowed_operations(free)
    locked = ground.machine(power="Running", blocked={"checkpoint": "no"}, usb=True)
    offered = set(ground.api.VM.get_allowed_operations(locked))
    assert not offered & {"snapshot", "checkpoint", "suspend"}
    snapshot = ground.do("VM.snapshot", free, "taken")
    assert {"revert", "destroy"} <= set(ground.api.VM.get_allowed_operations(snapshot))
    assert "revert" not in ground.api.VM.get_allowed_operations(free)
    ground.api.VDI.set_on_boot(ground.disks(free)["0"], "reset")
    assert "snapshot" not in ground.api.VM.get_allowed_operations(free)

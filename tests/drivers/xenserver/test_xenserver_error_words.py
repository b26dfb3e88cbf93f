"""Each error that the notes on XenServer name, as our own error with words for the user: by the code alone, whatever
parameters a server sends along."""

import pytest

from hypervisors import errors
from hypervisors.drivers.xenserver import errors as xenserver_errors

VM, SNAPSHOT = "OpaqueRef:11111111-vm", "OpaqueRef:22222222-snapshot"

TOLD: list[tuple[list[str], type[errors.HypervisorError], str]] = [
    # What differs from how it is declared.
    (["VM_BAD_POWER_STATE", VM, "running, suspended", "halted"], errors.Rejected, "power state"),
    (["VM_BAD_POWER_STATE", VM, "running;suspended", "halted"], errors.Rejected, "power state"),
    (["VDI_IN_USE", VM, "destroy"], errors.Busy, "in use"),
    (["VDI_IN_USE", VM], errors.Busy, "in use"),
    (["VM_REVERT_FAILED", VM, SNAPSHOT], errors.Rejected, "could not finish the revert"),
    (["VM_REVERT_FAILED", SNAPSHOT, VM], errors.Rejected, "could not finish the revert"),
    (["REVERT_ONLY_ALLOWED_ON_SNAPSHOT"], errors.Rejected, "not a snapshot"),
    (["VM_IS_SNAPSHOT", VM, "start"], errors.Rejected, "snapshot"),
    (["VM_IS_TEMPLATE", VM, "snapshot"], errors.Unsupported, "template"),
    (["LICENCE_RESTRICTION", "checkpoint"], errors.Unsupported, "licence"),
    (["VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED", VM, "x"], errors.Unsupported, "quiesce"),
    (["VM_SNAPSHOT_WITH_QUIESCE_PLUGIN_DEOS_NOT_RESPOND", VM], errors.Rejected, "refused"),
    (["MESSAGE_REMOVED"], errors.Unsupported, "release"),
    # What keeps snapshots from being taken or reverted.
    (["VM_HAS_VUSBS", VM], errors.Unsupported, "USB"),
    (["VM_HAS_PCI_ATTACHED", VM], errors.Unsupported, "PCI"),
    (["VM_HAS_VGPU", VM], errors.Unsupported, "graphics"),
    (["VM_IS_IMMOBILE", VM], errors.Unsupported, "host"),
    (["VM_LACKS_FEATURE", VM], errors.Unsupported, "VM Tools"),
    (["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"], errors.Unsupported, "reset"),
    (["OPERATION_BLOCKED", VM, "KEYS"], errors.Unsupported, "KEYS"),
    (["SR_OPERATION_NOT_SUPPORTED", VM], errors.Unsupported, "storage"),
    (["NOT_SUPPORTED_DURING_UPGRADE"], errors.Rejected, "upgraded"),
    (["OTHER_OPERATION_IN_PROGRESS", "VM", VM], errors.Busy, "something else"),
    # Storage.
    (["SR_FULL", "2", "1"], errors.OutOfSpace, "room"),
    (["SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""], errors.OutOfSpace, "room"),
    (["SR_BACKEND_FAILURE_109", "", "The snapshot chain is too long", ""], errors.Rejected, "30 levels"),
    # Disks of running machines.
    (["VM_MISSING_PV_DRIVERS", VM], errors.Unsupported, "VM Tools"),
    (["OPERATION_NOT_ALLOWED", "reason"], errors.Rejected, "reason"),
    (["DEVICE_ALREADY_EXISTS", "0"], errors.Rejected, "in that place"),
    (["DEVICE_ALREADY_ATTACHED", VM], errors.Rejected, "attached already"),
    (["DEVICE_ALREADY_DETACHED", VM], errors.Rejected, "detached already"),
    (["DEVICE_DETACH_REJECTED", "VBD", VM, "busy"], errors.Busy, "guest"),
    (["DEVICE_DETACH_TIMEOUT", "VBD", VM], errors.TimedOut, "guest"),
    (["VBD_NOT_UNPLUGGABLE", VM], errors.Unsupported, "Stop the machine"),
    (["VDI_READONLY", VM], errors.Unsupported, "read-only"),
    (["INVALID_DEVICE", "99"], errors.Rejected, "place"),
    (["VDI_INCOMPATIBLE_TYPE", VM, "rrd"], errors.Unsupported, "kind of disk"),
    # Sessions, rights, tasks, pools.
    (["SESSION_AUTHENTICATION_FAILED", "root", "x"], errors.LoginRefused, "user name or the password"),
    (["SESSION_INVALID", VM], errors.LoginRefused, "session"),
    (["RBAC_PERMISSION_DENIED", "vm.snapshot", "no"], errors.NotPermitted, "vm.snapshot"),
    (["HOST_OFFLINE", VM], errors.OutOfReach, "off"),
    (["CANNOT_CONTACT_HOST", VM], errors.OutOfReach, "host"),
    (["HOST_IS_SLAVE", "192.0.2.1"], errors.Unreachable, "coordinator"),
    (["HANDLE_INVALID", "VM", VM], errors.NotFound, "any more"),
    (["TASK_CANCELLED", VM], errors.Cancelled, "request"),
]


@pytest.mark.parametrize(("details", "kind", "words"), TOLD, ids=[" ".join(details) for details, _, _ in TOLD])
def test_it_arrives_as_the_named_error_with_words(
    details: list[str], kind: type[errors.HypervisorError], words: str
) -> None:
    told = xenserver_errors.told(details)
    assert type(told) is kind
    assert words in told.detail
    assert details[0] in told.detail
    assert "OpaqueRef" not in told.detail


@pytest.mark.parametrize(
    "code", ["VM_REVERT_FAILED", "VM_CHECKPOINT_RESUME_FAILED", "INTERNAL_ERROR", "OPERATION_PARTIALLY_FAILED"]
)
def test_what_was_begun_and_not_finished_says_that_its_outcome_is_open(code: str) -> None:
    assert not xenserver_errors.told([code]).outcome_known


def test_a_guest_that_did_not_let_go_changed_nothing() -> None:
    assert xenserver_errors.told(["DEVICE_DETACH_TIMEOUT", "VBD", VM]).outcome_known

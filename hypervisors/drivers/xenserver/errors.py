"""XenAPI's error codes, and what else can go wrong on the way, told in this product's own named errors.

The only place that knows the codes; they are those of the published data model and of the checks that xapi makes before
an operation. How many parameters a code carries, and in which order, differs between code paths of one server (a power
state error puts ", " or ";" between the states it expects; a failed revert names machine and snapshot in the order other
than declared), so parameters are only ever looked through, and the whole list goes to the log.
"""

import http.client
import logging
import re
import socket
import ssl
import xmlrpc.client
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import XenAPI

from hypervisors.drivers.xenserver.answers import BrokenAnswer
from hypervisors.errors import (
    Busy,
    Cancelled,
    ConnectionLost,
    HypervisorError,
    LoginRefused,
    NotFound,
    NotPermitted,
    OutOfReach,
    OutOfSpace,
    Rejected,
    TimedOut,
    Unreachable,
    Unsupported,
)

log = logging.getLogger(__name__)

TROUBLE = (
    XenAPI.Failure,
    xmlrpc.client.Error,
    http.client.HTTPException,
    OSError,
    BrokenAnswer,
    UnicodeError,
)
"""Everything that a call of the client may raise; `translated` knows each."""

_WORDS: dict[type[HypervisorError], dict[str, str]] = {
    Busy: {
        "OTHER_OPERATION_IN_PROGRESS": "XenServer is carrying out something else on this machine.",
        "TOO_MANY_PENDING_TASKS": "XenServer has more work waiting than it takes.",
        "TOO_BUSY": "XenServer is too busy to take this on.",
        "VDI_IN_USE": "A disk of the machine is in use by another operation or machine.",
        "SR_VDI_LOCKING_FAILED": "The storage could not lock a disk of the machine.",
        "DEVICE_DETACH_REJECTED": "The guest still uses the disk and does not let go of it. Unmount it inside the guest.",
        "HOST_EVACUATE_IN_PROGRESS": "The host is being emptied for maintenance.",
        "HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN": "The pool's high availability has no room left for this.",
    },
    LoginRefused: {
        "SESSION_AUTHENTICATION_FAILED": "XenServer refused the user name or the password.",
        "SESSION_AUTHORIZATION_FAILED": "XenServer knows the user, but gives it no role in this pool.",
        "SESSION_INVALID": "XenServer does not accept the session, not even after a new login.",
        "SESSION_NOT_REGISTERED": "XenServer does not accept the session.",
    },
    NotPermitted: {
        "USER_IS_NOT_LOCAL_SUPERUSER": "XenServer allows this only to its local administrator.",
        "RBAC_PERMISSION_DENIED": "The role of the login lacks a permission that this needs.",
        "PERMISSION_DENIED": "XenServer does not allow this to the login.",
    },
    NotFound: {
        "HANDLE_INVALID": "XenServer does not know it any more.",
        "UUID_INVALID": "XenServer does not know it any more.",
        "VDI_MISSING": "The storage does not hold the disk any more.",
    },
    OutOfSpace: {
        "SR_FULL": "The storage repository has not enough room left.",
        "SR_SOURCE_SPACE_INSUFFICIENT": "The storage repository has not enough room left.",
        "SR_SUSPEND_SPACE_INSUFFICIENT": "The storage repository for memory images has not enough room left.",
        "SR_BACKEND_FAILURE_44": "The storage repository has not enough room left.",
    },
    Unsupported: {
        "VM_HAS_VUSBS": "A USB device of the host is passed through to the machine.",
        "VM_HAS_PCI_ATTACHED": "A PCI device of the host is passed through to the machine.",
        "VM_HAS_VGPU": "The machine has a virtual graphics processor whose state cannot be saved.",
        "VM_HAS_SRIOV_VIF": "The machine has an SR-IOV network interface, whose state cannot be saved.",
        "VGPU_SUSPENSION_NOT_SUPPORTED": "The machine's virtual graphics processor cannot be suspended.",
        "VM_IS_IMMOBILE": "The machine is tied to its host, so its memory cannot be saved.",
        "VM_IS_USING_NESTED_VIRT": "The machine runs virtual machines itself, so its memory cannot be saved.",
        "VM_LACKS_FEATURE": "The guest lacks the feature for this. Install the XenServer VM Tools in it.",
        "VM_MISSING_PV_DRIVERS": "The guest runs no paravirtual drivers. Install the XenServer VM Tools in it.",
        "VM_OLD_PV_DRIVERS": "The paravirtual drivers of the guest are too old. Renew the XenServer VM Tools in it.",
        "VM_NON_SUSPENDABLE": "The machine cannot be suspended now, so its memory cannot be saved.",
        "VM_NO_SUSPEND_SR": "The pool has no storage repository set for memory images.",
        "VM_IS_TEMPLATE": "It is a template, not a machine.",
        "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION": "A disk of the machine is reset at each start.",
        "OPERATION_BLOCKED": "An administrator has blocked this operation for it in XenServer.",
        "SR_OPERATION_NOT_SUPPORTED": "The kind of storage the disks are on cannot do this.",
        "UNIMPLEMENTED_IN_SM_BACKEND": "The kind of storage the disks are on cannot do this.",
        "LICENCE_RESTRICTION": "The licence of the pool does not include this.",
        "FEATURE_RESTRICTED": "The licence of the pool does not include this.",
        "FEATURE_REQUIRES_HVM": "XenServer can do this for fully virtualised machines only.",
        "MESSAGE_REMOVED": "This release of XenServer cannot do it any more.",
        "MESSAGE_DEPRECATED": "This release of XenServer cannot do it any more.",
        "MESSAGE_METHOD_UNKNOWN": "This release of XenServer cannot do it.",
        "NOT_IMPLEMENTED": "This release of XenServer cannot do it.",
        "VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED": "XenServer cannot quiesce the guest.",
        "VBD_NOT_UNPLUGGABLE": "The disk cannot be taken out while the machine runs. Stop the machine first.",
        "VDI_INCOMPATIBLE_TYPE": "It is not the kind of disk this can be done with.",
        "VDI_IS_A_PHYSICAL_DEVICE": "It is a physical device, with which this cannot be done.",
        "VDI_READONLY": "The volume is read-only.",
    },
    Rejected: {
        "VM_BAD_POWER_STATE": "The machine is not in the power state that this needs.",
        "VM_IS_SNAPSHOT": "XenServer does not do this with a snapshot.",
        "VM_IS_PROTECTED": "High availability protects the machine.",
        "REVERT_ONLY_ALLOWED_ON_SNAPSHOT": "It is not a snapshot.",
        "VM_HAS_TOO_MANY_SNAPSHOTS": "The machine has as many snapshots as XenServer allows.",
        "VM_HAS_CHECKPOINT": "The machine has a memory snapshot, which stands in the way.",
        "VM_SNAPSHOT_FAILED": "XenServer could not take the snapshot.",
        "VM_CHECKPOINT_SUSPEND_FAILED": "The machine could not be suspended to save its memory.",
        "VM_CHECKPOINT_RESUME_FAILED": "The snapshot's memory was saved, but the machine could not be resumed after it.",
        "VM_REVERT_FAILED": (
            "XenServer could not finish the revert. The machine's disks may be incomplete: "
            "keep it off and look at it before it is used again."
        ),
        "NO_HOSTS_AVAILABLE": "No host of the pool can run the machine now.",
        "HOST_NOT_ENOUGH_FREE_MEMORY": "No host has enough free memory for the machine.",
        "HOST_DISABLED": "The host is in maintenance.",
        "NOT_SUPPORTED_DURING_UPGRADE": "The pool is being upgraded.",
        "OPERATION_NOT_ALLOWED": "XenServer does not allow it now.",
        "DEVICE_ALREADY_EXISTS": "The machine has a disk in that place already.",
        "DEVICE_ALREADY_ATTACHED": "The disk is attached already.",
        "DEVICE_ALREADY_DETACHED": "The disk is detached already.",
        "DEVICE_NOT_ATTACHED": "The disk is not attached.",
        "INVALID_DEVICE": "XenServer has no such place for a disk in this machine.",
        "SR_NOT_ATTACHED": "The storage repository is not connected to the host.",
        "SR_BACKEND_FAILURE_109": (
            "The chain of snapshots on the storage is as long as it may be (30 levels). Delete snapshots and let "
            "XenServer merge what they leave behind, which takes a while, before taking others."
        ),
        "VM_REQUIRES_SR": "The machine needs a storage repository that its host does not see.",
        "INTERNAL_ERROR": "XenServer met an error of its own.",
        "OPERATION_PARTIALLY_FAILED": "XenServer carried out a part of it only.",
    },
    TimedOut: {
        "VM_SHUTDOWN_TIMEOUT": "The guest has not shut down in the time XenServer allows.",
        "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT": "The guest did not answer when asked to shut down.",
        "VM_SUSPEND_TIMEOUT": "The guest was not suspended in the time XenServer allows.",
        "VM_FAILED_SUSPEND_ACKNOWLEDGMENT": "The guest did not answer when asked to suspend.",
        "DEVICE_DETACH_TIMEOUT": "The guest has not let go of the disk in the time XenServer allows.",
        "DEVICE_ATTACH_TIMEOUT": "The disk did not reach the guest in the time XenServer allows.",
    },
    Cancelled: {"TASK_CANCELLED": "It was stopped on request."},
    Unreachable: {
        "HOST_IS_SLAVE": "This host of the pool is not its coordinator any more.",
        "HOST_STILL_BOOTING": "The host is still starting.",
        "HOST_IN_EMERGENCY_MODE": "The host has lost its pool's coordinator.",
    },
    OutOfReach: {
        "HOST_OFFLINE": "A host that is needed is off.",
        "HOST_NOT_LIVE": "A host that is needed does not answer.",
        "CANNOT_CONTACT_HOST": "The coordinator cannot reach a host of the pool that is needed.",
        "HOST_HAS_NO_MANAGEMENT_IP": "A host of the pool has no address to be managed at.",
        "HOST_UNKNOWN_TO_MASTER": "The coordinator does not know this host.",
    },
}
_BY_CODE: dict[str, tuple[type[HypervisorError], str]] = {
    code: (kind, words) for kind, codes in _WORDS.items() for code, words in codes.items()
}
# After these something was begun and not finished: what is left has to be looked at.
_OUTCOME_OPEN = frozenset(
    {"VM_REVERT_FAILED", "VM_CHECKPOINT_RESUME_FAILED", "INTERNAL_ERROR", "OPERATION_PARTIALLY_FAILED"}
)
# The guest was asked and did not follow; nothing else happened.
_OUTCOME_PLAIN = frozenset(_WORDS[TimedOut])
CURSOR_UNREADABLE = "EVENT_FROM_TOKEN_PARSE_FAILURE"
_MOST_SAID = 300
_FULL = ("enospc", "no space left on device", "not enough space", "sr is full", "insufficient space")


def translated(error: BaseException, sent: bool) -> HypervisorError:
    """The error to raise for a call that failed. `sent` says whether any of it went out to the server."""
    if isinstance(error, XenAPI.Failure):
        return told(error.details)
    if isinstance(error, ssl.SSLCertVerificationError):
        return LoginRefused(f"The server's certificate is not trusted: {_certificate_words(error)}.")
    if isinstance(error, TimeoutError):
        if sent:
            return TimedOut("XenServer has not answered in the time allowed; it may still be working on it.")
        return Unreachable("XenServer did not answer within the time allowed.")
    if not sent:
        return Unreachable(f"XenServer cannot be reached: {_network_words(error)}.")
    return ConnectionLost(f"{_broken_words(error)}.")


def told(details: object) -> HypervisorError:
    """The error for what a server said: a list of a code and its parameters, from an answer or a task."""
    parts = [_clean(part) for part in details] if isinstance(details, Sequence) and not isinstance(details, str) else []
    code = parts[0] if parts else ""
    log.info("XenAPI refused: %s", parts[:20])
    kind, words = _BY_CODE.get(code, (Rejected, ""))
    if not words and code.startswith("SR_BACKEND_FAILURE"):
        words = "The storage of the pool reported an error."
        if any(sign in " ".join(parts).lower() for sign in _FULL):
            kind, words = OutOfSpace, _WORDS[OutOfSpace]["SR_FULL"]
    if not words:
        words = "XenServer refused."
    detail = f"{words} ({_said(code, parts[1:])})" if code else words
    error = kind(detail)
    if code in _OUTCOME_OPEN:
        error.outcome_known = False
    elif code in _OUTCOME_PLAIN:
        error.outcome_known = True
    return error


@contextmanager
def already_done() -> Iterator[None]:
    """Around what follows a change that was made: whatever goes wrong here, the error must not say that nothing was."""
    try:
        yield
    except HypervisorError as error:
        error.outcome_known = False
        raise


def _said(code: str, parameters: Sequence[str]) -> str:
    """Code and parameters for people; references mean nothing to them."""
    telling = [part for part in parameters if part and not part.startswith("OpaqueRef:")]
    said = f"{code}: {', '.join(telling)}" if telling else code
    return said if len(said) <= _MOST_SAID else f"{said[:_MOST_SAID]}…"


def _clean(text: object) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", str(text)[:4000]).split())


def _certificate_words(error: ssl.SSLCertVerificationError) -> str:
    return {
        10: "it has expired",
        9: "it is not valid yet",
        18: "it is self-signed and not among the certificates of this endpoint",
        19: "its authority is not among those of this computer or the certificates of this endpoint",
        20: "its authority is not among those of this computer or the certificates of this endpoint",
        62: f"it is for another name ({_clean(error.verify_message)})",
        64: f"it is for another address ({_clean(error.verify_message)})",
    }.get(error.verify_code, _clean(error.verify_message or error.reason))


def _network_words(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, ssl.SSLError):
        return f"it does not speak TLS as it has to ({_clean(error.reason)})"
    return _clean(error) or type(error).__name__


def _broken_words(error: BaseException) -> str:
    if isinstance(error, xmlrpc.client.ProtocolError):
        if 300 <= error.errcode < 400:
            return f"The server sends us elsewhere (HTTP {error.errcode}), which is not followed"
        return f"The server answered with HTTP {error.errcode} instead of XenAPI"
    if isinstance(error, xmlrpc.client.Fault):
        return f"The server answered with a fault of XML-RPC: {_clean(error.faultString)[:_MOST_SAID]}"
    if isinstance(error, BrokenAnswer):
        return f"The server's answer makes no sense: {error}"
    if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
        return f"The server's answer is no whole one of HTTP ({type(error).__name__})"
    return f"The connection to XenServer broke during the call ({_clean(error) or type(error).__name__})"

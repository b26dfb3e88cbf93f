"""libvirt's error numbers and texts, told in this product's own named errors.

The only place that reads a `libvirtError`. Numbers: https://libvirt.org/html/libvirt-virterror.html. Where libvirt has
no number for a thing (a full disk reaches it only as QEMU's sentence) the text is searched, in English, because the
daemon speaks the language of its own locale and daemons run in C or English ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import libvirt

from hypervisors.errors import (
    Busy,
    ConnectionLost,
    HypervisorError,
    LoginRefused,
    NotFound,
    NotPermitted,
    OutOfSpace,
    Rejected,
    TimedOut,
    Unreachable,
    Unsupported,
)

_BY_CODE: dict[int, type[HypervisorError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: NotFound,
    libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_POOL: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_VOL: NotFound,
    libvirt.VIR_ERR_DEVICE_MISSING: NotFound,
    # "cannot acquire state change lock": somebody else's operation has held the machine for 30 seconds.
    libvirt.VIR_ERR_OPERATION_TIMEOUT: Busy,
    libvirt.VIR_ERR_RESOURCE_BUSY: Busy,
    libvirt.VIR_ERR_AUTH_FAILED: LoginRefused,
    libvirt.VIR_ERR_AUTH_CANCELLED: LoginRefused,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE: LoginRefused,
    libvirt.VIR_ERR_ACCESS_DENIED: NotPermitted,
    libvirt.VIR_ERR_OPERATION_DENIED: NotPermitted,
    libvirt.VIR_ERR_NO_SUPPORT: Unsupported,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: Unsupported,
}

_FULL = ("no space left on device", "enospc", "disk quota exceeded")
_LOGIN_WORDS = ("permission denied", "certificate", "authentication", "host key verification", "tls handshake")


def says_full(text: str) -> bool:
    """Whether a sentence of libvirt or QEMU tells of storage that ran full."""
    return any(words in text.lower() for words in _FULL)


def connection_broke(error: libvirt.libvirtError) -> bool:
    """Whether the call failed because the way to the daemon broke, not because the daemon answered with a refusal.

    Errors of the remote protocol carry the domain RPC; those of the daemon keep the domain of where they arose.
    """
    return bool(error.get_error_domain() == libvirt.VIR_FROM_RPC)


def plain(error: libvirt.libvirtError) -> str:
    """libvirt's sentence, on one line, without the prefix that repeats its class and without a full stop."""
    text = str(error.get_error_message() or error)
    for prefix in ("internal error: ", "operation failed: ", "unsupported configuration: "):
        text = text.removeprefix(prefix)
    return " ".join(text.split()).rstrip(".")


def translated(error: libvirt.libvirtError) -> HypervisorError:
    """The error to raise for a call that failed on an open connection."""
    detail = plain(error)
    if connection_broke(error):
        return ConnectionLost(f"The connection to libvirt broke during the call: {detail}.")
    if says_full(detail):
        return OutOfSpace(f"The storage has no room left: {detail}.")
    code = error.get_error_code()
    kind = _BY_CODE.get(code, Rejected)
    if kind is Busy:
        return Busy(f"libvirt is carrying out something else on this machine: {detail}.")
    if code == libvirt.VIR_ERR_AGENT_UNRESPONSIVE:
        return TimedOut(f"The guest agent did not answer: {detail}.")
    return kind(f"libvirt says: {detail}.")


def translated_on_connect(error: libvirt.libvirtError) -> HypervisorError:
    """The error to raise when no connection came about: nothing was changed, whatever the cause."""
    detail = plain(error)
    code = error.get_error_code()
    if issubclass(_BY_CODE.get(code, Rejected), LoginRefused) or any(word in detail.lower() for word in _LOGIN_WORDS):
        return LoginRefused(f"libvirt refused the login: {detail}.")
    return Unreachable(f"libvirt cannot be reached: {detail}.")


@contextmanager
def left_out_if_gone() -> Iterator[None]:
    """In a bulk read: what vanished since it was listed is left out."""
    try:
        yield
    except libvirt.libvirtError as error:
        if _BY_CODE.get(error.get_error_code()) is not NotFound:
            raise

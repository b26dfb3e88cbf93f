"""One connection to a libvirt daemon, on which no call waits for ever.

libvirt's calls block in C and have no timeout of their own. So each runs in a thread of its own, and whoever called
waits for it only as long as allowed; a call that takes longer is given up together with its connection. The abandoned
thread ends by itself: keepalive messages notice a daemon that no longer answers and break the connection.

Reads reconnect once. Calls that change something are never repeated: they end in `ConnectionLost` or `TimedOut`, which
say that the outcome is not known. Only the files of the libvirt driver enter here.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import libvirt

from hypervisors.driver import Login
from hypervisors.drivers.libvirt.errors import translated, translated_on_connect
from hypervisors.errors import ConnectionLost, LoginRefused, TimedOut, Unreachable

T = TypeVar("T")

# After this many messages without an answer the connection is taken for dead; see `_keepalive_seconds`.
KEEPALIVE_COUNT = 6
CLOSE_SECONDS = 2.0
LOOP_REST_SECONDS = 0.1

_loop_process: int | None = None
_loop_lock = threading.Lock()


def _start_event_loop() -> None:
    """Start libvirt's event loop, once per process; keepalive needs it."""
    global _loop_process
    with _loop_lock:
        if _loop_process is None:
            libvirt.registerErrorHandler(_stay_silent, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_run_loop, name="libvirt events", daemon=True).start()
            _loop_process = os.getpid()


def _refuse_when_forked() -> None:
    """Raises `Unreachable` in a process that was forked from one that had used libvirt.

    The loop's thread stayed behind, the C library keeps the parent's sockets, and a lock that another thread held in the
    moment of the fork is held for ever: now and then a call would hang (seen in GLib's allocator, whose lock every ending
    thread takes). The product has no such process: its workers are forked from a parent that connects to nothing.
    """
    if _loop_process not in (None, os.getpid()):
        raise Unreachable(
            "This process was forked from one that had used libvirt, and libvirt cannot be used in it any more. "
            "Start a program of its own instead."
        )


def _run_loop() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
        # Every call of any thread wakes the loop twice, only to tell it not to listen meanwhile; running on at once, it
        # makes a bulk reading a fifth slower. While it rests it is not woken, and keepalive counts in seconds.
        time.sleep(LOOP_REST_SECONDS)


def _stay_silent(_context: None, _error: object) -> None:
    """libvirt prints each error on the standard error stream unless someone else takes it; we raise them."""


class _Call(Generic[T]):
    """One piece of work in a thread of its own."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: T
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._abandoned = threading.Event()
        self._on_late_result: Callable[[T], None] | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="libvirt call", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # Handed to the waiting thread, which raises it.
            self._error = error
        with self._lock:
            self._done.set()
            late = self._on_late_result if self._error is None else None
        if late is not None:
            late(self._result)

    def result(self, seconds: float | None, if_late: Callable[[T], None] | None = None) -> T:
        """What the work returned or raised. Raises TimeoutError after `seconds`; a later result goes to `if_late`."""
        if not self._done.wait(None if seconds is None else max(0.0, seconds)):
            with self._lock:
                if not self._done.is_set():
                    self._on_late_result = if_late
                    raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result


def beside(work: Callable[[], T]) -> Callable[[], T]:
    """Begin a piece of work beside what the caller does, on the same connection: libvirt takes calls from several threads
    and answers a few at a time. What is returned waits for the result, without a limit of its own, so only work that is
    itself carried out by a `Connection` may use it: that is given up as a whole."""
    call = _Call(work)
    return lambda: call.result(None)


class Connection:
    """An open connection. Raises `Unreachable` or `LoginRefused` when none can be made."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._uri = checked_uri(login.address)
        self._open: Any = None
        self._closed = False
        self._connect(time.monotonic() + login.timeout_seconds)

    @property
    def is_local(self) -> bool:
        """Whether the daemon runs on this computer, so that its files may be readable here."""
        return not urlsplit(self._uri).hostname and self._uri.startswith("qemu")

    def read(self, work: Callable[[Any], T], until: float | None = None, after_change: bool = False) -> T:
        """Run reading calls on the connection; reconnect and repeat once if it breaks.

        Waiting ends at `until` (a time of `time.monotonic`), else after the login's timeout. `after_change` says that
        something was changed just before: then a connection that cannot be made again leaves its outcome unknown.
        Otherwise whatever goes wrong here has changed nothing.
        """
        if until is None:
            until = time.monotonic() + self._login.timeout_seconds
        try:
            try:
                return self._run(work, until)
            except ConnectionLost:
                self._forget()
                return self._run(work, until)
        except (Unreachable, LoginRefused, TimedOut) as error:
            if after_change and error.outcome_known:
                raise ConnectionLost(
                    f"The connection was lost before the outcome could be seen. {error.detail}"
                ) from error
            error.outcome_known = not after_change
            raise

    def change(self, work: Callable[[Any], T], until: float) -> T:
        """Run a changing call, never twice. `until` is the time of `time.monotonic` at which waiting ends."""
        return self._run(work, until)

    def close(self) -> None:
        """Give the connection back; bounded, because even closing asks the daemon. What comes after is refused."""
        self._closed = True
        self._forget()

    def _run(self, work: Callable[[Any], T], until: float) -> T:
        if self._closed:
            raise Unreachable("The driver was closed.")
        _refuse_when_forked()
        if self._open is None:
            self._connect(until)
        opened = self._open
        try:
            return _Call(lambda: work(opened)).result(until - time.monotonic())
        except TimeoutError:
            self._open = None
            raise TimedOut(
                f"libvirt at {self._uri} has not answered in the time allowed; it may still be working on it."
            ) from None
        except libvirt.libvirtError as error:
            problem = translated(error)
            if isinstance(problem, ConnectionLost):
                self._forget()
            raise problem from error

    def _connect(self, until: float) -> None:
        _refuse_when_forked()
        _start_event_loop()
        try:
            self._open = _Call(self._connected).result(until - time.monotonic(), if_late=_close)
        except TimeoutError:
            raise Unreachable(
                f"libvirt at {self._uri} did not answer within {self._login.timeout_seconds:g} seconds."
            ) from None
        except libvirt.libvirtError as error:
            raise translated_on_connect(error) from error

    def _connected(self) -> Any:
        kinds = [
            libvirt.VIR_CRED_AUTHNAME,
            libvirt.VIR_CRED_USERNAME,
            libvirt.VIR_CRED_PASSPHRASE,
            libvirt.VIR_CRED_NOECHOPROMPT,
        ]
        opened = libvirt.openAuth(self._uri, [kinds, _answer_login, self._login], 0)
        if not self._uri.startswith("test"):
            opened.setKeepAlive(_keepalive_seconds(self._login.timeout_seconds), KEEPALIVE_COUNT)
        return opened

    def _forget(self) -> None:
        opened, self._open = self._open, None
        if opened is None:
            return
        try:
            _Call(lambda: _close(opened)).result(CLOSE_SECONDS)
        except TimeoutError:
            return  # The daemon does not answer; keepalive ends the connection and the thread.


def _close(opened: Any) -> None:
    try:
        opened.close()
    except libvirt.libvirtError:
        return  # It was broken already, and there is nothing left to give back.


def _keepalive_seconds(timeout: float) -> int:
    """Between keepalive messages. With the usual timeout of 30 s a silent daemon is given up after 35 s."""
    return max(1, min(5, int(timeout / KEEPALIVE_COUNT)))


def _answer_login(credentials: list[list[Any]], login: Login) -> int:
    """libvirt asks for names and passwords one by one; an answer we do not have refuses the login."""
    for credential in credentials:
        named = credential[0] in (libvirt.VIR_CRED_AUTHNAME, libvirt.VIR_CRED_USERNAME)
        credential[4] = login.username if named else login.password
        if not credential[4]:
            return -1
    return 0


def checked_uri(address: str) -> str:
    """The libvirt URI to open. Raises `Unreachable` for one that this driver does not take.

    `qemu[+transport]://host/system` or `/session`, or `test:///default`. Parameters that start a program on this
    computer are refused: whoever may add an endpoint need not be someone who may log in here. SSH never asks on a
    terminal.
    """
    parts = urlsplit(address.strip())
    kind, _, transport = parts.scheme.partition("+")
    if kind not in ("qemu", "test"):
        raise Unreachable(
            f"“{address}” is not an address of a KVM host: it begins like qemu:///system or qemu+tls://host.example/system."
        )
    parameters = parse_qsl(parts.query)
    if transport == "ext" or any(key == "command" for key, _ in parameters):
        raise Unreachable("An address that starts a program of its own (+ext, command=) is not allowed.")
    if kind == "qemu" and parts.path not in ("/system", "/session"):
        raise Unreachable(f"“{address}” names no libvirt daemon: the path has to be /system or /session.")
    if transport in ("ssh", "libssh", "libssh2") and "no_tty" not in dict(parameters):
        parameters.append(("no_tty", "1"))
        return urlunsplit(SplitResult(parts.scheme, parts.netloc, parts.path, urlencode(parameters), ""))
    return address.strip()

"""One session with one vCenter or ESXi host. Every call of the driver goes through `Connection.read` or `.change`.

The session belongs to one driver object, in one process and one thread at a time: nothing is kept in pyvmomi's global
`SmartConnect`, the property collector is the session's own, and both are given back at the end. Idle sessions die on the
server (after half an hour on vCenter, and whenever it starts anew), so a call that finds its session gone logs in again,
once; such a call was not carried out, and only therefore it may be sent again. A refused password is not tried twice: the
server would lock the account.

Reads reconnect once. Calls that change something are never repeated after the connection broke.
"""

import logging
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pyVmomi import vim, vmodl

from hypervisors.driver import Login
from hypervisors.drivers.certificates import trusting
from hypervisors.drivers.vmware.errors import kind_of, moref, translated
from hypervisors.drivers.vmware.soap import Stub, newest_common_version
from hypervisors.drivers.vmware.wire import Wire
from hypervisors.errors import (
    ConnectionLost,
    HypervisorError,
    LoginRefused,
    NotPermitted,
    OutOfReach,
    TimedOut,
    Unreachable,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

SDK_PATH = "/sdk"
CLOSE_SECONDS = 3.0
NAME_SECONDS = 3.0

# A property's value comes with its own type, and nothing keeps a broken server from sending another than is due.
_WRONG_VALUES = (AttributeError, TypeError, ValueError, LookupError, ArithmeticError)

_IN_VIEW = (vim.VirtualMachine, vim.Folder, vim.Datacenter, vim.ResourcePool, vim.Datastore)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def address_of(text: str) -> Address:
    """The place an address names: `host`, `host:port`, `https://host[:port][/sdk]`. Raises `Unreachable` for others."""
    wrong = Unreachable(
        f"“{text}” is not an address of a vSphere server: it looks like vcenter.example or https://esxi:443."
    )
    text = text.strip()
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname, 443 if parts.port is None else parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme == "http":
        raise Unreachable("A vSphere server is reached by https only: the password would be sent in the clear.")
    unused = parts.query or parts.fragment or parts.username is not None
    if (
        parts.scheme != "https"
        or not host
        or not port
        or unused
        or parts.path not in ("", "/", SDK_PATH, SDK_PATH + "/")
    ):
        raise wrong
    return Address(host, port)


def trust_for(login: Login, address: Address) -> ssl.SSLContext:
    """Which certificates are taken. Always a context of our own: pyvmomi silently checks nothing for local addresses when
    it is given none. Raises `Unreachable` for certificates that cannot be read."""
    if login.insecure:
        log.warning("The certificate of %s is not checked: the endpoint is set to insecure.", address)
        return trusting("", insecure=True)
    try:
        return trusting(login.ca_certificate, insecure=False)
    except (ssl.SSLError, ValueError) as error:
        raise Unreachable(
            "The certificate of the authority that was entered with the endpoint cannot be read: it has to be PEM text."
        ) from error


class Connection:
    """An open session. Raises `Unreachable`, `LoginRefused` or `TimedOut` when none comes about."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._process = os.getpid()
        self._closed = False
        self._refused = ""
        self._logged_in = False
        self.address = address_of(login.address)
        self.content: Any = None
        self.collector: Any = None
        self.session_key = ""
        self._view: Any = None
        self.generation = 0
        """Counts the logins: what lives in a session (views, filters) is good for one generation only."""
        self._wire = Wire(self.address.host, self.address.port, trust_for(login, self.address))
        until = time.monotonic() + login.timeout_seconds
        try:
            self.version = newest_common_version(self._wire, SDK_PATH, until)
            self._stub = Stub(self._wire, SDK_PATH, self.version)
            self._guarded(until, self._log_in)
        except (LoginRefused, TimedOut) as error:
            self._wire.drop()
            error.outcome_known = True
            raise
        except HypervisorError as error:
            self._wire.drop()
            raise Unreachable(error.detail) from error

    @property
    def timeout(self) -> float:
        """How long one read may take, in seconds."""
        return self._login.timeout_seconds

    def until(self, latest: float = float("inf")) -> float:
        """The time of `time.monotonic` at which a read that begins now has to end: after the login's timeout, and no later
        than `latest`."""
        return min(latest, time.monotonic() + self.timeout)

    def read(self, work: Callable[[], T], until: float | None = None, after_change: bool = False) -> T:
        """Run reading calls; reconnect and repeat once if the connection breaks.

        Waiting ends at `until`, else after the login's timeout. `after_change` says that something was changed just
        before: then a connection that cannot be made again leaves its outcome unknown. Otherwise whatever goes wrong has
        changed nothing.
        """
        until = self.until() if until is None else until
        try:
            try:
                return self._guarded(until, work)
            except ConnectionLost:
                return self._guarded(until, work)
        except _WRONG_VALUES as error:
            log.exception("What %s answered could not be used", self.address)
            told = HypervisorError(f"The server at {self.address} answered with values that cannot be used.")
            told.outcome_known = not after_change
            raise told from error
        except (Unreachable, LoginRefused, TimedOut) as error:
            of_the_connection = not isinstance(error, OutOfReach | NotPermitted)
            if after_change and error.outcome_known and of_the_connection:
                raise ConnectionLost(
                    f"The connection was lost before the outcome could be seen. {error.detail}"
                ) from error
            error.outcome_known = not after_change
            raise

    def change(self, call: Callable[[], T], until: float) -> T:
        """Run one changing call, which is sent once. Waiting for its answer ends at `until`."""
        return self._guarded(self.until(until), call)

    @property
    def view(self) -> Any:
        """A view of everything in the inventory, made once per session."""
        if self._view is None:
            self._view = self.content.viewManager.CreateContainerView(self.content.rootFolder, list(_IN_VIEW), True)
        return self._view

    def managed(self, kind: type, value: str) -> Any:
        """The object of this reference."""
        return kind(value, self._stub)

    def close(self) -> None:
        """Give collector and session back, in bounded time. What comes after is refused."""
        if self._closed or os.getpid() != self._process:
            return
        self._closed = True
        if self._logged_in:
            self._stub.until = time.monotonic() + min(CLOSE_SECONDS, self.timeout)
            try:
                self.collector.DestroyPropertyCollector()
                self.content.sessionManager.Logout()
            except (HypervisorError, vmodl.MethodFault) as error:
                log.info(
                    "The session at %s was not given back (%s); it ends by itself.", self.address, type(error).__name__
                )
        self._wire.drop()

    def _guarded(self, until: float, work: Callable[[], T]) -> T:
        """Run calls that end at `until`, in a session; log in again once if the session is gone."""
        if self._closed or os.getpid() != self._process:
            raise Unreachable("The driver was closed, or belongs to another process.")
        self._stub.until = until
        try:
            try:
                self._log_in()
                return work()
            except vim.fault.NotAuthenticated:
                self._logged_in = False
                self._log_in()
                return work()
        except vmodl.MethodFault as fault:
            raise translated(fault, self._name_in(fault)) from fault

    def _log_in(self) -> None:
        if self._logged_in:
            return
        if self._refused:
            raise LoginRefused(self._refused)
        self._wire.cookie = ""
        content = vim.ServiceInstance("ServiceInstance", self._stub).RetrieveContent()
        if content is None or None in (
            content.sessionManager,
            content.propertyCollector,
            content.viewManager,
            content.searchIndex,
            content.rootFolder,
        ):
            raise ConnectionLost(f"{self.address} is not a vSphere server that one can log in to.")
        try:
            # The library's own log-in reads `currentSession` first, which needs a right that a login need not have.
            session = content.sessionManager.Login(self._login.username, self._login.password, None)
        except vim.fault.InvalidLogin as fault:
            self._refused = translated(fault).detail
            raise
        self.content, self.session_key = content, str(session.key)
        self.collector = content.propertyCollector.CreatePropertyCollector()
        self._view = None
        self._logged_in = True
        self.generation += 1

    def _name_in(self, fault: Any) -> str:
        """The name of what a refusal speaks of, where it can be had quickly."""
        place = getattr(fault, "object", None)
        if not isinstance(fault, vim.fault.NoPermission) or place is None or not self._logged_in:
            return ""
        wanted = vmodl.query.PropertyCollector.FilterSpec(
            objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=place)],
            propSet=[vmodl.query.PropertyCollector.PropertySpec(type=vim.ManagedEntity, pathSet=["name"])],
        )
        self._stub.until = min(self._stub.until, time.monotonic() + NAME_SECONDS)
        try:
            seen = self.collector.RetrievePropertiesEx([wanted], vmodl.query.PropertyCollector.RetrieveOptions())
            name = seen.objects[0].propSet[0].val
        except (HypervisorError, vmodl.MethodFault, AttributeError, IndexError):
            log.info("No name for %s %s", kind_of(place), moref(place))
            return ""
        return f"“{name}” ({moref(place)})"

"""One session at a XenAPI server: the official client over our transport, on which no call waits for ever.

Reads are repeated once when the connection breaks. Calls that change something are never repeated, with one exception
that is none: the client logs in again by itself when the server says that the session is invalid, and asks once more,
since the first time nothing was done.

A pool answers at its coordinator only; its other hosts name the coordinator and refuse. That name is followed, once, if
the endpoint's settings list it or it is the address itself, and over a connection whose certificate is verified
there too. Otherwise nothing, and above all no password, goes there.

Only the files of the XenServer driver enter here.
"""

import logging
import re
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import XenAPI

from hypervisors.driver import Login
from hypervisors.drivers.xenserver.answers import Keep
from hypervisors.drivers.xenserver.errors import TROUBLE, translated
from hypervisors.drivers.xenserver.transport import (
    BULK_ANSWER_BYTES,
    USUAL_ANSWER_BYTES,
    Bounds,
    Transport,
    tls_context,
)
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

API_VERSION = "1.0"
ORIGINATOR = "VMSnap"
"""Under this name the server counts our sessions: it ends the oldest when one name has too many."""
BULK_PATIENCE = 4
"""A bulk read may take as many times the endpoint's timeout: the server needs seconds to write thousands of records. A
silence in it may last one timeout like any other."""
CLOSE_SECONDS = 2.0

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens; `host` as it stands in an address, in lower case, with brackets around IPv6."""

    host: str
    port: int = 443

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def place_of(address: str, port: int = 443) -> Place:
    """The place that `host`, `host:port` or `https://host[:port]` means. Raises ValueError for anything else."""
    text = address.strip()
    if not text.isascii() or not text.isprintable():
        raise ValueError(address)
    if text.count(":") > 1 and "[" not in text and "/" not in text:
        text = f"[{text}]"
    parts = urlsplit(text if "://" in text else f"https://{text}")
    host, _, _ = parts.netloc.rpartition(":") if re.search(r":\d*$", parts.netloc) else (parts.netloc, "", "")
    if parts.scheme != "https" or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(address)
    if not _HOST.fullmatch(host):
        raise ValueError(address)
    return Place(host.lower().rstrip("."), parts.port or port)


def checked_place(address: str) -> Place:
    """The place of an endpoint. Raises `Unreachable` for an address of another form."""
    try:
        return place_of(address)
    except ValueError:
        raise Unreachable(
            f"“{address}” is not an address of a XenServer pool: it looks like xen-1.example or https://xen-1.example:443."
        ) from None


def allowed_redirect(named: str, come_from: Place, allowed_hosts: tuple[str, ...]) -> Place:
    """Where the coordinator is, by what a member of the pool calls it. Raises `Unreachable` unless that is allowed.

    An allowed host without a port stands for the port of the endpoint's own address.
    """
    try:
        wanted = place_of(named, come_from.port)
    except ValueError:
        raise Unreachable(
            "The host belongs to a pool, and what it calls the pool's coordinator is no address."
        ) from None
    allowed = {come_from}
    for text in allowed_hosts:
        try:
            allowed.add(place_of(text, come_from.port))
        except ValueError:
            continue  # It cannot match anything; the form where it is entered says so.
    if wanted not in allowed:
        raise Unreachable(
            f"The host belongs to a pool whose coordinator is {wanted.host}, and that is not among the hosts to which this "
            "endpoint may send us. Connect the coordinator itself, or add it to the allowed hosts."
        )
    return wanted


class Session:
    """A session that is logged in. Raises `Unreachable`, `LoginRefused` or `TimedOut` when none comes about."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._place = checked_place(login.address)
        try:
            self._tls = tls_context(login.ca_certificate, login.insecure)
        except (ssl.SSLError, ValueError) as error:
            raise LoginRefused(
                "What is stored as the endpoint's certificates cannot be read as certificates (PEM)."
            ) from error
        self._transport = Transport(self._tls)
        self._client: Any = None
        self._closed = False
        self._connect(time.monotonic() + login.timeout_seconds)

    @property
    def timeout(self) -> float:
        """How long an ordinary call may take, in seconds."""
        return self._login.timeout_seconds

    @property
    def handle(self) -> str:
        """The server's reference of this session."""
        return str(self._client.handle) if self._client is not None else ""

    def read(
        self,
        message: str,
        *params: Any,
        until: float | None = None,
        keep: Keep | None = None,
        bulk: bool = False,
        after_change: bool = False,
        quiet: float = 0.0,
    ) -> Any:
        """Ask for something that changes nothing; once more if the connection breaks.

        Waiting ends at `until` (a time of `time.monotonic`), else after the login's timeout, or several of them for a
        `bulk` read. `after_change` says that something was changed just before: then a connection that cannot be made
        again leaves its outcome unknown. Otherwise whatever goes wrong here has changed nothing. For `quiet` seconds more
        than the timeout the server may say nothing at all.
        """
        if until is None:
            until = time.monotonic() + self.timeout * (BULK_PATIENCE if bulk else 1)
        most = BULK_ANSWER_BYTES if bulk else USUAL_ANSWER_BYTES
        try:
            try:
                return self._ask(message, params, Bounds(until, keep, most, self.timeout + quiet))
            except (ConnectionLost, Unreachable):
                return self._ask(message, params, Bounds(until, keep, most, self.timeout + quiet))
        except (Unreachable, LoginRefused, TimedOut) as error:
            if after_change and not isinstance(error, OutOfReach | NotPermitted):
                raise ConnectionLost(
                    f"The connection was lost before the outcome could be seen. {error.detail}"
                ) from error
            error.outcome_known = not after_change
            raise

    def change(self, message: str, *params: Any, until: float) -> Any:
        """Ask for a change, never twice. Ends at `until` or after the login's timeout: what takes long is a task."""
        until = min(until, time.monotonic() + self.timeout)
        return self._ask(message, params, Bounds(until, silence=self.timeout))

    def close(self) -> None:
        """Give the session back, for the server counts them. What comes after is refused. Never raises."""
        self._closed = True
        client, self._client = self._client, None
        if client is None or not self._transport.connected:
            return
        try:
            self._transport.prepare(Bounds(time.monotonic() + CLOSE_SECONDS, silence=CLOSE_SECONDS))
            client.xenapi.session.logout()
        except TROUBLE as error:
            log.info(
                "The session at %s was not given back (%s); it ends after a day.", self._place, type(error).__name__
            )
        finally:
            self._transport.close()

    def _ask(self, message: str, params: tuple[Any, ...], bounds: Bounds) -> Any:
        if self._closed:
            raise Unreachable("The driver was closed.")
        if time.monotonic() >= bounds.until:
            raise TimedOut("The time allowed was over before XenServer could be asked.")
        if self._client is None:
            self._connect(bounds.until)
        self._transport.prepare(bounds)
        try:
            return self._client.xenapi_request(message, params)
        except TROUBLE as error:
            problem = translated(error, self._transport.sent)
            if _sent_elsewhere(error):
                self._client = None  # The next call logs in anew, wherever the coordinator is by then.
            raise problem from error

    def _connect(self, until: float) -> None:
        try:
            self._client = self._logged_in(self._place, until)
        except _SentElsewhere as member:
            coordinator = allowed_redirect(member.named, self._place, self._login.redirect_hosts)
            try:
                self._client = self._logged_in(coordinator, until)
            except _SentElsewhere:
                raise Unreachable(
                    f"{self._place.host} says that {coordinator.host} is the pool's coordinator, which says it is not."
                ) from None

    def _logged_in(self, place: Place, until: float) -> Any:
        transport = self._transport
        transport.close()
        client = XenAPI.Session(f"https://{place}", transport=transport)
        transport.prepare(Bounds(until, silence=self.timeout))
        try:
            client.login_with_password(self._login.username, self._login.password, API_VERSION, ORIGINATOR)
        except TROUBLE as error:
            if _sent_elsewhere(error):
                details = error.details  # type: ignore[union-attr]  # Only a Failure sends elsewhere.
                raise _SentElsewhere(str(details[1]) if len(details) > 1 else "") from error
            raise _on_login(translated(error, self._transport.sent)) from error
        return client


class _SentElsewhere(Exception):
    """A member of a pool named the coordinator."""

    def __init__(self, named: str) -> None:
        super().__init__(named)
        self.named = named


def _sent_elsewhere(error: BaseException) -> bool:
    return isinstance(error, XenAPI.Failure) and bool(error.details) and error.details[0] == "HOST_IS_SLAVE"


def _on_login(problem: HypervisorError) -> HypervisorError:
    """At the login nothing is changed, whatever goes wrong."""
    if isinstance(problem, (ConnectionLost, TimedOut)):
        return Unreachable(problem.detail)
    problem.outcome_known = True
    return problem

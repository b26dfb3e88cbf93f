"""How requests of the XenAPI client reach the server: TLS that is verified, and bounds on everything.

The client's own transport takes neither certificates nor timeouts. This one

- trusts the system's authorities and the endpoint's own certificates, and checks the server's name; giving that up is an
  explicit choice of the endpoint, and each connection made so is logged;
- ends connecting, each silence of the server, and each call as a whole, by a clock that a slow drip cannot wind back;
- sends each request once. The standard library's sends it again when the server has closed a connection kept open, also
  when the request changes something and may have been carried out. Here such a connection is noticed beforehand, as far
  as that can be seen; what breaks later is told;
- follows no redirection, takes no compressed answers, and reads answers only up to a size.

Only `session` enters here.
"""

import http.client
import logging
import select
import socket
import ssl
import time
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hypervisors.drivers.certificates import trusting
from hypervisors.drivers.xenserver.answers import AnswerReader, BrokenAnswer, Keep

log = logging.getLogger(__name__)

USUAL_ANSWER_BYTES = 16 << 20
BULK_ANSWER_BYTES = 512 << 20
"""A serialised machine is in the record of each snapshot: about 15 KB for one, times all snapshots of a pool."""
_PIECE = 256 << 10
_FAR = float("inf")


def tls_context(ca_certificate: str, insecure: bool) -> ssl.SSLContext:
    """The rules for the server's certificate, for sockets that are bounded. Raises as `trusting`."""
    context = trusting(ca_certificate, insecure)
    context.sslsocket_class = _BoundedSocket
    return context


class _BoundedSocket(ssl.SSLSocket):
    """A TLS socket on which no wait goes on after `until` (a time of `time.monotonic`), nor longer than `silence`."""

    until = _FAR
    silence = 30.0

    def _allow(self) -> None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time allowed for the call is over")
        self.settimeout(min(left, self.silence))

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._allow()
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._allow()
        return super().send(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one call may take: until when (a time of `time.monotonic`), how many bytes of answer, how long a silence of the
    server in it, in seconds; and which fields of the answer are kept."""

    until: float
    keep: Keep | None = None
    most: int = USUAL_ANSWER_BYTES
    silence: float = 30.0


class _Connection(http.client.HTTPSConnection):
    """One connection, made within the bounds of the call that needs it."""

    def __init__(self, host: str, context: ssl.SSLContext, bounds: Bounds) -> None:
        super().__init__(host, context=context, timeout=bounds.silence)
        self._tls = context
        self._bounds = bounds
        self.answered = False

    def connect(self) -> None:
        plain = self._plain_socket()
        try:
            plain.settimeout(self._left())
            opened = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise
        self.sock = opened
        self.allow(self._bounds)

    def allow(self, bounds: Bounds) -> None:
        """Bound what comes next."""
        self._bounds = bounds
        if isinstance(self.sock, _BoundedSocket):
            self.sock.until, self.sock.silence = bounds.until, bounds.silence

    def gone_cold(self) -> bool:
        """Whether the server said something while nobody asked: most often that it has closed the connection. Right after
        the beginning there is something to read in any case, tickets to come back with."""
        if self.sock is None or not self.answered:
            return False
        try:
            readable, _, _ = select.select([self.sock], [], [], 0)
        except (OSError, ValueError):
            return True
        return bool(readable)

    def _plain_socket(self) -> socket.socket:
        problem: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            plain = socket.socket(family, kind, protocol)
            try:
                plain.settimeout(self._left())
                plain.connect(address)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                plain.close()
                problem = error
            else:
                return plain
        raise problem or OSError("the name has no address")

    def _left(self) -> float:
        left = min(self._bounds.until - time.monotonic(), self._bounds.silence)
        if left <= 0:
            raise TimeoutError("the time allowed for the call is over")
        return left


class Transport(xmlrpc.client.SafeTransport):
    """Carries the requests of one client. Before each, `prepare` says what bounds it has.

    `sent` tells afterwards whether any of the last request went out: if not, nothing was asked for.
    """

    accept_gzip_encoding = False
    user_agent = "VMSnap"

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._tls = context
        self._bounds = Bounds(_FAR)
        self.sent = False

    def prepare(self, bounds: Bounds) -> None:
        """Bound the requests that come next."""
        self._bounds = bounds
        self.sent = False

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as is known here."""
        connection = self._connection[1]
        return isinstance(connection, _Connection) and connection.sock is not None

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Send the request once, unlike the method of the same name that this replaces."""
        return self.single_request(host, handler, request_body, verbose)

    def single_request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        self.sent = False
        try:
            connection = self.make_connection(host)
            if connection.sock is None:
                connection.connect()
            self.sent = True
            # Carriage returns would not survive the reading of XML on the other side.
            asked = self.send_request(host, handler, request_body.replace(b"\r", b"&#13;"), False)
            answer = self.parse_response(asked.getresponse())
        except BaseException:
            # The rest of the answer may still be under way: the connection cannot be used again.
            self.close()
            raise
        if isinstance(asked, _Connection):
            asked.answered = True
        return answer

    def make_connection(self, host: Any) -> _Connection:
        known, connection = self._connection
        if isinstance(connection, _Connection) and host == known and not connection.gone_cold():
            connection.allow(self._bounds)
            return connection
        self.close()
        if self._tls.verify_mode == ssl.CERT_NONE:
            log.warning("The certificate of %s is not checked: its endpoint is set to be insecure.", host)
        made = _Connection(host, self._tls, self._bounds)
        self._connection = host, made
        self._extra_headers: list[tuple[str, str]] = []
        return made

    def parse_response(self, response: Any) -> Any:
        if response.status != 200:
            raise xmlrpc.client.ProtocolError("", response.status, response.reason, {})
        if response.getheader("Content-Encoding", "identity") != "identity":
            raise BrokenAnswer("it is compressed although nobody asked for that")
        reader = AnswerReader(self._bounds.keep)
        for piece in _pieces(response, self._bounds.most):
            reader.feed(piece)
        kind, value = reader.finish()
        return (_checked_envelope(kind, value),)


def _pieces(response: Any, most: int) -> Iterable[bytes]:
    length = response.length
    if length is not None and length > most:
        raise BrokenAnswer(f"it is larger than {most >> 20} MiB")
    read = 0
    while piece := response.read(_PIECE):
        read += len(piece)
        if read > most:
            raise BrokenAnswer(f"it is larger than {most >> 20} MiB")
        yield piece


def _checked_envelope(kind: str, value: Any) -> dict[str, Any]:
    """What every answer of XenAPI is wrapped in. The client takes its form for granted."""
    if kind == "fault":
        fault = value if isinstance(value, dict) else {}
        raise xmlrpc.client.Fault(fault.get("faultCode", 0), str(fault.get("faultString", "")))
    if isinstance(value, dict):
        if value.get("Status") == "Success" and "Value" in value:
            return value
        description = value.get("ErrorDescription")
        if value.get("Status") == "Failure" and isinstance(description, list) and description:
            return {"Status": "Failure", "ErrorDescription": [str(part) for part in description]}
    raise BrokenAnswer("it is not wrapped as XenAPI wraps its answers")

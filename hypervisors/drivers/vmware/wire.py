"""HTTP over TLS to one vSphere endpoint, on which nothing is endless: neither a call nor an answer.

pyvmomi's own adapter bounds each single read from the socket only, so that a server which sends a byte now and then
holds it for ever; it unpacks compressed answers of any size, and its session stub sends a call again after a broken
connection, whatever the call changes. So the way to the server is our own: every exchange has one time at which it ends,
whatever it is waiting for, and a number of bytes after which an answer is too large. Nothing is sent twice here, and no
redirection is followed. Only the vSphere driver's files enter.
"""

import http.client
import io
import re
import select
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from hypervisors.errors import ConnectionLost, HypervisorError, LoginRefused, TimedOut, Unreachable

ANSWER_BYTES = 64 << 20
"""One answer may be this long. 1,000 machines with 5 snapshots each come in about 15 MB where the server knows no pages."""

# A server closes connections that were idle; one that was used just now is taken for alive (see `Wire._ready`).
_IDLE_SECONDS = 2.0
_COOKIE = re.compile(r'vmware_soap_session=("?[!#-+\--:<-\[\]-~]{1,4000}"?)')


class _TooLarge(Exception):
    """The answer has more bytes than an answer may have."""


class _Stream(io.RawIOBase):
    """The reading end of a socket: all reading ends at one time, and after so many bytes."""

    def __init__(self, sock: ssl.SSLSocket, until: float, left: int) -> None:
        self._sock, self._until, self._left = sock, until, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no slices
        if self._left <= 0:
            raise _TooLarge
        self._sock.settimeout(_seconds_left(self._until))
        read = self._sock.recv_into(memoryview(buffer)[: self._left])
        self._left -= read
        return read


class _BoundedSocket:
    """What `http.client` needs of a socket, bounded."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.until = 0.0

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self.sock, self.until, ANSWER_BYTES), 1 << 16)

    def sendall(self, data: bytes) -> None:
        self.sock.settimeout(_seconds_left(self.until))
        self.sock.sendall(data)

    def close(self) -> None:
        """`http.client` lets go of the socket when an answer ends with the connection, before that has been read. It is
        closed by `Wire.drop`."""


class Answer:
    """An answer whose head has arrived."""

    def __init__(self, wire: "Wire", response: http.client.HTTPResponse) -> None:
        self._wire, self._response = wire, response
        self.status = response.status

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece. Raises as `Wire.exchange`."""
        with self._wire.translated():
            while chunk := self._response.read(1 << 16):
                yield chunk


class Wire:
    """A kept connection to one server. One thread at a time uses it."""

    def __init__(self, host: str, port: int, trust: ssl.SSLContext) -> None:
        self.host, self.port = host, port
        self.cookie = ""
        self._trust = trust
        self._connection: http.client.HTTPConnection | None = None
        self._socket: _BoundedSocket | None = None
        self._used_at = 0.0

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    def exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str], until: float) -> Answer:
        """Send one request and read the head of its answer.

        Raises `Unreachable` or `LoginRefused` (certificate) when no connection came about, `ConnectionLost` or `TimedOut`
        once the request may have been read.
        """
        connection = self._ready(until)
        with self.translated():
            connection.request(method, path, body, {**headers, **({"Cookie": self.cookie} if self.cookie else {})})
            response = connection.getresponse()
            self._keep_cookie(response)
            if response.status in (301, 302, 303, 307, 308):
                raise ConnectionLost(f"The server at {self.place} sends elsewhere, and that is not followed.")
            if response.getheader("Content-Encoding", "identity").lower() != "identity":
                raise ConnectionLost(f"The server at {self.place} answers in a form that was not asked for.")
        return Answer(self, response)

    def drop(self) -> None:
        """Close the connection; the next exchange makes a new one."""
        if self._connection is not None:
            self._connection.close()
        if self._socket is not None:
            self._socket.sock.close()
        self._connection = self._socket = None

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise what breaks an exchange as our own errors, and drop the connection, whatever it was."""
        try:
            yield
        except BaseException as error:
            self.drop()
            told = self._told(error)
            if told is None:
                raise
            raise told from error
        self._used_at = time.monotonic()

    def _told(self, error: BaseException) -> HypervisorError | None:
        if isinstance(error, HypervisorError):
            return None
        if isinstance(error, TimeoutError):
            return TimedOut(
                f"The server at {self.place} has not answered in the time allowed; it may still be working."
            )
        if isinstance(error, _TooLarge):
            return ConnectionLost(f"The server at {self.place} sent more than an answer may hold.")
        if isinstance(error, OSError | http.client.HTTPException | ValueError):
            return ConnectionLost(f"The connection to {self.place} broke during the call: {plain(error)}.")
        return None

    def _keep_cookie(self, response: http.client.HTTPResponse) -> None:
        for header in response.headers.get_all("Set-Cookie") or ():
            if found := _COOKIE.match(header.strip()):
                self.cookie = found.group(0)

    def _ready(self, until: float) -> http.client.HTTPConnection:
        """The connection, made anew where the server may have closed it meanwhile: what is sent into a closed one is lost,
        and nobody could say whether it was read."""
        if self._connection is not None and self._socket is not None:
            idle = time.monotonic() - self._used_at
            ended = self._connection.sock is None
            if ended or idle > _IDLE_SECONDS or select.select([self._socket.sock], [], [], 0)[0]:
                self.drop()
        if self._connection is None or self._socket is None:
            self._socket = _BoundedSocket(self._connected(until))
            self._connection = http.client.HTTPConnection(self.host, self.port)
            self._connection.auto_open = 0
            self._connection.sock = cast(socket.socket, self._socket)
        self._socket.until = until
        return self._connection

    def _connected(self, until: float) -> ssl.SSLSocket:
        try:
            places = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"The name {self.host} cannot be resolved: {plain(error)}.") from error
        problem = Unreachable(f"The name {self.host} has no address.")
        for family, kind, protocol, _, address in places:
            try:
                return self._secured(family, kind, protocol, address, until)
            except ssl.SSLCertVerificationError as error:
                raise LoginRefused(self._about_certificate(error)) from error
            except ssl.SSLError as error:
                problem = Unreachable(f"{self.place} does not speak TLS as expected: {plain(error)}.")
            except TimeoutError:
                problem = Unreachable(f"{self.place} did not answer in the time allowed.")
            except OSError as error:
                problem = Unreachable(f"No connection to {self.place}: {plain(error)}.")
        raise problem

    def _secured(
        self, family: int, kind: int, protocol: int, address: tuple[object, ...], until: float
    ) -> ssl.SSLSocket:
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(_seconds_left(until))
            opened.connect(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The timeout of a handshake is one for all of it, not for each read.
            opened.settimeout(_seconds_left(until))
            return self._trust.wrap_socket(opened, server_hostname=self.host)
        except BaseException:
            opened.close()
            raise

    def _about_certificate(self, error: ssl.SSLCertVerificationError) -> str:
        why = str(error.verify_message or plain(error)).rstrip(".")
        return (
            f"The certificate of {self.place} was not accepted: {why}. Check the host name in the address, or enter the "
            "certificate of the authority that signed it with the endpoint."
        )


def plain(error: BaseException) -> str:
    """The error's words on one line."""
    words = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())[:300].rstrip(".")


def _seconds_left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left

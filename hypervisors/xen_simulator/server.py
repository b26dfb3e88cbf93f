"""HTTPS in front of the pool: XenAPI by XML-RPC at `/` and `/RPC2`, the control door at `/simulator`.

Bounded: how many connections at once, how long a request may be and take. Wrong input costs its sender an answer and
nobody else anything.
"""

import io
import os
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from hypervisors.xen_simulator import control, dispatch, wire
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.faults import AT_ANSWER, Rule
from hypervisors.xen_simulator.model import ASYNC, find_message
from hypervisors.xen_simulator.pool import Pool

LONGEST_REQUEST = 8 << 20
HANDSHAKE_SECONDS = 60.0
IDLE_SECONDS = 300.0
CONNECTIONS_MOST = 128
CHUNK = 1 << 16


class LostConnection(Exception):
    """The connection is not to be used any more."""


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One thread per connection; the TLS handshake is its first act, so that a slow one holds nobody up."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], pool: Pool, token: str, context: ssl.SSLContext) -> None:
        self.pool = pool
        self.token = token
        self.context = context
        self._places = threading.BoundedSemaphore(CONNECTIONS_MOST)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, or close it when there are too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handshake, then serve."""
        try:
            request.settimeout(HANDSHAKE_SECONDS)
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:  # no TLS, a certificate that the client does not want, or nothing at all
                self.shutdown_request(request)
                return
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError | LostConnection):
            super().handle_error(request, client_address)


class PatientReader(io.RawIOBase):
    """Reads a connection: it may be idle for a while between requests, but each request has to come in in time, however
    many small pieces it is sent in."""

    def __init__(self, connection: socket.socket, request_seconds: float) -> None:
        self._connection = connection
        self._request_seconds = request_seconds
        self._deadline: float | None = None

    def expect_request(self) -> None:
        """The next byte is the first of a new request."""
        self._deadline = None

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there. Raises TimeoutError when it is too late."""
        left = IDLE_SECONDS if self._deadline is None else self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        if self._deadline is None:
            self._deadline = time.monotonic() + self._request_seconds
        return count


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "vmsnap-xen-simulator"
    wbufsize = -1  # head and body go out together

    def setup(self) -> None:
        """Read with a deadline for each request, write with one for each piece."""
        super().setup()
        self._reader = PatientReader(self.connection, self.server.pool.settings.request_seconds)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        """One request; one that does not come in in time ends the connection."""
        self._reader.expect_request()
        super().handle_one_request()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the control door tells what was called."""

    def do_POST(self) -> None:
        """A call."""
        body = self._body()
        if body is None:
            return
        if self.path == control.PATH:
            status, answer = control.answer(self.server.pool, self.server.token, self.headers, body)
            self._send(status, answer, "application/json")
        elif self.path in ("/", "/RPC2"):
            self._call(body)
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _body(self) -> bytes | None:
        """The request's body within its bounds, or None after an answer that says what was wrong with it."""
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
            return None
        if not 0 <= length <= LONGEST_REQUEST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        body = self.rfile.read(length)
        if len(body) < length:
            raise LostConnection
        self.connection.settimeout(IDLE_SECONDS)  # for the answer
        return body

    def _call(self, body: bytes) -> None:
        try:
            called, params = wire.read_call(body)
        except wire.BadRequest as bad:
            self._send(HTTPStatus.BAD_REQUEST, str(bad).encode(), "text/plain")
            self.close_connection = True
            return
        try:
            answer = wire.success(dispatch.answer(self.server.pool, called, params))
        except XenFailure as failed:
            answer = wire.failure(failed)
        except Exception as error:
            traceback.print_exc()  # a fault of this program: told to both sides, and the server goes on
            answer = wire.failure(XenFailure("INTERNAL_ERROR", f"{type(error).__name__}: {error}"))
        message = find_message(called)
        if message is not None:
            name = (ASYNC if called.startswith(ASYNC) else "") + message.full_name
            if rule := self.server.pool.faults.take(AT_ANSWER, name, None):
                self._spoil(rule, answer)
                return
        self._send(HTTPStatus.OK, answer, "text/xml")

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        self._send(status, status.phrase.encode(), "text/plain")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    # Answers as a broken or hostile server gives them, on request

    def _spoil(self, rule: Rule, answer: bytes) -> None:
        """Give the answer in the way that the rule says, which is a wrong one."""
        self.close_connection = True
        match rule.kind:
            case "die_before_answer":
                os.kill(os.getpid(), signal.SIGKILL)
            case "lose_answer":
                raise LostConnection
            case "garbage":
                self._send(HTTPStatus.OK, b"<?xml version='1.0'?><methodResponse><params><<<\x00", "text/xml")
            case "redirect":
                self.send_response(HTTPStatus.FOUND)
                self.send_header("Location", self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
            case "truncated":
                self._announce(len(answer))
                self.wfile.write(answer[: len(answer) // 2])
            case "huge":
                self._announce(1 << 40)
                self.wfile.write(b"<?xml version='1.0'?><methodResponse><params><param><value><string>")
                while not self.server.pool.stopping.is_set():
                    self.wfile.write(b"x" * CHUNK)
            case "drip":
                self._announce(1 << 40)
                self.wfile.write(b"<?xml version='1.0'?>")
                while not self.server.pool.stopping.wait(0.05):
                    self.wfile.write(b" ")
                    self.wfile.flush()

    def _announce(self, length: int) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(length))
        self.end_headers()


def tls_context(certificate: Path) -> ssl.SSLContext:
    """The server's side of TLS with the certificate in this file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    return context

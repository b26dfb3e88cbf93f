"""A TLS server that answers as badly as a test wants.

Only the tests of the XenServer driver enter.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from hypervisors.driver import Login
from tests.vsphere_simulator.certificates import Certificates

AT_MOST_SECONDS = 30.0
"""For so long at the most it sends what has no end, so that a driver that waits for the end fails its test instead of
hanging it."""
Answer = Callable[[ssl.SSLSocket, bytes, threading.Event], None]
"""Gets the connection, the request, and an event that is set when the test is over."""


def answered(content: bytes, headers: str = "") -> bytes:
    """A whole answer of HTTP."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def wrapped(value: str) -> bytes:
    """A successful answer of XenAPI with this value, given as XML."""
    status = "<member><name>Status</name><value>Success</value></member>"
    struct = f"<struct>{status}<member><name>Value</name><value>{value}</value></member></struct>"
    return f"<methodResponse><params><param><value>{struct}</value></param></params></methodResponse>".encode()


class HostileServer:
    """Serves at 127.0.0.1; each connection in a thread of its own, one request after another."""

    def __init__(self, certificate: Path, key: Path, answer: Answer) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self._answer = answer
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.connections = 0
        self.outlasted = False
        """Whether a driver stayed until the end of what was to have none."""
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._limit = threading.Timer(AT_MOST_SECONDS, self._give_up)
        self._limit.daemon = True

    def __enter__(self) -> Self:
        self._serving.start()
        self._limit.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._limit.cancel()
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)  # Closing alone would not end the waiting for a client.
        self._listening.close()
        self._serving.join(AT_MOST_SECONDS)

    def _give_up(self) -> None:
        self.outlasted = True
        self._over.set()

    def _serve(self) -> None:
        with suppress(OSError):  # shut down at the end of the test
            while True:
                plain, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._converse, args=[plain], daemon=True).start()

    def _converse(self, plain: socket.socket) -> None:
        # Drivers hang up on what they do not like.
        with suppress(OSError), plain, self._tls.wrap_socket(plain, server_side=True) as connection:
            while request := _request(connection):
                self.requests.append(request)
                self._answer(connection, request, self._over)


def _request(connection: ssl.SSLSocket) -> bytes:
    """One request of HTTP, head and body; empty at the end of the connection."""
    read = b""
    while b"\r\n\r\n" not in read:
        piece = connection.recv(65536)
        if not piece:
            return b""
        read += piece
    head, _, body = read.partition(b"\r\n\r\n")
    (length,) = [
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    ]
    while len(body) < length:
        body += connection.recv(65536)
    return head + body


def login_at(server: HostileServer, certificates: Certificates, seconds: float = 20.0) -> Login:
    return Login(
        f"https://{server.address}",
        username="dora",
        password="s3cret",
        timeout_seconds=seconds,
        ca_certificate=certificates.authority_pem(),
    )


def send(*answers: bytes) -> Answer:
    """Answer the requests of each connection with these, one after another; the last one again and again."""
    given = {}
    lock = threading.Lock()

    def answer(connection: ssl.SSLSocket, _request: bytes, _over: threading.Event) -> None:
        with lock:
            count = given["all"] = given.get("all", -1) + 1
        connection.sendall(answers[min(count, len(answers) - 1)])

    return answer

"""A small server for tests that answers as no vSphere server should. It listens on loopback with a certificate of its own;
the test says, call by call, what it sends.

Whatever it sends without end it sends for a bounded time, so that a client that waits for the end fails its test instead
of hanging it.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.vsphere_simulator.certificates import Certificates, make_certificates

AT_MOST_SECONDS = 20.0
CONTENT = """<RetrieveServiceContentResponse xmlns="urn:vim25"><returnval>
<rootFolder type="Folder">group-d1</rootFolder><propertyCollector type="PropertyCollector">collector</propertyCollector>
<viewManager type="ViewManager">views</viewManager><about><name>VMware vCenter Server</name><fullName>a vCenter</fullName>
<vendor>nobody</vendor><version>6.5.0</version><build>1</build><osType>linux</osType><productLineId>vpx</productLineId>
<apiType>VirtualCenter</apiType><apiVersion>6.5</apiVersion></about>
<sessionManager type="SessionManager">sessions</sessionManager><searchIndex type="SearchIndex">index</searchIndex>
</returnval></RetrieveServiceContentResponse>"""
LOGIN = """<LoginResponse xmlns="urn:vim25"><returnval><key>k</key><userName>u</userName><fullName>u</fullName>
<loginTime>2026-01-01T00:00:00Z</loginTime><lastActiveTime>2026-01-01T00:00:00Z</lastActiveTime><locale>en</locale>
<messageLocale>en</messageLocale></returnval></LoginResponse>"""
VERSIONS = (
    """<namespaces version="1.0"><namespace><name>urn:vim25</name><version>6.5</version></namespace></namespaces>"""
)


KEEP = object()
"""What a function of `HostileServer.answers` returns to keep the connection open."""


def reference(method: str, kind: str, value: str) -> str:
    """An answer that is one reference."""
    return f'<{method}Response xmlns="urn:vim25"><returnval type="{kind}">{value}</returnval></{method}Response>'


ORDINARY = {
    "RetrieveServiceContent": CONTENT,
    "Login": LOGIN,
    "CreatePropertyCollector": reference("CreatePropertyCollector", "PropertyCollector", "own"),
    "CreateContainerView": reference("CreateContainerView", "ContainerView", "view"),
    "DestroyPropertyCollector": '<DestroyPropertyCollectorResponse xmlns="urn:vim25"/>',
    "Logout": '<LogoutResponse xmlns="urn:vim25"/>',
}
"""What a well-behaved server answers to a driver that connects and leaves."""


def envelope(body: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
    ).encode()


def answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class HostileServer:
    """`answers` gives, by method, the bytes of the whole HTTP answer, or a function that sends what it likes to the socket
    it is given. What is not in it is answered as usual."""

    Send = Callable[[ssl.SSLSocket], object]

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self.answers: dict[str, bytes | HostileServer.Send] = {}
        self.requests: list[str] = []
        self.sent = 0
        self.outlasted = False
        """Whether the client stayed until the end of what was to have none."""
        self._ended = threading.Event()
        self._trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._trust.load_cert_chain(certificates.certificate, certificates.key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._ended.set()
        self._listening.shutdown(socket.SHUT_RDWR)  # Closing alone would not end the waiting for a client.
        self._listening.close()
        self._thread.join(AT_MOST_SECONDS)

    def forever(self, head: bytes, piece: bytes, pause: float = 0.0) -> Send:
        """Send the head and then the same piece again and again, until the client hangs up."""

        def send(client: ssl.SSLSocket) -> None:
            client.sendall(head)
            until = time.monotonic() + AT_MOST_SECONDS
            while time.monotonic() < until and not self._ended.is_set():
                client.sendall(piece)
                self.sent += len(piece)
                self._ended.wait(pause) if pause else None
            self.outlasted = True

        return send

    def silence(self, client: ssl.SSLSocket) -> None:
        """Send nothing, until the client hangs up."""
        try:
            client.recv(1)
        except TimeoutError:
            self.outlasted = True

    def _serve(self) -> None:
        while not self._ended.is_set():
            with suppress(OSError):  # shut down at the end of the test
                plain, _ = self._listening.accept()
                plain.settimeout(AT_MOST_SECONDS)
                # Drivers hang up on what they do not like.
                with suppress(OSError), plain, self._trust.wrap_socket(plain, server_side=True) as client:
                    self._talk(client)

    def _talk(self, client: ssl.SSLSocket) -> None:
        incoming = client.makefile("rb")
        while line := incoming.readline():
            length = 0
            while (header := incoming.readline()) not in (b"\r\n", b""):
                if header.lower().startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            body = incoming.read(length).decode()
            if len(body.encode()) < length or not header:
                return  # The client has hung up in the middle of a request.
            method = "versions" if line.startswith(b"GET") else _method(body)
            self.requests.append(method)
            planned = self.answers.get(method)
            if planned is None:
                planned = answer(VERSIONS.encode()) if method == "versions" else answer(envelope(ORDINARY[method]))
            if callable(planned):
                if planned(client) is not KEEP:
                    return
                continue
            client.sendall(planned)


def _method(body: str) -> str:
    found = re.search(r"<(?:\w+:)?Body[^>]*><(\w+)", body)
    assert found is not None, body
    return found.group(1)


@contextmanager
def hostile_server(folder: Path) -> Iterator[HostileServer]:
    """A server with a certificate that can be trusted."""
    server = HostileServer(make_certificates(folder))
    try:
        yield server
    finally:
        server.close()

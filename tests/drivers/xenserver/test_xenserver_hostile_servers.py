"""What a hostile or broken server can do to the driver: little.

No test measures time: that a call ends at all, within the timeouts of its login, is what shows that time is bounded.
"""

import ssl
import threading
from collections.abc import Iterator

import pytest

from hypervisors import errors
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.xen_simulator.process import XenSimulator
from tests.vsphere_simulator.certificates import Certificates

from ..contract import Watching, request
from .hostile_server import Answer, HostileServer, answered, login_at, send, wrapped
from .pool import add_machine, login_to


@pytest.fixture(autouse=True)
def in_order(pool: XenSimulator) -> Iterator[None]:
    yield
    pool.control.clear()


@pytest.mark.parametrize("kind", ["garbage", "truncated", "huge", "drip", "redirect"])
def test_a_broken_answer_of_a_read_has_changed_nothing(pool: XenSimulator, kind: str) -> None:
    with XenServerDriver(login_to(pool)) as driver:
        pool.control.answer("VM.get_all_records", kind, times=None)
        with pytest.raises((errors.Unreachable, errors.TimedOut)) as refusal:
            driver.list_forests()
        assert refusal.value.outcome_known
        assert refusal.value.detail
        pool.control.clear()
        assert driver.list_forests() is not None


@pytest.mark.parametrize("kind", ["garbage", "truncated", "huge", "drip", "redirect"])
def test_a_broken_answer_of_a_change_leaves_its_outcome_open(pool: XenSimulator, kind: str) -> None:
    machine = add_machine(pool)
    asked = request()
    with XenServerDriver(login_to(pool)) as driver:
        pool.control.answer("Async.VM.snapshot", kind)
        with pytest.raises((errors.ConnectionLost, errors.TimedOut)) as refusal:
            driver.create_snapshot(machine, asked, Watching())
        assert not refusal.value.outcome_known


def _drip(connection: ssl.SSLSocket, _request: bytes, over: threading.Event) -> None:
    """A byte now and then, each well within every timeout, without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<?xml version='1.0'?>")
    while not over.wait(0.05):
        connection.sendall(b" ")


def _drip_headers(connection: ssl.SSLSocket, _request: bytes, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not over.wait(0.05):
        connection.sendall(b"x")


def _go_on(connection: ssl.SSLSocket, _request: bytes, over: threading.Event) -> None:
    """Promise an answer without end."""
    while not over.is_set():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def _flood(connection: ssl.SSLSocket, _request: bytes, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<methodResponse><params><param><value>")
    while not over.is_set():
        connection.sendall(b"x" * 65536)


def _flood_of_values(connection: ssl.SSLSocket, _request: bytes, over: threading.Event) -> None:
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<methodResponse><params><param><value><array>"
    )
    while not over.is_set():
        connection.sendall(b"<value/>" * 8192)


def _nothing(_connection: ssl.SSLSocket, _request: bytes, over: threading.Event) -> None:
    over.wait()


BOMB = b"""<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<methodResponse><params><param><value>&b;</value></param></params></methodResponse>"""
HOSTILE: dict[str, Answer] = {
    "a drip": _drip,
    "a drip in the headers": _drip_headers,
    "promises": _go_on,
    "a flood": _flood,
    "a flood of values": _flood_of_values,
    "silence": _nothing,
    "entities": send(answered(BOMB)),
    "an external entity": send(answered(b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>')),
    "compressed": send(answered(b"\x1f\x8b", "Content-Encoding: gzip\r\n")),
    "an announced flood": send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"),
    "no XML": send(answered(b"it works!")),
    "no envelope": send(answered(b"<methodResponse><params><param><value>1</value></param></params></methodResponse>")),
    "no code": send(
        answered(
            b"<methodResponse><params><param><value><struct><member><name>Status</name><value>Failure</value></member>"
            b"<member><name>ErrorDescription</name><value><array><data/></array></value></member></struct></value>"
            b"</param></params></methodResponse>"
        )
    ),
    "a fault": send(
        answered(
            b"<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>4</int></value></member>"
            b"<member><name>faultString</name><value>too many parameters</value></member></struct></value></fault>"
            b"</methodResponse>"
        )
    ),
    "a redirection": send(b"HTTP/1.1 302 Found\r\nLocation: https://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"),
    "no HTTP": send(b"SSH-2.0-OpenSSH_9\r\n"),
    "an error page": send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nlate"),
    "many headers": send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n"),
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_server_is_unreachable_and_the_call_ends(trusted: Certificates, answer: Answer) -> None:
    with (
        HostileServer(trusted.certificate, trusted.key, answer) as server,
        pytest.raises(errors.Unreachable) as refusal,
    ):
        XenServerDriver(login_at(server, trusted, seconds=1.0))
    assert not server.outlasted
    assert refusal.value.outcome_known
    assert "s3cret" not in refusal.value.detail
    assert len(refusal.value.detail) < 1000


def test_words_of_a_hostile_server_are_cut_short_and_kept_on_one_line(trusted: Certificates) -> None:
    parts = "".join(f"<value>{part}</value>" for part in ("SR_FULL", "a&#10;b" * 100_000))
    refused = (
        "<methodResponse><params><param><value><struct><member><name>Status</name><value>Failure</value></member>"
        f"<member><name>ErrorDescription</name><value><array><data>{parts}</data></array></value></member></struct>"
        "</value></param></params></methodResponse>"
    )
    with (
        HostileServer(trusted.certificate, trusted.key, send(answered(refused.encode()))) as server,
        pytest.raises(errors.OutOfSpace) as refusal,
    ):
        XenServerDriver(login_at(server, trusted))
    assert len(refusal.value.detail) < 1000
    assert "\n" not in refusal.value.detail


def test_a_connection_that_the_server_closed_while_idle_is_made_anew_before_a_change(pool: XenSimulator) -> None:
    """The standard library would find out only by sending the change into it."""
    machine = add_machine(pool)
    with XenServerDriver(login_to(pool)) as driver:
        driver.read_machine(machine)
        pool.restart()
        driver.start(machine, Watching())


def _struct(**members: str) -> str:
    inner = "".join(f"<member><name>{name}</name><value>{value}</value></member>" for name, value in members.items())
    return f"<struct>{inner}</struct>"


@pytest.mark.parametrize(
    "value",
    [
        "a text",
        "<array><data/></array>",
        _struct(ref="a text"),
        _struct(ref="<struct/>"),
        _struct(ref=_struct(uuid="u")),
    ],
    ids=["text", "list", "record of text", "empty record", "half a record"],
)
def test_records_that_are_none_of_xenapi_are_told_as_such(trusted: Certificates, value: str) -> None:
    login, answers = answered(wrapped("OpaqueRef:session")), answered(wrapped(value))
    with HostileServer(trusted.certificate, trusted.key, send(login, answers)) as server:
        driver = XenServerDriver(login_at(server, trusted))
        for call in (driver.list_pools, driver.list_machines, driver.list_forests, driver.read_inventory):
            with pytest.raises(errors.Unreachable):
                call()
        with pytest.raises(errors.Unreachable):
            driver.wait_for_changes("", 0.0)
        with pytest.raises(errors.HypervisorError) as refusal:
            driver.create_snapshot("machine", request(), Watching())
        assert not refusal.value.outcome_known

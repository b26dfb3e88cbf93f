"""A hostile or broken server costs the vSphere driver bounded time and memory, and ends as one of our errors."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.vmware import soap, wire
from hypervisors.drivers.vmware.driver import VMwareDriver
from hypervisors.errors import ConnectionLost, HypervisorError, TimedOut, Unreachable

from .hostile_vsphere import (
    ORDINARY,
    HostileServer,
    answer,
    envelope,
    hostile_server,
)

TIMEOUT = 30.0
SHORT = 1.0
"""For what ends by the time being over. The hostile server holds out twenty times as long."""
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"
OPENED = (
    envelope("").partition(b"</soapenv:Body>")[0] + b'<RetrieveServiceContentResponse xmlns="urn:vim25"><returnval>'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture
def server(folder: Path) -> Iterator[HostileServer]:
    with hostile_server(folder) as server:
        yield server


@pytest.fixture
def login(server: HostileServer) -> Login:
    trusted = server.certificates.authority_pem()
    return Login(server.address, username="u", password="p", timeout_seconds=TIMEOUT, ca_certificate=trusted)


def refused(login: Login) -> HypervisorError:
    """The error with which connecting ends; it says that nothing was changed."""
    with pytest.raises((Unreachable, TimedOut)) as refusal:
        VMwareDriver(login)
    assert refusal.value.outcome_known
    assert refusal.value.detail
    return refusal.value


def impatient(driver: VMwareDriver) -> None:
    """Give it little time from here on."""
    connection = driver._connection
    connection._login = replace(connection._login, timeout_seconds=SHORT)


def test_an_ordinary_server_is_connected_to(server: HostileServer, login: Login) -> None:
    """So that the refusals below are those of what each test changes."""
    with VMwareDriver(login) as driver:
        assert driver.describe().product == "VMware vCenter Server"
    assert server.requests == [
        "versions",
        "RetrieveServiceContent",
        "Login",
        "CreatePropertyCollector",
        "DestroyPropertyCollector",
        "Logout",
    ]


# Too much


def test_an_answer_without_end_is_given_up_at_its_limit(
    server: HostileServer, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "ANSWER_BYTES", 1 << 20)
    server.answers["RetrieveServiceContent"] = server.forever(HEAD + OPENED, b"<about/>" + b" " * 65_000)
    assert "more than an answer may hold" in refused(login).detail
    assert server.sent < 32 << 20  # What lies in the buffers of two sockets comes on top of the limit.


def test_an_answer_with_too_many_elements_is_given_up(
    server: HostileServer, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soap, "ANSWER_ELEMENTS", 10_000)
    server.answers["RetrieveServiceContent"] = server.forever(HEAD + OPENED, b"<about/>" * 1000)
    assert "too many elements" in refused(login).detail
    assert server.sent < 32 << 20


@pytest.mark.parametrize("inside", [b"<about><name>", b""], ids=["in a value", "outside of values"])
def test_a_text_without_end_is_given_up(server: HostileServer, login: Login, inside: bytes) -> None:
    server.answers["RetrieveServiceContent"] = server.forever(HEAD + OPENED + inside, b"x" * 65_000)
    assert "a text that is too long" in refused(login).detail
    assert server.sent < 32 << 20


@pytest.mark.parametrize("begun", [b"<about a='", b"<!--"], ids=["an attribute", "a comment"])
def test_a_tag_without_end_is_given_up(server: HostileServer, login: Login, begun: bytes) -> None:
    server.answers["RetrieveServiceContent"] = server.forever(HEAD + OPENED + begun, b"x" * 65_000)
    assert "a tag that has no end" in refused(login).detail
    assert server.sent < 32 << 20


def test_an_answer_deeper_than_any_recursion_is_read_or_refused(server: HostileServer, login: Login) -> None:
    deep = OPENED + b"<about>" + b"<name>" * 100_000
    server.answers["RetrieveServiceContent"] = answer(deep)
    refused(login)


def test_a_list_of_versions_without_end_is_given_up(server: HostileServer, login: Login) -> None:
    server.answers["versions"] = server.forever(HEAD, b"<namespaces>" + b" " * 65_000)
    assert "no vSphere server" in refused(login).detail
    assert server.sent < 32 << 20


def test_headers_without_end_are_given_up(server: HostileServer, login: Login) -> None:
    server.answers["RetrieveServiceContent"] = server.forever(b"HTTP/1.1 200 OK\r\n", b"X-More: of this\r\n")
    refused(login)
    assert server.sent < 32 << 20


def test_a_packed_answer_is_not_unpacked(server: HostileServer, login: Login) -> None:
    server.answers["RetrieveServiceContent"] = answer(b"\x1f\x8b whatever", headers="Content-Encoding: gzip\r\n")
    assert "not asked for" in refused(login).detail


def test_pages_without_end_are_given_up_when_the_time_is_over(server: HostileServer, login: Login) -> None:
    page = (
        '<RetrievePropertiesExResponse xmlns="urn:vim25"><returnval><token>more</token>'
        '<objects><obj type="Datastore">d-1</obj></objects></returnval></RetrievePropertiesExResponse>'
    )
    server.answers["RetrievePropertiesEx"] = answer(envelope(page))
    server.answers["ContinueRetrievePropertiesEx"] = answer(
        envelope(page.replace("RetrievePropertiesEx", "ContinueRetrievePropertiesEx"))
    )
    with VMwareDriver(login) as driver:
        impatient(driver)
        with pytest.raises(TimedOut) as late:
            driver.list_pools()
    assert late.value.outcome_known


# Not what it should be


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\xff\xfe garbage",
        b"<html><body>It works!</body></html>",
        envelope('<RetrieveServiceContentResponse xmlns="urn:vim25"><returnval>').replace(b"</soapenv:Body>", b""),
        envelope('<RetrieveServiceContentResponse xmlns="urn:vim25"/>'),
        envelope(ORDINARY["Login"]),
        envelope(ORDINARY["RetrieveServiceContent"].replace("<about>", "<about><nonsense/>")),
        envelope(ORDINARY["RetrieveServiceContent"].replace("<about>", '<about xsi:type="NoSuchType">')),
        envelope(ORDINARY["RetrieveServiceContent"].replace('type="Folder"', "")),
        envelope("<soapenv:Fault><faultcode>Server</faultcode><faultstring>words</faultstring></soapenv:Fault>"),
    ],
    ids=[
        "nothing",
        "noise",
        "a web page",
        "cut off",
        "an answer without content",
        "another answer",
        "an unknown property",
        "an unknown type",
        "a reference without its type",
        "a fault with status 200",
    ],
)
def test_garbage_is_refused(server: HostileServer, login: Login, body: bytes) -> None:
    server.answers["RetrieveServiceContent"] = answer(body)
    refused(login)


@pytest.mark.parametrize(
    "fault",
    [
        "<soapenv:Fault><faultcode>Server</faultcode><faultstring>words</faultstring></soapenv:Fault>",
        '<soapenv:Fault><faultstring>x</faultstring><detail><NoSuchFault xmlns="urn:vim25"/></detail></soapenv:Fault>',
        "no fault at all",
    ],
    ids=["without detail", "of an unknown class", "none"],
)
def test_a_broken_fault_is_one_of_our_errors(server: HostileServer, login: Login, fault: str) -> None:
    server.answers["Login"] = answer(envelope(fault), status="500 Internal Server Error")
    with pytest.raises(HypervisorError) as refusal:
        VMwareDriver(login)
    assert refusal.value.detail


@pytest.mark.parametrize(
    "prolog",
    [
        b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;">]>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd">',
    ],
    ids=["a bomb", "a file of this computer"],
)
def test_a_document_type_is_refused(server: HostileServer, login: Login, prolog: bytes) -> None:
    body = envelope(ORDINARY["RetrieveServiceContent"]).replace(b"?>", b"?>" + prolog, 1)
    server.answers["RetrieveServiceContent"] = answer(body)
    assert "document type" in refused(login).detail


def test_a_bomb_in_the_list_of_versions_is_refused(server: HostileServer, login: Login) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a0 "6.5">' + "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    body = f"{bomb}]><namespaces><namespace><name>urn:vim25</name><version>&a9;</version></namespace></namespaces>"
    server.answers["versions"] = answer(body.encode())
    refused(login)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
def test_a_redirection_is_not_followed(server: HostileServer, login: Login, status: str) -> None:
    elsewhere = answer(b"", status=status, headers=f"Location: {server.address}/sdk\r\n")
    server.answers["versions"] = elsewhere
    assert "not followed" in refused(login).detail
    assert server.requests == ["versions"]


@pytest.mark.parametrize("status", ["404 Not Found", "503 Service Unavailable", "999 Whatever"])
def test_another_http_status_is_refused(server: HostileServer, login: Login, status: str) -> None:
    server.answers["RetrieveServiceContent"] = answer(b"no", status=status)
    assert status[:3] in refused(login).detail


def test_a_server_without_a_version_that_we_know_is_refused(server: HostileServer, login: Login) -> None:
    server.answers["versions"] = answer(b"<namespaces><namespace><name>urn:vim25</name></namespace></namespaces>")
    assert "no version" in refused(login).detail


@pytest.mark.parametrize("cookie", ['vmware_soap_session="a"; Path=/', "vmware_soap_session=a", "other=b", "\x01\x02"])
def test_only_the_sessions_cookie_is_kept(server: HostileServer, login: Login, cookie: str) -> None:
    server.answers["Login"] = answer(envelope(ORDINARY["Login"]), headers=f"Set-Cookie: {cookie}\r\n")
    with VMwareDriver(login) as driver:
        kept = driver._connection._wire.cookie
    assert kept in (cookie.partition(";")[0], "")
    assert (kept != "") == cookie.startswith("vmware_soap_session")


# Too slow


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"y"),
        (HEAD + OPENED, b" "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["in the head", "in the body", "with interim answers"],
)
def test_a_slow_drip_ends_with_the_time(server: HostileServer, login: Login, head: bytes, piece: bytes) -> None:
    server.answers["RetrieveServiceContent"] = server.forever(head, piece, pause=0.05)
    refused(replace(login, timeout_seconds=SHORT))
    assert not server.outlasted


def test_silence_ends_with_the_time(server: HostileServer, login: Login) -> None:
    server.answers["Login"] = server.silence
    refused(replace(login, timeout_seconds=SHORT))
    assert not server.outlasted


def test_a_server_that_never_begins_tls_ends_with_the_time(login: Login) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        late = refused(replace(_at(login, deaf.getsockname()[1]), timeout_seconds=SHORT))
    assert "did not answer" in late.detail


def test_a_server_that_speaks_no_tls_is_refused(login: Login) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain.settimeout(TIMEOUT)

        def serve() -> None:
            with suppress(OSError):  # the client may hang up at any step
                client, _ = plain.accept()
                with client:
                    client.settimeout(TIMEOUT)
                    client.recv(1000)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.recv(1000)

        speaker = threading.Thread(target=serve)
        speaker.start()
        assert "TLS" in refused(_at(login, plain.getsockname()[1])).detail
    speaker.join()


# Broken in the middle


def test_a_connection_that_breaks_is_made_anew_once_for_a_read(server: HostileServer, login: Login) -> None:
    with VMwareDriver(login) as driver:
        server.answers["RetrievePropertiesEx"] = lambda client: None
        with pytest.raises(ConnectionLost) as lost:
            driver.list_pools()
    assert lost.value.outcome_known
    assert server.requests.count("RetrievePropertiesEx") == 2


def test_logging_out_of_a_silent_server_is_bounded_and_raises_nothing(server: HostileServer, login: Login) -> None:
    driver = VMwareDriver(login)
    impatient(driver)
    server.answers["DestroyPropertyCollector"] = server.silence
    driver.close()
    driver.close()
    assert "Logout" not in server.requests
    assert not server.outlasted


def _at(login: Login, port: int) -> Login:
    return replace(login, address=f"127.0.0.1:{port}")

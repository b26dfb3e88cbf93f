"""Whom the driver trusts, and where it sends a password."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from hypervisors import errors
from hypervisors.driver import Login
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.drivers.xenserver.session import Place, allowed_redirect, checked_place
from hypervisors.xen_simulator.process import XenSimulator
from tests.vsphere_simulator.certificates import Certificates, make_certificates, self_signed

from .hostile_server import HostileServer, answered, login_at, send, wrapped
from .pool import add_machine, login_to


@pytest.fixture(autouse=True)
def in_order(pool: XenSimulator) -> Iterator[None]:
    yield
    pool.control.clear()


def test_a_certificate_of_the_endpoints_own_authority_is_trusted(pool: XenSimulator) -> None:
    with XenServerDriver(login_to(pool)) as driver:
        assert driver.describe().simulator


@pytest.mark.parametrize("authority", ["none", "another"])
def test_a_certificate_of_an_unknown_authority_is_refused(
    pool: XenSimulator, trusted: Certificates, authority: str
) -> None:
    known = trusted.authority_pem() if authority == "another" else ""
    with pytest.raises(errors.LoginRefused, match="authority"):
        XenServerDriver(login_to(pool, ca_certificate=known))


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, names=("xen-1.example",))
    with (
        HostileServer(certificates.certificate, certificates.key, send(b"")) as server,
        pytest.raises(errors.LoginRefused, match="another"),
    ):
        XenServerDriver(login_at(server, certificates))
    assert server.requests == []


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, expired=True)
    with (
        HostileServer(certificates.certificate, certificates.key, send(b"")) as server,
        pytest.raises(errors.LoginRefused, match="expired"),
    ):
        XenServerDriver(login_at(server, certificates))
    assert server.requests == []


def test_a_self_signed_certificate_is_refused_unless_it_was_given_to_the_endpoint(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    with HostileServer(own.certificate, own.key, send(answered(wrapped("OpaqueRef:session")))) as server:
        login = Login(server.address, username="dora", password="s3cret", timeout_seconds=20.0)
        with pytest.raises(errors.LoginRefused, match="self-signed"):
            XenServerDriver(login)
        assert server.requests == []
        given = Login(
            server.address,
            username="dora",
            password="s3cret",
            timeout_seconds=20.0,
            ca_certificate=own.authority_pem(),
        )
        XenServerDriver(given).close()
        assert b"session.login_with_password" in server.requests[0]


def test_insecure_is_a_choice_that_is_logged_each_time(pool: XenSimulator, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), XenServerDriver(login_to(pool, ca_certificate="", insecure=True)) as driver:
        assert driver.describe().simulator
    assert any("not checked" in record.message and pool.address in record.message for record in caplog.records)
    caplog.clear()
    with caplog.at_level(logging.WARNING), XenServerDriver(login_to(pool)):
        assert not any("not checked" in record.message for record in caplog.records)


@pytest.mark.parametrize("text", ["nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_certificates_that_are_none_are_told_as_such(pool: XenSimulator, text: str) -> None:
    with pytest.raises(errors.LoginRefused, match="PEM"):
        XenServerDriver(login_to(pool, ca_certificate=text))


def test_a_server_without_tls_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak_plainly() -> None:
            with suppress(OSError):  # the client may hang up at any step
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(20)
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        listening.settimeout(20)
        speaker = threading.Thread(target=speak_plainly)
        speaker.start()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(errors.Unreachable, match="TLS"):
            XenServerDriver(Login(address, timeout_seconds=20.0))
    speaker.join()


def test_a_server_that_accepts_and_says_nothing_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(errors.Unreachable):
            XenServerDriver(Login(address, timeout_seconds=0.5))


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("xen-1.example", Place("xen-1.example", 443)),
        ("XEN-1.example:8443", Place("xen-1.example", 8443)),
        ("https://xen-1.example", Place("xen-1.example", 443)),
        ("https://xen-1.example:8443/", Place("xen-1.example", 8443)),
        ("192.0.2.1", Place("192.0.2.1", 443)),
        ("2001:db8::1", Place("[2001:db8::1]", 443)),
        ("https://[2001:db8::1]:8443", Place("[2001:db8::1]", 8443)),
    ],
)
def test_an_address_is_a_host_with_or_without_port_and_scheme(address: str, place: Place) -> None:
    assert checked_place(address) == place


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://xen-1.example",
        "https://root:secret@xen-1.example",
        "https://xen-1.example/RPC2",
        "https://xen-1.example?x=1",
        "xen-1.example:port",
        "xen-1.example:99999",
        "xen 1",
        "ftp://xen-1.example",
        "a\nb",
    ],
)
def test_an_address_of_another_form_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(errors.Unreachable, match=r"xen-1\.example"):
        XenServerDriver(Login(address))


@pytest.mark.parametrize(
    ("named", "allowed"),
    [
        ("192.0.2.7", ()),
        ("192.0.2.7", ("192.0.2.8", "xen-7.example")),
        ("192.0.2.7:444", ("192.0.2.7",)),
        ("192.0.2.7", ("192.0.2.7:444",)),
        ("user@192.0.2.7", ("192.0.2.7",)),
        ("http://192.0.2.7", ("192.0.2.7",)),
        ("192.0.2.7/x", ("192.0.2.7",)),
        ("", ("",)),
        ("192.0.2.7", ("not an address",)),
    ],
)
def test_a_coordinator_that_is_not_listed_is_not_followed(named: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(errors.Unreachable):
        allowed_redirect(named, Place("xen-1.example"), allowed)


@pytest.mark.parametrize(
    ("named", "allowed", "place"),
    [
        ("192.0.2.7", ("192.0.2.8", "192.0.2.7"), Place("192.0.2.7", 443)),
        ("XEN-7.example", ("xen-7.EXAMPLE.",), Place("xen-7.example", 443)),
        ("192.0.2.7:444", ("192.0.2.7:444",), Place("192.0.2.7", 444)),
        ("2001:db8::7", ("[2001:db8::7]",), Place("[2001:db8::7]", 443)),
        ("xen-1.example", (), Place("xen-1.example", 443)),
    ],
)
def test_a_coordinator_that_is_listed_is_followed(named: str, allowed: tuple[str, ...], place: Place) -> None:
    assert allowed_redirect(named, Place("xen-1.example"), allowed) == place


@pytest.fixture(scope="module")
def second_host(pool: XenSimulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[XenSimulator]:
    folder = tmp_path_factory.mktemp("xenserver-member")
    (folder / "accounts.json").write_text((pool.folder / "accounts.json").read_text())
    with XenSimulator(folder, world="empty") as started:
        yield started


@pytest.fixture
def member(pool: XenSimulator, second_host: XenSimulator) -> XenSimulator:
    """A host of the pool that is not its coordinator. It has an authority of its own."""
    second_host.control.redirect(pool.address)
    return second_host


@dataclass(frozen=True)
class Both:
    """A login at the member with everything that the coordinator needs."""

    pool: XenSimulator
    member: XenSimulator

    def login(self, *, certificates: str, redirect_hosts: tuple[str, ...]) -> Login:
        return login_to(
            self.pool, address=self.member.address, ca_certificate=certificates, redirect_hosts=redirect_hosts
        )


def test_a_login_at_a_member_goes_on_at_a_listed_coordinator(pool: XenSimulator, member: XenSimulator) -> None:
    both = pool.ca_certificate + member.ca_certificate
    login = Both(pool, member).login(certificates=both, redirect_hosts=(pool.address,))
    with XenServerDriver(login) as driver, XenServerDriver(login_to(pool)) as at_once:
        assert driver.describe() == at_once.describe()


def test_a_foreign_coordinator_gets_no_password(
    pool: XenSimulator, member: XenSimulator, trusted: Certificates
) -> None:
    with HostileServer(trusted.certificate, trusted.key, send(b"")) as foreign:
        member.control.redirect(foreign.address)
        both = member.ca_certificate + trusted.authority_pem()
        login = Both(pool, member).login(certificates=both, redirect_hosts=(pool.address,))
        with pytest.raises(errors.Unreachable, match="not among the hosts"):
            XenServerDriver(login)
        assert foreign.connections == 0


def test_the_certificate_of_the_coordinator_is_checked_too(pool: XenSimulator, member: XenSimulator) -> None:
    login = Both(pool, member).login(certificates=member.ca_certificate, redirect_hosts=(pool.address,))
    pool.control.clear()
    with pytest.raises(errors.LoginRefused, match="authority"):
        XenServerDriver(login)
    assert pool.control.calls() == []


def test_being_sent_on_a_second_time_ends_it(pool: XenSimulator, member: XenSimulator) -> None:
    both = pool.ca_certificate + member.ca_certificate
    login = Both(pool, member).login(certificates=both, redirect_hosts=(pool.address, member.address))
    pool.control.redirect(member.address)
    with pytest.raises(errors.Unreachable, match="says it is not"):
        XenServerDriver(login)


def test_a_coordinator_that_becomes_a_member_is_left_for_the_new_one(pool: XenSimulator, member: XenSimulator) -> None:
    both = pool.ca_certificate + member.ca_certificate
    member.control.redirect("")
    login = Both(pool, member).login(certificates=both, redirect_hosts=(pool.address,))
    with XenServerDriver(login) as driver:
        assert driver.describe().name == "Simulated pool"
        member.control.redirect(pool.address)
        member.control.expire_sessions()
        machine = add_machine(pool)
        assert machine in driver.list_forests()

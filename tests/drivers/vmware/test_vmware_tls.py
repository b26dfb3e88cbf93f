"""The vSphere driver talks only to a server whose certificate it can verify, or says aloud that it does not."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.vmware.connection import Address, address_of
from hypervisors.drivers.vmware.driver import VMwareDriver
from hypervisors.errors import LoginRefused, Unreachable
from tests.vsphere_simulator.certificates import Certificates, make_certificates, self_signed

from .hostile_vsphere import HostileServer


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Certificates:
    kind = getattr(request, "param", "right")
    if kind == "self-signed":
        return self_signed(tmp_path / "self")
    names = ("other.example",) if kind == "wrong name" else ("127.0.0.1", "localhost")
    return make_certificates(tmp_path / "tls", names=names, expired=kind == "expired")


@pytest.fixture
def server(made: Certificates) -> Iterator[HostileServer]:
    server = HostileServer(made)
    yield server
    server.close()


@pytest.fixture
def login(server: HostileServer) -> Login:
    trusted = server.certificates.authority_pem()
    return Login(f"localhost:{server.port}", "u", "p", timeout_seconds=30.0, ca_certificate=trusted)


def test_the_authority_entered_with_the_endpoint_is_trusted(login: Login) -> None:
    with VMwareDriver(login) as driver:
        assert driver.describe().name == "localhost"


@pytest.mark.parametrize("made", ["self-signed", "right"], indirect=True)
def test_the_hosts_own_certificate_is_trusted_when_it_was_entered(server: HostileServer, login: Login) -> None:
    own = server.certificates.certificate.read_text(encoding="ascii")
    with VMwareDriver(replace(login, ca_certificate=own)) as driver:
        assert driver.describe().name == "localhost"


@pytest.mark.parametrize("made", ["expired", "wrong name"], indirect=True)
def test_that_it_was_entered_makes_no_expired_or_foreign_certificate_good(server: HostileServer, login: Login) -> None:
    own = server.certificates.certificate.read_text(encoding="ascii")
    with pytest.raises(LoginRefused):
        VMwareDriver(replace(login, ca_certificate=own))
    assert server.requests == []


def test_local_addresses_are_verified_like_all_others(server: HostileServer, login: Login) -> None:
    """pyvmomi by itself checks nothing there."""
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(LoginRefused):
            VMwareDriver(replace(login, address=f"{host}:{server.port}", ca_certificate=""))
    assert server.requests == []


@pytest.mark.parametrize("made", ["expired", "wrong name"], indirect=True)
def test_a_certificate_that_does_not_hold_is_refused_before_anything_is_sent(
    server: HostileServer, login: Login
) -> None:
    with pytest.raises(LoginRefused) as refusal:
        VMwareDriver(login)
    assert "certificate" in refusal.value.detail
    assert server.requests == []


@pytest.mark.parametrize(
    ("made", "word"),
    [("expired", "expired"), ("wrong name", "localhost"), ("self-signed", "self")],
    indirect=["made"],
)
def test_the_refusal_says_what_is_wrong_with_the_certificate(login: Login, word: str) -> None:
    trusted = "" if word == "self" else login.ca_certificate
    with pytest.raises(LoginRefused) as refusal:
        VMwareDriver(replace(login, ca_certificate=trusted))
    assert word in refusal.value.detail


def test_an_authority_that_is_not_entered_is_not_trusted(login: Login, tmp_path: Path) -> None:
    stranger = make_certificates(tmp_path / "stranger").authority_pem()
    with pytest.raises(LoginRefused):
        VMwareDriver(replace(login, ca_certificate=stranger))


@pytest.mark.parametrize("made", ["expired", "wrong name", "self-signed", "right"], indirect=True)
def test_insecure_takes_any_certificate_and_says_so_in_the_log(login: Login, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), VMwareDriver(replace(login, ca_certificate="", insecure=True)) as driver:
        assert driver.describe().native_id
    assert "not checked" in caplog.text
    assert login.address in caplog.text


def test_nothing_is_said_where_the_certificate_is_checked(login: Login, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        VMwareDriver(login).close()
    assert caplog.text == ""


@pytest.mark.parametrize("text", ["not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_an_authority_that_cannot_be_read_is_named(login: Login, text: str) -> None:
    with pytest.raises(Unreachable) as refusal:
        VMwareDriver(replace(login, ca_certificate=text))
    assert "PEM" in refusal.value.detail


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("vcenter.example", Address("vcenter.example", 443)),
        (" vcenter.example:8443 ", Address("vcenter.example", 8443)),
        ("https://vcenter.example", Address("vcenter.example", 443)),
        ("https://vcenter.example/", Address("vcenter.example", 443)),
        ("https://vcenter.example:8443/sdk", Address("vcenter.example", 8443)),
        ("[2001:db8::1]:8443", Address("2001:db8::1", 8443)),
    ],
)
def test_an_address_is_a_host_with_or_without_port_and_path(text: str, place: Address) -> None:
    assert address_of(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://vcenter.example",
        "ftp://vcenter.example",
        "https://",
        "vcenter.example:port",
        "vcenter.example:99999",
        "vcenter.example:0",
        "https://user:secret@vcenter.example",
        "https://vcenter.example/other",
        "https://vcenter.example/sdk?x=1",
        "https://vcenter.example/#x",
        "https://[bad",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(Unreachable) as refusal:
        address_of(text)
    assert refusal.value.detail

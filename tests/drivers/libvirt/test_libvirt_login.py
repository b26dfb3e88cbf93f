"""Addresses and logins that the libvirt driver takes and refuses, and what it says then."""

from pathlib import Path

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.libvirt.connection import checked_uri
from hypervisors.drivers.libvirt.driver import LibvirtDriver
from hypervisors.errors import LoginRefused, Unreachable

NODE = """<node><auth><user password="s3cret">dora</user></auth></node>"""


@pytest.fixture
def guarded(tmp_path: Path) -> str:
    """The address of a test driver that asks for a name and a password."""
    (tmp_path / "node.xml").write_text(NODE)
    return f"test://{tmp_path}/node.xml"


def test_the_right_password_lets_in(guarded: str) -> None:
    with LibvirtDriver(Login(guarded, "dora", "s3cret")) as driver:
        assert driver.describe().product == "libvirt test driver"


@pytest.mark.parametrize(("username", "password"), [("dora", "wrong"), ("bob", "s3cret"), ("dora", ""), ("", "")])
def test_a_wrong_or_missing_login_is_refused_and_not_repeated_in_words(
    guarded: str, username: str, password: str
) -> None:
    with pytest.raises(LoginRefused) as refusal:
        LibvirtDriver(Login(guarded, username, password))
    assert refusal.value.detail
    assert not password or password not in refusal.value.detail


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host.example",
        "http://host.example/",
        "esx://host.example/",
        "qemu:///",
        "qemu:///embed?root=/x",
        "qemu://h/x",
    ],
)
def test_an_address_that_is_none_of_a_kvm_host_is_unreachable_with_a_hint(address: str) -> None:
    with pytest.raises(Unreachable) as refusal:
        LibvirtDriver(Login(address))
    assert "/system" in refusal.value.detail


@pytest.mark.parametrize(
    "address", ["qemu+ext:///system?command=/bin/sh", "qemu+ssh://h/system?command=/bin/sh", "qemu+ext://h/system"]
)
def test_an_address_cannot_start_a_program_here(address: str) -> None:
    with pytest.raises(Unreachable) as refusal:
        LibvirtDriver(Login(address))
    assert "not allowed" in refusal.value.detail


def test_ssh_never_asks_on_a_terminal() -> None:
    assert checked_uri("qemu+ssh://root@h/system?keyfile=/k") == "qemu+ssh://root@h/system?keyfile=%2Fk&no_tty=1"
    assert checked_uri("qemu+ssh://root@h/system?no_tty=1") == "qemu+ssh://root@h/system?no_tty=1"
    assert checked_uri(" qemu:///system ") == "qemu:///system"


def test_libvirt_prints_nothing_by_itself(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        LibvirtDriver(Login(f"qemu+unix:///session?socket={tmp_path}/none"))
    assert capfd.readouterr() == ("", "")

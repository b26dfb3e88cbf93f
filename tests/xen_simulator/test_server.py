"""The server as such: TLS, bounds on requests, several clients at once, broken answers on request."""

import http.client
import json
import os
import socket
import ssl
import stat
import threading
import xmlrpc.client
from typing import Any
from xml.parsers.expat import ExpatError

import pytest
from cryptography import x509

from hypervisors.xen_simulator import certificates
from hypervisors.xen_simulator.process import XenSimulator
from tests.xen_simulator.client import logged_in, trusting, unconnected
from tests.xen_simulator.ground import Ground


def connect(xen: XenSimulator) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("127.0.0.1", xen.port, context=trusting(xen), timeout=60)


def post(xen: XenSimulator, body: bytes, path: str = "/", **headers: str) -> tuple[int, bytes]:
    connection = connect(xen)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_its_certificate_is_verified_by_its_own_authority_and_refused_without(xen: XenSimulator) -> None:
    assert unconnected(xen).login_with_password("root", xen.password) is None
    with pytest.raises(ssl.SSLCertVerificationError):
        http.client.HTTPSConnection("127.0.0.1", xen.port, context=ssl.create_default_context()).request("POST", "/")
    authority = x509.load_pem_x509_certificate(xen.ca_certificate.encode())
    limits = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (limits.critical, limits.value.ca, limits.value.path_length) == (True, True, 0)


def test_its_certificate_names_the_address_it_listens_on(tmp_path: Any) -> None:
    certificates.ensure(tmp_path, "xen-1.example")
    served = x509.load_pem_x509_certificates((tmp_path / "server.pem").read_bytes())[0]
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "xen-1.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    before = (tmp_path / "ca.pem").read_bytes()
    certificates.ensure(tmp_path, "another.example")
    assert (tmp_path / "ca.pem").read_bytes() == before


def test_each_data_folder_has_an_authority_of_its_own(xen: XenSimulator, own_xen: XenSimulator) -> None:
    assert xen.ca_certificate != own_xen.ca_certificate
    wrong = http.client.HTTPSConnection("127.0.0.1", xen.port, context=trusting(own_xen))
    with pytest.raises(ssl.SSLCertVerificationError):
        wrong.request("POST", "/")


def test_it_listens_on_this_computer_alone(xen: XenSimulator) -> None:
    with open("/proc/net/tcp", encoding="ascii") as table:
        listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
    assert [where for where in listening if where.endswith(f":{xen.port:04X}")] == [f"0100007F:{xen.port:04X}"]


def test_secrets_are_readable_by_their_owner_alone(xen: XenSimulator) -> None:
    for name in ("accounts.json", "control_token", "server.pem"):
        assert stat.S_IMODE(os.stat(xen.folder / name).st_mode) == 0o600


CALL = xmlrpc.client.dumps(("nobody",), "VM.get_all").encode()


def test_both_paths_answer_and_others_do_not(xen: XenSimulator) -> None:
    for path in ("/", "/RPC2"):
        assert b"SESSION_INVALID" in post(xen, CALL, path)[1]
    assert post(xen, CALL, "/jsonrpc")[0] == 404


BOMB = b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + CALL.split(b"?>")[-1]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"<methodCall>", b"\x00\xff", b"<methodResponse></methodResponse>", BOMB, CALL[:-20], b"<a>" * 10_000],
)
def test_what_is_no_call_is_answered_as_such(xen: XenSimulator, body: bytes) -> None:
    assert post(xen, body)[0] == 400
    assert b"SESSION_INVALID" in post(xen, CALL)[1]


def test_a_request_that_is_too_long_is_refused_before_it_is_read(xen: XenSimulator) -> None:
    connection = connect(xen)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("length", ["-1", "many", None])
def test_a_request_without_a_length_is_refused(xen: XenSimulator, length: str | None) -> None:
    connection = connect(xen)
    connection.putrequest("POST", "/")
    if length is not None:
        connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status in (411, 413)
    connection.close()


def test_connections_that_say_nothing_do_not_stop_the_others(xen: XenSimulator) -> None:
    silent = [socket.create_connection(("127.0.0.1", xen.port)) for _ in range(20)]
    half = connect(xen)
    half.putrequest("POST", "/")
    half.putheader("Content-Length", "1000")
    half.endheaders(b"only this")
    assert b"SESSION_INVALID" in post(xen, CALL)[1]
    half.close()
    for each in silent:
        each.close()


@pytest.mark.parametrize(
    "beginning", [b"", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n"]
)
def test_a_request_that_drips_in_for_too_long_is_given_up(tmp_path: Any, beginning: bytes) -> None:
    with XenSimulator(tmp_path, world="empty", request_seconds=0.3) as xen:
        plain = socket.create_connection(("127.0.0.1", xen.port), timeout=60)
        slow = trusting(xen).wrap_socket(plain, server_hostname="127.0.0.1")
        slow.sendall(beginning + b"x")
        slow.settimeout(0.05)
        for _ in range(1000):
            try:
                slow.sendall(b"x")
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:  # reset: it was closed while this was on its way
                break
        else:
            pytest.fail("it still listens")
        slow.close()


def test_more_connections_than_it_has_room_for_are_closed(tmp_path: Any) -> None:
    with XenSimulator(tmp_path, world="empty") as xen:
        held = [socket.create_connection(("127.0.0.1", xen.port)) for _ in range(128)]
        one_more = socket.create_connection(("127.0.0.1", xen.port), timeout=60)
        assert one_more.recv(1) == b""
        one_more.close()
        for each in held:
            each.close()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("garbage", ExpatError),
        ("truncated", ExpatError),
        ("redirect", xmlrpc.client.ProtocolError),
        ("huge", None),
        ("drip", None),
    ],
)
def test_broken_answers_come_on_request_and_the_next_one_is_right(
    ground: Ground, kind: str, error: type[Exception] | None
) -> None:
    ground.xen.control.answer("VM.get_all", kind)
    with logged_in(ground.xen) as api:
        if error is not None:
            with pytest.raises(error):
                api.VM.get_all()
        else:
            connection = connect(ground.xen)
            connection.request("POST", "/", CALL)
            answer = connection.getresponse()
            assert answer.read(21) == b"<?xml version='1.0'?>"
            assert int(answer.headers["Content-Length"]) > 1 << 30
            connection.close()
    assert ground.api.VM.get_all()


def test_clients_at_once_leave_a_sound_pool(ground: Ground) -> None:
    machines = [ground.machine(f"machine {number}", power="Running") for number in range(6)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with logged_in(ground.xen) as api:
                mine = Ground(ground.xen, api)
                vm = machines[number]
                for turn in range(4):
                    made = mine.do("VM.checkpoint" if turn % 2 else "VM.snapshot", vm, f"{number}.{turn}")
                    if turn == 2:
                        mine.do("VM.revert", made)
                        mine.do("VM.start", vm, False, False)
                mine.do("VM.destroy", mine.snapshot(vm, f"{number}.1"))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(machines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    for number, vm in enumerate(machines):
        tree, stands = ground.tree(vm)
        names = [f"{number}.{turn}" for turn in (0, 2, 3)]
        assert tree == {names[0]: None, names[1]: names[0], names[2]: names[1]}
        assert stands == names[2]
        assert ground.api.VM.get_current_operations(vm) == {}
    assert_sound(ground)


def assert_sound(ground: Ground) -> None:
    """Both sides of every relation agree, and every VDI has its file and every file its VDI."""
    api = ground.api
    vms, vbds, vdis = api.VM.get_all_records(), api.VBD.get_all_records(), api.VDI.get_all_records()
    for ref, vm in vms.items():
        assert set(vm["VBDs"]) == {vbd for vbd, record in vbds.items() if record["VM"] == ref}
        assert set(vm["children"]) == {other for other, record in vms.items() if record["parent"] == ref}
        assert set(vm["snapshots"]) == {other for other, record in vms.items() if record["snapshot_of"] == ref}
    for ref, vdi in vdis.items():
        assert set(vdi["VBDs"]) == {vbd for vbd, record in vbds.items() if record["VDI"] == ref}
    for sr, record in api.SR.get_all_records().items():
        files = {path.stem for path in (ground.xen.folder / "repositories" / record["uuid"]).iterdir()}
        assert files == {vdi["uuid"] for vdi in vdis.values() if vdi["SR"] == sr}


def test_it_says_where_it_serves(xen: XenSimulator) -> None:
    state = json.loads((xen.folder / "server.json").read_text())
    assert state["url"] == xen.url
    assert xen.process is not None
    assert state["pid"] == xen.process.pid

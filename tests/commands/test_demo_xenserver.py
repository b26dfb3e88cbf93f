"""The demo's XenServer pool: a child that serves over TLS, an endpoint that trusts it, machines that are shared out."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from hypervisors.models import Hypervisor
from snapshots.access import visible_machines
from snapshots.management import demo, demo_xenserver
from snapshots.management.children import Children
from snapshots.models import User, VirtualMachine, Volume
from snapshots.services import demo_seed

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_folder(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    settings.DEMO_PASSWORD = "a password of the demo"
    return tmp_path


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def children(said: list[str]) -> Iterator[Children]:
    made = Children(said.append)
    with made.listening():
        yield made
        made.stop()


def told(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "xenserver" / "server.json").read_text())
    return state


def seen_by(name: str) -> set[str]:
    machines = visible_machines(User.objects.get(username=name)).filter(hypervisor__kind="xenserver")
    return set(machines.values_list("name", flat=True))


def test_its_machines_are_read_and_shared_out(children: Children, said: list[str]) -> None:
    demo.seed(demo.demo_password())
    endpoint = demo_xenserver.start(children)
    demo.import_machines(endpoint, said.append)
    assert said == [f"Read 6 machines of {demo_xenserver.NAME}, gave 6 away"]
    endpoint.refresh_from_db()
    assert (endpoint.kind, endpoint.simulator, endpoint.insecure) == ("xenserver", True, False)
    assert "BEGIN CERTIFICATE" in endpoint.ca_certificate
    assert seen_by("alice") == {"web-frontend", "web-cache", "web-signing-key"}
    assert seen_by("bob") == {"ledger-db", "ledger-archive", "render-gpu"}
    states = dict(VirtualMachine.objects.values_list("name", "power_state"))
    assert (states["web-frontend"], states["web-cache"], states["ledger-archive"]) == (
        "running",
        "suspended",
        "stopped",
    )
    reasons = VirtualMachine.objects.get(name="web-signing-key").capabilities
    assert "KEYS_MUST_NOT_BE_COPIED" in json.dumps(reasons)
    loose = Volume.objects.get(hypervisor=endpoint, machine=None)
    assert (loose.name, loose.account and loose.account.name) == ("spare-disk", "Web shop")


def test_a_dead_one_is_started_again_at_the_same_address(children: Children, said: list[str], own_folder: Path) -> None:
    before = demo_xenserver.start(children)
    first = told(own_folder)
    os.kill(first["pid"], signal.SIGKILL)
    for _ in range(600):
        children.tend(timeout=0.1)
        if told(own_folder)["pid"] != first["pid"]:
            break
    assert told(own_folder)["pid"] != first["pid"]
    assert told(own_folder)["url"] == first["url"] == before.address
    assert any("was killed by signal 9. It is started again" in line for line in said)
    assert demo_seed.read_now(before).state == "succeeded"


def test_the_next_start_finds_the_same_pool_and_the_same_endpoint(
    children: Children, said: list[str], own_folder: Path
) -> None:
    demo.seed(demo.demo_password())
    endpoint = demo_xenserver.start(children)
    demo.import_machines(endpoint, said.append)
    ids = set(VirtualMachine.objects.values_list("native_id", flat=True))
    children.stop()
    again = Children(said.append)
    with again.listening():
        try:
            assert demo_xenserver.start(again) == endpoint
            demo.import_machines(endpoint, said.append)
        finally:
            again.stop()
    assert Hypervisor.objects.count() == 1
    assert set(VirtualMachine.objects.values_list("native_id", flat=True)) == ids
    assert said[-1] == f"Read 6 machines of {demo_xenserver.NAME}"


def test_it_says_so_where_the_client_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert demo_xenserver.why_not() == ""
    monkeypatch.setattr(demo_xenserver, "why_unavailable", lambda kind: f"the library for {kind} is missing")
    assert demo_xenserver.why_not() == "the library for xenserver is missing"

"""The demo's vCenter comes where its packages are, holds nothing up, and its absence is told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from hypervisors.models import Hypervisor
from snapshots.management import demo_vsphere
from snapshots.management.children import Children
from snapshots.models import VirtualMachine
from snapshots.services import demo_seed
from tests.builders import Cloud
from tests.vsphere_simulator.binary import why_not


class Scene:
    """A vCenter of the demo with what it said and whom it found."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.found: list[Hypervisor] = []
        self.children = Children(self.said.append)
        self.vcenter = demo_vsphere.Vcenter(self.children, self.said.append, self.found.append)


@pytest.fixture
def scene(settings: Settings, tmp_path: Path) -> Scene:
    settings.DATA_DIR = tmp_path
    return Scene()


def pretend(monkeypatch: pytest.MonkeyPatch, state: dict[str, object], program: str) -> None:
    monkeypatch.setattr(demo_vsphere, "_state", lambda: state)
    monkeypatch.setattr(demo_vsphere, "_COMMAND", (sys.executable, "-c", program))


def test_where_a_package_is_missing_it_is_named_and_nothing_starts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {"missing": "the Debian package golang-go is not installed"}, "raise SystemExit(1)")
    scene.vcenter.start()
    scene.vcenter.go_on()
    scene.vcenter.close()
    assert scene.said == ["No vCenter beside the others: the Debian package golang-go is not installed."]
    assert scene.found == []


def test_a_build_that_fails_is_told_and_nothing_starts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"missing": "", "built": False}, "raise SystemExit(1)")
    scene.vcenter.start()
    assert scene.vcenter._build is not None
    scene.vcenter._build.wait(60)
    scene.vcenter.go_on()
    assert "could not be built" in scene.said[-1]
    assert scene.found == []


def test_a_build_under_way_holds_nothing_up_and_ends_with_the_demo(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {"missing": "", "built": False}, "import signal; signal.pause()")
    scene.vcenter.start()
    scene.vcenter.go_on()
    build = scene.vcenter._build
    assert build is not None
    assert build.poll() is None
    scene.vcenter.close()
    assert build.poll() is not None
    assert scene.found == []


@pytest.mark.skipif(bool(why_not()), reason=f"no vSphere simulator: {why_not()}")
@pytest.mark.django_db
def test_it_serves_with_an_endpoint_that_trusts_its_authority_and_is_the_same_at_the_next_start(scene: Scene) -> None:
    subprocess.run([*demo_vsphere._COMMAND, "--build", f"--data={demo_vsphere._folder()}"], check=True, timeout=600)
    first, second = (served(each) for each in (scene, Scene()))
    assert first == second
    assert (first.kind, first.name, first.insecure) == ("vmware", demo_vsphere.NAME, False)
    assert first.ca_certificate.startswith("-----BEGIN CERTIFICATE-----")
    told = json.loads((demo_vsphere._folder() / "server.json").read_text(encoding="utf-8"))
    assert (first.address, first.username, str(first.password)) == (told["url"], told["username"], told["password"])


@pytest.mark.django_db
def test_machines_called_new_are_left_to_be_imported(cloud: Cloud) -> None:
    demo_seed.seed_people("a made-up password", reset=False)
    arrived = cloud.machine("web")
    VirtualMachine.objects.filter(pk=arrived.pk).update(name="new-web")
    demo_seed.share_out(cloud.hypervisor)
    left = VirtualMachine.objects.filter(hypervisor=cloud.hypervisor, account=None)
    assert [machine.name for machine in left] == ["new-web"]
    assert VirtualMachine.objects.filter(hypervisor=cloud.hypervisor).count() > 1


def served(scene: Scene) -> Hypervisor:
    """What it found before it was stopped."""
    with scene.children.listening():
        try:
            scene.vcenter.start()
        finally:
            scene.children.stop()
    (endpoint,) = scene.found
    return endpoint

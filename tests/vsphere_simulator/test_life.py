"""How a simulator comes to be, starts again, and ends."""

import json
import os
import select
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from . import binary
from .certificates import make_certificates
from .client import Client
from .commands import SimulatorError
from .server import VsphereSimulator
from .world import GIB, LooseDisk, Machine, World

HOUSE = Path(__file__).resolve().parents[2]
END_WITHIN_SECONDS = 60.0

needs_go = pytest.mark.skipif(bool(binary.why_not()), reason=f"no vSphere simulator: {binary.why_not()}")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_WITHIN_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # the pace of asking; the condition is the answer


def facts(client: Client) -> list[tuple[Any, ...]]:
    """What makes each machine and datastore itself."""
    machines = [
        (machine._moId, *client.read(machine, "name", "config.instanceUuid").values())
        for machine in client.view(vim.VirtualMachine).view
    ]
    return machines + [(store._moId,) for store in client.view(vim.Datastore).view]


@needs_go
def test_a_second_start_has_the_same_port_machines_and_datastores(tmp_path: Path) -> None:
    server = VsphereSimulator(tmp_path, World(machines=(Machine("one"), Machine("two", running=True))))
    with server:
        before, port = facts(Client(server)), server.port
        server.restart()
        assert (facts(Client(server)), server.port) == (before, port)
    assert not server.alive()
    assert not (tmp_path / "tmp").exists()


@needs_go
def test_what_it_remembers_outlives_a_power_cut_and_the_rest_is_lost(tmp_path: Path) -> None:
    machine = Machine("one", running=True, disk_bytes=(GIB, GIB))
    remembering = World(
        machines=(machine,), loose_disks=(LooseDisk("[LocalDS_0] a/a.vmdk"),), remember=str(tmp_path / "kept.json")
    )
    with VsphereSimulator(tmp_path / "remembers", remembering) as server:
        before = _change_everything(Client(server))
        server.restart()
        assert _state(Client(server)) == before
    with VsphereSimulator(tmp_path / "forgets", World(machines=(machine,))) as server:
        _change_everything(Client(server))
        server.restart()
        assert _state(Client(server))[:2] == (({}, None), "poweredOn")


def _change_everything(client: Client) -> tuple[Any, ...]:
    """Two branches, the second snapshot current again, which has no memory; then another, and a disk less."""
    machine = client.machine("one")
    first = client.take(machine, "first", memory=True)
    second = client.take(machine, "second")
    client.outcome(first.RevertToSnapshot_Task())
    client.take(machine, "third")
    first.RenameSnapshot("renamed", "with words")
    client.outcome(second.RevertToSnapshot_Task())
    removed = vim.vm.device.VirtualDeviceSpec(operation="remove", device=client.disks(machine)[1])
    client.outcome(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[removed])))
    return _state(client)


def _state(client: Client) -> tuple[Any, ...]:
    machine = client.machine("one")
    names, current = client.forest(machine)
    nodes = [client.node(machine, name) for name in names]
    return (
        (names, current),
        client.read(machine, "runtime.powerState")["runtime.powerState"],
        [(node.snapshot._moId, node.description, node.createTime, node.state) for node in nodes],
        [disk.backing.uuid for disk in client.disks(machine)],
    )


@needs_go
def test_it_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    program = f"""
import json, signal, sys
from pathlib import Path
from tests.vsphere_simulator.server import VsphereSimulator
server = VsphereSimulator(Path({str(tmp_path)!r})).start()
print(server._child.pid, flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=HOUSE, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            watched = os.pidfd_open(int(parent.stdout.readline()))
        finally:
            parent.kill()
    try:
        ended, _, _ = select.select([watched], [], [], END_WITHIN_SECONDS)
        assert ended
    finally:
        os.close(watched)


@needs_go
def test_a_session_left_alone_too_long_ends(tmp_path: Path) -> None:
    with VsphereSimulator(tmp_path, World(session_idle_seconds=0.05)) as server:
        client = Client(server)
        wait_until(lambda: server.sessions() == 0)
        with pytest.raises(vim.fault.NotAuthenticated):
            client.machine("stopped")


@needs_go
@pytest.mark.parametrize("flaw", ["expired", "another name"])
def test_a_flawed_certificate_can_be_had_for_tests(tmp_path: Path, flaw: str) -> None:
    names = ("elsewhere.example",) if flaw == "another name" else ("127.0.0.1",)
    certificates = make_certificates(tmp_path / "flawed", names=names, expired=flaw == "expired")
    with (
        VsphereSimulator(tmp_path, certificates=certificates) as server,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        Client(server)


@needs_go
def test_a_world_that_cannot_be_is_refused_with_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server = VsphereSimulator(tmp_path, World(model="hyper-v"))
    with pytest.raises(SimulatorError, match="standard error"):
        server.start()
    assert "hyper-v" in capfd.readouterr().err
    assert not server.alive()


@needs_go
def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    with VsphereSimulator(tmp_path) as server:
        with pytest.raises(SimulatorError, match="no such command"):
            server.command("dance")
        with pytest.raises(SimulatorError, match="no machine"):
            server.ask("nobody", "?")
    with pytest.raises(SimulatorError, match="not running"):
        server.clear()


# Building


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Go that notes each build, and the folder that takes the results."""
    folder = tmp_path / "bin"
    folder.mkdir()
    go = folder / "go"
    go.write_text(
        f"""#!/bin/sh
case $1 in
env) echo made-up ;;
build)
    echo "$HOME $GOCACHE $GOPROXY $GO111MODULE" >>{tmp_path}/builds
    test -z "$(cat {tmp_path}/fails 2>/dev/null)" || {{ echo "syntax error" >&2; exit 2; }}
    echo program >"$3" ;;
esac
""",
        encoding="utf-8",
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(binary, "LIBRARY", folder)
    return tmp_path


def builds(compiler: Path) -> list[str]:
    return (compiler / "builds").read_text(encoding="utf-8").splitlines()


def test_it_is_built_once_without_a_network_and_inside_its_folder(compiler: Path) -> None:
    cache = compiler / "cache"
    assert binary.found(cache) is None
    program = binary.built(cache)
    assert program.read_text(encoding="utf-8") == "program\n"
    assert binary.built(cache) == program == binary.found(cache)
    assert builds(compiler) == [f"{cache} {cache}/go off off"]


def test_who_asks_while_another_builds_waits_for_it(compiler: Path) -> None:
    program = f"""
from pathlib import Path
from tests.vsphere_simulator import binary
binary.LIBRARY = Path({str(compiler / "bin")!r})
print(binary.built(Path({str(compiler / "cache")!r})))
"""
    asking = [
        subprocess.Popen([sys.executable, "-c", program], cwd=HOUSE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = {process.communicate(timeout=60)[0] for process in asking}
    assert len(answers) == 1
    assert len(builds(compiler)) == 1


def test_a_changed_source_is_built_anew_and_the_old_program_goes(
    compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = compiler / "source"
    source.mkdir()
    (source / "main.go").write_text("one", encoding="utf-8")
    monkeypatch.setattr(binary, "SOURCE", source)
    old = binary.built(compiler / "cache")
    (source / "main.go").write_text("two", encoding="utf-8")
    new = binary.built(compiler / "cache")
    assert new != old
    assert (new.exists(), old.exists()) == (True, False)


def test_what_the_compiler_says_is_told(compiler: Path) -> None:
    (compiler / "fails").write_text("yes", encoding="utf-8")
    with pytest.raises(binary.CannotBuild, match="syntax error"):
        binary.built(compiler / "cache")
    (compiler / "fails").unlink()
    assert binary.built(compiler / "cache").exists()


def test_without_go_or_the_library_it_says_which_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "golang-go" in binary.why_not()
    (tmp_path / "go").touch(mode=0o755)
    monkeypatch.setattr(binary, "LIBRARY", tmp_path / "nowhere")
    assert "golang-github-vmware-govmomi-dev" in binary.why_not()
    with pytest.raises(binary.CannotBuild, match="golang-github-vmware-govmomi-dev"):
        binary.built(tmp_path)


@needs_go
def test_the_launchers_source_is_formatted() -> None:
    told = subprocess.run(["gofmt", "-l", binary.SOURCE], capture_output=True, text=True, check=True)
    assert told.stdout == ""


# The demo's


@needs_go
def test_the_demos_vcenter_keeps_password_certificate_and_port_and_ends_when_asked(tmp_path: Path) -> None:
    seen = [_serve_once(tmp_path) for _ in range(2)]
    for told in seen:
        del told["pid"]
    assert seen[0] == seen[1]


def _serve_once(folder: Path) -> dict[str, Any]:
    state = folder / "server.json"
    earlier = state.stat().st_ino if state.exists() else None
    with subprocess.Popen([sys.executable, "-m", "tests.vsphere_simulator", f"--data={folder}"], cwd=HOUSE) as process:
        try:
            wait_until(lambda: state.exists() and state.stat().st_ino != earlier)
            told: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
            assert told["pid"] == process.pid
            another = subprocess.run(
                [sys.executable, "-m", "tests.vsphere_simulator", f"--data={folder}"],
                cwd=HOUSE,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (another.returncode, "runs already" in another.stderr) == (1, True)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(END_WITHIN_SECONDS) == 0
    return told

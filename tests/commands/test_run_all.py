"""The whole product by one command, as a person at a terminal meets it: it comes up, tells its address, refuses a second
one, goes on with the same data, and leaves no process behind."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.ports import HeldPort
from tests.services_for_tests import PostgreSQL, Redis

pytestmark = pytest.mark.system

HOUSE = Path(__file__).resolve().parents[2]
UP_SECONDS = 180
END_SECONDS = 180


@dataclass
class Running:
    """One `run_all` and what it has said so far."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        self.lines += self.process.stdout

    def wait_for(self, pattern: str) -> str:
        deadline = time.monotonic() + UP_SECONDS
        while not (found := re.search(pattern, "".join(self.lines))):
            assert self.process.poll() is None, "".join(self.lines)
            assert time.monotonic() < deadline, "".join(self.lines)
            time.sleep(0.1)
        return found.group()

    def end(self, number: signal.Signals) -> str:
        self.process.send_signal(number)
        assert self.process.wait(END_SECONDS) == 0, "".join(self.lines)
        return "".join(self.lines)

    def put_away(self) -> None:
        """End it in whatever way is needed; harmless when it has ended."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_SECONDS)
            finally:
                self.process.kill()


class Terminal:
    """Starts `run_all` on a data folder of its own and a free port, with the settings a person would have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held = HeldPort()
        self.port = self._held.number
        self.started: list[Running] = []

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("VMSNAP_", "DJANGO_"))}
        own = {"VMSNAP_DATA_DIR": str(self.folder), "VMSNAP_PORT": str(self.port), "VMSNAP_WORKER_PROCESSES": "1"}
        return {**kept, **own, "VMSNAP_WEB_PROCESSES": "1", **more}

    def run(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """One that is expected to end by itself."""
        command = [sys.executable, "manage.py", "run_all", *words]
        return subprocess.run(
            command,
            cwd=HOUSE,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=UP_SECONDS,
            check=False,
        )

    def start(self, *words: str, **more: str) -> Running:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_all", *words],
            cwd=HOUSE,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running = Running(process)
        threading.Thread(target=running.read, daemon=True).start()
        self.started.append(running)
        return running

    def get(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=UP_SECONDS) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def close(self) -> None:
        self._held.let_go()

    def processes(self) -> list[str]:
        """Command lines of all processes that live with this data folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                environment = (entry / "environ").read_bytes()
                if f"VMSNAP_DATA_DIR={self.folder}\0".encode() in environment:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended meanwhile, or is somebody else's
        return [line for line in found if line]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for all: to gather static files for each would take most of the time."""
    return tmp_path_factory.mktemp("run_all") / "data"


@pytest.fixture
def terminal(data: Path) -> Iterator[Terminal]:
    made = Terminal(data)
    yield made
    try:
        for running in made.started:
            running.put_away()
    finally:
        made.close()


def test_the_product_comes_up_goes_down_and_comes_up_again_with_its_data(terminal: Terminal) -> None:
    first = terminal.start("--simulated")
    first.wait_for("Ctrl-C stops it")
    said = "".join(first.lines)
    assert f"http://localhost:{terminal.port}/" in said
    password = (terminal.folder / "demo_password").read_text().strip()
    assert said.count(password) == 1
    assert terminal.get("/healthz") == 200
    assert terminal.get("/sign-in/") == 200

    second = terminal.run("--simulated")
    assert second.returncode == 1
    assert f"running already with this data folder (process {first.process.pid})" in second.stderr
    elsewhere = terminal.run("--simulated", VMSNAP_DATA_DIR=str(terminal.folder.parent / "another"))
    assert elsewhere.returncode == 1
    assert f"Port {terminal.port} cannot be used" in elsewhere.stderr
    reset = subprocess.run(
        ["deployment/delete_data"], cwd=HOUSE, env=terminal.environment(), capture_output=True, text=True, check=False
    )
    assert reset.returncode == 1
    assert "Stop it first" in reset.stderr

    assert "Stopped. The data stay" in first.end(signal.SIGINT)
    assert terminal.processes() == []

    again = terminal.start("--simulated")
    again.wait_for("Ctrl-C stops it")
    said = "".join(again.lines)
    assert password in said
    assert "Gathering" not in said, "what is there already is not made again"
    assert "gave" not in said
    again.end(signal.SIGTERM)
    assert terminal.processes() == []


def test_a_killed_web_server_and_a_killed_worker_are_replaced(terminal: Terminal) -> None:
    running = terminal.start("--no-lab")
    running.wait_for("Ctrl-C stops it")
    for name in ("gunicorn", "celery"):
        children = subprocess.run(
            ["pgrep", "--parent", str(running.process.pid), "--full", name], capture_output=True, text=True, check=True
        )
        os.kill(int(children.stdout), signal.SIGKILL)
    running.wait_for("The web server was killed by signal 9. It is started again")
    running.wait_for("The worker was killed by signal 9. It is started again")
    deadline = time.monotonic() + UP_SECONDS
    while terminal.get("/healthz") != 200:
        assert time.monotonic() < deadline
    running.end(signal.SIGTERM)
    assert terminal.processes() == []


def test_its_children_end_when_it_is_killed_itself(terminal: Terminal) -> None:
    running = terminal.start("--no-lab", "--no-demo")
    said = running.wait_for("(?s).*Ctrl-C stops it")
    assert "Sign in as" not in said
    running.process.kill()
    running.process.wait(END_SECONDS)
    deadline = time.monotonic() + UP_SECONDS
    while terminal.processes():
        assert time.monotonic() < deadline, terminal.processes()
        time.sleep(0.2)


def test_errors_of_the_set_up_are_told_before_anything_starts(tmp_path: Path) -> None:
    with closing(Terminal(tmp_path / "data")) as terminal:
        refused = terminal.run("--no-lab", VMSNAP_DEBUG="yes", VMSNAP_ALLOWED_HOSTS="vmsnap.example.org")
    assert refused.returncode == 1
    assert "vmsnap.E007" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (terminal.folder / "vmsnap.sqlite3").exists()


def test_ticks_are_carried_out_with_servers_for_database_and_broker(
    terminal: Terminal, postgresql: PostgreSQL, redis_server: Redis
) -> None:
    servers = {
        "VMSNAP_DATABASE_URL": postgresql.new_database(),
        "VMSNAP_BROKER_URL": redis_server.url,
        "VMSNAP_SYNC_EVERY_SECONDS": "1",
    }
    running = terminal.start("--simulated", **servers)
    running.wait_for("Ctrl-C stops it")
    ask = "from snapshots.models import Job; print('read', Job.objects.filter(state='succeeded').exclude(claim='').count())"
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", ask]
    deadline = time.monotonic() + UP_SECONDS
    read = 1  # by `run_all` itself
    while read < 3:
        assert time.monotonic() < deadline, "".join(running.lines)
        told = subprocess.run(
            command, cwd=HOUSE, env=terminal.environment(**servers), capture_output=True, text=True, check=True
        )
        read = int(told.stdout.split("read ")[1])
    running.end(signal.SIGTERM)
    assert terminal.processes() == []

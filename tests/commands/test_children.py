"""Child processes: restarted when they die, given up when they keep dying, stopped in order, none left behind."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from snapshots.management.children import RESTARTS_MOST, Child, Children, GivenUp, StopAsked

WAITS = "import signal; signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
# Starts a process of its own, writes its id down, and waits.
PARENT = """
import pathlib, signal, subprocess, sys
inner = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
pathlib.Path(sys.argv[1]).write_text(str(inner.pid))
signal.pause()
"""


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def children(told: list[str]) -> Iterator[Children]:
    made = Children(told.append)
    yield made
    made.stop()


def python(name: str, code: str, *words: str, stop_seconds: float = 10) -> Child:
    return Child(name, [sys.executable, "-c", code, *words], stop_seconds)


def pid_of(child: Child) -> int:
    assert child.process is not None
    return child.process.pid


def runs(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(happened: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_a_child_that_was_killed_is_started_again_and_that_is_said(children: Children, told: list[str]) -> None:
    child = python("worker", WAITS)
    with children.listening():
        children.start(child)
        first = pid_of(child)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: children.tend(timeout=0.1) or pid_of(child) != first)
        assert told == ["!! The worker was killed by signal 9. It is started again."]
        assert runs(pid_of(child))


def test_a_child_that_keeps_dying_is_given_up(children: Children, told: list[str]) -> None:
    with children.listening():
        children.start(python("web server", "raise SystemExit(3)"))
        with pytest.raises(GivenUp, match=f"ended with code 3, for the {RESTARTS_MOST}th time"):
            wait_until(lambda: children.tend(timeout=0.1))
    assert len(told) == RESTARTS_MOST - 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_wish_to_stop_arrives_at_once(number: signal.Signals, children: Children) -> None:
    def asked() -> None:
        os.kill(os.getpid(), number)
        children.tend(timeout=10)

    # Whoever runs the tests may have been told to outlive its terminal.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with children.listening(), pytest.raises(StopAsked, match=number.name):
            asked()
    finally:
        signal.signal(number, before)


def test_started_to_outlive_the_terminal_it_does(children: Children) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with children.listening():
            os.kill(os.getpid(), signal.SIGHUP)
            children.tend(timeout=0)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nothing_is_left_of_children_and_what_they_started(children: Children, told: list[str], tmp_path: Path) -> None:
    note = tmp_path / "inner"
    outer, other = python("outer", PARENT, str(note)), python("other", WAITS)
    with children.listening():
        children.start(outer)
        children.start(other)
        wait_until(lambda: note.exists() and note.read_text())
        inner = int(note.read_text())
        pids = [pid_of(outer), pid_of(other), inner]
        assert all(map(runs, pids))
        children.stop()
    wait_until(lambda: not any(map(runs, pids)))
    assert told == [], "both ended when they were asked"


def test_a_child_that_does_not_end_is_killed_after_its_time(children: Children, told: list[str]) -> None:
    child = python("worker", DEAF, stop_seconds=0.5)
    with children.listening():
        children.start(child)
        pid = pid_of(child)
        # Its wish not to hear stands in its status once it has said so: bit 15 of the ignored signals.
        wait_until(lambda: int(_status(pid, "SigIgn"), 16) & (1 << (signal.SIGTERM - 1)))
        children.stop()
    assert not runs(pid)
    assert told == ["!! The worker does not end within 0.5 seconds. It is killed."]


def _status(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def test_handlers_of_signals_are_given_back(children: Children) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]
    with children.listening():
        pass
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]
    assert after == before


def test_one_that_the_others_need_is_stopped_last(children: Children, tmp_path: Path) -> None:
    ends = (
        "import pathlib, signal, sys\n"
        "def end(*_):\n"
        "    with open(sys.argv[1], 'a') as file: file.write(sys.argv[2])\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(sys.argv[1] + sys.argv[2]).touch()\n"
        "while True: signal.pause()\n"
    )
    order = tmp_path / "order"
    needed = python("needed", ends, str(order), "last ")
    needed.stops_last = True
    children.start(needed)
    children.start(python("other", ends, str(order), "first "))
    wait_until(lambda: all((tmp_path / f"order{name}").exists() for name in ("last ", "first ")))
    with children.listening():
        children.stop()
    assert order.read_text() == "first last "

"""The processes that `run_all` starts: watched, restarted when they die, stopped in order, none left behind.

Each child leads a session of its own, so that Ctrl-C at the terminal reaches `run_all` alone, which then stops the
children one after the other. Should `run_all` itself be killed, the kernel tells the children (`setpriv --pdeathsig`).
"""

import os
import select
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

RESTARTS_MOST = 5
RESTARTS_WITHIN_SECONDS = 60.0


class StopAsked(BaseException):
    """Somebody wants the end: Ctrl-C, SIGTERM, or a closed terminal. Not an `Exception`, so that nothing on the way
    takes it for a failure."""


class GivenUp(Exception):
    """A child dies again and again."""


@dataclass
class Child:
    """One process to keep running. `stop_seconds` is how long it may take to end when asked by SIGTERM. `stops_last`: the
    others need it until they have ended."""

    name: str
    command: Sequence[str]
    stop_seconds: float
    pass_fds: tuple[int, ...] = ()
    stops_last: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    deaths: "deque[float]" = field(default_factory=lambda: deque(maxlen=RESTARTS_MOST))


class Children:
    """All children of one `run_all`. `say` tells the person at the terminal."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: list[Child] = []
        self._hurry = False
        self._stopping = False
        self._wake, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """From here on SIGINT, SIGTERM and SIGHUP raise `StopAsked`; a second one, while stopping, ends the patience."""
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # started by nohup, it is to outlive the terminal
            wanted.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._on_stop) for number in wanted}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        old_wake = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old_wake)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            self._hurry = True
            return
        self._stopping = True
        raise StopAsked(signal.Signals(number).name)

    def start(self, child: Child) -> None:
        """Start a child; those started first are stopped first."""
        self._children.append(child)
        self._spawn(child)

    def _spawn(self, child: Child) -> None:
        guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        child.process = subprocess.Popen(
            [*guard, *child.command], stdin=subprocess.DEVNULL, pass_fds=child.pass_fds, start_new_session=True
        )

    def tend(self, timeout: float | None = None) -> None:
        """Wait for a signal or the end of a child (or `timeout` seconds), and start what has died anew.

        Raises `GivenUp` when a child died too often, `StopAsked` when the end is wanted.
        """
        select.select([self._wake], [], [], timeout)
        self._drain()
        for child in self._children:
            status = child.process.poll() if child.process else None
            if status is not None:
                self._revive(child, status)

    def _drain(self) -> None:
        try:
            while os.read(self._wake, 512):
                pass
        except BlockingIOError:
            return

    def _revive(self, child: Child, status: int) -> None:
        now = time.monotonic()
        child.deaths.append(now)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with code {status}"
        self._kill_group(child)  # whatever it had started must not go on beside its successor
        if len(child.deaths) == RESTARTS_MOST and now - child.deaths[0] < RESTARTS_WITHIN_SECONDS:
            raise GivenUp(
                f"The {child.name} {how}, for the {RESTARTS_MOST}th time within a minute. Its words are above."
            )
        self._say(f"!! The {child.name} {how}. It is started again.")
        self._spawn(child)

    def stop(self) -> None:
        """Stop all children, the first started first: asked by SIGTERM, waited for, then killed with all they started."""
        self._stopping = True
        for child in sorted(self._children, key=lambda child: child.stops_last):
            process = child.process
            if process is None:
                continue
            if process.poll() is None:
                process.terminate()
                if not self._ended(process, child.stop_seconds):
                    self._say(f"!! The {child.name} does not end within {child.stop_seconds:g} seconds. It is killed.")
            self._kill_group(child)
            process.wait()
        self._children.clear()

    def _ended(self, process: "subprocess.Popen[bytes]", seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            left = deadline - time.monotonic()
            if self._hurry or left <= 0:
                return False
            # Its end rings here (SIGCHLD), and so does a second Ctrl-C.
            select.select([self._wake], [], [], left)
            self._drain()
        return True

    def _kill_group(self, child: Child) -> None:
        if child.process is None:
            return
        try:
            os.killpg(child.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it left nobody behind

"""Processes that tests start for themselves: what any server of a test run needs to start, to be waited for and to end.

A root caller starts them as an unprivileged user. Should the test run be killed, the kernel ends them.
"""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Self

from tests.ports import HeldPort

START_SECONDS = 180
STOP_SECONDS = 60
LOOK_EVERY_SECONDS = 0.05
PR_SET_PDEATHSIG = 1


class NotInstalled(Exception):
    """The program of a server is not on this computer. The text is the reason to show."""


class DidNotStart(Exception):
    """A server ended at once or did not answer in time. The text holds the end of its log."""


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Look until the condition holds. Raises `TimeoutError` naming `what` after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"After {seconds:g} seconds still not: {what}")
        time.sleep(LOOK_EVERY_SECONDS)


def accepts(port: int) -> bool:
    """Whether somebody listens on this port."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def unprivileged(preferred: str) -> pwd.struct_passwd | None:
    """Whom a root caller starts a server as: the server's own system user, else nobody. None when not root."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):  # the server brought no user of its own
        return pwd.getpwnam(preferred)
    return pwd.getpwnam("nobody")


_libc = ctypes.CDLL(None)


def end_with_parent(by_signal: int = signal.SIGTERM) -> None:
    """Runs in a child before its program: have the kernel end it when the test run dies without cleaning up. One system
    call, which takes no lock: safe between fork and exec."""
    _libc.prctl(PR_SET_PDEATHSIG, by_signal)


class Server:
    """One server with its folder, from start to stop. Use as a context manager."""

    name = ""
    system_user = ""
    stop_signal = signal.SIGTERM
    orphan_signal = signal.SIGKILL

    def __init__(self) -> None:
        self.user = unprivileged(self.system_user)
        self.programs = self.find_programs()
        # Short, since the path of a socket file may have about 100 characters only.
        self.folder = Path(tempfile.mkdtemp(prefix=f"vmsnap-{self.name.lower()}-"))
        self.log = self.folder / "log"
        self.log_begins = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._ports: list[HeldPort] = []
        try:
            self._own(self.folder)
            self.prepare()
        except BaseException:
            self.stop()
            self._give_back()
            raise

    def find_programs(self) -> dict[str, str]:
        """Name to path. Raises `NotInstalled`."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make what has to be there before the first start."""

    def command(self) -> list[str]:
        """What to start, in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """What the server finds in its environment beside a plain one."""
        return {}

    def answers(self) -> bool:
        """Whether it is ready."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers; again after `stop` on the same port, with the data kept."""
        self.log_begins = self.log.stat().st_size if self.log.exists() else 0
        self.process = self.spawn(self.command())
        end = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise DidNotStart(f"{self.name}: {self.logged_since_start()[-3000:]}")
            time.sleep(LOOK_EVERY_SECONDS)

    def logged_since_start(self) -> str:
        """What it wrote in its log since the last start."""
        return self.log.read_bytes()[self.log_begins :].decode(errors="replace")

    def stop(self) -> None:
        """End it and wait for that; by force when it takes too long. Harmless when it does not run."""
        process, self.process = self.process, None
        if process is not None:
            end_process(process, self.stop_signal)

    def freeze(self) -> None:
        """From now on it accepts connections, as far as the kernel does that for it, and never answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop it and delete what it wrote."""
        self.stop()
        self._give_back()

    def spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a program as the unprivileged user, its output in the log."""
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal ends the tests, and those end the server.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment(),
                start_new_session=True,
                preexec_fn=partial(end_with_parent, self.orphan_signal),
                **self._as_user(),
            )

    def run(self, command: list[str]) -> None:
        """Run a program to its end as the unprivileged user. Raises `DidNotStart`."""
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            env=self._environment(),
            timeout=START_SECONDS,
            check=False,
            **self._as_user(),
        )
        if done.returncode:
            raise DidNotStart(f"{self.name}: {done.stdout.decode()}{done.stderr.decode()}")

    def _as_user(self) -> dict[str, object]:
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def _environment(self) -> dict[str, str]:
        plain = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        return plain | self.environment()

    def _own(self, path: Path) -> None:
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def own_port(self) -> int:
        """A port that stays this server's until it is closed."""
        self._ports.append(HeldPort())
        return self._ports[-1].number

    def _give_back(self) -> None:
        for port in self._ports:
            port.let_go()
        shutil.rmtree(self.folder, ignore_errors=True)


def end_process(process: subprocess.Popen[bytes], with_signal: int) -> None:
    """Ask a process to end, wait, and kill it when it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)  # a frozen one hears nothing else
        process.send_signal(with_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def found(program: str, *folders: str) -> str:
    """The path of a program. Raises `NotInstalled`."""
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    where = shutil.which(program, path=path)
    if where is None:
        raise NotInstalled(f"{program} is not installed")
    return where

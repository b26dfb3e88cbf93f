"""An installation of the product beside the one pytest runs in: real settings, a database and a broker that several
processes share, processes that act in it at the same moment, and Celery workers that can be killed.

The pytest process itself never opens that database. It sends functions (from modules that import models) into processes
of the installation and gets plain data back.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.server_processes import STOP_SECONDS, end_with_parent, wait_until

PROCESSES = 8
ANSWER_SECONDS = 300
MEET_SECONDS = 240
WORKERS_TOLD = 2
LINES_TOLD = 80
PROJECT = Path(__file__).resolve().parent.parent


class Installation:
    """Settings of one installation, and processes that work in it. `settings` are named without their prefix."""

    def __init__(self, folder: Path, *, database_url: str = "", broker_url: str = "", **settings: object) -> None:
        self.folder = folder
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "vmsnap_site.settings",
            "VMSNAP_DATA_DIR": str(folder),
            **{f"VMSNAP_{name}": str(value) for name, value in settings.items()},
        }
        if database_url:
            self.environment["VMSNAP_DATABASE_URL"] = database_url
        if broker_url:
            self.environment["VMSNAP_BROKER_URL"] = broker_url
        self._workers: list[Worker] = []
        # Started anew, not forked: each opens its own connections, as separate programs do.
        self._pool = ProcessPoolExecutor(
            PROCESSES, multiprocessing.get_context("spawn"), initializer=_enter, initargs=(self.environment,)
        )
        self.ask(_migrate)

    def ask(self, function: Callable[..., Any], *arguments: object, seconds: float = ANSWER_SECONDS) -> Any:
        """What the function answers in a process of this installation. Raises `TimeoutError` when it takes longer."""
        return self.begin(function, *arguments).result(seconds)

    def begin(self, function: Callable[..., Any], *arguments: object) -> Future[Any]:
        """The same, without waiting for the answer."""
        return self._pool.submit(function, *arguments)

    def at_once(self, function: Callable[..., Any], *calls: tuple[object, ...]) -> list[Any]:
        """Call the function in as many processes as there are calls, all at the same moment; answers in their order."""
        assert len(calls) <= PROCESSES
        meeting = tempfile.mkdtemp(prefix="meeting-", dir=self.folder)
        futures = [self._pool.submit(_meet_and_call, meeting, len(calls), function, call) for call in calls]
        return [future.result(ANSWER_SECONDS) for future in futures]

    def wait_for(self, seconds: float, what: str, function: Callable[..., Any], *arguments: object) -> Any:
        """Ask until the answer is true, and give it. Raises `TimeoutError` naming `what`, with the workers' last words."""
        answers: list[Any] = []

        def answered() -> bool:
            answers[:] = [self.ask(function, *arguments)]
            return bool(answers[0])

        try:
            wait_until(answered, seconds, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}{self.last_words()}") from error
        return answers[0]

    def last_words(self) -> str:
        """What became of the newest workers and what they wrote last, for whoever has to find out why a wait failed."""
        return "".join(worker.last_words() for worker in self._workers[-WORKERS_TOLD:])

    @contextmanager
    def worker(self, processes: int = 6) -> Iterator["Worker"]:
        """A Celery worker with ticks, ended at the end if it has not ended before."""
        worker = Worker(self, processes)
        self._workers.append(worker)
        try:
            yield worker
        finally:
            worker.kill()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Worker:
    """`celery worker -B` in a process group of its own."""

    def __init__(self, installation: Installation, processes: int) -> None:
        self.log = installation.folder / f"worker-{uuid4().hex[:8]}.log"
        command = [sys.executable, "-m", "celery", "-A", "vmsnap_site", "worker", "-B", "--loglevel", "INFO"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VMSNAP_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--concurrency", str(processes)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=PROJECT,
                env={**kept, **installation.environment},
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def kill(self) -> None:
        """SIGKILL to the whole group: the worker, all its processes and the ticks."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    def terminate(self, seconds: float) -> int:
        """SIGTERM to the worker, as a service manager does it: what runs is finished. Answers the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def children(self) -> list[int]:
        """The process ids of its direct children."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(word) for word in listed.split()]

    def logged(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def last_words(self) -> str:
        """Whether it still runs, and the end of what it has written."""
        code = self.process.poll()
        state = "runs" if code is None else f"has ended with {code}"
        end = "\n".join(self.logged().splitlines()[-LINES_TOLD:])
        return f"\n\nThe worker {self.process.pid} {state}. The end of {self.log.name}:\n{end}"


def _enter(environment: dict[str, str]) -> None:
    """Runs first in each process: become part of the installation."""
    for name in [name for name in os.environ if name.startswith("VMSNAP_")]:
        del os.environ[name]
    os.environ.update(environment)
    import django

    django.setup()


def _migrate() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _meet_and_call(meeting: str, expected: int, function: Callable[..., Any], arguments: tuple[object, ...]) -> Any:
    """Wait in the meeting folder until all are there, then call."""
    Path(meeting, str(os.getpid())).touch()
    wait_until(lambda: len(os.listdir(meeting)) >= expected, MEET_SECONDS, "all processes are there")
    return function(*arguments)

"""`manage.py run_all`: the whole product on this computer in one command. `make demo` calls it.

Migrates, gathers static files, starts the lab and reads its machines, makes the demo's people in an empty installation,
then serves until Ctrl-C: web (gunicorn, threads, on 127.0.0.1 alone), one Celery worker, which carries the ticks, and the
watcher, which waits on hypervisors that tell what changes.
"""

import argparse
import fcntl
import hashlib
import http.client
import io
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from hypervisors.lab import Lab, LabError
from hypervisors.models import Hypervisor
from snapshots.management import demo, demo_vsphere, demo_xenserver
from snapshots.management.children import Child, Children, GivenUp, StopAsked

HOST = "127.0.0.1"
ANSWER_WITHIN_SECONDS = 60.0
WEB_STOP_SECONDS = 15.0
# A job under way may finish; a longer one is left to the hypervisor, and its outcome is looked up at the next start.
WORKER_STOP_SECONDS = 20.0
WATCHER_STOP_SECONDS = 15.0


class Command(BaseCommand):
    """Runs everything in the foreground; leaves no process when it ends."""

    help = "Run the whole product on this computer: lab, demo data, web, worker and ticks, until Ctrl-C."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        kind = parser.add_mutually_exclusive_group()
        kind.add_argument("--no-lab", action="store_true", help="no hypervisor of its own: connect one in the admin")
        kind.add_argument("--simulated", action="store_true", help="the simulated hypervisor in place of real machines")
        parser.add_argument("--no-demo", action="store_true", help="do not make the demo's domains, accounts and users")
        parser.add_argument(
            "--xenserver",
            action=argparse.BooleanOptionalAction,
            help="a simulated XenServer pool too; unless told otherwise, beside the lab",
        )
        parser.add_argument(
            "--vsphere",
            action=argparse.BooleanOptionalAction,
            help="a simulated vCenter too, where its packages are installed; unless told otherwise, beside the lab",
        )
        parser.add_argument("--keep-lab", action="store_true", help="leave the lab's machines running at the end")

    def handle(self, *_: Any, **options: Any) -> None:
        self.quiet = False
        children = Children(self._say)
        vcenter = demo_vsphere.Vcenter(children, self._say, self._import_late)
        with self._alone(), self._port() as listener, children.listening():
            try:
                self._run(children, listener, vcenter, options)
            except StopAsked as asked:
                self._say(f"\nStopping ({asked})")
            except (GivenUp, LabError) as error:
                raise CommandError(str(error)) from error
            finally:
                vcenter.close()
                children.stop()
                self._stop_lab(options)
        self._say(f"Stopped. The data stay in {settings.DATA_DIR}.")

    def _say(self, line: str) -> None:
        """One line for the person at the terminal, at once, also through a pipe."""
        if self.quiet:
            return
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except BrokenPipeError:
            self.quiet = True  # whoever listened has gone; children must still be stopped in order

    # Before anything else

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One `run_all` per data folder. The kernel gives the lock back however the holder ends."""
        path = Path(settings.DATA_DIR) / "run_all.lock"
        with open(path, "a+", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise CommandError(
                    f"It is running already with this data folder (process {lock.read().strip() or 'unknown'}). "
                    "Stop that one, or set VMSNAP_DATA_DIR and VMSNAP_PORT to run another beside it."
                ) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    @contextmanager
    def _port(self) -> Iterator[socket.socket]:
        """The port, ours from the first moment on and over restarts of the web process."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((HOST, settings.PORT))
            except OSError as error:
                raise CommandError(
                    f"Port {settings.PORT} cannot be used: {error.strerror}. "
                    "Set VMSNAP_PORT to another one, for example VMSNAP_PORT=8001."
                ) from error
            yield listener

    # The way up

    def _run(
        self, children: Children, listener: socket.socket, vcenter: demo_vsphere.Vcenter, options: dict[str, Any]
    ) -> None:
        call_command("check", stdout=io.StringIO())  # warnings go to standard error, errors end it
        self._say("Bringing the database up to date")
        call_command("migrate", interactive=False, verbosity=0)
        self._gather_static()
        password = None if options["no_demo"] else demo.demo_password()
        seeded = demo.seed(password)
        # Before the lab, whose machines take all processors while they boot; the worker after it, for it would find the
        # lab not there yet and say so.
        children.start(self._web(listener))
        self._import(options)
        self._start_xenserver(children, options)
        if _beside_the_lab(options["vsphere"], options):
            vcenter.start()
        connection.close()  # the children have their own
        children.start(self._worker())
        children.start(self._watcher())
        self._wait_for_answer(children)
        self._say("")
        self._say(f"VMSnap is running at  http://localhost:{settings.PORT}/")
        self._say("")
        if not options["no_demo"]:
            demo.greet(password, seeded, self._say)
        self._say("")
        self._say("Ctrl-C stops it; the next start finds everything again. make demo-reset starts over from nothing.")
        while True:
            children.tend()
            vcenter.go_on()

    def _import(self, options: dict[str, Any]) -> None:
        if options["no_lab"]:
            return
        endpoint = None if options["simulated"] else demo.lab_endpoint(Lab(settings.DATA_DIR), self._say)
        demo.import_machines(endpoint or demo.simulated_endpoint(), self._say)

    def _start_xenserver(self, children: Children, options: dict[str, Any]) -> None:
        if not _beside_the_lab(options["xenserver"], options):
            return
        if reason := demo_xenserver.why_not():
            self._say(f"!! No XenServer pool: {reason}")
            return
        demo.import_machines(demo_xenserver.start(children), self._say)

    def _import_late(self, endpoint: Hypervisor) -> None:
        demo.import_machines(endpoint, self._say)
        connection.close()

    def _stop_lab(self, options: dict[str, Any]) -> None:
        lab = Lab(settings.DATA_DIR)
        if options["no_lab"] or options["simulated"] or options["keep_lab"] or not lab.layout.marker.exists():
            return
        self._say("Stopping the lab's machines; their disks and VM snapshots stay")
        lab.down()

    def _gather_static(self) -> None:
        """Gather and compress static files when their sources have changed: it takes seconds, to look takes none."""
        note = Path(settings.DATA_DIR) / "static_sources"
        state = hashlib.sha256(f"{django.__version__} {sys.version}".encode())
        for finder in get_finders():
            for path, storage in finder.list([]):
                status = os.stat(storage.path(path))
                state.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        gathered = (Path(settings.STATIC_ROOT) / "staticfiles.json").exists()
        if gathered and note.exists() and note.read_text(encoding="ascii") == state.hexdigest():
            return
        self._say("Gathering style sheets and scripts")
        note.unlink(missing_ok=True)
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        note.write_text(state.hexdigest(), encoding="ascii")

    # What runs

    def _web(self, listener: socket.socket) -> Child:
        command = [sys.executable, "-m", "gunicorn", "vmsnap_site.wsgi:application"]
        command += ["--bind", f"fd://{listener.fileno()}", "--worker-class", "gthread", "--no-control-socket"]
        command += ["--workers", str(settings.WEB_PROCESSES), "--threads", str(settings.WEB_THREADS)]
        command += ["--graceful-timeout", f"{WEB_STOP_SECONDS - 5:.0f}", "--log-level", "warning"]
        return Child("web server", command, WEB_STOP_SECONDS, pass_fds=(listener.fileno(),))

    def _worker(self) -> Child:
        """The worker carries the ticks (`--beat`): exactly one process of an installation may."""
        # Its warning against root is about pickled messages, which this worker does not take.
        quiet = ["-W", "ignore:You're running the worker with superuser"]
        command = [sys.executable, *quiet, "-m", "celery", "--quiet", "-A", "vmsnap_site", "worker", "--beat"]
        command += ["--concurrency", str(settings.CELERY_WORKER_CONCURRENCY)]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return Child("worker", command, WORKER_STOP_SECONDS)

    def _watcher(self) -> Child:
        command = [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "watch_hypervisors"]
        return Child("watcher", command, WATCHER_STOP_SECONDS)

    def _wait_for_answer(self, children: Children) -> None:
        """Ask the health page until it answers, whatever it says."""
        deadline = time.monotonic() + ANSWER_WITHIN_SECONDS
        while time.monotonic() < deadline:
            children.tend(timeout=0.1)
            asked = http.client.HTTPConnection(HOST, settings.PORT, timeout=5)
            try:
                asked.request("GET", "/healthz", headers={"Host": _own_name()})
                answer = asked.getresponse()
                text = answer.read().decode(errors="replace")
            except OSError:
                continue
            finally:
                asked.close()
            if answer.status != http.client.OK:
                self._say(f"!! The health page answers {answer.status}: {text}")
            return
        raise GivenUp(f"The web server did not answer within {ANSWER_WITHIN_SECONDS:g} seconds. Its words are above.")


def _beside_the_lab(wanted: bool | None, options: dict[str, Any]) -> bool:
    """Whether to show a simulated hypervisor: as asked, else where there is a lab."""
    return not options["no_lab"] and not options["simulated"] if wanted is None else wanted


def _own_name() -> str:
    """A host name that ALLOWED_HOSTS lets in."""
    first = next(iter(settings.ALLOWED_HOSTS), "localhost")
    return "localhost" if first == "*" else first.lstrip(".")

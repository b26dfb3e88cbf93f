"""Real servers for tests: PostgreSQL, Redis and RabbitMQ, each started by the test run for itself and ended with it.

They listen on loopback or a socket file only, on ports of their own, keep everything in a temporary folder and never touch
the computer's own servers. A root caller starts them as an unprivileged user, which PostgreSQL demands. Should the test
run be killed, the kernel ends them.

As a pytest plugin this gives the fixtures `postgresql`, `redis_server` and `rabbitmq_server`: started at first use, once in
each process of the run, skipped with the reason where the program is not installed.
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
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import pytest

from tests.ports import HeldPort

START_SECONDS = 180
STOP_SECONDS = 60
LOOK_EVERY_SECONDS = 0.05
PR_SET_PDEATHSIG = 1

Kind = TypeVar("Kind", bound="Server")


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


class PostgreSQL(Server):
    """A PostgreSQL cluster that listens on a socket file in its folder only and writes nothing safely."""

    name = "PostgreSQL"
    system_user = "postgres"
    stop_signal = signal.SIGINT  # "fast shutdown": ends sessions, does not wait for them
    orphan_signal = signal.SIGQUIT  # "immediate shutdown": ends its processes and frees its memory

    def find_programs(self) -> dict[str, str]:
        # Debian keeps them out of PATH, one folder for each version; take the newest.
        folders = sorted(
            Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True
        )
        return {name: found(name, *map(str, folders)) for name in ("initdb", "postgres")}

    def prepare(self) -> None:
        # The folder is closed to others, so whoever can reach the socket may enter.
        options = ["--username=vmsnap", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self.run([self.programs["initdb"], "-D", str(self.folder / "data"), *options])

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "log_lock_waits": "on",
        }
        chosen = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.programs["postgres"], "-D", str(self.folder / "data"), *chosen]

    def answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self._conninfo("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def new_database(self) -> str:
        """Make an empty database and give its URL, in the form of VMSNAP_DATABASE_URL."""
        import psycopg
        from psycopg import sql

        name = f"vmsnap_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def url(self, database: str) -> str:
        """The URL of a database of this server, in the form of VMSNAP_DATABASE_URL."""
        return f"postgresql://vmsnap@/{database}?host={self.folder}"

    def logged(self, text: str) -> list[str]:
        """The lines of the server's log that hold this text."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if text in line]

    def _conninfo(self, database: str) -> str:
        return f"host={self.folder} user=vmsnap dbname={database}"


class Redis(Server):
    """A Redis that keeps everything in memory: a stop forgets what was queued."""

    name = "Redis"
    system_user = "redis"

    def find_programs(self) -> dict[str, str]:
        return {"redis-server": found("redis-server")}

    def prepare(self) -> None:
        self.port = self.own_port()

    def command(self) -> list[str]:
        options = {"--port": str(self.port), "--bind": "127.0.0.1", "--save": "", "--appendonly": "no"}
        chosen = [part for pair in options.items() for part in pair]
        return [self.programs["redis-server"], *chosen, "--dir", str(self.folder)]

    def answers(self) -> bool:
        return accepts(self.port)

    @property
    def url(self) -> str:
        """The URL of the broker, in the form of VMSNAP_BROKER_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def url_with_wrong_password(self) -> str:
        """The URL with a user it does not know."""
        return f"redis://stranger:wrong@127.0.0.1:{self.port}/0"


class RabbitMQ(Server):
    """A RabbitMQ node with a name and a port mapper (epmd) of its own, all on loopback."""

    name = "RabbitMQ"
    system_user = "rabbitmq"
    port_mapper: subprocess.Popen[bytes] | None = None

    def find_programs(self) -> dict[str, str]:
        # Debian's /usr/sbin/rabbitmq-server insists on the system user and the system's folders.
        return {"rabbitmq-server": found("rabbitmq-server", "/usr/lib/rabbitmq/bin"), "epmd": found("epmd")}

    def prepare(self) -> None:
        self.port, self.node_port, self.mapper_port = self.own_port(), self.own_port(), self.own_port()
        self.node = f"vmsnap-{uuid.uuid4().hex[:12]}@localhost"
        (self.folder / "plugins").write_text("[].\n", encoding="ascii")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\ndisk_free_limit.absolute = 1MB\n", encoding="ascii"
        )
        # Started here, since a node that finds none starts one that outlives it.
        self.port_mapper = self.spawn([self.programs["epmd"], "-port", str(self.mapper_port), "-address", "127.0.0.1"])
        wait_until(lambda: accepts(self.mapper_port), START_SECONDS, "epmd listens")

    def environment(self) -> dict[str, str]:
        return {
            "ERL_EPMD_PORT": str(getattr(self, "mapper_port", 0)),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": getattr(self, "node", ""),
            "RABBITMQ_DIST_PORT": str(getattr(self, "node_port", 0)),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # Two schedulers instead of one for each core: the node starts faster and is a better neighbour.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
            # The script then becomes the server instead of waiting beside it, so that our child is the server.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def command(self) -> list[str]:
        return [self.programs["rabbitmq-server"]]

    def answers(self) -> bool:
        return accepts(self.port) and "Server startup complete" in self.logged_since_start()

    def close(self) -> None:
        self.stop()
        if self.port_mapper is not None:
            end_process(self.port_mapper, signal.SIGTERM)
        self._give_back()

    @property
    def url(self) -> str:
        """The URL of the broker, in the form of VMSNAP_BROKER_URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def url_with_wrong_password(self) -> str:
        """The URL with a user it does not know."""
        return f"amqp://stranger:wrong@127.0.0.1:{self.port}//"


def _running(kind: type[Kind]) -> Iterator[Kind]:
    try:
        server = kind()
    except NotInstalled as reason:
        pytest.skip(f"{kind.name} cannot be started: {reason}")
    with server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of this run."""
    yield from _running(PostgreSQL)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis server of this run."""
    yield from _running(Redis)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQ]:
    """A RabbitMQ server of this run."""
    yield from _running(RabbitMQ)

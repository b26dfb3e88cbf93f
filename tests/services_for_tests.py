"""Real servers for tests: PostgreSQL, Redis and RabbitMQ, each started by the test run for itself and ended with it.

They listen on loopback or a socket file only, on ports of their own, keep everything in a temporary folder and never touch
the computer's own servers. A root caller starts them as an unprivileged user, which PostgreSQL demands. Should the test
run be killed, the kernel ends them.

As a pytest plugin this gives the fixtures `postgresql`, `redis_server` and `rabbitmq_server`: started at first use, once in
each process of the run, skipped with the reason where the program is not installed.
"""

import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.server_processes import START_SECONDS, NotInstalled, Server, accepts, end_process, found, wait_until

Kind = TypeVar("Kind", bound="Server")


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

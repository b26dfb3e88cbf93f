"""Installations with short times: the embedded broker on SQLite, Redis and RabbitMQ on PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hypervisors.drivers.simulated.world import World
from tests import deeds
from tests.installation import Installation

SHORT = {
    "JOB_HEARTBEAT_SECONDS": 0.5,
    "JOB_LOST_AFTER_SECONDS": 4,
    "JOB_RESEND_AFTER_SECONDS": 2,
    "SWEEP_EVERY_SECONDS": 0.5,
    "SYNC_EVERY_SECONDS": 3600,
}


def _installed(request: pytest.FixtureRequest, folder: Path, broker: str) -> Iterator[Installation]:
    database_url = broker_url = ""
    if broker != "embedded":
        database_url = request.getfixturevalue("postgresql").new_database()
        broker_url = request.getfixturevalue(f"{broker}_server").url
    with closing(Installation(folder, database_url=database_url, broker_url=broker_url, **SHORT)) as made:
        yield made


@pytest.fixture(scope="session", params=["embedded", "redis", "rabbitmq"])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation on each broker: the embedded one with SQLite, the others with PostgreSQL."""
    yield from _installed(request, tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def cloud(installation: Installation) -> str:
    """The name of a fresh simulated hypervisor with eight running machines, `m0` to `m7`."""
    name: str = installation.ask(deeds.build, 8)
    return name


@pytest.fixture
def world(installation: Installation, cloud: str) -> World:
    """The hypervisor's own side, its calls not yet counted."""
    found = World(Path(installation.ask(deeds.world_path, cloud)))
    found.forget_calls()
    return found

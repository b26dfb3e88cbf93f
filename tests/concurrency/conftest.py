"""One installation on SQLite and one on PostgreSQL, each with eight processes; every test here runs on both."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.installation import Installation

FAST = {"SYNC_EVERY_SECONDS": 3600, "JOB_HEARTBEAT_SECONDS": 1, "JOB_LOST_AFTER_SECONDS": 60, "LOG_LEVEL": "ERROR"}


DATABASES = ["sqlite", "postgresql"]


@pytest.fixture(scope="session", params=DATABASES)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The installation whose processes the tests send to work."""
    with closing(_made(request, tmp_path_factory)) as made:
        yield made


@pytest.fixture(params=DATABASES)
def new_installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """One of the test's own, in which nothing was ever used or billed."""
    with closing(_made(request, tmp_path_factory)) as made:
        yield made


def _made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgresql").new_database()
    return Installation(tmp_path_factory.mktemp(request.param), database_url=url, **FAST)


@pytest.fixture
def cloud(installation: Installation) -> str:
    """The name of a fresh simulated hypervisor with one running machine, `m0`."""
    from tests import deeds

    name: str = installation.ask(deeds.build, 1)
    return name

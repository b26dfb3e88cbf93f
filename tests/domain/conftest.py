"""Who and what several tests of the domain act with."""

import pytest
from pytest_django import Settings

from snapshots.access import Actor
from snapshots.models import VirtualMachine, VMSnapshot
from tests.builders import Cloud, People, acting
from tests.domain.drifting import made_elsewhere


@pytest.fixture
def root(people: People) -> Actor:
    """Root at a page."""
    return acting(people.root)


@pytest.fixture
def alice(people: People) -> Actor:
    """Alice at a page."""
    return acting(people.alice)


@pytest.fixture
def many_per_machine(settings: Settings) -> None:
    """The maximum per machine is in nobody's way."""
    settings.SNAPSHOTS_PER_MACHINE = -1


@pytest.fixture
def machine(cloud: Cloud) -> VirtualMachine:
    """A stopped machine without VM snapshots."""
    return cloud.machine("db")


@pytest.fixture
def theirs(web: VirtualMachine, cloud: Cloud) -> VMSnapshot:
    """A VM snapshot of `web` that somebody made elsewhere."""
    return made_elsewhere(cloud, web, "theirs")

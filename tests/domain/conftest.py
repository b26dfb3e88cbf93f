"""Who and what several tests of the domain act with."""

import pytest

from snapshots.access import Actor
from snapshots.models import VirtualMachine
from tests.builders import Cloud, People, acting


@pytest.fixture
def root(people: People) -> Actor:
    """Root at a page."""
    return acting(people.root)


@pytest.fixture
def machine(cloud: Cloud) -> VirtualMachine:
    """A stopped machine without VM snapshots."""
    return cloud.machine("db")

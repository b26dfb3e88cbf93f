"""What several tests of the doors need: a root admin who is signed in to the admin, and a schedule."""

import pytest
from django.test import Client

from snapshots.models import Schedule, VirtualMachine
from tests.builders import PASSWORD, People, schedule


@pytest.fixture
def root(people: People) -> Client:
    client = Client()
    assert client.login(username="root", password=PASSWORD)
    return client


@pytest.fixture
def nightly(web: VirtualMachine, people: People) -> Schedule:
    """Alice's schedule of `web`: every night at half past two UTC, three are kept."""
    return schedule(web, people.alice)

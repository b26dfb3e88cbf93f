"""Fixtures every test may use: the people, a simulated hypervisor, the machines on it."""

import pytest

from snapshots.models import VirtualMachine
from tests.builders import Cloud, People

pytest_plugins = [
    "tests.lab_fixtures",
    "tests.product_fixture",
    "tests.services_for_tests",
    "tests.sharing_out",
]


@pytest.fixture
def people(db: None) -> People:
    """Alice, Bob, Charlie, Dora, Root and Nora."""
    return People()


@pytest.fixture
def cloud(db: None) -> Cloud:
    """A simulated hypervisor with the machines `web` (running), `db`, `foreign` and `unassigned`, read once."""
    return Cloud()


@pytest.fixture
def web(people: People, cloud: Cloud) -> VirtualMachine:
    """A running machine of the account acme."""
    people.own(cloud)
    return cloud.machine("web")


@pytest.fixture
def db_machine(web: VirtualMachine, cloud: Cloud) -> VirtualMachine:
    """A stopped machine of the account acme."""
    return cloud.machine("db")

"""The machines of the scenes, for every test of a job."""

import pytest

from tests.builders import Cloud
from tests.domain import scenes


@pytest.fixture
def cloud(db: None) -> Cloud:
    """A simulated hypervisor with the machines of the scenes, read once."""
    return Cloud(scenes.MACHINES)

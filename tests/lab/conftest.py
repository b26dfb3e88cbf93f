"""A lab of a test's own, for what would disturb the shared one: going down, dying, being deleted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypervisors.lab import Lab


@pytest.fixture
def own_lab(lab: Lab, tmp_path: Path) -> Iterator[Lab]:
    """A second lab, not yet up; the shared one is only asked for so that a computer without labs skips here too."""
    del lab
    own = Lab(tmp_path / "data")
    yield own
    own.reset()

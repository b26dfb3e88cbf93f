"""One simulator per test file, and machines of their own for each test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hypervisors.xen_simulator.process import XenSimulator
from tests.xen_simulator.client import logged_in
from tests.xen_simulator.ground import Ground


@pytest.fixture(scope="module")
def xen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XenSimulator]:
    """A simulator in which a call does not wait for another in its way, but is refused at once."""
    with XenSimulator(tmp_path_factory.mktemp("xen") / "pool", world="small", wait_seconds=0) as started:
        yield started


@pytest.fixture
def own_xen(tmp_path: Path) -> Iterator[XenSimulator]:
    """A simulator for one test alone, as patient as the real server."""
    with XenSimulator(tmp_path / "pool", world="small") as started:
        yield started


@pytest.fixture
def api(xen: XenSimulator) -> Iterator[Any]:
    """XenAPI as root; no fault of an earlier test is left."""
    xen.control.clear()
    with logged_in(xen) as connected:
        yield connected
    xen.control.clear()


@pytest.fixture
def ground(xen: XenSimulator, api: Any) -> Ground:
    """Makes machines."""
    return Ground(xen, api)

"""How a run's tests are shared out between its processes (pytest-xdist): whole files, and the long ones first.

One file's tests stay in one process, so that tests which share a machine do not meet. All files that look at the running
demo share one process and one demo. These, and others that mostly wait for programs, come first: what is left for the end
is short, and no process waits long for the last file of another.
"""

from collections.abc import Generator

import pytest

DEMO = "demo"
MOSTLY_WAIT = ("browser", "commands", "system", "lab", "readme", "concurrency", "drivers")
"""Folders, the longest first."""


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Put each test into the group of its file, before pytest-xdist reads the groups; and the groups that take long before
    the others, after pytest-randomly has shuffled all."""
    with_demo = {item.path for item in items if "product" in getattr(item, "fixturenames", ())}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(DEMO if item.path in with_demo else str(item.path)))
    yield
    # A stable order: within a group tests stay as they came, shuffled.
    items.sort(key=lambda item: (item.path not in with_demo, _place(item)))


def _place(item: pytest.Item) -> int:
    parts = item.path.parts
    return next((number for number, folder in enumerate(MOSTLY_WAIT) if folder in parts), len(MOSTLY_WAIT))

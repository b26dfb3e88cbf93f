"""How a run's tests are shared out between its processes (pytest-xdist): whole files, and the long ones first.

One file's tests stay in one process, so that tests which share a machine do not meet. All files that look at the running
demo share one process and one demo. These, and others that mostly wait for programs, come first: what is left for the end
is short, and no process waits long for the last file of another.

The scheduler is our own few lines and not `--dist loadgroup`: that marks groups in a place where pytest has kept no ids
since its version 9.2, and shares out single tests then.
"""

from collections.abc import Generator
from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

LOOK_AT_THE_DEMO = ("browser", "readme")
MOSTLY_WAIT = (*LOOK_AT_THE_DEMO, "commands", "system", "lab", "concurrency", "drivers")
"""Folders, the longest first."""


class WholeFiles(LoadScopeScheduling):
    """Hands out a file at a time, in the order of collection, and all that look at the demo together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "demo" if _place(file) < len(LOOK_AT_THE_DEMO) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> WholeFiles:
    """Whatever `--dist` says."""
    return WholeFiles(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Put what takes long before the rest, after pytest-randomly has shuffled all: within a folder files, and within a file
    tests, stay as that left them."""
    yield
    items.sort(key=lambda item: _place(item.nodeid.partition("::")[0]))


def _place(file: str) -> int:
    folders = PurePosixPath(file).parts
    return next((number for number, folder in enumerate(MOSTLY_WAIT) if folder in folders), len(MOSTLY_WAIT))

"""The fixture `lab`: one lab for a whole test run, shared by all its worker processes.

Each process that uses it holds a shared lock; the last one out gets the lock alone and deletes the lab. Locks end with
their process, so the lab of a run that was killed is found and deleted by the next run.

VMSNAP_TEST_LAB names the data folder of a lab to use instead, which then stays up: for many short runs in a row.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from hypervisors.lab import Lab, LabUnavailable

_PREFIX = "vmsnap-test-lab-"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The run's lab with its daemons up and no machine: a test asks for those it needs with `lab.up([...])`.

    Skips with the reason where this computer cannot run one.
    """
    kept = os.environ.get("VMSNAP_TEST_LAB")
    if kept:
        yield _up(Path(kept))
        return
    _delete_labs_of_dead_runs()
    # xdist gives its workers a common name of the run; alone, the process is the run.
    folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{os.environ.get('PYTEST_XDIST_TESTRUNUID') or os.getpid()}"
    with _enter(folder) as use:
        yield _up(folder)
        with suppress(BlockingIOError):  # others still use it
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _delete(folder)


def _up(folder: Path) -> Lab:
    lab = Lab(folder)
    try:
        lab.up([])
    except LabUnavailable as reason:
        pytest.skip(f"no lab on this computer: {reason}")
    return lab


def _enter(folder: Path) -> IO[bytes]:
    """The lock file of `folder` with a shared lock; made again when the last user is just deleting it."""
    while True:
        folder.mkdir(mode=0o755, exist_ok=True)
        with suppress(FileNotFoundError):  # deleted since it was made: once more
            use = open(folder / "in-use", "ab")  # noqa: SIM115  # held as long as the process uses the lab
            fcntl.flock(use, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):  # deleted while we waited for the lock: once more
                if os.stat(use.name).st_ino == os.fstat(use.fileno()).st_ino:
                    return use
            use.close()


def _delete_labs_of_dead_runs() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if folder.stat().st_uid != os.geteuid():
            continue
        # Deleted by another process meanwhile, or still in use: either way not ours to delete.
        with suppress(FileNotFoundError, BlockingIOError), open(folder / "in-use", "rb") as use:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _delete(folder)


def _delete(folder: Path) -> None:
    Lab(folder).reset()
    shutil.rmtree(folder)

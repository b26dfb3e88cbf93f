"""A worker is killed while QEMU is at work: its successor finds out from libvirt what became of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hypervisors.lab import DiskSpec, Lab, MachineSpec
from tests import deeds
from tests.browser.trees import in_virsh
from tests.installation import Installation

pytestmark = [pytest.mark.system, pytest.mark.lab]

LAB = "lab"
SOON = 180
MIB = 1 << 20
SHORT = {
    "JOB_HEARTBEAT_SECONDS": 0.5,
    "JOB_LOST_AFTER_SECONDS": 4,
    "JOB_RESEND_AFTER_SECONDS": 2,
    "SWEEP_EVERY_SECONDS": 0.5,
    "SYNC_EVERY_SECONDS": 3600,
}


@pytest.fixture(scope="module")
def lab(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of this file's own: a machine that stands still keeps whoever reads all of them waiting. The shared one is only
    asked for so that a computer without labs skips here too."""
    del lab
    own = Lab(tmp_path_factory.mktemp("lab"))
    try:
        own.up([])
        yield own
    finally:
        own.reset()


@pytest.fixture(scope="module")
def machine(lab: Lab) -> str:
    """A running machine."""
    name = "survivor"
    lab.add(MachineSpec(name, (DiskSpec("system", 16 * MIB),)))
    lab.wait_for_tick(name)
    return name


@pytest.fixture(scope="module")
def installation(lab: Lab, machine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One that knows the lab with that machine, on SQLite and the embedded broker."""
    with closing(Installation(tmp_path_factory.mktemp("installation"), **SHORT)) as made:
        made.ask(deeds.add_lab, LAB, lab.uri)
        yield made


@contextmanager
def standing_still(lab: Lab, machine: str) -> Iterator[None]:
    """QEMU is stopped: what is asked of it stays under way."""
    note: Path = lab.layout.folder / "run" / "libvirt" / "qemu" / "run" / f"{machine}.pid"
    process = int(note.read_text())
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_what_qemu_was_doing_when_the_worker_was_killed_is_found_done_and_not_done_twice(
    lab: Lab, machine: str, installation: Installation, verb: str
) -> None:
    base, other = f"base-{verb}", f"other-{verb}"
    installation.ask(deeds.done, "create", LAB, base, machine, True)
    with standing_still(lab, machine):
        with installation.worker(processes=2) as worker:
            asked = (base, machine) if verb == "delete" else (other, machine, True)
            kind, job = installation.ask(deeds.ask, verb, LAB, *asked)
            assert kind == "job"
            installation.wait_for(SOON, "QEMU is at work", deeds.in_flight, LAB, machine)
            worker.kill()
        with installation.worker(processes=2):
            installation.wait_for(SOON, "the loss is noticed", deeds.is_settling, job)
    with installation.worker(processes=2):
        installation.wait_for(SOON, "the job has ended", deeds.job_in, job, "succeeded", "failed", "cancelled")
    assert installation.ask(deeds.job_facts, job)["state"] == "succeeded"
    expected = {} if verb == "delete" else {base: None, other: base}
    assert in_virsh(lab, machine) == expected
    assert installation.ask(deeds.snapshot_states, LAB, machine) == dict.fromkeys(expected, "Ready")
    assert installation.ask(deeds.damage, LAB) == []
    if expected:
        installation.ask(deeds.done, "delete", LAB, base, machine, True)
    assert in_virsh(lab, machine) == {}

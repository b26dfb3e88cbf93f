"""The lab comes up, comes back and goes away without a trace, whatever happened in between."""

import os
import signal
from pathlib import Path

import pytest

from hypervisors.lab import Lab, LabError, daemons
from hypervisors.lab.layout import MARKER

pytestmark = pytest.mark.lab


def test_up_twice_changes_nothing_and_down_leaves_no_process(own_lab: Lab) -> None:
    own_lab.up(["tiny-1"])
    first = sorted(daemons.lab_processes(own_lab.layout))
    assert len(first) == 3, "virtlogd, libvirtd and one machine"
    own_lab.up(["tiny-1"])
    assert sorted(daemons.lab_processes(own_lab.layout)) == first
    own_lab.wait_for_tick("tiny-1")
    own_lab.virsh("snapshot-create-as", "tiny-1", "kept")

    own_lab.down()
    assert daemons.lab_processes(own_lab.layout) == []
    assert daemons.reapers(own_lab.layout) == []
    own_lab.down()

    own_lab.up()
    assert "tiny-1" in own_lab.running(), "it ran when the lab went down"
    assert own_lab.virsh("snapshot-list", "tiny-1", "--name").split() == ["kept"]
    own_lab.virsh("snapshot-revert", "tiny-1", "kept")


def test_after_a_sudden_death_of_all_its_processes_the_lab_comes_up_again(own_lab: Lab) -> None:
    own_lab.up(["batch-1"])
    own_lab.virsh("snapshot-create-as", "batch-1", "before")
    for pid in daemons.lab_processes(own_lab.layout):
        os.kill(pid, signal.SIGKILL)
    daemons.wait_for(daemons.reapers(own_lab.layout), 10)
    assert not own_lab.is_up
    own_lab.up(["batch-1"])
    assert own_lab.virsh("snapshot-list", "batch-1", "--name").split() == ["before"]


def test_a_pid_file_that_names_a_foreign_process_is_not_believed(own_lab: Lab) -> None:
    own_lab.up([])
    own_lab.down()
    for daemon in ("libvirtd", "virtlogd"):
        daemons.pid_file(own_lab.layout, daemon).write_text(str(os.getpid()))
    assert not own_lab.is_up
    own_lab.down()
    own_lab.up([])
    assert own_lab.is_up


def test_machines_outlive_libvirtd_and_are_found_again(own_lab: Lab) -> None:
    own_lab.up(["tiny-1"])
    (machine,) = (pid for pid in daemons.lab_processes(own_lab.layout) if b"qemu" in _program(pid))
    own_lab.stop_libvirtd()
    with pytest.raises(LabError, match="Failed to connect"):
        own_lab.running()
    own_lab.up([])
    assert own_lab.running() == ["tiny-1"]
    assert machine in daemons.lab_processes(own_lab.layout)


def test_going_down_after_libvirtd_died_keeps_the_disks_of_the_small_pool(own_lab: Lab) -> None:
    own_lab.up(["tiny-1"])
    own_lab.wait_for_tick("tiny-1")
    own_lab.virsh("snapshot-create-as", "tiny-1", "kept")
    own_lab.stop_libvirtd()
    own_lab.down()
    assert daemons.lab_processes(own_lab.layout) == []
    own_lab.up(["tiny-1"])
    own_lab.virsh("snapshot-revert", "tiny-1", "kept")


def test_when_the_small_pool_was_lost_with_the_computer_its_machine_starts_anew(own_lab: Lab) -> None:
    own_lab.up(["tiny-1"])
    if own_lab.small_pool_reason:
        pytest.skip(own_lab.small_pool_reason)
    own_lab.virsh("snapshot-create-as", "tiny-1", "lost")
    for pid in daemons.lab_processes(own_lab.layout):
        os.kill(pid, signal.SIGKILL)
    daemons.wait_for(daemons.reapers(own_lab.layout), 10)
    own_lab.up(["tiny-1"])
    assert own_lab.running() == ["tiny-1"]
    assert own_lab.virsh("snapshot-list", "tiny-1", "--name").split() == []


def test_consoles_are_found_below_the_data_folder_wherever_the_lab_lives(own_lab: Lab) -> None:
    """`nobody` cannot walk into root's home: the lab lives elsewhere then, and the README's path holds all the same."""
    own_lab.data_folder.mkdir(mode=0o700, parents=True)
    own_lab.up(["tiny-1"])
    own_lab.wait_for_tick("tiny-1")
    assert "tick" in (own_lab.data_folder / "lab" / "console" / "tiny-1.log").read_text()
    own_lab.up([])
    own_lab.reset()
    assert not (own_lab.data_folder / "lab").is_symlink()


def test_reset_deletes_the_lab_and_nothing_else(own_lab: Lab) -> None:
    own_lab.up([])
    beside = own_lab.data_folder / "vmsnap.sqlite3"
    beside.write_text("not the lab's")
    own_lab.reset()
    assert not own_lab.layout.folder.exists()
    assert [path.name for path in own_lab.data_folder.iterdir() if path.name != "lab.lock"] == [beside.name]


def test_a_folder_without_the_marker_is_neither_used_nor_deleted(own_lab: Lab) -> None:
    own_lab.layout.folder.mkdir(parents=True)
    letter = own_lab.layout.folder / "letter.txt"
    letter.write_text("somebody else's")
    with pytest.raises(LabError, match="no lab marker"):
        own_lab.up([])
    own_lab.reset()
    assert letter.exists()
    letter.unlink()
    own_lab.layout.folder.rmdir()


def test_the_daemons_never_run_as_root(own_lab: Lab) -> None:
    own_lab.up([])
    for pid in daemons.lab_processes(own_lab.layout):
        assert Path(f"/proc/{pid}").stat().st_uid != 0
    assert own_lab.layout.marker.name == MARKER


def _program(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]

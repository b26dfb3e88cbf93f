"""What the machines boot from, and where a lab is put: without any machine."""

import os
import subprocess
from pathlib import Path

import pytest

from hypervisors.lab import Lab, LabUnavailable
from hypervisors.lab.initramfs import CpioArchive
from hypervisors.lab.kernel import Kernel, find_kernel, modules_in_load_order
from hypervisors.lab.layout import LONGEST_FOLDER, LabUser, can_walk_to, layout_for

NEEDS_NOTHING = b"\x7fELF...\x00depends=\x00"


def test_modules_come_after_what_they_need_and_unknown_ones_are_left_out(tmp_path: Path) -> None:
    for name, needs in (("virtio_blk", b"virtio-bus,ring"), ("virtio-bus", b"ring"), ("ring", b"")):
        (tmp_path / f"{name}.ko").write_bytes(b"\x7fELF\x00depends=" + needs + b"\x00")
    names = [name for name, _ in modules_in_load_order(Kernel("1", tmp_path, tmp_path))]
    assert names == ["ring.ko", "virtio-bus.ko", "virtio_blk.ko"]


def test_a_compressed_module_is_delivered_uncompressed(tmp_path: Path) -> None:
    import lzma

    (tmp_path / "evdev.ko.xz").write_bytes(lzma.compress(NEEDS_NOTHING))
    assert modules_in_load_order(Kernel("1", tmp_path, tmp_path)) == [("evdev.ko", NEEDS_NOTHING)]


def test_the_archive_can_be_read_by_cpio_itself(tmp_path: Path) -> None:
    archive = CpioArchive()
    archive.add_file("bin/tool", b"#!/bin/sh\n")
    archive.add_link("bin/other", "tool")
    archive.add_character_device("dev/console", 5, 1)
    answer = subprocess.run(["busybox", "cpio", "-t"], input=archive.finished(), capture_output=True, check=False)
    if b"not found" in answer.stderr:
        pytest.skip("this busybox has no cpio")
    assert answer.stdout.decode().split() == ["bin", "bin/tool", "bin/other", "dev", "dev/console"]


def test_without_a_kernel_and_without_apt_the_lab_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMSNAP_LAB_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("hypervisors.lab.kernel._newest_in", lambda *_: None)
    with pytest.raises(LabUnavailable, match="No readable kernel in /boot and no apt-get"):
        find_kernel()


def test_missing_programs_are_named_by_their_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypervisors.lab.lab.PROGRAMS", {str(tmp_path / "virsh"): "libvirt-clients"})
    with pytest.raises(LabUnavailable, match="libvirt-clients"):
        Lab(tmp_path).up([])


def test_a_folder_closed_to_the_labs_user_is_noticed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)
    stranger = LabUser("stranger", os.geteuid() + 4711, os.getegid() + 4711, (), switch=True)
    assert not can_walk_to(closed / "inside", stranger)
    assert can_walk_to(Path("/usr"), stranger)


def test_a_long_data_folder_gets_a_short_place_that_stays_the_same(tmp_path: Path) -> None:
    long = tmp_path / ("a" * 80)
    folder = layout_for(long).folder
    assert len(os.fsencode(folder)) <= LONGEST_FOLDER
    assert folder == layout_for(long).folder
    assert folder != layout_for(tmp_path / ("b" * 80)).folder


def test_the_address_is_known_before_the_lab_was_ever_up(tmp_path: Path) -> None:
    assert Lab(tmp_path).uri.startswith("qemu+unix:///session?socket=/")
    assert list(tmp_path.iterdir()) == []

"""Puts what the lab's machines boot from into the lab's folder: kernel, initramfs, and one with the guest agent."""

import hashlib
import os
import shutil

from hypervisors.lab.agent import START, agent_files
from hypervisors.lab.errors import LabUnavailable
from hypervisors.lab.initramfs import INIT, build_initramfs
from hypervisors.lab.kernel import find_kernel
from hypervisors.lab.layout import Layout


def prepare_boot_files(layout: Layout) -> None:
    """Make them once, and again when the guest's scripts have changed. Raises LabUnavailable without a kernel.

    Without a guest agent the lab still works: `agent-reason` keeps why, and is empty otherwise.
    """
    boot = layout.boot
    recipe = hashlib.sha256((INIT + START).encode()).hexdigest()
    done = boot / "recipe"
    if done.exists() and done.read_text() == recipe:
        return
    kernel = find_kernel()
    shutil.copyfile(kernel.image, boot / "kernel")
    (boot / "initramfs").write_bytes(build_initramfs(kernel))
    try:
        (boot / "initramfs-agent").write_bytes(build_initramfs(kernel, agent_files()))
        (boot / "agent-reason").write_text("")
    except LabUnavailable as reason:
        (boot / "agent-reason").write_text(str(reason))
    (boot / "version").write_text(f"{kernel.version}\n")
    for file in boot.iterdir():
        os.chmod(file, 0o644)
    done.write_text(recipe)

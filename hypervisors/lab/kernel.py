"""Finds a Linux kernel with its virtio modules for the guests, without installing one.

This computer's own in /boot is taken when it can be read, else one is fetched with apt-get and only unpacked.
"""

import lzma
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hypervisors.lab.errors import LabUnavailable
from hypervisors.lab.packages import apt_is_here, cache_folder, fetch_and_unpack

# Debian's and Ubuntu's names for "the newest kernel for virtual machines".
KERNEL_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual")

# What the guest needs when the kernel has it as a module. Order does not matter: needs are loaded before the needy.
# button and evdev carry the ACPI power button, virtio_console the guest agent's channel.
WANTED_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "button", "evdev")


@dataclass(frozen=True)
class Kernel:
    """A bootable kernel image and the root of its module tree."""

    version: str
    image: Path
    modules: Path


def find_kernel() -> Kernel:
    """A kernel from this computer's /boot, from the cache, or downloaded. Raises LabUnavailable with the reason."""
    if platform.machine() != "x86_64":
        raise LabUnavailable(f"The lab's machines need an x86_64 kernel; this computer is {platform.machine()}.")
    found = _newest_in(Path("/boot"), Path("/lib/modules")) or _newest_cached()
    if found:
        return found
    if not apt_is_here():
        raise LabUnavailable("No readable kernel in /boot and no apt-get to fetch one.")
    fetch_and_unpack(_packages_to_fetch())
    found = _newest_cached()
    if not found:
        raise LabUnavailable("The downloaded kernel package holds no kernel with modules.")
    return found


def modules_in_load_order(kernel: Kernel) -> list[tuple[str, bytes]]:
    """The wanted modules and all they need, as (file name, uncompressed bytes), needs first.

    Modules the kernel has built in are simply not there. What a module needs is read from the `depends=` line of its
    own .modinfo section, because modules.dep is only written when a kernel package is really installed.
    """
    files = {_module_name(path): path for path in kernel.modules.rglob("*.ko*")}
    ordered: dict[str, bytes] = {}

    def take(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None or f"{name}.ko" in ordered:
            return
        content = _uncompressed(path)
        needs = re.search(rb"\x00depends=([^\x00]*)\x00", content)
        for needed in filter(None, (needs.group(1) if needs else b"").decode().split(",")):
            take(needed)
        ordered[f"{name}.ko"] = content

    for wanted in WANTED_MODULES:
        take(wanted)
    return list(ordered.items())


def _newest_in(boot: Path, modules: Path) -> Kernel | None:
    images = [image for image in boot.glob("vmlinuz-*") if image.is_file() and os.access(image, os.R_OK)]
    for image in sorted(images, key=lambda image: image.stat().st_mtime, reverse=True):
        version = image.name.removeprefix("vmlinuz-")
        tree = modules / version
        if (tree / "kernel").is_dir():
            return Kernel(version, image, tree)
    return None


def _newest_cached() -> Kernel | None:
    trees = sorted(cache_folder().glob("linux-image-*"), key=lambda tree: tree.stat().st_mtime, reverse=True)
    for tree in trees:
        for modules in (tree / "lib/modules", tree / "usr/lib/modules"):
            found = _newest_in(tree / "boot", modules)
            if found:
                return found
    return None


def _packages_to_fetch() -> list[str]:
    """The real kernel package behind the first known meta package, and Ubuntu's separate package of modules."""
    for meta in KERNEL_PACKAGES:
        answer = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True, timeout=60, check=False)
        image = re.search(r"^\s*Depends: (linux-image-\S*\d\S*)$", answer.stdout, re.MULTILINE)
        if not image:
            continue
        modules = image.group(1).replace("linux-image-", "linux-modules-")
        known = subprocess.run(["apt-cache", "show", modules], capture_output=True, timeout=60, check=False)
        return [image.group(1), modules] if known.returncode == 0 else [image.group(1)]
    raise LabUnavailable(f"apt knows none of {', '.join(KERNEL_PACKAGES)}; run apt-get update.")


def _module_name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".zst":
        # zstd is no part of Python before 3.14; Ubuntu, which compresses its modules so, has the program.
        return subprocess.run(["zstd", "-dc"], input=content, capture_output=True, check=True, timeout=60).stdout
    return content

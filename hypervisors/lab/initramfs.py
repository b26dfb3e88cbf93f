"""Builds the guests' whole system: busybox, a few kernel modules and one shell script in a cpio archive.

The guest counts seconds on its serial console ("tick 17"), so that a memory revert can be seen: the counter goes back.
It writes the count into the first sector of its first disk and says at boot what it found there ("disk says 12"), so
that a disk revert can be seen. It powers off when its ACPI power button is pressed.
"""

import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from hypervisors.lab.errors import LabUnavailable
from hypervisors.lab.kernel import Kernel, modules_in_load_order

APPLETS = (
    "cat",
    "dd",
    "echo",
    "grep",
    "insmod",
    "mkdir",
    "mke2fs",
    "mount",
    "poweroff",
    "printf",
    "sh",
    "sleep",
    "sync",
    "tr",
)

# Words without a dot on the kernel's command line reach the first process as environment variables:
# vmsnap_name, vmsnap_write (tick: at every tick; boot: once), and vmsnap_probe (power off at once).
INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do insmod "/modules/$module"; done

for device in /sys/class/input/event*; do
    if grep -q "Power Button" "$device/device/name" 2>/dev/null; then
        # A blocking read of one input event (24 bytes on 64 bit) costs nothing until the button is pressed.
        ( dd "if=/dev/input/${device##*/}" of=/dev/null bs=24 count=1 2>/dev/null
          echo "power button: $vmsnap_name goes down"; sync; poweroff -f ) &
        break
    fi
done

remember() {
    [ -b /dev/vda ] && printf '%s\\n' "$1" | dd of=/dev/vda bs=512 count=1 conv=sync,fsync 2>/dev/null
    # Always the same block: the file system has no journal, and machines here lose their power all the time.
    [ -d /data ] && printf '%s\\n' "$1" | dd of=/data/count bs=512 count=1 conv=notrunc,sync,fsync 2>/dev/null
}

echo "$vmsnap_name is up"
[ -n "$vmsnap_probe" ] && poweroff -f
if [ -b /dev/vda ]; then
    found=$(dd if=/dev/vda bs=512 count=1 2>/dev/null | tr -d '\\000')
    echo "disk says ${found:-nothing}"
else
    echo "disk is missing"
fi
[ -x /agent/start ] && /agent/start
count=0
while true; do
    count=$((count + 1))
    echo "tick $count"
    if [ "$vmsnap_write" = tick ] || [ "$count" = 1 ]; then remember "$count"; fi
    sleep 1
done
"""


@dataclass
class CpioArchive:
    """Entries of a "newc" cpio archive, the format of initramfs (Linux, Documentation/driver-api/early-userspace)."""

    _chunks: list[bytes] = field(default_factory=list)
    _entries: int = 0
    _folders: set[str] = field(default_factory=set)

    def add_folder(self, name: str) -> None:
        if name and name not in self._folders:
            self.add_folder(name.rpartition("/")[0])
            self._folders.add(name)
            self._add(name, stat.S_IFDIR | 0o755, b"")

    def add_file(self, name: str, content: bytes, mode: int = 0o755) -> None:
        self.add_folder(name.rpartition("/")[0])
        self._add(name, stat.S_IFREG | mode, content)

    def add_link(self, name: str, target: str) -> None:
        self.add_folder(name.rpartition("/")[0])
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def add_character_device(self, name: str, major: int, minor: int) -> None:
        self.add_folder(name.rpartition("/")[0])
        self._add(name, stat.S_IFCHR | 0o600, b"", device=(major, minor))

    def finished(self) -> bytes:
        self._add("TRAILER!!!", 0, b"")
        return b"".join(self._chunks)

    def _add(self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._entries += 1
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device of the file (2), device it is (2), name length, checksum
        numbers = (self._entries, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
        self._chunks += [_to_four(head), _to_four(content)]


def _to_four(chunk: bytes) -> bytes:
    return chunk + b"\0" * (-len(chunk) % 4)


def build_initramfs(kernel: Kernel, more: dict[str, bytes] | None = None) -> bytes:
    """The archive for `kernel`, with `more` files by path. Raises LabUnavailable when there is no static busybox."""
    archive = CpioArchive()
    for folder in ("proc", "sys", "dev", "tmp"):
        archive.add_folder(folder)
    # Without it the first process has no standard output: initramfs comes before devtmpfs is mounted.
    archive.add_character_device("dev/console", 5, 1)
    archive.add_file("bin/busybox", _static_busybox().read_bytes())
    for applet in APPLETS:
        archive.add_link(f"bin/{applet}", "busybox")
    modules = modules_in_load_order(kernel)
    for name, content in modules:
        archive.add_file(f"modules/{name}", content, mode=0o644)
    archive.add_file("modules/order", "".join(f"{name}\n" for name, _ in modules).encode(), mode=0o644)
    archive.add_file("init", INIT.encode())
    for name, content in (more or {}).items():
        archive.add_file(name, content)
    return archive.finished()


def _static_busybox() -> Path:
    found = shutil.which("busybox", path="/bin:/usr/bin:/usr/local/bin")
    if not found:
        raise LabUnavailable("No busybox here (Debian package busybox-static).")
    # A program that needs a loader names it in an ELF segment; the guest has no libraries.
    if b"/lib64/ld-linux" in Path(found).read_bytes():
        raise LabUnavailable(f"{found} is not statically linked (Debian package busybox-static).")
    return Path(found)

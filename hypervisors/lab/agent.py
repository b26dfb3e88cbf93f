"""Brings the QEMU guest agent into a guest that has no distribution: the program and the libraries it needs.

With it a machine can be quiesced: the agent freezes the mounted file system (guest-fsfreeze-freeze) before a snapshot.
"""

import re
import subprocess
from pathlib import Path

from hypervisors.lab.errors import LabUnavailable
from hypervisors.lab.packages import apt_is_here, cache_folder, fetch_and_unpack

PACKAGE = "qemu-guest-agent"

# The second disk carries a file system, made at the first boot; the counter is also kept in a file there. Without
# udev there is no /dev/virtio-ports: the channel is found by its name in sysfs.
START = """#!/bin/sh
mkdir -p /data /run
mount -t ext4 /dev/vdb /data 2>/dev/null || { mke2fs /dev/vdb >/dev/null 2>&1; mount -t ext4 /dev/vdb /data; }
kept=$(tr -d '\\000' 2>/dev/null </data/count)
echo "data says ${kept:-nothing}"
[ -e /data/count ] || { dd if=/dev/zero of=/data/count bs=512 count=1 conv=fsync; sync; } 2>/dev/null
for port in /sys/class/virtio-ports/*; do
    if grep -q org.qemu.guest_agent.0 "$port/name"; then
        /agent/qemu-ga --method virtio-serial --path "/dev/${port##*/}" --statedir /run >/dev/null 2>&1 &
        echo "agent listens"
    fi
done
"""


def agent_files() -> dict[str, bytes]:
    """The agent's part of the guest's files, by path. Raises LabUnavailable with the reason when there is no agent."""
    program = _find_program()
    files = {"agent/start": START.encode(), "agent/qemu-ga": program.read_bytes()}
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, timeout=30, check=False)
    if listed.returncode or "not found" in listed.stdout:
        raise LabUnavailable(f"{program} misses libraries on this computer: {listed.stdout.strip()}")
    # "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x...)" and the loader: "/lib64/ld-linux-x86-64.so.2 (0x...)"
    for library in re.findall(r"(/\S+) \(0x", listed.stdout):
        # The loader is called by its full path; every loader looks for libraries in /usr/lib.
        place = library if "/ld-linux" in library else f"/usr/lib/{Path(library).name}"
        files[place.lstrip("/")] = Path(library).read_bytes()
    return files


def _find_program() -> Path:
    cached = cache_folder() / PACKAGE / "usr/sbin/qemu-ga"
    for program in (Path("/usr/sbin/qemu-ga"), Path("/usr/bin/qemu-ga"), cached):
        if program.exists():
            return program
    if not apt_is_here():
        raise LabUnavailable("There is no qemu-ga here and no apt-get to fetch one.")
    fetch_and_unpack([PACKAGE])
    for program in (cached, cache_folder() / PACKAGE / "usr/bin/qemu-ga"):
        if program.exists():
            return program
    raise LabUnavailable(f"The package {PACKAGE} holds no qemu-ga.")

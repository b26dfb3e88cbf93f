"""Finds out whether QEMU can use KVM here, by booting a guest with it."""

import json
import os
from pathlib import Path

from hypervisors.lab.daemons import as_lab_user
from hypervisors.lab.layout import Layout
from hypervisors.lab.packages import cache_folder

PROBE_SECONDS = 10


def kvm_problem(layout: Layout) -> str:
    """Why QEMU cannot use KVM here, or "" when it can.

    It is tried by booting the lab's own guest: inside some virtual machines the device opens, QEMU starts with it, and
    yet no guest gets anywhere. On a processor that can, the boot takes a second or two. The answer is remembered until
    the computer restarts or the device changes its owner or mode.
    """
    try:
        device = os.stat("/dev/kvm")
    except FileNotFoundError:
        return "there is no /dev/kvm"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    question = [boot, layout.owner.name, list(layout.owner.groups), device.st_ctime_ns]
    memory = cache_folder() / "kvm.json"
    if memory.exists():
        remembered = json.loads(memory.read_text())
        if remembered["question"] == question:
            return str(remembered["problem"])
    problem = _problem_of_a_guest(layout)
    memory.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: another lab may be reading.
    aside = memory.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps({"question": question, "problem": problem}) + "\n")
    aside.rename(memory)
    return problem


def _problem_of_a_guest(layout: Layout) -> str:
    machine = ["-machine", "pc", "-m", "96", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]
    boot = ["-kernel", str(layout.boot / "kernel"), "-initrd", str(layout.boot / "initramfs")]
    words = ["-append", "console=ttyS0 quiet loglevel=3 vmsnap_name=probe vmsnap_write=off vmsnap_probe=yes"]
    limit = ["timeout", "--kill-after=2", str(PROBE_SECONDS)]
    command = [*limit, "qemu-system-x86_64", "-accel", "kvm", *machine, *boot, *words]
    answer = as_lab_user(layout, command, timeout=PROBE_SECONDS + 10)
    if "probe is up" in answer.stdout:
        return ""
    if "Could not access KVM" in answer.stderr or "failed to initialize kvm" in answer.stderr:
        return answer.stderr.strip().splitlines()[0]
    return f"a guest under KVM did not get through its boot in {PROBE_SECONDS} seconds"

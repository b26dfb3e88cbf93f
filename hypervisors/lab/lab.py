"""The lab as its users see it: up, down, reset, and what its machines say on their consoles."""

import dataclasses
import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hypervisors.lab import daemons, small_pool
from hypervisors.lab.accelerator import kvm_problem
from hypervisors.lab.boot_files import prepare_boot_files
from hypervisors.lab.definitions import machine_xml, pool_xml
from hypervisors.lab.errors import LabError, LabUnavailable
from hypervisors.lab.layout import LOCATION_RECORD, Layout, layout_for, prepare
from hypervisors.lab.machines import MACHINES, POOLS, MachineSpec

PROGRAMS = {
    "/usr/sbin/libvirtd": "libvirt-daemon",
    "/usr/sbin/virtlogd": "libvirt-daemon (Debian 13: libvirt-daemon-log)",
    "/usr/bin/virsh": "libvirt-clients",
    "/usr/bin/qemu-system-x86_64": "qemu-system-x86",
    "/usr/bin/qemu-img": "qemu-utils",
    "/bin/busybox": "busybox-static",
}
VIRSH_SECONDS = 120


@dataclass(frozen=True)
class LabFacts:
    """What this lab can do on this computer, and why not more.

    `accelerator` is "kvm" or "tcg"; `kvm_reason` says why it is not KVM. `small_pool_reason` is empty when the pool
    `small` really is small, else it says why it is only a folder: tests of a full pool skip with it. `agent_reason`
    says why no machine has a guest agent, or is empty. Machines always obey their power button.
    """

    user: str
    accelerator: str
    kvm_reason: str
    kernel: str
    small_pool_way: str
    small_pool_reason: str
    agent_reason: str = "this lab was started before it had one; take it down and up again"


class Lab:
    """One lab, found by its data folder. Making the object touches nothing."""

    def __init__(self, data_folder: str | os.PathLike[str]) -> None:
        self.data_folder = Path(data_folder).resolve()
        self.layout: Layout = layout_for(self.data_folder)

    # What it is

    @property
    def uri(self) -> str:
        """The libvirt address; works whether the lab is up or not, for root and for the lab's user."""
        return f"qemu+unix:///session?socket={quote(str(self.layout.socket))}"

    @property
    def facts(self) -> LabFacts:
        """What the last `up` found out. Raises LabError before the first."""
        try:
            return LabFacts(**json.loads((self.layout.folder / "facts.json").read_text()))
        except FileNotFoundError:
            raise LabError(f"The lab of {self.data_folder} was never up.") from None

    @property
    def small_pool_reason(self) -> str:
        """Why the pool `small` cannot be filled here, or ""."""
        return self.facts.small_pool_reason

    @property
    def is_up(self) -> bool:
        """Whether both daemons run."""
        return all(daemons.running_daemon(self.layout, name) for name in ("virtlogd", "libvirtd"))

    def missing_programs(self) -> list[str]:
        """Debian packages whose program the lab needs and does not find."""
        return [package for program, package in PROGRAMS.items() if not os.access(program, os.X_OK)]

    # Up and down

    def up(self, machines: Sequence[str] | None = None) -> LabFacts:
        """Start the daemons, define what is missing, and start machines. Quick and without effect when all is there.

        `machines` names the ones wanted; they are defined, and started if their specification says so. Without it all
        machines are, but one that was stopped while the lab was up, or was off when it went down, stays off.
        Raises LabUnavailable when this computer cannot run the lab, LabError when something fails.
        """
        wanted = self._specifications(machines)
        if missing := self.missing_programs():
            raise LabUnavailable(f"The lab needs these packages: {', '.join(missing)}.")
        with self._locked():
            prepare(self.layout)
            was_up = self.is_up
            accelerator = self._accelerator_so_far
            if not was_up:
                self._start_daemons()
            defined = set(self.machines())
            if reason := self.facts.agent_reason:
                if machines and any(machine.agent for machine in wanted):
                    raise LabUnavailable(f"No machine with a guest agent: {reason}")
                wanted = [machine for machine in wanted if not machine.agent]
            # A data folder may have come from a computer with KVM to one without it, or the other way round.
            stale = defined if self.facts.accelerator != accelerator else set()
            for machine in MACHINES:
                if machine.name in stale or (machine in wanted and machine.name not in defined):
                    self._define(machine)
            # After a restart of the computer there is no note: then the specification holds.
            note = self._running_note
            remembered = None if was_up or not note.exists() else set(json.loads(note.read_text()))
            for machine in wanted:
                if machine.name in defined and machines is None:
                    starts = machine.starts if remembered is None else machine.name in remembered
                    starts = starts and not was_up
                else:
                    starts = machine.starts
                if starts:
                    self.start(machine.name)
            note.unlink(missing_ok=True)
            return self.facts

    def down(self) -> None:
        """Stop the machines and the daemons, and leave no process. Disks and snapshots stay."""
        if not self.layout.marker.exists():
            return
        with self._locked():
            if libvirtd := daemons.running_daemon(self.layout, "libvirtd"):
                self._running_note.write_text(json.dumps(self.running()))
                for name in self.running():
                    self.virsh("destroy", name)
                daemons.stop(self.layout, [libvirtd])
            # Machines may have outlived their libvirtd. virtlogd comes last: it holds the small pool's file system.
            keeper = daemons.running_daemon(self.layout, "virtlogd")
            daemons.stop(self.layout, [pid for pid in daemons.lab_processes(self.layout) if pid != keeper])
            if keeper:
                if self.facts.small_pool_way:
                    small_pool.keep(self.layout, keeper)
                daemons.stop(self.layout, [keeper])
            if left := daemons.wait_for(daemons.reapers(self.layout), daemons.STOP_SECONDS):
                raise LabError(f"Processes of the lab do not end, watched by {left}.")

    def reset(self) -> None:
        """Take the lab down and delete all of it. Only a folder with the lab's marker is deleted."""
        self.down()
        folder = self.layout.folder
        if self.layout.marker.exists():
            shutil.rmtree(folder.resolve())
        if folder.is_symlink():
            folder.unlink()
            folder.parent.rmdir()
        if self.layout.sign.is_symlink():
            self.layout.sign.unlink()
        (self.data_folder / LOCATION_RECORD).unlink(missing_ok=True)

    def stop_libvirtd(self) -> None:
        """End only libvirtd, as if the endpoint went down; machines keep running. `up` brings it back."""
        libvirtd = daemons.running_daemon(self.layout, "libvirtd")
        if libvirtd:
            daemons.stop(self.layout, [libvirtd])

    # Machines

    def machines(self) -> list[str]:
        """Names of all defined machines."""
        return self.virsh("list", "--all", "--name").split()

    def running(self) -> list[str]:
        """Names of the machines that run or are paused."""
        return self.virsh("list", "--name").split()

    def start(self, name: str) -> None:
        """Start a machine; nothing happens when it runs."""
        if name not in self.running():
            self.virsh("start", name)

    def add(self, machine: MachineSpec) -> None:
        """Define one more machine with fresh disks, for a test that wants one of its own; started if it says so."""
        with self._locked():
            self._define(machine)
            if machine.starts:
                self.start(machine.name)

    def remove(self, name: str) -> None:
        """Stop a machine and delete it with its snapshots and its disks in the pools."""
        if name in self.running():
            self.virsh("destroy", name)
        self.virsh("undefine", name, "--snapshots-metadata")
        for pool in POOLS:
            for volume in self._volumes(pool.name):
                if volume.startswith(f"{name}-"):
                    self.virsh("vol-delete", volume, "--pool", pool.name)
        for log in self.layout.consoles.glob(f"{name}.log*"):
            log.unlink()

    # Consoles

    def console(self, name: str) -> str:
        """All that a machine wrote on its serial console, over all its boots (the last 8 MiB and what is newer)."""
        text = b""
        for log in (self.layout.consoles / f"{name}.log.0", self.layout.consoles / f"{name}.log"):
            if log.exists():
                text += log.read_bytes()
        return text.decode(errors="replace").replace("\r\n", "\n")

    def last_tick(self, name: str) -> int | None:
        """The last number the machine counted, or None before the first."""
        ticks = re.findall(r"^tick (\d+)\n", self.console(name), re.MULTILINE)
        return int(ticks[-1]) if ticks else None

    def wait_for_console(self, name: str, pattern: str, timeout: float = 90, start: int = 0) -> re.Match[str]:
        """Wait until `pattern` (a regular expression) stands in the console text after position `start`.

        Raises LabError after `timeout` seconds. The log file is looked at ten times a second: a guest cannot tell us.
        """
        deadline = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.console(name)[start:], re.MULTILINE)
            if found:
                return found
            if time.monotonic() > deadline:
                tail = self.console(name)[-300:]
                raise LabError(f"{name} did not say {pattern!r} in {timeout} seconds. Its last words: {tail!r}")
            time.sleep(0.1)

    def wait_for_tick(self, name: str, at_least: int = 1, timeout: float = 90) -> int:
        """Wait until the machine's last tick is `at_least`, and return it. Raises LabError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (tick := self.last_tick(name)) is None or tick < at_least:
            if time.monotonic() > deadline:
                raise LabError(f"{name} counted to {tick}, not to {at_least}, in {timeout} seconds.")
            time.sleep(0.1)
        return tick

    def wait_until_off(self, name: str, timeout: float = 30) -> None:
        """Wait until the machine does not run any more. Raises LabError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while name in self.running():
            if time.monotonic() > deadline:
                raise LabError(f"{name} still runs after {timeout} seconds.")
            time.sleep(0.1)

    # The small pool

    def fill_small_pool(self, leave: int = 1024 * 1024) -> None:
        """Fill the pool `small` with one volume until only `leave` bytes are free."""
        self.virsh("pool-refresh", "small")
        answer = self.virsh("pool-info", "--bytes", "small")
        available = int(re.findall(r"^Available:\s+(\d+)", answer, re.MULTILINE)[0])
        if available > leave:
            size = str(available - leave)
            self.virsh("vol-create-as", "small", "filler", size, "--allocation", size, "--format", "raw")

    def empty_small_pool(self) -> None:
        """Take the filler away again."""
        self.virsh("pool-refresh", "small")
        if "filler" in self._volumes("small"):
            self.virsh("vol-delete", "filler", "--pool", "small")

    # Ways in

    def virsh(self, *words: str, text: str | None = None) -> str:
        """Run one virsh command on the lab and return what it printed. Raises LabError with libvirt's words."""
        command = ["virsh", "--quiet", "--connect", self.uri, *words]
        environment = {**daemons.lab_environment(self.layout), "LC_ALL": "C"}
        answer = subprocess.run(
            command, env=environment, input=text, capture_output=True, text=True, timeout=VIRSH_SECONDS, check=False
        )
        if answer.returncode:
            raise LabError(f"virsh {' '.join(words)}: {answer.stderr.strip()}")
        return answer.stdout

    # Inside

    @property
    def _accelerator_so_far(self) -> str:
        return self.facts.accelerator if (self.layout.folder / "facts.json").exists() else ""

    @property
    def _running_note(self) -> Path:
        return self.layout.folder / "running.json"

    def _specifications(self, names: Sequence[str] | None) -> list[MachineSpec]:
        known = {machine.name: machine for machine in MACHINES}
        if unknown := set(names or ()) - set(known):
            raise LabError(f"The lab has no machine {', '.join(sorted(unknown))}; it has {', '.join(known)}.")
        return [known[name] for name in names] if names is not None else list(MACHINES)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time changes the lab; others wait."""
        self.data_folder.mkdir(parents=True, exist_ok=True)
        with open(self.data_folder / "lab.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start_daemons(self) -> None:
        layout = self.layout
        prepare_boot_files(layout)
        for pool in POOLS:
            self._make_for_owner(layout.pool_folder(pool.name))
        keeper = daemons.running_daemon(layout, "virtlogd")
        if not keeper and (orphans := daemons.lab_processes(layout)):
            # Machines without virtlogd have lost their console for good.
            daemons.stop(layout, orphans)
        if keeper:
            room = daemons.SmallPoolRoom(self.facts.small_pool_way, self.facts.small_pool_reason)
        else:
            room = daemons.room_for_small_pool(layout)
            self._write_facts(room)
        small = next(pool for pool in POOLS if pool.size)
        daemons.start_daemons(layout, room, small.size or 0)
        fresh = None if keeper else daemons.running_daemon(layout, "virtlogd")
        if fresh and not small_pool.bring_back(layout, fresh) and room.way:
            self._forget_machines_of_the_small_pool()
        self._start_pools()

    def _forget_machines_of_the_small_pool(self) -> None:
        """Their disks went with the computer's memory; they are defined anew with fresh ones."""
        defined = self.machines()
        for machine in MACHINES:
            if machine.name in defined and any(disk.pool == "small" for disk in machine.disks):
                self.virsh("undefine", machine.name, "--snapshots-metadata")

    def _write_facts(self, room: daemons.SmallPoolRoom) -> None:
        problem = kvm_problem(self.layout)
        facts = LabFacts(
            user=self.layout.owner.name,
            accelerator="tcg" if problem else "kvm",
            kvm_reason=problem,
            kernel=(self.layout.boot / "version").read_text().strip(),
            small_pool_way=room.way,
            small_pool_reason=room.reason,
            agent_reason=(self.layout.boot / "agent-reason").read_text(),
        )
        (self.layout.folder / "facts.json").write_text(json.dumps(dataclasses.asdict(facts), indent=2) + "\n")

    def _make_for_owner(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.layout.owner.switch:
            os.chown(folder, self.layout.owner.uid, self.layout.owner.gid)

    def _start_pools(self) -> None:
        known = set(self.virsh("pool-list", "--all", "--name").split())
        active = set(self.virsh("pool-list", "--name").split())
        for pool in POOLS:
            if pool.name not in known:
                self.virsh("pool-define", "/dev/stdin", text=pool_xml(self.layout, pool).decode())
            if pool.name not in active:
                self.virsh("pool-start", pool.name)

    def _define(self, machine: MachineSpec) -> None:
        for disk in machine.disks:
            volume = machine.volume_name(disk)
            if volume not in self._volumes(disk.pool):
                self.virsh("vol-create-as", disk.pool, volume, str(disk.size), "--format", disk.format)
        kvm = self.facts.accelerator == "kvm"
        self.virsh("define", "/dev/stdin", text=machine_xml(self.layout, machine, kvm).decode())

    def _volumes(self, pool: str) -> list[str]:
        lines = self.virsh("vol-list", pool).splitlines()
        return [line.split()[0] for line in lines if line.strip()]

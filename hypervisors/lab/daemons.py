"""Starts and stops the lab's own virtlogd and libvirtd, and knows which processes are the lab's.

Both run in session mode as the lab's user, in sessions of their own, so that they outlive the terminal. Where it is
possible they run inside a mount namespace in which the pool `small` is a little tmpfs: then it can be filled without
the computer noticing, nothing stays mounted when the lab is gone, and no privilege is needed where user namespaces
are allowed.

A process is the lab's when it runs as the lab's user and names the lab's folder on its command line. Nothing else is
ever signalled.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hypervisors.lab.definitions import host_uuid
from hypervisors.lab.errors import LabError
from hypervisors.lab.layout import Layout

REAPER = Path(__file__).with_name("reaper.py")
START_SECONDS = 60
STOP_SECONDS = 20

# mount(8) and then whatever follows, without a shell seeing any of the words as code.
_MOUNT_THEN = (
    "sh",
    "-ec",
    'mount -t tmpfs -o "size=$1,mode=0700,uid=$2,gid=$3" vmsnap-lab "$4"; shift 4; exec "$@"',
    "sh",
)


@dataclass(frozen=True)
class SmallPoolRoom:
    """How the daemons get a mount of their own: `way` is "mount" (root), "user namespace" or "" with the `reason`."""

    way: str
    reason: str


def pid_file(layout: Layout, daemon: str) -> Path:
    """Where `daemon` ("libvirtd", "virtlogd") writes its process id."""
    return layout.runtime / f"{daemon}.pid"


def running_daemon(layout: Layout, daemon: str) -> int | None:
    """The process id of the lab's `daemon`, or None. A stale pid file of an earlier boot is not believed."""
    try:
        pid = int(pid_file(layout, daemon).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if belongs_to_lab(layout, pid) else None


def belongs_to_lab(layout: Layout, pid: int) -> bool:
    """Whether `pid` runs as the lab's user and names the lab's folder on its command line."""
    words = _command_line(pid, layout.owner.uid)
    return os.fsencode(f"{layout.folder}/") in words and os.fsencode(REAPER) not in words


def _command_line(pid: int, uid: int) -> bytes:
    """The command line of `pid` when it runs as `uid`, else nothing; a dead process has none either."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != uid:
            return b""
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def lab_processes(layout: Layout) -> list[int]:
    """Every process of this lab: daemons and machines."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if belongs_to_lab(layout, pid)]


def as_lab_user(layout: Layout, command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run `command` as the lab's user with the lab's environment and wait for it, `timeout` seconds at most."""
    owner = layout.owner
    return subprocess.run(
        command,
        user=owner.uid if owner.switch else None,
        group=owner.gid if owner.switch else None,
        extra_groups=owner.groups if owner.switch else None,
        env=lab_environment(layout),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        start_new_session=True,
    )


def lab_environment(layout: Layout) -> dict[str, str]:
    """What the daemons see of the caller's environment: nothing but the way to programs."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(layout.config),
        "XDG_CONFIG_HOME": str(layout.config),
        "XDG_DATA_HOME": str(layout.config),
        "XDG_RUNTIME_DIR": str(layout.runtime),
        "XDG_CACHE_HOME": str(layout.cache),
    }


def room_for_small_pool(layout: Layout) -> SmallPoolRoom:
    """Try out how a small file system can be had for the daemons alone."""
    folder = layout.pool_folder("small")
    reasons = []
    for way in ("mount", "user namespace") if layout.owner.switch else ("user namespace",):
        answer = subprocess.run(
            [*_into_new_room(layout, way, folder, 1024 * 1024), "true"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if answer.returncode == 0:
            return SmallPoolRoom(way, "")
        reasons.append(f"{way}: {answer.stderr.strip()}")
    return SmallPoolRoom("", "no small file system can be mounted here (" + "; ".join(reasons) + ")")


def start_daemons(layout: Layout, room: SmallPoolRoom, small_pool_bytes: int) -> None:
    """Start virtlogd, then libvirtd beside it; each returns when its socket answers.

    virtlogd opens the room with the small pool, libvirtd joins it, also when it is started again while machines run.
    """
    _write_configuration(layout)
    if not running_daemon(layout, "virtlogd"):
        entry = _into_new_room(layout, room.way, layout.pool_folder("small"), small_pool_bytes)
        _start(layout, "virtlogd", entry, [])
    if not running_daemon(layout, "libvirtd"):
        keeper = running_daemon(layout, "virtlogd")
        if not keeper:
            raise LabError("virtlogd ended right after its start.")
        _start(layout, "libvirtd", _into_room_of(layout, room.way, keeper), ["--timeout", "0"])


def reapers(layout: Layout) -> list[int]:
    """The processes that collect the daemons' dead; they run as the caller and end with the last process they watch."""
    found = []
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        words = _command_line(pid, os.geteuid())
        if os.fsencode(REAPER) in words and os.fsencode(f"{layout.folder}/") in words:
            found.append(pid)
    return found


def wait_for(pids: list[int], seconds: float) -> list[int]:
    """Wait until these processes have ended; returns those that have not after `seconds`."""
    waiting: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            waiting[os.pidfd_open(pid)] = pid
    deadline = time.monotonic() + seconds
    while waiting and (left := deadline - time.monotonic()) > 0:
        ended, _, _ = select.select(list(waiting), [], [], left)
        for descriptor in ended:
            os.close(descriptor)
            del waiting[descriptor]
    for descriptor in waiting:
        os.close(descriptor)
    return list(waiting.values())


def stop(layout: Layout, pids: list[int], seconds: float = STOP_SECONDS) -> None:
    """End processes of the lab: first asked, then, after `seconds`, killed. Raises LabError when one stays."""
    for attempt in (signal.SIGTERM, signal.SIGKILL):
        pids = [pid for pid in pids if belongs_to_lab(layout, pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                os.kill(pid, attempt)
        pids = wait_for(pids, seconds)
        if not pids:
            return
    raise LabError(f"These processes of the lab do not end: {pids}")


def seen_by(pid: int, path: Path) -> Path:
    """`path` as the process `pid` sees it, its private mounts included."""
    # A link on the way would lead back to what the caller sees.
    return Path(f"/proc/{pid}/root{path.resolve()}")


def _start(layout: Layout, daemon: str, entry: list[str], options: list[str]) -> None:
    # Left by a daemon that died with the computer: a new one may stumble over them.
    stems = {"libvirtd": ("libvirt-sock", "libvirt-admin-sock"), "virtlogd": ("virtlogd-sock", "virtlogd-admin-sock")}
    for stale in (pid_file(layout, daemon), *(layout.runtime / "libvirt" / stem for stem in stems[daemon])):
        stale.unlink(missing_ok=True)
    program = f"/usr/sbin/{daemon}"
    configuration = layout.config / "libvirt" / f"{daemon}.conf"
    command = [
        program,
        "--daemon",
        "--config",
        str(configuration),
        "--pid-file",
        str(pid_file(layout, daemon)),
        *options,
    ]
    answer = subprocess.run(
        [sys.executable, "-I", "-S", str(REAPER), *entry, *command],
        env=lab_environment(layout),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
        start_new_session=True,
    )
    if answer.returncode or not running_daemon(layout, daemon):
        log = layout.logs / f"{daemon}.log"
        tail = log.read_text().splitlines()[-5:] if log.exists() else []
        raise LabError(f"{daemon} did not start: {answer.stderr.strip()} {' / '.join(tail)}")


def _into_new_room(layout: Layout, way: str, folder: Path, size: int) -> list[str]:
    """The words before a command that let it run as the lab's user, with a fresh small file system at `folder`."""
    owner = layout.owner
    if way == "mount":
        mount = [*_MOUNT_THEN, str(size), str(owner.uid), str(owner.gid), str(folder)]
        return ["unshare", "--mount", *mount, *_become(layout)]
    if way == "user namespace":
        # Root inside for the mount, then a second namespace in which the user is itself again: a libvirtd that finds
        # itself to be user 0 would take the system's sockets. It gets the mounts as its own copy, because
        # only the owner of a mount namespace lets others in.
        mount = [*_MOUNT_THEN, str(size), "0", "0", str(folder)]
        back = ["unshare", "--user", f"--map-user={owner.uid}", f"--map-group={owner.gid}", "--mount"]
        return [*_become(layout), "unshare", "--user", "--map-root-user", "--mount", *mount, *back]
    return _become(layout)


def _into_room_of(layout: Layout, way: str, keeper: int) -> list[str]:
    # --root: in a changed root the namespace alone would lead out of it again.
    if way == "mount":
        return ["nsenter", "--target", str(keeper), "--mount", "--root", *_become(layout)]
    if way == "user namespace":
        return [
            *_become(layout),
            "nsenter",
            "--target",
            str(keeper),
            "--user",
            "--preserve-credentials",
            "--mount",
            "--root",
        ]
    return _become(layout)


def _become(layout: Layout) -> list[str]:
    owner = layout.owner
    if not owner.switch:
        return []
    groups = ["--groups", ",".join(map(str, owner.groups))] if owner.groups else ["--clear-groups"]
    return ["setpriv", "--reuid", str(owner.uid), "--regid", str(owner.gid), *groups]


def _write_configuration(layout: Layout) -> None:
    """The three files of settings. Values are paths and fixed words; a path with a quotation mark is refused."""
    if '"' in str(layout.folder) or "\n" in str(layout.folder):
        raise LabError(f"The lab cannot live in {layout.folder!s}: libvirt's settings know no such letters.")
    settings = {
        "libvirtd.conf": [
            f'log_outputs = "2:file:{layout.logs}/libvirtd.log"',
            # A message of libvirt about what a user asked for is no trouble of the daemon: warnings and above.
            "log_level = 3",
            f'host_uuid = "{host_uuid(layout)}"',
            'auth_unix_rw = "none"',
        ],
        "virtlogd.conf": [
            f'log_outputs = "3:file:{layout.logs}/virtlogd.log"',
            "max_size = 8388608",
            "max_backups = 1",
        ],
        "qemu.conf": ['security_driver = "none"', 'stdio_handler = "logd"', "max_core = 0"],
    }
    folder = layout.config / "libvirt"
    folder.mkdir(exist_ok=True)
    if layout.owner.switch:
        os.chown(folder, layout.owner.uid, layout.owner.gid)
    for name, lines in settings.items():
        path = folder / name
        text = "".join(f"{line}\n" for line in lines)
        if not path.exists() or path.read_text() != text:
            path.unlink(missing_ok=True)
            path.write_text(text)

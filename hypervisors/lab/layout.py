"""Where a lab lives and as whom it runs.

Two outside limits decide it. A libvirtd started as root always takes the system's sockets, so a root caller needs
another user for the daemon, and that user must be able to walk into the folder. And the path of a Unix socket has at
most 107 bytes (`sun_path` in unix(7)), while QEMU's monitor socket lies 65 bytes below the lab's folder.
"""

import contextlib
import hashlib
import json
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from hypervisors.lab.errors import LabError

MARKER = "this-is-a-vmsnap-lab"
LOCATION_RECORD = "lab-location.json"

# "/etc/libvirt/qemu/lib/" + "domain-9999-" and 20 letters of the name + "/monitor.sock", and 107 bytes in all.
LONGEST_FOLDER = 107 - 67

# /var/lib, not /var/tmp: nobody but root can squat a name there, and no cleaner ages the disks away.
ROOT_OWNED_LABS = Path("/var/lib/vmsnap-lab")
# Only links for other callers lie here, each in a closed folder that is checked before use.
SHORT_WAYS = Path("/var/tmp")  # noqa: S108  # see _make_short_way


@dataclass(frozen=True)
class LabUser:
    """The unprivileged user that runs the daemons. `switch` says whether the caller must change to it."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    switch: bool


@dataclass(frozen=True)
class Layout:
    """The folders of one lab. `folder` is short enough for sockets; `owner` runs the daemons."""

    data_folder: Path
    folder: Path
    owner: LabUser

    @property
    def marker(self) -> Path:
        return self.folder / MARKER

    @property
    def sign(self) -> Path:
        """The lab as seen from the data folder: the lab itself or, where it lives elsewhere, a link to it."""
        return self.data_folder / "lab"

    @property
    def config(self) -> Path:
        """XDG_CONFIG_HOME: machine, pool and snapshot definitions, and QEMU's monitor sockets."""
        return self.folder / "etc"

    @property
    def runtime(self) -> Path:
        """XDG_RUNTIME_DIR: the daemons' sockets and pid files."""
        return self.folder / "run"

    @property
    def cache(self) -> Path:
        """XDG_CACHE_HOME: what libvirt found out about QEMU, and the machines' QEMU logs."""
        return self.folder / "cache"

    @property
    def consoles(self) -> Path:
        return self.folder / "console"

    @property
    def boot(self) -> Path:
        """Kernel and initramfs; written by the caller, only read by the daemons."""
        return self.folder / "boot"

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    @property
    def socket(self) -> Path:
        return self.runtime / "libvirt" / "libvirt-sock"

    def pool_folder(self, pool: str) -> Path:
        return self.folder / "pools" / pool

    @property
    def folders_of_the_owner(self) -> tuple[Path, ...]:
        """What the daemons write; everything else in the lab belongs to the caller."""
        return (self.config, self.runtime, self.cache, self.consoles, self.logs, self.folder / "pools")


def lab_user() -> LabUser:
    """Who runs the daemons: the caller, or for root the user VMSNAP_LAB_USER (default `nobody`).

    `nobody` needs no change to the computer's user list and owns nothing a guest could reach; the lab's folders are
    closed to all others. The group of /dev/kvm is added so that KVM works where only that group may use it.
    """
    if os.geteuid() != 0:
        own = pwd.getpwuid(os.geteuid())
        return LabUser(own.pw_name, own.pw_uid, own.pw_gid, tuple(os.getgroups()), switch=False)
    name = os.environ.get("VMSNAP_LAB_USER", "nobody")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise LabError(
            f"The lab should run as the user {name!r}, who does not exist here. Set VMSNAP_LAB_USER."
        ) from None
    if entry.pw_uid == 0:
        raise LabError("The lab cannot run as root: a libvirtd started as root takes the system's own sockets.")
    groups = {entry.pw_gid}
    with contextlib.suppress(FileNotFoundError):  # no KVM here, so no group to join
        groups.add(os.stat("/dev/kvm").st_gid)
    groups.discard(0)
    return LabUser(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(sorted(groups)), switch=True)


def can_walk_to(folder: Path, user: LabUser) -> bool:
    """Whether `user` may traverse every existing folder down to and including `folder` (mode bits; no ACLs)."""
    member_of = {user.gid, *user.groups}
    for part in (folder, *folder.parents):
        if not part.exists():
            continue
        status = part.stat()
        if status.st_uid == user.uid:
            allowed = status.st_mode & stat.S_IXUSR
        elif status.st_gid in member_of:
            allowed = status.st_mode & stat.S_IXGRP
        else:
            allowed = status.st_mode & stat.S_IXOTH
        if not allowed:
            return False
    return True


def layout_for(data_folder: Path) -> Layout:
    """The lab of `data_folder`: where an earlier `up` recorded it, else where the rules above put it.

    Writes nothing. Raises LabError when the recorded lab belongs to another user.
    """
    data_folder = data_folder.resolve()
    owner = lab_user()
    record = data_folder / LOCATION_RECORD
    if record.exists():
        recorded = json.loads(record.read_text())
        if recorded["uid"] != owner.uid:
            user = recorded["user"]
            raise LabError(f"The lab of {data_folder} belongs to the user {user}; take it down as the one who made it.")
        return Layout(data_folder, Path(recorded["folder"]), owner)
    inside = data_folder / "lab"
    if can_walk_to(data_folder, owner) and len(os.fsencode(inside)) <= LONGEST_FOLDER:
        return Layout(data_folder, inside, owner)
    short = hashlib.sha256(os.fsencode(data_folder)).hexdigest()[:10]
    if owner.switch:
        return Layout(data_folder, ROOT_OWNED_LABS / short, owner)
    return Layout(data_folder, SHORT_WAYS / f"vmsnap-lab-{owner.uid}-{short}" / "lab", owner)


def prepare(layout: Layout) -> None:
    """Make the lab's folders with their owners, the marker and the record of the place. Safe to repeat."""
    layout.data_folder.mkdir(parents=True, exist_ok=True)
    elsewhere = not layout.folder.is_relative_to(layout.data_folder)
    if elsewhere and not layout.owner.switch:
        _make_short_way(layout)
    layout.folder.mkdir(parents=True, exist_ok=True)
    if not layout.marker.exists():
        if any(layout.folder.iterdir()):
            raise LabError(f"{layout.folder} is not empty and carries no lab marker; the lab does not touch it.")
        layout.marker.write_text(f"{layout.data_folder}\n")
    for folder in (layout.boot, *layout.folders_of_the_owner):
        folder.mkdir(exist_ok=True)
    if layout.owner.switch:
        os.chmod(layout.folder, 0o755)  # noqa: S103  # the lab's user walks through it; what is inside is closed
        for folder in layout.folders_of_the_owner:
            os.chown(folder, layout.owner.uid, layout.owner.gid)
    for folder in layout.folders_of_the_owner:
        os.chmod(folder, 0o700)
    if elsewhere and layout.owner.switch:
        _make_sign(layout)
    record = {"folder": str(layout.folder), "user": layout.owner.name, "uid": layout.owner.uid}
    (layout.data_folder / LOCATION_RECORD).write_text(json.dumps(record) + "\n")


def _make_sign(layout: Layout) -> None:
    """A link in the data folder, so that root finds consoles and disks below it wherever the lab lives."""
    if not layout.sign.exists():
        layout.sign.unlink(missing_ok=True)  # one that leads nowhere any more
        layout.sign.symlink_to(layout.folder)


def _make_short_way(layout: Layout) -> None:
    """A link in a closed folder of our own under /var/tmp: the disks stay in the data folder, only the path is short.

    The link is not put into /var/tmp itself, where others could put it first and where the kernel's
    `fs.protected_symlinks` would keep root from following it.
    """
    parent = layout.folder.parent
    inside = layout.data_folder / "lab"
    inside.mkdir(exist_ok=True)
    parent.mkdir(mode=0o700, exist_ok=True)
    status = parent.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise LabError(f"{parent} exists and is not a closed folder of this user; the lab cannot use it.")
    if not layout.folder.is_symlink():
        layout.folder.symlink_to(inside)
    if layout.folder.resolve() != inside:
        raise LabError(f"{layout.folder} leads to {layout.folder.resolve()}, not to {inside}.")

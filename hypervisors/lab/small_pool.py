"""Keeps what is in the pool `small` while the lab is down: the pool's file system lives in memory, with the daemons."""

import os
import shutil
from pathlib import Path

from hypervisors.lab.daemons import seen_by
from hypervisors.lab.layout import Layout


def keep(layout: Layout, daemon: int) -> None:
    """Copy the volumes, as the process `daemon` sees them, into the lab's folder."""
    scratch = _kept(layout).with_suffix(".new")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(_inside(layout, daemon), scratch)
    shutil.rmtree(_kept(layout), ignore_errors=True)
    scratch.rename(_kept(layout))


def bring_back(layout: Layout, daemon: int) -> bool:
    """Copy the kept volumes to where `daemon` sees the pool; False when none were kept: the lab did not go down orderly."""
    if not _kept(layout).exists():
        return False
    for volume in _kept(layout).iterdir():
        target = _inside(layout, daemon) / volume.name
        shutil.copyfile(volume, target)
        if layout.owner.switch:
            os.chown(target, layout.owner.uid, layout.owner.gid)
    # From now on the copy would be older than the volumes.
    shutil.rmtree(_kept(layout))
    return True


def _kept(layout: Layout) -> Path:
    return layout.folder / "small-pool-kept"


def _inside(layout: Layout, daemon: int) -> Path:
    return seen_by(daemon, layout.pool_folder("small"))

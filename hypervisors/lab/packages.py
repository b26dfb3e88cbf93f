"""Fetches Debian packages for the guests and unpacks them into a cache, without installing them on this computer.

A kernel package's hooks would write an initramfs and a boot menu here, a guest agent would want to run here. The cache
(VMSNAP_LAB_CACHE, else $XDG_CACHE_HOME/vmsnap, else ~/.cache/vmsnap) is shared by all labs of the caller; each lab
copies what it boots.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from hypervisors.lab.errors import LabUnavailable


def cache_folder() -> Path:
    """Where unpacked packages are kept for all labs of the caller."""
    named = os.environ.get("VMSNAP_LAB_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmsnap"


def fetch_and_unpack(packages: list[str]) -> None:
    """Download `packages` and unpack them together into the cache folder named after the first."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        # apt's own user may not write here, and warns; root is who asked.
        _run(["apt-get", "-o", "APT::Sandbox::User=root", "download", *packages], cwd=scratch)
        for archive in Path(scratch).glob("*.deb"):
            _run(["dpkg-deb", "-x", str(archive), f"{scratch}/tree"], cwd=scratch)
        target = cache_folder() / packages[0]
        if not target.exists():
            # Renamed as a whole, so that a broken download never looks like a package.
            os.rename(f"{scratch}/tree", target)


def apt_is_here() -> bool:
    """Whether packages can be fetched at all."""
    return shutil.which("apt-get") is not None


def _run(command: list[str], cwd: str) -> None:
    answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    if answer.returncode:
        raise LabUnavailable(f"{' '.join(command)} failed: {answer.stderr.strip()}")

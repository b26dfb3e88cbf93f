"""Builds the launcher, once for the same source, compiler and library, without any network and inside one folder.

Go and the library come from Debian (`golang-go`, `golang-github-vmware-govmomi-dev`). Where they are not installed,
`why_not` says so and there is no simulator.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("launcher")
PACKAGED_GO = Path("/usr/share/gocode")
LIBRARY = PACKAGED_GO / "src/github.com/vmware/govmomi/simulator"
DEFAULT_CACHE = Path(__file__).resolve().parents[2] / "test-output" / "vsphere-simulator"
BUILD_WITHIN_SECONDS = 540.0


class CannotBuild(Exception):
    """The launcher cannot be built; the words are the compiler's or say what is missing."""


def why_not() -> str:
    """Why this computer cannot build the simulator, or ""."""
    if shutil.which("go") is None:
        return "the Debian package golang-go is not installed"
    if not LIBRARY.is_dir():
        return "the Debian package golang-github-vmware-govmomi-dev is not installed"
    return ""


def found(cache: Path) -> Path | None:
    """The program, where it has been built there before. Raises `CannotBuild`."""
    if reason := why_not():
        raise CannotBuild(reason)
    program = _program(cache)
    return program if program.exists() else None


def built(cache: Path = DEFAULT_CACHE) -> Path:
    """The path of the program, built where it is not there yet. Processes that ask at once wait for the one that builds.

    Raises `CannotBuild`.
    """
    if reason := why_not():
        raise CannotBuild(reason)
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = _program(cache)
    with open(cache / "building", "ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not program.exists():
            for outdated in cache.glob("vsphere-simulator-*"):
                outdated.unlink()
            _build(program, cache)
    return program


def _program(cache: Path) -> Path:
    return cache / f"vsphere-simulator-{_checksum()}"


def _checksum() -> str:
    """Of everything that makes the program what it is."""
    state = hashlib.sha256(_environment_words(("GOVERSION", "GOARCH", "GOAMD64")).encode())
    for path in sorted([*SOURCE.glob("*.go"), *LIBRARY.glob("*.go")]):
        state.update(f"{path.name}\0".encode())
        state.update(path.read_bytes())
    return state.hexdigest()[:16]


def _environment_words(names: tuple[str, ...]) -> str:
    return subprocess.run(
        ["go", "env", *names], env=_environment(Path("/nonexistent")), capture_output=True, text=True, check=True
    ).stdout


def _environment(cache: Path) -> dict[str, str]:
    """What Go is told: the packaged library by path instead of modules, no network, nothing written outside `cache`."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "GO111MODULE": "off",
        "GOPATH": str(PACKAGED_GO),
        "GOPROXY": "off",
        "GOFLAGS": "",
        "GOENV": "off",
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache / "go"),
        "GOTMPDIR": str(cache),
        "TMPDIR": str(cache),
        "HOME": str(cache),
    }


def _build(program: Path, cache: Path) -> None:
    unfinished = cache / "unfinished"
    try:
        done = subprocess.run(
            ["go", "build", "-o", unfinished, "."],
            cwd=SOURCE,
            env=_environment(cache),
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_WITHIN_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        raise CannotBuild(f"the Go compiler took longer than {BUILD_WITHIN_SECONDS:g} seconds") from late
    if done.returncode:
        raise CannotBuild(done.stderr)
    unfinished.rename(program)
    shutil.rmtree(cache / "go", ignore_errors=True)  # of no use before the source changes, and large

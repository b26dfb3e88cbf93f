"""The demo's vCenter: `python -m tests.vsphere_simulator --data DIR` serves until it is asked to end.

Everything lies in the folder: the program where it had to be built, certificates, password, port, and the machines' VM
snapshots and power, so that the next start finds the same. `server.json` in it tells who may connect once it serves.

`--state` only tells, as JSON, what is missing to run at all and whether the program is there; `--build` builds it.
"""

import argparse
import fcntl
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .binary import DEFAULT_CACHE, CannotBuild, built, found, why_not
from .certificates import Certificates, make_certificates
from .commands import SimulatorError
from .server import VsphereSimulator
from .world import GIB, Datastore, LooseDisk, Machine, World

# So that progress can be watched.
TASK_SECONDS = 3.0

MACHINES = (
    Machine("web-gateway", running=True, memory_mib=1024, disk_bytes=(20 * GIB,), folder="Shop", pool="Production"),
    Machine(
        "web-search", running=True, memory_mib=2048, disk_bytes=(20 * GIB, 60 * GIB), folder="Shop", pool="Production"
    ),
    Machine("build-agent", memory_mib=4096, disk_bytes=(80 * GIB,), folder="Engineering", pool="Test"),
    Machine(
        "payroll-db", memory_mib=2048, disk_bytes=(20 * GIB, 100 * GIB), folder="Office", fields={"owner": "Sales"}
    ),
    Machine("new-kiosk-1", running=True, disk_bytes=(10 * GIB,), folder="Incoming", tools=False),
    Machine("new-kiosk-2", disk_bytes=(10 * GIB,), folder="Incoming", tools=False),
)


def demo_world(folder: Path) -> World:
    """What the demo's vCenter holds; its password is made at the first start."""
    return World(
        machines=MACHINES,
        loose_disks=(LooseDisk("[LocalDS_0] spare/spare-disk.vmdk", 5 * GIB),),
        datastores=(Datastore(2000 * GIB, 1700 * GIB), Datastore(4000 * GIB, 3400 * GIB)),
        hosts=2,
        password=_kept(folder / "password", lambda: secrets.token_urlsafe(12)),
        task_seconds=TASK_SECONDS,
        remember=str(folder / "machines.json"),
    )


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; ends by itself, with 1, when the simulator does."""
    parser = argparse.ArgumentParser(prog="python -m tests.vsphere_simulator", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder for everything that is kept")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--state", action="store_true", help="only tell what is there")
    only.add_argument("--build", action="store_true", help="only build the program")
    options = parser.parse_args(arguments)
    folder: Path = options.data.resolve()
    if options.state:
        missing = why_not()
        print(json.dumps({"missing": missing, "built": not missing and _program(folder) is not None}))
        return 0
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        program = _program(folder) or built(folder / "build")
    except CannotBuild as error:
        print(f"the vSphere simulator cannot be built: {error}", file=sys.stderr)
        return 1
    return 0 if options.build else _alone(folder, program)


def _program(folder: Path) -> Path | None:
    """Where the tests or an earlier start have built it."""
    return found(DEFAULT_CACHE) or found(folder / "build")


def _alone(folder: Path, program: Path) -> int:
    with open(folder / "lock", "a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"a vSphere simulator runs already with {folder}", file=sys.stderr)
            return 1
        return _serve(folder, program)


def _serve(folder: Path, program: Path) -> int:
    state = folder / "server.json"
    with _started(folder, program, _last_port(state)) as simulator:
        ends = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # what comes from here on is kept for `sigwait`
        _write(
            state,
            {
                "pid": os.getpid(),
                "url": simulator.address,
                "port": simulator.port,
                "username": simulator.username,
                "password": simulator.password,
                "ca_certificate": simulator.ca_certificate,
            },
        )
        while simulator.alive():
            if signal.sigwait(ends) != signal.SIGCHLD:
                return 0
    return 1


def _started(folder: Path, program: Path, port: int) -> VsphereSimulator:
    """The simulator, listening: on the port of the last start where that is free."""
    simulator = VsphereSimulator(
        folder, demo_world(folder), certificates=_certificates(folder / "tls"), program=program, port=port
    )
    if port:
        try:
            return simulator.start()
        except SimulatorError as error:
            print(f"not on port {port} again: {error}", file=sys.stderr)
            simulator.port = 0
    return simulator.start()


def _write(state: Path, told: dict[str, Any]) -> None:
    unfinished = state.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(told), encoding="utf-8")
    unfinished.rename(state)


def _certificates(folder: Path) -> Certificates:
    """The ones of the first start: the endpoint trusts them."""
    kept = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    return kept if kept.key.exists() else make_certificates(folder)


def _kept(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(make(), encoding="ascii")
    return path.read_text(encoding="ascii")


def _last_port(state: Path) -> int:
    try:
        return int(json.loads(state.read_text(encoding="utf-8"))["port"])
    except (FileNotFoundError, ValueError, KeyError):
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

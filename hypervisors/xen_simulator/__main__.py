"""The server process: `python -m hypervisors.xen_simulator --data DIR`.

Says one line of JSON on standard output when it serves (address, process), and writes the same to `server.json` in its
data folder. SIGTERM and SIGINT end it. One process per data folder.
"""

import argparse
import fcntl
import json
import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import IO

from hypervisors.xen_simulator import certificates, disks, operations, worlds
from hypervisors.xen_simulator.certificates import write_private
from hypervisors.xen_simulator.pool import Account, Pool, Settings
from hypervisors.xen_simulator.server import Server, tls_context

ACCOUNTS = "accounts.json"
TOKEN = "control_token"  # noqa: S105 - the name of the file that holds it
STATE = "server.json"
ROLES_OF_ACCOUNTS = {"root": "pool-admin", "vmadmin": "vm-admin", "operator": "vm-operator", "viewer": "read-only"}


def read_options(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m hypervisors.xen_simulator", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder for everything that the pool keeps")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this computer alone)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 (default): the one of the last start, else any")
    parser.add_argument(
        "--world", default="demo", help="what is there at first: empty, small, demo, large:N:S, or FILE"
    )
    parser.add_argument("--step-seconds", type=float, default=0.0, help="how long each step of an operation takes")
    parser.add_argument("--wait-seconds", type=float, default=7200.0, help="how long a call waits for one in its way")
    parser.add_argument(
        "--collect-after", type=float, default=0.0, help="coalesce every so many seconds; 0: on request"
    )
    parser.add_argument("--session-seconds", type=float, default=86400.0, help="how long a session may be idle")
    parser.add_argument("--request-seconds", type=float, default=60.0, help="how long a request may take to come in")
    parser.add_argument("--member-of", default="", help="answer logins with HOST_IS_SLAVE and this address")
    parser.add_argument("--quiet", action="store_true", help="say nothing on standard output")
    return parser.parse_args(arguments)


def alone(folder: Path) -> IO[str]:
    """The lock on a data folder; the kernel gives it back however the process ends. Raises BlockingIOError."""
    lock = open(folder / "lock", "a", encoding="ascii")  # noqa: SIM115 - held until the process ends
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def accounts_of(folder: Path) -> dict[str, Account]:
    """The accounts, with passwords made at the first start."""
    path = folder / ACCOUNTS
    if not path.exists():
        made = {name: {"password": secrets.token_urlsafe(12), "role": role} for name, role in ROLES_OF_ACCOUNTS.items()}
        write_private(path, json.dumps(made, indent=1).encode())
    return {name: Account(**entry) for name, entry in json.loads(path.read_text()).items()}


def token_of(folder: Path) -> str:
    """What the control door asks for, made at the first start."""
    path = folder / TOKEN
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24).encode())
    return path.read_text().strip()


def open_pool(folder: Path, settings: Settings, world: str) -> Pool:
    """The pool of a data folder, made on first use. What an earlier process left half-done is made consistent."""
    if not (folder / "made").exists():
        (folder / "pool.sqlite3").unlink(missing_ok=True)  # an earlier start died while it filled it
    pool = Pool(folder, settings, accounts_of(folder))
    if not (folder / "made").exists():
        worlds.make(pool, json.loads(Path(world).read_text()) if world.endswith(".json") else worlds.named(world))
        (folder / "made").touch()
    database = pool.database
    for sr in database.tables["SR"]:
        pool.storage.keep_only(
            database.get("SR", sr, "uuid"), {database.get("VDI", vdi, "uuid") for vdi in database.get("SR", sr, "VDIs")}
        )
    operations.forget_all(database)
    return pool


def collect_now_and_then(pool: Pool) -> None:
    """Coalesce every so often until the end."""
    while not pool.stopping.wait(pool.settings.collect_after):
        disks.collect(pool)


def _last_port(folder: Path) -> int:
    try:
        port = json.loads((folder / STATE).read_text())["port"]
    except (FileNotFoundError, ValueError, KeyError):
        return 0
    return int(port)


def _listen(options: argparse.Namespace, pool: Pool) -> Server:
    """Bind, on the port of the last start where that is free and no other was asked for."""
    context, token = tls_context(options.data / certificates.SERVER), token_of(options.data)
    if options.port == 0 and (port := _last_port(options.data)):
        try:
            return Server((options.host, port), pool, token, context)
        except OSError as error:
            print(f"port {port} is taken now ({error.strerror}), another is used", file=sys.stderr)
    return Server((options.host, options.port), pool, token, context)


def main(arguments: list[str]) -> int:
    """Serve until a signal ends it."""
    options = read_options(arguments)
    options.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        lock = alone(options.data)
    except BlockingIOError:
        print(f"a server runs already with {options.data}", file=sys.stderr)
        return 1
    certificates.ensure(options.data, options.host)
    settings = Settings(
        step_seconds=options.step_seconds,
        wait_seconds=options.wait_seconds,
        collect_after=options.collect_after,
        session_seconds=options.session_seconds,
        request_seconds=options.request_seconds,
    )
    pool = open_pool(options.data, settings, options.world)
    pool.faults.redirect = options.member_of
    server = _listen(options, pool)
    with lock, server:

        def stop(_number: int, _frame: FrameType | None) -> None:
            pool.stopping.set()
            threading.Thread(target=server.shutdown, daemon=True).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        if settings.collect_after:
            threading.Thread(target=collect_now_and_then, args=(pool,), daemon=True).start()
        port = int(server.server_address[1])
        shown = f"[{options.host}]" if ":" in options.host else options.host
        state = json.dumps({"url": f"https://{shown}:{port}", "port": port, "pid": os.getpid()})
        write_private(options.data / STATE, state.encode())
        if not options.quiet:
            print(state, flush=True)
        server.serve_forever(poll_interval=0.1)
        pool.database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

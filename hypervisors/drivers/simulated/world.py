"""Making the world of a simulated hypervisor, and changing it from outside.

Tests, the demo and benchmarks enter. `make_world` writes a new world; `World` is the hand of another administrator
(snapshots made elsewhere, machines undefined behind our back), of the guest (what it wrote, what it counted) and of
misfortune (faults, full pools, an endpoint that is down). What `World` does passes by faults, counts and locks.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from hypervisors.driver import Login
from hypervisors.drivers.simulated import facts, rules
from hypervisors.drivers.simulated.change import Arguments
from hypervisors.drivers.simulated.contents import (
    DEMO_LOOSE,
    DEMO_MACHINES,
    GIB,
    MIB,
    Disk,
    Machine,
    Pool,
    Taken,
    add_disk,
    add_machine,
    many_machines,
)
from hypervisors.drivers.simulated.faults import EVERY, FaultKind
from hypervisors.drivers.simulated.store import Store, new_file
from hypervisors.errors import HypervisorError
from hypervisors.records import PowerAfterRevert, PowerState

__all__ = [
    "DEMO_LOOSE",
    "DEMO_MACHINES",
    "GIB",
    "MIB",
    "Disk",
    "Machine",
    "Pool",
    "Taken",
    "World",
    "make_world",
    "many_machines",
]

SALT_BYTES = 16


def make_world(
    path: Path,
    machines: Iterable[Machine] = DEMO_MACHINES,
    pools: Iterable[Pool] = (Pool(),),
    loose: Iterable[Disk] = DEMO_LOOSE,
) -> "World":
    """Write a new world at `path` (`<state_dir>/<name>.sqlite3`).

    Raises `FileExistsError` when there is one, `ValueError` when it would have no valid form.
    """
    now = time.time()
    with new_file(path) as db:
        db.execute(
            "INSERT INTO host (native_id, name, product, version) VALUES (?, ?, 'Simulated hypervisor', '1.0')",
            (str(uuid4()), path.stem),
        )
        pool_ids: dict[str, str] = {}
        for pool in pools:
            pool_ids[pool.name] = str(uuid4())
            db.execute(
                "INSERT INTO pool VALUES (?, ?, ?, ?, ?, ?)",
                (pool_ids[pool.name], pool.name, pool.kind, pool.total_bytes, pool.other_bytes, pool.active),
            )
        for machine in machines:
            add_machine(db, machine, pool_ids, now)
        for disk in loose:
            add_disk(db, disk, disk.name or f"loose-{uuid4()}", pool_ids, None, "")
    return World(path)


class World:
    """A simulated hypervisor from outside. Machines, snapshots and pools are named by native id.

    Each method opens the file, does its one thing and closes it; a world can be passed on to another process as its
    path. Raises `Unreachable` when the file is gone, `NotFound` for a machine or snapshot that is.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def login(self, timeout_seconds: float = 30.0, username: str = "", password: str = "") -> Login:
        """How a driver reaches this world."""
        return Login(
            address=self.path.stem,
            username=username,
            password=password,
            timeout_seconds=timeout_seconds,
            options=(("state_dir", str(self.path.parent)),),
        )

    # Looking

    def machine_id(self, name: str) -> str:
        """The native id of the machine of this name. Raises `KeyError`."""
        return self.machine_ids()[name]

    def machine_ids(self) -> dict[str, str]:
        """All machines: name to native id."""
        return self._pairs("SELECT name, native_id FROM machine ORDER BY seq")

    def pool_id(self, name: str = "default") -> str:
        """The native id of the pool of this name. Raises `KeyError`."""
        return self._pairs("SELECT name, native_id FROM pool")[name]

    def snapshot_names(self, machine_id: str) -> dict[str, str]:
        """The machine's snapshots, oldest first: native id to name."""
        return self._pairs("SELECT native_id, name FROM snapshot WHERE machine_id = ? ORDER BY seq", machine_id)

    def counter(self, machine_id: str) -> int:
        """What the machine has counted to, `TICKS_PER_SECOND` a second while it runs. A memory revert sets it back."""
        with _opened(self.path) as store, rules.turn(store) as (db, now):
            return int(facts.counter(facts.find_machine(db, machine_id), now))

    def disk_content(self, machine_id: str) -> str:
        """What the guest wrote last on its disk."""
        with _opened(self.path) as store, rules.turn(store) as (db, _):
            return str(facts.find_machine(db, machine_id)["disk_content"])

    def power(self, machine_id: str) -> PowerState:
        """The machine's power state."""
        with _opened(self.path) as store, rules.turn(store) as (db, _):
            return PowerState(facts.find_machine(db, machine_id)["power"])

    def calls(self) -> Counter[str]:
        """How often drivers, in any process, were called, by method; opening a connection counts as "connect"."""
        with _opened(self.path) as store, rules.turn(store) as (db, _):
            return Counter({row["operation"]: row["count"] for row in db.execute("SELECT * FROM call")})

    def forget_calls(self) -> None:
        """Count calls from nought again."""
        self._write("DELETE FROM call")

    # What guests and other administrators do

    def let_run(self, machine_id: str, seconds: float) -> None:
        """As if the machine had run this long since the last look; nothing when it does not run."""
        self._write("UPDATE machine SET folded_at = folded_at - ? WHERE native_id = ?", seconds, machine_id)

    def write_disk(self, machine_id: str, content: str, size_bytes: int = MIB) -> None:
        """The guest writes on its disk; the next snapshot is larger by `size_bytes`."""
        self._write(
            "UPDATE machine SET disk_content = ?, dirty_bytes = dirty_bytes + ? WHERE native_id = ?",
            content,
            size_bytes,
            machine_id,
        )

    def take_elsewhere(
        self, machine_id: str, name: str, memory: bool = False, description: str = "", token: str | None = None
    ) -> str:
        """Another administrator takes a snapshot; answers its native id. With a token it looks like one of ours."""
        return self._do(
            "create_snapshot",
            machine_id,
            {"token": token, "name": name, "description": description, "memory": memory, "quiesce": False},
        )

    def delete_elsewhere(self, machine_id: str, snapshot_id: str, descendants: bool = False) -> None:
        """Another administrator deletes a snapshot."""
        name = "delete_with_descendants" if descendants else "delete_snapshot"
        self._do(name, machine_id, {"snapshot_id": snapshot_id})

    def rename_elsewhere(self, machine_id: str, snapshot_id: str, name: str, description: str = "") -> None:
        """Another administrator renames a snapshot."""
        self._do("rename_snapshot", machine_id, {"snapshot_id": snapshot_id, "name": name, "description": description})

    def revert_elsewhere(
        self, machine_id: str, snapshot_id: str, power: PowerAfterRevert = PowerAfterRevert.AS_SNAPSHOT
    ) -> None:
        """Another administrator reverts the machine."""
        self._do("revert_to", machine_id, {"snapshot_id": snapshot_id, "power": power})

    def set_power(self, machine_id: str, power: PowerState) -> None:
        """The machine is found in this power state; what stops loses its memory."""
        with _opened(self.path) as store, rules.turn(store) as (db, now):
            machine = rules.fold(db, facts.find_machine(db, machine_id), now)
            ticks = 0.0 if PowerState.STOPPED in (power, machine["power"]) else machine["ticks"]
            db.execute("UPDATE machine SET power = ?, ticks = ? WHERE native_id = ?", (power, ticks, machine_id))

    def define(self, machine: Machine) -> str:
        """Another administrator makes a machine; answers its native id."""
        with _opened(self.path) as store, rules.turn(store) as (db, now):
            pools = {row["name"]: row["native_id"] for row in db.execute("SELECT name, native_id FROM pool")}
            return add_machine(db, machine, pools, now)

    def undefine(self, machine_id: str) -> None:
        """Another administrator removes the machine and its snapshots; its volumes stay, loose."""
        with _opened(self.path) as store, rules.turn(store) as (db, _):
            facts.find_machine(db, machine_id)
            db.execute("DELETE FROM snapshot WHERE machine_id = ?", (machine_id,))
            db.execute("DELETE FROM machine WHERE native_id = ?", (machine_id,))
            db.execute("UPDATE volume SET machine_id = NULL, target = '' WHERE machine_id = ?", (machine_id,))

    def rename_machine(self, machine_id: str, name: str) -> None:
        """Another administrator renames the machine."""
        self._write("UPDATE machine SET name = ? WHERE native_id = ?", name, machine_id)

    def file(self, machine_id: str, folder: str = "", resource_pool: str = "", tags: Iterable[str] = ()) -> None:
        """Another administrator files the machine elsewhere."""
        self._write(
            "UPDATE machine SET folder = ?, resource_pool = ?, tags = ? WHERE native_id = ?",
            folder,
            resource_pool,
            json.dumps(list(tags)),
            machine_id,
        )

    def leave_disks_behind(self, machine_id: str) -> None:
        """The hypervisor could not merge what a deleted snapshot left; the disks have to be consolidated."""
        self._write("UPDATE machine SET needs_consolidation = 1 WHERE native_id = ?", machine_id)

    def ask(self, machine_id: str, question: str) -> None:
        """The machine waits for an answer before it goes on; an empty question: it has been given."""
        self._write("UPDATE machine SET question = ? WHERE native_id = ?", question, machine_id)

    def add_loose(self, disk: Disk) -> str:
        """Another administrator makes a volume; answers its native id."""
        with _opened(self.path) as store, rules.turn(store) as (db, _):
            pools = {row["name"]: row["native_id"] for row in db.execute("SELECT name, native_id FROM pool")}
            return add_disk(db, disk, disk.name or f"loose-{uuid4()}", pools, None, "")

    def resize_volume(self, volume_id: str, capacity_bytes: int) -> None:
        """Another administrator makes a volume larger."""
        self._write("UPDATE volume SET capacity_bytes = ? WHERE native_id = ?", capacity_bytes, volume_id)

    def set_agent(self, machine_id: str, answers: bool) -> None:
        """The guest agent is installed, or taken away."""
        self._write("UPDATE machine SET agent = ? WHERE native_id = ?", answers, machine_id)

    def leave_free(self, pool_id: str, free_bytes: int) -> None:
        """Something else fills the pool until only this much is left (or frees as much)."""
        with _opened(self.path) as store, rules.turn(store) as (db, _):
            used = facts.pool_used_bytes(db).get(pool_id, 0)
            db.execute(
                "UPDATE pool SET other_bytes = total_bytes - ? - ? WHERE native_id = ?", (used, free_bytes, pool_id)
            )

    # Misfortune. `operation` is the name of a driver method, "connect", or "*" for any; `times` None is for ever.

    def delay(self, operation: str, seconds: float, machine_id: str | None = None, times: int | None = None) -> None:
        """It takes this long, whether or not the caller lives to see the end. Reads are late by as much."""
        self._add_fault(FaultKind.DELAY, operation, machine_id, times, seconds=seconds)

    def refuse(
        self,
        operation: str,
        error: type[HypervisorError],
        detail: str = "The simulated hypervisor was told to refuse.",
        machine_id: str | None = None,
        times: int | None = 1,
    ) -> None:
        """It is refused with this error before anything is done. `ConnectionLost`: the request itself is lost."""
        self._add_fault(FaultKind.REFUSE, operation, machine_id, times, error=error.__name__, detail=detail)

    def lose_answer(self, operation: str, machine_id: str | None = None, times: int | None = 1) -> None:
        """It is done, and then the caller gets `ConnectionLost`."""
        self._add_fault(FaultKind.UNANSWERED, operation, machine_id, times)

    def finish_late(self, operation: str, seconds: float, machine_id: str | None = None, times: int | None = 1) -> None:
        """The caller gets `TimedOut` at once, and it is done this much later; until then the machine is busy."""
        self._add_fault(FaultKind.LATE, operation, machine_id, times, seconds=seconds)

    def clear_faults(self) -> None:
        """Nothing goes wrong any more. What is under way goes on."""
        self._write("DELETE FROM fault")

    def set_down(self, down: bool) -> None:
        """The endpoint does not answer: no connection, and calls under way are cut off; the machines go on."""
        self._write("UPDATE host SET down = ?", down)

    def require_password(self, username: str, password: str) -> None:
        """From now on only this login is let in."""
        salt = secrets.token_bytes(SALT_BYTES)
        digest = (salt + hashlib.sha256(salt + password.encode()).digest()).hex()
        self._write("UPDATE host SET username = ?, password_digest = ?", username, digest)

    def finish_operations(self) -> None:
        """As if enough time had passed for all that is under way."""
        self._write("UPDATE operation SET due_at = ? WHERE state = 'running'", time.time())
        with _opened(self.path) as store, rules.turn(store):
            pass  # the turn itself lets happen what is due

    def _add_fault(
        self,
        kind: FaultKind,
        operation: str,
        machine_id: str | None,
        times: int | None,
        seconds: float = 0.0,
        error: str = "",
        detail: str = "",
    ) -> None:
        if operation not in FAULTY:
            raise ValueError(f"No operation is called {operation!r}; there are: {', '.join(sorted(FAULTY))}.")
        if times is not None and times < 1:
            raise ValueError("A fault strikes at least once.")
        self._write(
            "INSERT INTO fault (operation, machine_id, kind, seconds, error, detail, remaining) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            operation,
            machine_id,
            kind,
            seconds,
            error,
            detail,
            times,
        )

    def _do(self, operation: str, machine_id: str, arguments: Arguments) -> str:
        with _opened(self.path) as store, rules.turn(store) as (db, now):
            return rules.apply(db, operation, machine_id, arguments, now) or ""

    def _pairs(self, query: str, *values: str) -> dict[str, str]:
        with _opened(self.path) as store, rules.turn(store) as (db, _):
            return dict(db.execute(query, values).fetchall())

    def _write(self, statement: str, *values: str | int | float | bytes | None) -> None:
        with _opened(self.path) as store, rules.turn(store) as (db, _):
            db.execute(statement, values)


READS = frozenset(
    {
        "connect",
        "describe",
        "list_pools",
        "list_machines",
        "read_machine",
        "list_loose_volumes",
        "list_forests",
        "operation_in_flight",
        "wait_for_changes",
    }
)
FAULTY = READS | rules.OPERATIONS.keys() | {EVERY}
"""What a fault can strike."""


def password_matches(password: str, stored: str) -> bool:
    """Whether this is the password that `require_password` was given."""
    salted = bytes.fromhex(stored)
    salt, digest = salted[:SALT_BYTES], salted[SALT_BYTES:]
    return hmac.compare_digest(hashlib.sha256(salt + password.encode()).digest(), digest)


def _opened(path: Path) -> closing[Store]:
    return closing(Store(path, timeout_seconds=30.0))

"""How a simulated hypervisor behaves: what each operation needs, what it does, and when it is done.

Only the other `simulated*` modules enter. Every rule raises before it writes. An operation that takes time is a row
with the moment at which it is due; whoever looks at the file after that moment first lets it happen. So an operation
goes on when the process that asked for it is killed, as it does on a real hypervisor.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from hypervisors.drivers.simulated import facts, machine_rules
from hypervisors.drivers.simulated.change import Arguments, Change, require
from hypervisors.drivers.simulated.store import Store
from hypervisors.errors import Busy, HypervisorError, OutOfSpace, Rejected
from hypervisors.records import PowerAfterRevert, PowerState, SnapshotKind

FORGET_RESULTS_AFTER_SECONDS = 3600.0
"""Results that nobody came for (the process that asked was killed) are kept this long."""


@contextmanager
def turn(store: Store) -> Iterator[tuple[sqlite3.Connection, float]]:
    """A turn at the file and the time at which it began, after everything that was due by then has happened."""
    with store.turn() as db:
        now = time.time()
        settle(db, now)
        yield db, now


def settle(db: sqlite3.Connection, now: float) -> None:
    """Let every operation happen that is due, in the order in which they are."""
    due = db.execute("SELECT * FROM operation WHERE state = 'running' AND due_at <= ? ORDER BY due_at, seq", (now,))
    for operation in due.fetchall():
        outcome: tuple[str, str | None, str | None, str | None]
        try:
            result = apply(db, operation["name"], operation["machine_id"], json.loads(operation["arguments"]), now)
        except HypervisorError as refusal:
            outcome = ("failed", None, type(refusal).__name__, refusal.detail)
        else:
            outcome = ("done", result, None, None)
        db.execute(
            "UPDATE operation SET state = ?, result = ?, error = ?, detail = ? WHERE seq = ?",
            (*outcome, operation["seq"]),
        )
        db.execute(
            "DELETE FROM operation WHERE state != 'running' AND due_at < ?", (now - FORGET_RESULTS_AFTER_SECONDS,)
        )


def begin(
    db: sqlite3.Connection, name: str, machine_id: str, arguments: Arguments, began_at: float, due_at: float
) -> int:
    """Write down an operation that will happen at `due_at`; answers its number."""
    row = db.execute(
        "INSERT INTO operation (machine_id, name, arguments, began_at, due_at) VALUES (?, ?, ?, ?, ?) RETURNING seq",
        (machine_id, name, json.dumps(arguments), began_at, due_at),
    ).fetchone()
    return int(row["seq"])


def in_flight(db: sqlite3.Connection, machine_id: str) -> sqlite3.Row | None:
    """The operation that is going on with the machine, or None."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM operation WHERE state = 'running' AND machine_id = ? ORDER BY seq LIMIT 1", (machine_id,)
    ).fetchone()
    return row


def refuse_when_busy(db: sqlite3.Connection, machine_id: str) -> None:
    """Raises `Busy`, with what is going on, when something is."""
    if operation := in_flight(db, machine_id):
        raise Busy(f"The hypervisor is still at work on this machine: {OPERATIONS[operation['name']].words}.")


def check(db: sqlite3.Connection, name: str, machine_id: str, arguments: Arguments) -> None:
    """Raises what speaks against the operation at this moment."""
    OPERATIONS[name].check(Change(db, facts.find_machine(db, machine_id), arguments, 0.0))


def apply(db: sqlite3.Connection, name: str, machine_id: str, arguments: Arguments, now: float) -> str | None:
    """Carry the operation out, or raise what speaks against it. Answers the id of what was made, if anything."""
    operation = OPERATIONS[name]
    change = Change(db, fold(db, facts.find_machine(db, machine_id), now), arguments, now)
    operation.check(change)
    return operation.apply(change)


def fold(db: sqlite3.Connection, machine: sqlite3.Row, now: float) -> sqlite3.Row:
    """Put what the machine has counted and written by now into its row; answers the row as it is then.

    This changes nothing that can be seen, so it may come before a refusal.
    """
    ran = max(0.0, now - machine["folded_at"]) if machine["power"] == PowerState.RUNNING else 0.0
    dirty = machine["dirty_bytes"] + int(ran * machine["write_bytes_per_second"])
    if ran and machine["write_bytes_per_second"]:
        # A guest that has overwritten its whole disk has nothing more to change.
        dirty = min(dirty, sum(volume["capacity_bytes"] for volume in facts.volumes_of(db, machine["native_id"])))
    db.execute(
        "UPDATE machine SET ticks = ?, dirty_bytes = ?, folded_at = ? WHERE seq = ?",
        (facts.counter(machine, now), dirty, now, machine["seq"]),
    )
    return facts.find_machine(db, machine["native_id"])


# The rules on snapshots, one pair for each operation: `check_` raises what speaks against it, `apply_` does it. Those on
# the rest of a machine stand in `machine_rules`.


def check_create(change: Change) -> None:
    """Raises `Rejected` or `Unsupported` unless abilities, power state and token allow the snapshot."""
    stopped = change.machine["power"] == PowerState.STOPPED
    can = change.abilities()
    if change.arguments["memory"] and change.arguments["quiesce"]:
        raise Rejected("A snapshot with memory needs no quiescing; ask for one of the two.")
    if change.arguments["quiesce"]:
        require(can, "quiesce")
        if change.machine["power"] != PowerState.RUNNING:
            raise Rejected("The guest does not run, so it cannot settle its file systems. Leave quiesce out.")
    if change.arguments["memory"]:
        require(can, "memory")
        if stopped:
            raise Rejected("The machine is stopped, so there is no memory to save. Start it, or leave memory out.")
    else:
        require(can, "disk_when_stopped" if stopped else "disk_when_running")
    twin = change.db.execute(
        "SELECT 1 FROM snapshot WHERE machine_id = ? AND token = ?",
        (change.machine["native_id"], change.arguments["token"]),
    ).fetchone()
    if twin:
        raise Rejected("This very snapshot has been taken already.")


def apply_create(change: Change) -> str:
    """Add the snapshot below the current one."""
    size = facts.snapshot_bytes(change.machine["memory_bytes"] if change.arguments["memory"] else 0)
    # What the machine wrote since its last snapshot already lies in the pool and only changes hands.
    refuse_when_full(change, size)
    size += change.machine["dirty_bytes"]
    native_id = f"snapshot-{uuid4()}"
    change.db.execute(
        """
        INSERT INTO snapshot (native_id, machine_id, name, description, parent_id, created_at, kind, token,
                              measured_bytes, power, ticks, disk_content)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            native_id,
            change.machine["native_id"],
            change.arguments["name"],
            change.arguments["description"],
            change.machine["current_id"],
            change.now,
            SnapshotKind.DISK_AND_MEMORY if change.arguments["memory"] else SnapshotKind.DISK,
            change.arguments["token"],
            size,
            change.machine["power"],
            change.machine["ticks"] if change.arguments["memory"] else None,
            change.machine["disk_content"],
        ),
    )
    change.db.execute(
        "UPDATE machine SET current_id = ?, dirty_bytes = 0 WHERE seq = ?", (native_id, change.machine["seq"])
    )
    return native_id


def refuse_when_full(change: Change, size: int) -> None:
    """Raises `OutOfSpace` when the pool of the machine's first volume has less than this left."""
    pool = change.db.execute(
        """
        SELECT pool.* FROM pool JOIN volume ON volume.pool_id = pool.native_id
        WHERE volume.machine_id = ? AND volume.target = 'vda'
        """,
        (change.machine["native_id"],),
    ).fetchone()
    if pool is None:
        return
    free = facts.pool_free_bytes(pool, facts.pool_used_bytes(change.db))
    if free < size:
        raise OutOfSpace(
            f"Storage pool “{pool['name']}” has {free:,} bytes left and the snapshot takes {size:,}. "
            "Delete snapshots you no longer need, or ask for more storage."
        )


def check_revert(change: Change) -> None:
    """The snapshot is there and the machine can go back to it."""
    change.snapshot()
    can = change.abilities()
    require(can, "revert")
    if change.arguments["power"] != PowerAfterRevert.AS_SNAPSHOT:
        require(can, "power_choice")


def apply_revert(change: Change) -> None:
    """Disks, and memory where it was saved and is wanted, are as they were; the snapshot is current."""
    snapshot = change.snapshot()
    holds_memory = snapshot["kind"] == SnapshotKind.DISK_AND_MEMORY
    power = {
        PowerAfterRevert.AS_SNAPSHOT: snapshot["power"] if holds_memory else PowerState.STOPPED,
        PowerAfterRevert.RUNNING: PowerState.RUNNING,
        PowerAfterRevert.STOPPED: PowerState.STOPPED,
    }[PowerAfterRevert(change.arguments["power"])]
    ticks = snapshot["ticks"] if holds_memory and power != PowerState.STOPPED else 0.0
    change.db.execute(
        """
        UPDATE machine SET current_id = ?, power = ?, ticks = ?, folded_at = ?, disk_content = ?, dirty_bytes = 0
        WHERE seq = ?
        """,
        (snapshot["native_id"], power, ticks, change.now, snapshot["disk_content"], change.machine["seq"]),
    )


def check_delete(change: Change) -> None:
    """The snapshot is there and may go."""
    change.snapshot()
    require(change.abilities(), "delete")


def apply_delete(change: Change) -> None:
    """The snapshot goes; children and the current mark move to its parent."""
    snapshot = change.snapshot()
    change.db.execute(
        "UPDATE snapshot SET parent_id = ? WHERE parent_id = ?", (snapshot["parent_id"], snapshot["native_id"])
    )
    change.db.execute("DELETE FROM snapshot WHERE seq = ?", (snapshot["seq"],))
    if change.machine["current_id"] == snapshot["native_id"]:
        change.db.execute(
            "UPDATE machine SET current_id = ? WHERE seq = ?", (snapshot["parent_id"], change.machine["seq"])
        )


def check_delete_descendants(change: Change) -> None:
    """The snapshot is there and may go with all below it."""
    change.snapshot()
    require(change.abilities(), "delete_descendants")


def apply_delete_descendants(change: Change) -> None:
    """The snapshot and all below it go; the current mark, if it was among them, moves to the parent."""
    snapshot = change.snapshot()
    below = """
        WITH RECURSIVE gone (native_id) AS (
            SELECT ? UNION ALL
            SELECT snapshot.native_id FROM snapshot JOIN gone ON snapshot.parent_id = gone.native_id
        ) SELECT native_id FROM gone
    """
    gone = [row[0] for row in change.db.execute(below, (snapshot["native_id"],))]
    change.db.executemany("DELETE FROM snapshot WHERE native_id = ?", [(native_id,) for native_id in gone])
    if change.machine["current_id"] in gone:
        change.db.execute(
            "UPDATE machine SET current_id = ? WHERE seq = ?", (snapshot["parent_id"], change.machine["seq"])
        )


def check_delete_all(change: Change) -> None:
    """Several may go at once."""
    require(change.abilities(), "delete_descendants")


def apply_delete_all(change: Change) -> None:
    """All snapshots go; the machine stems from none."""
    change.db.execute("DELETE FROM snapshot WHERE machine_id = ?", (change.machine["native_id"],))
    change.db.execute("UPDATE machine SET current_id = NULL WHERE seq = ?", (change.machine["seq"],))


def check_rename(change: Change) -> None:
    """The snapshot is there and names can be changed."""
    change.snapshot()
    require(change.abilities(), "rename")


def apply_rename(change: Change) -> None:
    """The snapshot has another name and description."""
    change.db.execute(
        "UPDATE snapshot SET name = ?, description = ? WHERE native_id = ?",
        (change.arguments["name"], change.arguments["description"], change.arguments["snapshot_id"]),
    )


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind of change: `words` say what is going on, for people."""

    words: str
    check: Callable[[Change], None]
    apply: Callable[[Change], str | None]


OPERATIONS: dict[str, Operation] = {
    "create_snapshot": Operation("taking a snapshot", check_create, apply_create),
    "revert_to": Operation("reverting to a snapshot", check_revert, apply_revert),
    "delete_snapshot": Operation("deleting a snapshot", check_delete, apply_delete),
    "delete_with_descendants": Operation("deleting snapshots", check_delete_descendants, apply_delete_descendants),
    "delete_all": Operation("deleting all snapshots", check_delete_all, apply_delete_all),
    "rename_snapshot": Operation("renaming a snapshot", check_rename, apply_rename),
    "start": Operation("starting the machine", machine_rules.check_start, machine_rules.apply_start),
    "stop": Operation("stopping the machine", machine_rules.check_stop, machine_rules.apply_stop),
    "attach_volume": Operation("attaching a volume", machine_rules.check_attach, machine_rules.apply_attach),
    "detach_volume": Operation("detaching a volume", machine_rules.check_detach, machine_rules.apply_detach),
    "consolidate_disks": Operation(
        "consolidating disks", machine_rules.check_consolidate, machine_rules.apply_consolidate
    ),
}
"""Every changing method of the driver contract, by its name."""

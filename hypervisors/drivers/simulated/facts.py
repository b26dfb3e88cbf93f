"""What is true of a simulated hypervisor at this moment: rows found, abilities, space, and what guests have counted to.

Only the other `simulated*` modules enter. Nothing here changes anything.
"""

import json
import sqlite3
from dataclasses import replace

from hypervisors.capabilities import NOTHING_TO_CONSOLIDATE, YES, Capabilities, no
from hypervisors.errors import NotFound
from hypervisors.records import PowerState

TICKS_PER_SECOND = 10
"""How fast a machine counts while it runs: fast enough to be seen moving, slow enough to be read."""

MEMORY_IMAGE_DIVISOR = 4
"""A memory image takes this part of the machine's memory: hypervisors leave out pages that hold zeros."""

SNAPSHOT_METADATA_BYTES = 192 * 1024
"""What a snapshot of unchanged disks takes: three clusters of 64 KiB, as qcow2 has them by default."""

TARGETS = tuple(f"vd{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
"""The places for a machine's volumes. It starts from the first, in which its snapshots lie too."""


def find_machine(db: sqlite3.Connection, machine_id: str) -> sqlite3.Row:
    """The machine's row. Raises `NotFound`."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM machine WHERE native_id = ?", (machine_id,)).fetchone()
    if row is None:
        raise NotFound("The machine is not on this hypervisor any more.")
    return row


def find_snapshot(db: sqlite3.Connection, machine_id: str, snapshot_id: str) -> sqlite3.Row:
    """The row of one of the machine's snapshots. Raises `NotFound`."""
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM snapshot WHERE native_id = ? AND machine_id = ?", (snapshot_id, machine_id)
    ).fetchone()
    if row is None:
        raise NotFound("The snapshot is not on this hypervisor any more.")
    return row


def volumes_of(db: sqlite3.Connection, machine_id: str) -> list[sqlite3.Row]:
    """The machine's volumes in the order of their targets."""
    return db.execute(
        "SELECT * FROM volume WHERE machine_id = ? ORDER BY length(target), target", (machine_id,)
    ).fetchall()


def counter(machine: sqlite3.Row, now: float) -> float:
    """What the machine's memory has counted to. It stands still while the machine does."""
    ticks = float(machine["ticks"])
    if machine["power"] != PowerState.RUNNING:
        return ticks
    return ticks + max(0.0, now - float(machine["folded_at"])) * TICKS_PER_SECOND


def capabilities_of(machine: sqlite3.Row, volumes: list[sqlite3.Row]) -> Capabilities:
    """What can be done with the machine, from its disks, its guest and what was taken from it on purpose."""
    can = Capabilities(consolidate=YES if machine["needs_consolidation"] else no(NOTHING_TO_CONSOLIDATE))
    if not machine["agent"]:
        can = replace(
            can, quiesce=no("No guest agent answers in this machine. Install the guest agent in it to use quiesce.")
        )
    if raw := [volume["target"] for volume in volumes if volume["format"] == "raw"]:
        reason = no(
            f"Disk {', '.join(raw)} is raw, and a raw disk cannot hold snapshots. "
            "Convert it to qcow2, or detach it, to use VM snapshots."
        )
        can = replace(can, disk_when_running=reason, disk_when_stopped=reason, memory=reason, quiesce=reason)
    missing: dict[str, str] = json.loads(machine["missing_abilities"])
    return replace(can, **{name: no(reason) for name, reason in missing.items()})


def pool_used_bytes(db: sqlite3.Connection) -> dict[str, int]:
    """What the volumes and their snapshots occupy in each pool; a machine's snapshots lie in its first volume."""
    rows = db.execute(
        """
        SELECT volume.pool_id, SUM(volume.used_bytes + CASE
            WHEN volume.target = 'vda' THEN machine.snapshot_bytes + machine.dirty_bytes ELSE 0 END) AS used
        FROM volume LEFT JOIN machine ON machine.native_id = volume.machine_id
        WHERE volume.pool_id IS NOT NULL GROUP BY volume.pool_id
        """
    )
    return {row["pool_id"]: row["used"] for row in rows}


def pool_free_bytes(pool: sqlite3.Row, used: dict[str, int]) -> int:
    """What is left in the pool."""
    free: int = pool["total_bytes"] - pool["other_bytes"] - used.get(pool["native_id"], 0)
    return max(0, free)


def abilities(db: sqlite3.Connection, machine: sqlite3.Row) -> Capabilities:
    """`capabilities_of` with the volumes looked up."""
    return capabilities_of(machine, volumes_of(db, machine["native_id"]))


def snapshot_bytes(memory_bytes: int) -> int:
    """What a snapshot of unchanged disks takes, with this much memory in it."""
    return SNAPSHOT_METADATA_BYTES + memory_bytes // MEMORY_IMAGE_DIVISOR

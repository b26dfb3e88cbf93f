"""What changed on a simulated hypervisor, and when: the number of the last change of each machine.

Only the other `simulated*` modules enter. Triggers see every change, whoever makes it: a driver's call, an operation that
has become due, or `World` behind the product's back. What a guest does while nobody looks at its machine (it counts, it
writes) is no change until it is folded into the row, which is when it can be seen.
"""

import sqlite3
from collections.abc import Iterator

from hypervisors.records import Changes

POOLS = ""
"""In place of a machine's native id: a pool or a loose volume."""

TABLE = """
CREATE TABLE change (machine_id TEXT PRIMARY KEY, revision INTEGER NOT NULL);
CREATE INDEX change_revision ON change (revision);
"""

# The rows of machines that are gone stay, so that somebody who asks later hears of it.
_NOTE = """
    INSERT INTO change SELECT {whose}, 1 + coalesce(max(revision), 0) FROM change WHERE true
    ON CONFLICT (machine_id) DO UPDATE SET revision = excluded.revision;
"""
_SEEN_OF_A_MACHINE = (
    "name",
    "power",
    "memory_bytes",
    "agent",
    "missing_abilities",
    "current_id",
    "dirty_bytes",
    "snapshot_bytes",
    "folder",
    "resource_pool",
    "tags",
    "needs_consolidation",
    "question",
)
# For each table: whose change it is (OLD and NEW are put in place of ROW), and the columns that can be seen.
_WATCHED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("machine", "ROW.native_id", _SEEN_OF_A_MACHINE),
    ("machine", f"'{POOLS}'", ("dirty_bytes", "snapshot_bytes")),
    ("snapshot", "ROW.machine_id", ("name", "description", "parent_id", "measured_bytes")),
    (
        "volume",
        f"coalesce(ROW.machine_id, '{POOLS}')",
        ("name", "used_bytes", "capacity_bytes", "machine_id", "target"),
    ),
    ("pool", f"'{POOLS}'", ("name", "total_bytes", "other_bytes", "active")),
)


def schema() -> str:
    """The table of changes and the triggers that fill it."""
    return TABLE + "\n".join(_triggers())


def _triggers() -> Iterator[str]:
    for number, (table, whose, columns) in enumerate(_WATCHED):
        old, new = (_NOTE.format(whose=whose.replace("ROW", row)) for row in ("OLD", "NEW"))
        differs = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in columns)
        both = old + new if old != new else new
        yield f"CREATE TRIGGER note_{number}_made AFTER INSERT ON {table} BEGIN {new} END;"
        yield f"CREATE TRIGGER note_{number}_gone AFTER DELETE ON {table} BEGIN {old} END;"
        yield f"CREATE TRIGGER note_{number}_changed AFTER UPDATE ON {table} WHEN {differs} BEGIN {both} END;"


def changes_since(db: sqlite3.Connection, cursor: str) -> Changes:
    """What changed since the answer that gave `cursor`; everything, when no such answer was given."""
    (last,) = db.execute("SELECT coalesce(max(revision), 0) FROM change").fetchone()
    if not cursor.isdecimal() or int(cursor) > last:
        return Changes(cursor=str(last), machine_ids=None, pools=True)
    rows = db.execute("SELECT machine_id FROM change WHERE revision > ?", (int(cursor),))
    changed = {row["machine_id"] for row in rows}
    return Changes(cursor=str(last), machine_ids=frozenset(changed - {POOLS}), pools=POOLS in changed)


def next_due(db: sqlite3.Connection) -> float | None:
    """When the next operation that is under way will happen (seconds since the epoch), or None."""
    (due,) = db.execute("SELECT min(due_at) FROM operation WHERE state = 'running'").fetchone()
    return None if due is None else float(due)

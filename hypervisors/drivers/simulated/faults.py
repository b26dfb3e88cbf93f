"""Faults on request: what a simulated hypervisor is told to do wrong, and how often.

Only the other `simulated*` modules enter. Faults lie in the world's file, so that a worker obeys what a test or a page
of the demo asked for in another process.
"""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from hypervisors import errors
from hypervisors.errors import HypervisorError

EVERY = "*"
"""In place of an operation's name: the fault strikes any of them."""

ERRORS: dict[str, type[HypervisorError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, HypervisorError)
}


class FaultKind(StrEnum):
    """What goes wrong."""

    DELAY = "delay"
    """It takes this many seconds."""
    REFUSE = "refuse"
    """It is refused with the named error before anything is done."""
    UNANSWERED = "unanswered"
    """It is done, and the connection breaks before the answer comes."""
    LATE = "late"
    """The caller is told that it timed out, and it happens this many seconds later all the same."""


@dataclass(slots=True)
class Faults:
    """What strikes one call."""

    delay_seconds: float = 0.0
    refusal: HypervisorError | None = None
    unanswered: bool = False
    late_seconds: float | None = None


def take_faults(db: sqlite3.Connection, operation: str, machine_id: str | None) -> Faults:
    """The faults that strike this call. Each is used up once; a refusal leaves the others for the next call."""
    rows = db.execute(
        """
        SELECT * FROM fault WHERE operation IN (?, ?) AND (machine_id IS NULL OR machine_id = ?)
        ORDER BY kind != 'refuse', seq
        """,
        (operation, EVERY, machine_id),
    ).fetchall()
    found = Faults()
    struck: set[str] = set()
    for row in rows:
        if row["kind"] in struck:
            continue
        struck.add(row["kind"])
        match FaultKind(row["kind"]):
            case FaultKind.DELAY:
                found.delay_seconds = row["seconds"]
            case FaultKind.REFUSE:
                found.refusal = ERRORS[row["error"]](row["detail"])
            case FaultKind.UNANSWERED:
                found.unanswered = True
            case FaultKind.LATE:
                found.late_seconds = row["seconds"]
        use_up(db, row)
        if found.refusal:
            break
    return found


def use_up(db: sqlite3.Connection, fault: sqlite3.Row) -> None:
    """Count the fault down, and forget it after the last time."""
    if fault["remaining"] is None:
        return
    if fault["remaining"] > 1:
        db.execute("UPDATE fault SET remaining = remaining - 1 WHERE seq = ?", (fault["seq"],))
    else:
        db.execute("DELETE FROM fault WHERE seq = ?", (fault["seq"],))


def count_call(db: sqlite3.Connection, operation: str) -> None:
    """Remember that somebody called; a test that proves "no page calls a hypervisor" reads these counts."""
    db.execute(
        "INSERT INTO call (operation, count) VALUES (?, 1) ON CONFLICT (operation) DO UPDATE SET count = count + 1",
        (operation,),
    )

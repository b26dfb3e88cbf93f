"""The file in which a simulated hypervisor lives: tables, opening, and one turn at a time.

Only the other `simulated*` modules enter. A simulated hypervisor has to look the same to every process (web, worker,
tests) and has to survive each of them being killed at any moment, at up to some 5,000 machines with hundreds of
snapshots each. SQLite from the standard library gives all of that: locking between processes, changes that are whole
or absent, and a change to one machine that does not rewrite the others. The write-ahead log keeps a turn well under a
millisecond; nothing is lost by a killed process, and only the very last turns by a power cut.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypervisors.drivers.simulated import changes
from hypervisors.errors import HypervisorError, Unreachable

SCHEMA_VERSION = 2

# Times are seconds since the epoch (UTC), sizes bytes. `parent_id` and `current_id` carry no foreign key because a
# snapshot's children are moved before it goes, and the order of bulk deletes would matter for nothing.
SCHEMA = """
CREATE TABLE host (
    native_id TEXT NOT NULL, name TEXT NOT NULL, product TEXT NOT NULL, version TEXT NOT NULL,
    down INTEGER NOT NULL DEFAULT 0, username TEXT NOT NULL DEFAULT '', password_digest TEXT NOT NULL DEFAULT ''
);
CREATE TABLE pool (
    native_id TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, total_bytes INTEGER NOT NULL,
    other_bytes INTEGER NOT NULL, active INTEGER NOT NULL
);
CREATE TABLE machine (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, native_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, power TEXT NOT NULL,
    memory_bytes INTEGER NOT NULL, agent INTEGER NOT NULL, ignores_shutdown INTEGER NOT NULL,
    missing_abilities TEXT NOT NULL, current_id TEXT,
    ticks REAL NOT NULL, folded_at REAL NOT NULL, disk_content TEXT NOT NULL, dirty_bytes INTEGER NOT NULL,
    write_bytes_per_second INTEGER NOT NULL, snapshot_bytes INTEGER NOT NULL DEFAULT 0,
    folder TEXT NOT NULL DEFAULT '', resource_pool TEXT NOT NULL DEFAULT '', tags TEXT NOT NULL DEFAULT '[]',
    needs_consolidation INTEGER NOT NULL DEFAULT 0, question TEXT NOT NULL DEFAULT ''
);
CREATE TABLE volume (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, native_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, format TEXT NOT NULL,
    capacity_bytes INTEGER NOT NULL, used_bytes INTEGER NOT NULL, pool_id TEXT, machine_id TEXT,
    target TEXT NOT NULL DEFAULT ''
);
CREATE INDEX volume_machine ON volume (machine_id);
CREATE TABLE snapshot (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, native_id TEXT NOT NULL UNIQUE, machine_id TEXT NOT NULL,
    name TEXT NOT NULL, description TEXT NOT NULL, parent_id TEXT, created_at REAL NOT NULL, kind TEXT NOT NULL,
    token TEXT, measured_bytes INTEGER NOT NULL, power TEXT NOT NULL, ticks REAL, disk_content TEXT NOT NULL
);
CREATE INDEX snapshot_machine ON snapshot (machine_id, seq);
CREATE INDEX snapshot_parent ON snapshot (parent_id);
CREATE TRIGGER snapshot_adds AFTER INSERT ON snapshot BEGIN
    UPDATE machine SET snapshot_bytes = snapshot_bytes + NEW.measured_bytes WHERE native_id = NEW.machine_id;
END;
CREATE TRIGGER snapshot_frees AFTER DELETE ON snapshot BEGIN
    UPDATE machine SET snapshot_bytes = snapshot_bytes - OLD.measured_bytes WHERE native_id = OLD.machine_id;
END;
CREATE TABLE operation (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, machine_id TEXT NOT NULL, name TEXT NOT NULL, arguments TEXT NOT NULL,
    began_at REAL NOT NULL, due_at REAL NOT NULL, state TEXT NOT NULL DEFAULT 'running',
    result TEXT, error TEXT, detail TEXT
);
CREATE INDEX operation_due ON operation (state, due_at);
CREATE TABLE fault (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, machine_id TEXT, kind TEXT NOT NULL,
    seconds REAL NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '', remaining INTEGER
);
CREATE TABLE call (operation TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""


class Store:
    """One process's connection to the file. Used from one thread at a time, not always the same."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        """Open a file that exists. Raises `Unreachable` when it does not or is something else."""
        self.path = path
        try:
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=timeout_seconds,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error:
            raise Unreachable(f"There is no simulated hypervisor named “{path.stem}”.") from None
        try:
            self._connection.row_factory = sqlite3.Row
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            # Without this each commit waits for the disk; with it a killed process still loses nothing.
            self._connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as broken:
            self._connection.close()
            raise Unreachable(f"The file of the simulated hypervisor “{path.stem}” cannot be read: {broken}.") from None
        if version != SCHEMA_VERSION:
            self._connection.close()
            raise Unreachable(
                f"The file of the simulated hypervisor “{path.stem}” was made by another version. "
                "Delete it and let it be made anew."
            )

    def close(self) -> None:
        """Give the file back. Safe to call twice."""
        self._connection.close()

    def version(self) -> int:
        """A number that is another one as soon as another connection has changed the file; asking takes no turn.
        Raises `Unreachable`."""
        try:
            (number,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as problem:
            raise Unreachable(f"The simulated hypervisor “{self.path.stem}” does not answer: {problem}.") from problem
        return int(number)

    @contextmanager
    def turn(self) -> Iterator[sqlite3.Connection]:
        """The file, for oneself, until the block ends.

        A named hypervisor error leaves by way of a commit, because what the call has used up (a fault, a count) stays
        used up; the rules see to it that they raise before they write. Any other exception undoes the whole turn.
        Raises `Unreachable` when the file cannot be had or is damaged; then nothing was changed.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as problem:
            raise Unreachable(f"The simulated hypervisor “{self.path.stem}” does not answer: {problem}.") from problem
        try:
            yield self._connection
        except HypervisorError:
            self._connection.execute("COMMIT")
            raise
        except sqlite3.Error as problem:
            self._connection.execute("ROLLBACK")
            raise Unreachable(f"The simulated hypervisor “{self.path.stem}” failed: {problem}.") from problem
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


@contextmanager
def new_file(path: Path) -> Iterator[sqlite3.Connection]:
    """An empty file with tables, to be filled; it gets its name, whole, when the block ends.

    Raises `FileExistsError` when the name is taken by then; the one that is there stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    os.close(handle)
    try:
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # a draft that is lost half-way has no name yet
            connection.executescript(SCHEMA + changes.schema())
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()
        os.link(draft, path)  # unlike a rename, this refuses to replace one that another process has just made
    finally:
        for leftover in (draft, f"{draft}-wal", f"{draft}-shm"):
            Path(leftover).unlink(missing_ok=True)

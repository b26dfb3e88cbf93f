"""The pool's objects: tables of records with relations kept both ways, a generation that counts changes, and a file.

Every change is written to SQLite before the answer goes out, so that a killed process finds everything at its next
start; sessions and tasks live in memory alone, as on the real server, where a restart ends them.

`event.from` reads here what changed since a generation. Changes to one object are told once, as its latest state, and
only the last 512 deletions are remembered: a client that slept longer has to compare `valid_ref_counts`.
"""

import json
import sqlite3
import threading
import uuid as uuids
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypervisors.xen_simulator import wire
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import CLASSES, NULL

# (class, reference field) -> (class it points to, set of what points there). Kept by every change.
RELATIONS: dict[tuple[str, str], tuple[str, str]] = {
    ("VBD", "VM"): ("VM", "VBDs"),
    ("VBD", "VDI"): ("VDI", "VBDs"),
    ("VIF", "VM"): ("VM", "VIFs"),
    ("VIF", "network"): ("network", "VIFs"),
    ("VDI", "SR"): ("SR", "VDIs"),
    ("VDI", "snapshot_of"): ("VDI", "snapshots"),
    ("PBD", "SR"): ("SR", "PBDs"),
    ("PBD", "host"): ("host", "PBDs"),
    ("VM", "parent"): ("VM", "children"),
    ("VM", "snapshot_of"): ("VM", "snapshots"),
    ("VM", "resident_on"): ("host", "resident_VMs"),
}
# What follows from the other side of a relation is not saved.
DERIVED: dict[str, frozenset[str]] = {
    name: frozenset(members for owner, members in RELATIONS.values() if owner == name) for name in CLASSES
}
TRANSIENT = frozenset({"session", "task"})
TOMBSTONES = 512


def new_ref() -> str:
    """A reference that nothing has yet."""
    return f"OpaqueRef:{uuids.uuid4()}"


@dataclass(slots=True)
class Row:
    """One object. `created` and `modified` are generations; `written` is its record as XML, until it changes."""

    values: dict[str, Any]
    created: int
    modified: int
    written: str | None = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a deleted object."""

    class_name: str
    ref: str
    created: int
    deleted: int


@dataclass
class Database:
    """All tables. `lock` is held for each change and for reading more than one value; `changed` rings after changes."""

    path: Path
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.changed = threading.Condition(self.lock)
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in CLASSES if name != "event"}
        self.generation = 0
        self._refs: dict[tuple[str, str], str] = {}  # by class and uuid
        self._recent: dict[tuple[str, str], None] = {}  # in the order of their last change
        self._tombstones: deque[Tombstone] = deque(maxlen=TOMBSTONES)
        self._unsaved: dict[tuple[str, str], None] = {}
        self._depth = 0
        self._file = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("PRAGMA synchronous=NORMAL")
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS objects (class TEXT, ref TEXT, created INTEGER, modified INTEGER, fields TEXT,"
            " PRIMARY KEY (class, ref)) WITHOUT ROWID"
        )
        self._load()

    def _load(self) -> None:
        rows = self._file.execute("SELECT class, ref, created, modified, fields FROM objects ORDER BY modified")
        for class_name, ref, created, modified, fields in rows:
            values = {name: entry.default for name, entry in CLASSES[class_name].fields.items()}
            self.tables[class_name][ref] = Row(values | json.loads(fields), created, modified)
            self._refs[class_name, self.tables[class_name][ref].values["uuid"]] = ref
            self._recent[class_name, ref] = None
            self.generation = max(self.generation, modified)
        for (owner, name), (other, members) in RELATIONS.items():
            for ref, row in sorted(self.tables[owner].items(), key=lambda item: item[1].created):
                target = self.tables[other].get(row.values[name])
                if target is not None:
                    target.values[members] = [*target.values[members], ref]

    def close(self) -> None:
        """Close the file for good: the lock stays taken, so that no thread still under way gets at it any more."""
        self.lock.acquire()
        self._file.close()

    # Reading

    def row(self, class_name: str, ref: str) -> Row:
        """The object. Raises HANDLE_INVALID."""
        try:
            return self.tables[class_name][ref]
        except KeyError:
            raise XenFailure("HANDLE_INVALID", class_name, ref) from None

    def has(self, class_name: str, ref: str) -> bool:
        """Whether the reference leads anywhere."""
        return ref in self.tables[class_name]

    def get(self, class_name: str, ref: str, name: str) -> Any:
        """One field. Raises HANDLE_INVALID. What comes back is not to be changed in place."""
        return self.row(class_name, ref).values[name]

    def by_uuid(self, class_name: str, uuid: str) -> str:
        """The reference of the object with this uuid. Raises UUID_INVALID."""
        try:
            return self._refs[class_name, uuid]
        except KeyError:
            raise XenFailure("UUID_INVALID", class_name, uuid) from None

    def where(self, class_name: str, **wanted: Any) -> list[str]:
        """References of the objects whose fields have these values."""
        table = self.tables[class_name]
        return [ref for ref, row in table.items() if all(row.values[name] == value for name, value in wanted.items())]

    def record(self, class_name: str, ref: str) -> str:
        """The whole record as XML. Raises HANDLE_INVALID."""
        row = self.row(class_name, ref)
        if row.written is None:
            row.written = wire.record(class_name, row.values)
        return row.written

    # Changing

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold everybody else off; at the end what changed is saved and told. Changes stand also where this fails."""
        with self.lock:
            self._depth += 1
            before = self.generation
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0 and self.generation != before:
                    self._save()
                    self.changed.notify_all()

    def create(self, class_name: str, **given: Any) -> str:
        """Make an object of a class and return its reference; fields that are not given have their defaults."""
        ref = new_ref()
        values = {name: entry.default for name, entry in CLASSES[class_name].fields.items()}
        # Defaults that are lists or maps are shared by all objects: nothing here changes a value in place.
        values |= {"uuid": str(uuids.uuid4())} | given
        with self.change():
            self.tables[class_name][ref] = Row(values, self.generation + 1, 0)
            self._refs[class_name, values["uuid"]] = ref
            self.touch(class_name, ref)
            for owner, name in RELATIONS:
                if owner == class_name:
                    self._link(class_name, ref, name, values[name], joined=True)
        return ref

    def set(self, class_name: str, ref: str, **given: Any) -> None:
        """Give fields new values. Raises HANDLE_INVALID."""
        with self.change():
            row = self.row(class_name, ref)
            for name, value in given.items():
                old = row.values[name]
                if old == value:
                    continue
                row.values[name] = value
                self.touch(class_name, ref)
                if name == "uuid":
                    self._refs.pop((class_name, old), None)
                    self._refs[class_name, value] = ref
                self._link(class_name, ref, name, old, joined=False)
                self._link(class_name, ref, name, value, joined=True)

    def put(self, class_name: str, ref: str, name: str, key: str, value: Any) -> None:
        """Set one key of a field that is a map."""
        with self.change():
            self.set(class_name, ref, **{name: {**self.get(class_name, ref, name), key: value}})

    def drop(self, class_name: str, ref: str, name: str, key: str) -> None:
        """Take one key out of a field that is a map."""
        with self.change():
            kept = {other: value for other, value in self.get(class_name, ref, name).items() if other != key}
            self.set(class_name, ref, **{name: kept})

    def touch(self, class_name: str, ref: str) -> None:
        """Count the object as changed: what it tells of itself hangs on something that has."""
        with self.change():
            self.generation += 1
            row = self.tables[class_name][ref]
            row.modified = self.generation
            row.written = None
            self._recent.pop((class_name, ref), None)
            self._recent[class_name, ref] = None
            self._unsaved[class_name, ref] = None

    def delete(self, class_name: str, ref: str) -> None:
        """Delete the object. What refers to it goes on doing so. Raises HANDLE_INVALID."""
        with self.change():
            row = self.row(class_name, ref)
            for owner, name in RELATIONS:
                if owner == class_name:
                    self._link(class_name, ref, name, row.values[name], joined=False)
            del self.tables[class_name][ref]
            self._refs.pop((class_name, row.values["uuid"]), None)
            self._recent.pop((class_name, ref), None)
            self.generation += 1
            self._tombstones.append(Tombstone(class_name, ref, row.created, self.generation))
            self._unsaved[class_name, ref] = None

    def _link(self, class_name: str, ref: str, name: str, target: Any, *, joined: bool) -> None:
        """Keep the other side of a relation in step."""
        there = RELATIONS.get((class_name, name))
        if there is None or target == NULL or target not in self.tables[there[0]]:
            return
        other, members = there
        row = self.tables[other][target]
        was = row.values[members]
        row.values[members] = [*was, ref] if joined else [member for member in was if member != ref]
        self.touch(other, target)

    def _save(self) -> None:
        """Write what changed in one transaction."""
        kept: list[tuple[str, str, int, int, str]] = []
        gone: list[tuple[str, str]] = []
        for class_name, ref in self._unsaved:
            if class_name in TRANSIENT:
                continue
            row = self.tables[class_name].get(ref)
            if row is None:
                gone.append((class_name, ref))
            else:
                fields = {name: value for name, value in row.values.items() if name not in DERIVED[class_name]}
                kept.append((class_name, ref, row.created, row.modified, json.dumps(fields)))
        self._unsaved.clear()
        if not kept and not gone:
            return
        self._file.execute("BEGIN")
        self._file.executemany("DELETE FROM objects WHERE class = ? AND ref = ?", gone)
        self._file.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", kept)
        self._file.execute("COMMIT")

    # What changed

    def changed_since(self, generation: int) -> list[tuple[str, str, Row]]:
        """Objects changed after a generation, those changed first in front."""
        found: list[tuple[str, str, Row]] = []
        for class_name, ref in reversed(self._recent):
            row = self.tables[class_name][ref]
            if row.modified <= generation:
                break
            found.append((class_name, ref, row))
        return found[::-1]

    def deleted_since(self, generation: int) -> list[Tombstone]:
        """Objects deleted after a generation that were there before it, as far as they are remembered."""
        return [stone for stone in self._tombstones if stone.created <= generation < stone.deleted]

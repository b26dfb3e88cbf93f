"""`event.from`: everything at first, then what changed, each object once and in its latest state.

The token is the generation up to which the client knows. The older `event.register`, `next` and `unregister` are
deprecated and not served.
"""

import re
import time
from dataclasses import dataclass

from hypervisors.xen_simulator import wire
from hypervisors.xen_simulator.database import Database
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import CLASSES
from hypervisors.xen_simulator.moment import now
from hypervisors.xen_simulator.pool import Call, handles

_TOKEN = re.compile(r"\d{20},(\d{20})")
_NAMES = {name.lower(): name for name in CLASSES}
# Sessions are nobody else's business, and the classes below have no lasting objects.
_SILENT = frozenset({"session", "event"})
LONGEST_WAIT = 600.0


@dataclass(frozen=True)
class Subscription:
    """What a client wants to hear of: classes (lower case), single objects (class, reference), or everything."""

    everything: bool
    classes: frozenset[str]
    objects: frozenset[tuple[str, str]]

    def wants(self, class_name: str, ref: str) -> bool:
        """Whether an object counts."""
        lower = class_name.lower()
        return (self.everything and class_name not in _SILENT) or lower in self.classes or (lower, ref) in self.objects


def subscription(texts: list[str]) -> Subscription:
    """Read the subscription. Raises EVENT_SUBSCRIPTION_PARSE_FAILURE."""
    classes: set[str] = set()
    objects: set[tuple[str, str]] = set()
    for text in texts:
        name, slash, ref = text.partition("/")
        if not name or (slash and (not ref or "/" in ref)):
            raise XenFailure("EVENT_SUBSCRIPTION_PARSE_FAILURE", text)
        if slash:
            objects.add((name.lower(), ref))
        else:
            classes.add(name.lower())
    return Subscription("*" in classes, frozenset(classes - {"*"}), frozenset(objects))


def token_of(generation: int) -> str:
    """The token that stands for a generation; the first number counts messages, of which this pool has none."""
    return f"{0:020d},{generation:020d}"


def generation_of(token: str) -> int:
    """The generation behind a token; -1 for the empty one. Raises EVENT_FROM_TOKEN_PARSE_FAILURE."""
    if token == "":
        return -1
    read = _TOKEN.fullmatch(token)
    if read is None:
        raise XenFailure("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
    return int(read[1])


@dataclass(frozen=True)
class Batch:
    """The answer, with its events as XML."""

    events: list[str]
    token: str
    counts: dict[str, int]

    def written(self) -> str:
        """The answer as XML; the counts are the one place where integers go as numbers."""
        counts = wire.struct((name, f"<value><i4>{count}</i4></value>") for name, count in self.counts.items())
        token = wire.value(wire.text(self.token))
        return wire.struct([("events", wire.array(self.events)), ("token", token), ("valid_ref_counts", counts)])


def _event(number: int, class_name: str, operation: str, ref: str, snapshot: str | None) -> str:
    members = [
        ("id", wire.value(str(number))),
        ("timestamp", wire.value(f"<dateTime.iso8601>{now()}</dateTime.iso8601>")),
    ]
    for name, text in (("class", class_name.lower()), ("operation", operation), ("ref", ref)):
        members.append((name, wire.value(wire.text(text))))
    if snapshot is not None:
        members.append(("snapshot", snapshot))
    return wire.struct(members)


def gather(database: Database, wanted: Subscription, known: int) -> list[str]:
    """The events since a generation."""
    events = [
        _event(stone.deleted, stone.class_name, "del", stone.ref, None)
        for stone in database.deleted_since(known)
        if wanted.wants(stone.class_name, stone.ref)
    ]
    for class_name, ref, row in database.changed_since(known):
        if wanted.wants(class_name, ref):
            operation = "add" if row.created > known else "mod"
            events.append(_event(row.modified, class_name, operation, ref, database.record(class_name, ref)))
    return events


@handles("event.from")
def event_from(call: Call, classes: list[str], token: str, timeout: float) -> Batch:
    """event.from: waits up to so many seconds for something to tell."""
    wanted, known = subscription(classes), generation_of(token)
    database = call.database
    deadline = time.monotonic() + max(0.0, min(timeout, LONGEST_WAIT))
    with database.lock:
        while True:
            events = gather(database, wanted, known)
            left = deadline - time.monotonic()
            if call.session not in call.pool.sessions:
                raise XenFailure("SESSION_INVALID", call.session)
            if events or left <= 0 or call.pool.stopping.is_set():
                break
            database.changed.wait(left)
        counts = {lower: len(database.tables[name]) for lower, name in _NAMES.items() if name in database.tables}
        chosen = {name: count for name, count in counts.items() if wanted.everything or name in wanted.classes}
        return Batch(events, token_of(database.generation), chosen)


@handles("event.get_current_id")
def get_current_id(call: Call) -> int:
    """event.get_current_id"""
    return call.database.generation


@handles("event.inject")
def inject(call: Call, class_name: str, ref: str) -> str:
    """event.inject: make the object look changed; the token is good for waiting on just that."""
    name = _NAMES.get(class_name.lower(), class_name)
    database = call.database
    with database.change():
        if name not in database.tables or not database.has(name, ref):
            raise XenFailure("HANDLE_INVALID", class_name, ref)
        before = database.generation
        database.touch(name, ref)
        return token_of(before)

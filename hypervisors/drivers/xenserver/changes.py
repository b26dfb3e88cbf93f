"""Hearing from XenServer what changed, instead of reading the whole pool again.

`event.from` answers with the objects that came, changed or went since a token, and waits a while if there are none. Its
records are looked at only for the fields that matter here, so that the noise of counters and sizes changes nothing. A
change names the machine that it belongs to; an object that went has no record any more, so it is remembered whose it was.

The server also tells how many objects of each class there are. When that is not what the events add up to, some were
missed, and everything counts as changed.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypervisors.drivers.xenserver.answers import Keep
from hypervisors.drivers.xenserver.errors import CURSOR_UNREADABLE
from hypervisors.drivers.xenserver.reading import is_loose
from hypervisors.drivers.xenserver.records import Record, is_machine
from hypervisors.drivers.xenserver.session import BULK_PATIENCE, Session
from hypervisors.errors import HypervisorError
from hypervisors.records import Changes

CLASSES = ("VM", "VBD", "VDI", "SR", "PBD")
_LOOKED_AT: dict[str, tuple[str, ...]] = {
    "vm": (
        "uuid", "name_label", "name_description", "power_state", "is_a_template", "is_a_snapshot", "is_control_domain",
        "snapshot_of", "parent", "suspend_VDI", "memory_static_max", "VBDs", "VUSBs", "attached_PCIs", "VGPUs", "tags",
        "other_config", "blocked_operations",
    ),
    "vbd": ("VM", "VDI", "type", "userdevice", "mode"),
    "vdi": (
        "uuid", "name_label", "SR", "VBDs", "virtual_size", "type", "managed", "missing", "is_a_snapshot", "read_only",
        "other_config", "on_boot",
    ),
    "sr": ("uuid", "name_label", "type", "content_type", "physical_size", "is_tools_sr"),
    "pbd": ("SR", "currently_attached"),
}  # fmt: skip
_ABILITIES = ("snapshot", "checkpoint")
_NOISE_SECONDS = 0.1
_KEEP = Keep(4, frozenset().union(*_LOOKED_AT.values(), {"allowed_operations", "current_operations"}))


@dataclass(slots=True)
class _Known:
    """What is remembered of one object: a number for what was seen of it, and to which others it belongs."""

    seen: int
    offers: tuple[bool, ...] = ()
    """Of a VM: which of the operations that decide about its abilities XenServer allows."""
    machine_id: str = ""
    """Of a VM that is a machine: its uuid."""
    belongs_to: str = ""
    """Of a snapshot: the reference of its machine; of a VBD: that of its VM."""
    slots: tuple[str, ...] = ()
    """Of a VDI: the references of its VBDs."""
    loose: bool = False
    """Of a VDI: whether it is a loose volume."""


@dataclass(slots=True)
class _Told:
    """What one answer told."""

    machines: set[str] = field(default_factory=set)
    pools: bool = False
    everything: bool = False


class Follower:
    """Remembers what was told before. One for each driver object, from one thread at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[str, dict[str, _Known]] = {}
        self._cursor = ""
        self._token = ""
        self._counted = True

    def wait(self, cursor: str, seconds: float) -> Changes:
        """As the contract's `wait_for_changes`."""
        if not cursor or cursor != self._cursor:
            return self._everything()
        until = time.monotonic() + max(0.0, seconds)
        while True:
            try:
                answer = self._ask(max(0.0, until - time.monotonic()))
            except HypervisorError as error:
                if CURSOR_UNREADABLE not in error.detail:
                    raise
                return self._everything()
            told = self._heard(answer)
            if told.everything or self._miscounted(answer):
                return self._everything()
            self._token = str(answer["token"])
            if told.machines or told.pools or time.monotonic() >= until:
                return Changes(self._new_cursor(), frozenset(told.machines), told.pools)
            # Noise may come at any rate; it is not asked for more often than this.
            time.sleep(min(_NOISE_SECONDS, max(0.0, until - time.monotonic())))

    def _everything(self) -> Changes:
        """Begin anew: read who belongs to whom, and say that everything has to be looked at."""
        self._known = {name: {} for name in _LOOKED_AT}
        self._token = ""
        answer = self._ask(0.0)
        self._heard(answer)
        self._token = str(answer["token"])
        # A server that counts otherwise than it tells would make us begin anew for ever.
        self._counted = not self._differs(answer)
        return Changes(self._new_cursor(), None, True)

    def _ask(self, seconds: float) -> Mapping[str, Any]:
        until = time.monotonic() + seconds + self._session.timeout * (1 if self._token else BULK_PATIENCE)
        answer: Mapping[str, Any] = self._session.read(
            "event.from", list(CLASSES), self._token, float(seconds), until=until, keep=_KEEP, bulk=True, quiet=seconds
        )
        return answer

    def _new_cursor(self) -> str:
        self._cursor = uuid.uuid4().hex
        return self._cursor

    def _miscounted(self, answer: Mapping[str, Any]) -> bool:
        return self._counted and self._differs(answer)

    def _differs(self, answer: Mapping[str, Any]) -> bool:
        counts = {str(name).lower(): int(number) for name, number in answer.get("valid_ref_counts", {}).items()}
        return any(len(known) != counts[name] for name, known in self._known.items() if name in counts)

    def _heard(self, answer: Mapping[str, Any]) -> _Told:
        told = _Told()
        events = [event for event in answer["events"] if str(event["class"]).lower() in self._known]
        # Machines first: the owners of all else are looked up among them.
        for event in sorted(events, key=lambda event: _ORDER[str(event["class"]).lower()]):
            name, ref = str(event["class"]).lower(), str(event["ref"])
            if event["operation"] == "del":
                self._gone(told, name, ref)
            elif isinstance(event.get("snapshot"), Mapping):
                self._there(told, name, ref, event["snapshot"])
        return told

    def _there(self, told: _Told, name: str, ref: str, record: Record) -> None:
        before = self._known[name].get(ref)
        offers = _offers(record, before) if name == "vm" else ()
        seen = hash(tuple(_plain(record.get(field_name)) for field_name in _LOOKED_AT[name]))
        if before is not None and (before.seen, before.offers) == (seen, offers):
            return
        now = _remembered(name, record, seen, offers)
        self._known[name][ref] = now
        for one in (before, now):
            if one is not None:
                self._tell(told, name, one)

    def _gone(self, told: _Told, name: str, ref: str) -> None:
        before = self._known[name].pop(ref, None)
        if before is not None:
            self._tell(told, name, before)

    def _tell(self, told: _Told, name: str, known: _Known) -> None:
        if name in ("sr", "pbd"):
            told.pools = True
        elif name == "vm":
            told.machines.update(self._machine_of(known))
        elif name == "vbd":
            told.machines.update(self._machine_behind(known.belongs_to))
        else:
            slots = (self._known["vbd"].get(slot) for slot in known.slots)
            for slot in slots:
                told.machines.update(self._machine_behind(slot.belongs_to) if slot is not None else ())
            told.pools = told.pools or known.loose

    def _machine_behind(self, ref: str) -> tuple[str, ...]:
        known = self._known["vm"].get(ref)
        return self._machine_of(known) if known is not None else ()

    def _machine_of(self, known: _Known) -> tuple[str, ...]:
        """A machine's own uuid, or that of a snapshot's machine; nothing for a template, or when it is gone."""
        owner = self._known["vm"].get(known.belongs_to)
        machine_id = known.machine_id or (owner.machine_id if owner is not None else "")
        return (machine_id,) if machine_id else ()


_ORDER = {"vm": 0, "vbd": 1, "vdi": 2, "sr": 3, "pbd": 4}


def _remembered(name: str, record: Record, seen: int, offers: tuple[bool, ...]) -> _Known:
    if name == "vm":
        machine_id = str(record["uuid"]) if is_machine(record) else ""
        return _Known(seen, offers, machine_id, str(record["snapshot_of"]) if record["is_a_snapshot"] else "")
    if name == "vbd":
        return _Known(seen, belongs_to=str(record["VM"]))
    if name == "vdi":
        return _Known(seen, slots=tuple(record["VBDs"]), loose=is_loose(record))
    return _Known(seen)


def _offers(record: Record, before: _Known | None) -> tuple[bool, ...]:
    """While an operation runs XenServer allows nothing else, which says nothing."""
    if record["current_operations"] and before is not None:
        return before.offers
    return tuple(operation in record["allowed_operations"] for operation in _ABILITIES)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted((key, _plain(part)) for key, part in value.items()))
    if isinstance(value, list):
        return tuple(sorted(str(part) for part in value))
    return value

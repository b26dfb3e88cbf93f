"""What every rule of a simulated hypervisor is given, and how it demands an ability. Only the rooms with rules enter."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from hypervisors.capabilities import Capabilities
from hypervisors.drivers.simulated import facts
from hypervisors.errors import Unsupported

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What a rule is given: the machine's row as it is now, what was asked for, and the time."""

    db: sqlite3.Connection
    machine: sqlite3.Row
    arguments: Arguments
    now: float

    def abilities(self) -> Capabilities:
        """What can be done with the machine."""
        return facts.abilities(self.db, self.machine)

    def snapshot(self) -> sqlite3.Row:
        """The snapshot that is meant. Raises `NotFound`."""
        return facts.find_snapshot(self.db, self.machine["native_id"], self.arguments["snapshot_id"])


def require(can: Capabilities, ability: str) -> None:
    """Raises `Unsupported` with the reason when the ability is missing."""
    found = getattr(can, ability)
    if not found.allowed:
        raise Unsupported(found.reason)

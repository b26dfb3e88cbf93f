"""What can be done with one machine, and the reason wherever something cannot.

The caller asks these before acting, so nobody tests a driver's name. They speak of what lasts (a raw disk, a missing
guest agent, the hypervisor's version), not of the moment's power state: rules about that belong to the services.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Ability:
    """Whether one thing can be done; `reason` is a sentence for the user, empty when it can."""

    allowed: bool
    reason: str = ""


YES = Ability(True)


NOTHING_TO_CONSOLIDATE = "Only VMware vSphere leaves disks behind that have to be consolidated."
"""Why `Capabilities.consolidate` is missing elsewhere."""


def no(reason: str) -> Ability:
    """An ability that is missing, with the sentence that says why and, where there is one, the way out."""
    return Ability(False, reason)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Abilities of one machine.

    `disk_when_running` is a `Disk` snapshot of a running machine, `disk_when_stopped` of a stopped one, `memory` a
    `DiskAndMemory` snapshot of a running (or suspended) one, `quiesce` asking the guest to settle its file systems
    first. `delete_descendants` is deleting several at once, a branch or all there are. `cancel` is stopping a snapshot
    action under way, `consolidate` merging what removed snapshots left behind. `power_choice` says whether a
    revert can end in another power state than the snapshot holds.
    """

    disk_when_running: Ability = YES
    disk_when_stopped: Ability = YES
    memory: Ability = YES
    quiesce: Ability = YES
    revert: Ability = YES
    power_choice: Ability = YES
    delete: Ability = YES
    delete_descendants: Ability = YES
    rename: Ability = YES
    attach: Ability = YES
    detach: Ability = YES
    start: Ability = YES
    stop: Ability = YES
    cancel: Ability = YES
    consolidate: Ability = YES

    def as_json(self) -> dict[str, dict[str, Any]]:
        """A plain mapping for a JSON column: `{"memory": {"allowed": true, "reason": ""}, ...}`."""
        # Not `asdict`, which copies whatever may be inside: this is called for each machine of a reading.
        abilities: dict[str, Ability] = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: {"allowed": ability.allowed, "reason": ability.reason} for name, ability in abilities.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Mapping[str, Any]]) -> "Capabilities":
        """Read back what `as_json` wrote; an ability that was not known when it was written counts as missing."""
        unknown = no("Not known yet: the machine has not been read from its hypervisor since this was added.")
        return cls(
            **{field.name: Ability(**stored[field.name]) if field.name in stored else unknown for field in fields(cls)}
        )

"""The names that usage records are given: those of the day on which their period is closed.

What is gone keeps the name it had at its last usage event. So does what belongs to another account by now: how that one
calls it is not for the account that had it before.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from hypervisors.models import Hypervisor
from snapshots.models import Account, Domain, StoragePool, UsageRecord, VirtualMachine, VMSnapshot

LASTING: dict[str, Any] = {"account": Account, "domain": Domain, "pool": StoragePool, "hypervisor": Hypervisor}
"""Of which there are few enough to keep the names of all that were met."""
OWNED: dict[str, tuple[Any, str]] = {
    "snapshot": (VMSnapshot, "machine__account__uuid"),
    "machine": (VirtualMachine, "account__uuid"),
}
"""What belongs to an account, and where its public id stands."""


class NamesOfTheDay:
    """Names by public id, looked up for many records at once."""

    def __init__(self) -> None:
        self._known: dict[str, dict[UUID, str | None]] = {kind: {} for kind in LASTING}

    def give(self, records: Sequence[UsageRecord]) -> None:
        """Write the present names into these records, which are not saved yet."""
        for kind, model in LASTING.items():
            names = self._names(kind, model, _wanted(kind, records))
            for record in records:
                name = names.get(getattr(record, f"{kind}_uuid"))
                if name is not None:
                    setattr(record, f"{kind}_name", name)
        for kind, (model, account) in OWNED.items():
            rows = model._default_manager.filter(uuid__in=_wanted(kind, records)).order_by()
            now = {uuid: (name, owner) for uuid, name, owner in rows.values_list("uuid", "name", account)}
            for record in records:
                name, owner = now.get(getattr(record, f"{kind}_uuid"), (None, None))
                if owner == record.account_uuid:
                    setattr(record, f"{kind}_name", name)

    def _names(self, kind: str, model: Any, wanted: set[UUID]) -> dict[UUID, str | None]:
        known = self._known[kind]
        if unknown := wanted - known.keys():
            known.update(dict.fromkeys(unknown))
            rows = model._default_manager.filter(uuid__in=unknown).order_by()
            known.update(rows.values_list("uuid", "name"))
        return known


def _wanted(kind: str, records: Sequence[UsageRecord]) -> set[UUID]:
    return {uuid for record in records if (uuid := getattr(record, f"{kind}_uuid")) is not None}

"""The names that usage records are given: those of the day on which their period is closed.

What is gone keeps the name it had at its last usage event. So does what belongs to another account by now: how that one
calls it is not for the account that had it before.
"""

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any
from uuid import UUID

from hypervisors.models import Hypervisor
from snapshots.models import Account, Domain, StoragePool, VirtualMachine, VMSnapshot
from snapshots.models.usage import NAMES, PLACE
from snapshots.services.usage_new_records import NewRecord

BATCH = 500
LASTING: dict[str, Any] = {"account": Account, "domain": Domain, "pool": StoragePool, "hypervisor": Hypervisor}
"""Of which there are few enough to keep the names of all that were met."""
OWNED: dict[str, tuple[Any, str]] = {
    "snapshot": (VMSnapshot, "machine__account__uuid"),
    "machine": (VirtualMachine, "account__uuid"),
}
"""What belongs to an account, and where its public id stands."""

KINDS = [name.removesuffix("_name") for name in NAMES]
PLACES = {name.removesuffix("_uuid"): number for number, name in enumerate(PLACE)}


class NamesOfTheDay:
    """Names by public id, looked up for many records at once."""

    def __init__(self) -> None:
        self._known: dict[str, dict[UUID, str | None]] = {kind: {} for kind in LASTING}

    def given(self, records: Iterable[NewRecord]) -> Iterator[NewRecord]:
        """These records with the present names."""
        waiting = iter(records)
        while batch := list(islice(waiting, BATCH)):
            self._give(batch)
            yield from batch

    def _give(self, records: Collection[NewRecord]) -> None:
        lasting = {kind: self._names(kind, model, _wanted(kind, records)) for kind, model in LASTING.items()}
        owned = {kind: _owned(model, owner, _wanted(kind, records)) for kind, (model, owner) in OWNED.items()}
        # Records of several types share a stay.
        for record in {id(record.stay): record for record in records}.values():
            stay, account = record.stay, _uuid("account", record)
            found = {kind: known.get(_uuid(kind, record)) for kind, known in lasting.items()}
            for kind, now in owned.items():
                name, owner = now.get(_uuid(kind, record), (None, None))
                found[kind] = name if owner == account else None
            stay.names = tuple(found[kind] or name for kind, name in zip(KINDS, stay.names, strict=True))

    def _names(self, kind: str, model: Any, wanted: set[UUID]) -> dict[UUID, str | None]:
        known = self._known[kind]
        if unknown := wanted - known.keys():
            known.update(dict.fromkeys(unknown))
            rows = model._default_manager.filter(uuid__in=unknown).order_by()
            known.update(rows.values_list("uuid", "name"))
        return known


def _owned(model: Any, owner: str, wanted: set[UUID]) -> dict[UUID, tuple[str, UUID]]:
    rows = model._default_manager.filter(uuid__in=wanted).order_by()
    return {uuid: (name, account) for uuid, name, account in rows.values_list("uuid", "name", owner)}


def _uuid(kind: str, record: NewRecord) -> Any:
    return record.snapshot_uuid if kind == "snapshot" else record.stay.place[PLACES[kind]]


def _wanted(kind: str, records: Iterable[NewRecord]) -> set[UUID]:
    return {uuid for record in records if (uuid := _uuid(kind, record)) is not None}

"""Keeps what each machine used by month: the sums of its usage records, from which pages over a year are read.

Who closes a period hands over the records it writes, and has the sums written in the same transaction. Closings come one
after the other, so that what is read here is still so when it is written.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from snapshots.models import UsageMonth
from snapshots.models.usage import NAMES, PLACE
from snapshots.services.usage_new_records import NewRecord
from snapshots.usage_arithmetic import NO_USE, Amounts
from snapshots.usage_lines import amounts_of_month, month_columns

BATCH = 500
KEY = ("machine_uuid", "month", "account_uuid", "type")
SUMS = (
    "machine_name",
    "records",
    "microseconds",
    "allocated_gib_hours",
    "allocated_rest",
    "measured_gib_hours",
    "measured_rest",
    "unmeasured_microseconds",
    "cost_whole",
    "cost_rest",
    "currency",
)
MACHINE, ACCOUNT = PLACE.index("machine_uuid"), PLACE.index("account_uuid")
MACHINE_NAME = NAMES.index("machine_name")

Key = tuple[UUID, date, UUID, int]
"""As `KEY`."""


@dataclass(slots=True)
class _Sum:
    """What is to be added to one row. `named_at` is when the machine had that name; None while only corrections say so,
    which are about the past."""

    machine_name: str
    named_at: datetime | None = None
    amounts: Amounts = NO_USE
    records: int = 0
    currency: str = ""


class MonthSums:
    """Sums of new records. They take as much memory as there are machines, however many records are added."""

    def __init__(self) -> None:
        self._sums: dict[Key, _Sum] = {}

    def added(self, records: Iterable[NewRecord]) -> Iterator[NewRecord]:
        """Take these records in, and hand them on. Usage counts in the month of the period in which it was used, also what
        corrects it later."""
        for record in records:
            self._add(record)
            yield record

    def _add(self, record: NewRecord) -> None:
        corrects, stay = record.corrects, record.stay
        used_in = corrects or record.period
        key: Any = (stay.place[MACHINE], used_in.month, stay.place[ACCOUNT], record.type)
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = _Sum(stay.names[MACHINE_NAME])
        found.amounts = found.amounts.plus(record.amounts)
        found.records += 1
        found.currency = record.currency or found.currency
        if corrects is None and (found.named_at is None or found.named_at <= stay.end):
            found.machine_name, found.named_at = stay.names[MACHINE_NAME], stay.end

    def write(self) -> None:
        """Add the sums to what stands written."""
        waiting = iter(self._sums.items())
        while batch := dict(islice(waiting, BATCH)):
            there = _there(batch)
            UsageMonth.objects.bulk_create(
                [_row(key, added, there.get(key)) for key, added in batch.items()],
                update_conflicts=True,
                unique_fields=KEY,
                update_fields=SUMS,
            )


def _there(keys: Collection[Key]) -> dict[Key, UsageMonth]:
    rows = UsageMonth.objects.filter(machine_uuid__in={key[0] for key in keys}, month__in={key[1] for key in keys})
    return {(row.machine_uuid, row.month, row.account_uuid, row.type): row for row in rows.order_by()}


def _row(key: Key, added: _Sum, before: UsageMonth | None) -> UsageMonth:
    amounts, records, name, currency = added.amounts, added.records, added.machine_name, added.currency
    if before is not None:
        amounts = amounts_of_month(before).plus(amounts)
        records += before.records
        name = name if added.named_at is not None else before.machine_name
        currency = currency or before.currency
    return UsageMonth(
        **dict(zip(KEY, key, strict=True)),
        machine_name=name,
        records=records,
        currency=currency,
        **month_columns(amounts),
    )

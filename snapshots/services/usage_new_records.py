"""Usage records that a closing makes, and how they are written: many, in little memory and time.

They are plain values and not rows of Django's, and written by one statement that is given one row after the other:
`bulk_create` takes longer to compose its statements than all the rest of a closing takes, and SQLite notes down how to take
back each of them half-way.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any

from django.db import connection

from snapshots.models import UsagePeriod, UsageRecord
from snapshots.models.usage import NAMES, PLACE, SIZES
from snapshots.usage_arithmetic import NO_USE, Amounts, Stay
from snapshots.usage_lines import record_columns

OF_STAY = ("period", "corrects", "start", "end", "snapshot_uuid", *PLACE, *NAMES, *SIZES)
OWN = ("uuid", "type", "currency", *record_columns(NO_USE))
COLUMNS = (*OF_STAY, *OWN)
"""The fields of a record: those that are the same for all types, and those that are not."""
START = COLUMNS.index("start")
BATCH = 20_000
"""How many records are written together, in the order of time. Most of their indexes are in that order, and otherwise each
record would touch those at places far apart. They take some 30 MB."""


@dataclass(slots=True)
class NewRecord:
    """A usage record that is not written yet. One stay has a record of each type."""

    period: UsagePeriod
    corrects: UsagePeriod | None
    snapshot_uuid: uuid.UUID
    stay: Stay
    type: int
    amounts: Amounts
    currency: str


def insert_records(records: Iterable[NewRecord]) -> None:
    """Write these records, of each `BATCH` the earliest first."""
    quoted = connection.ops.quote_name
    fields: list[Any] = [UsageRecord._meta.get_field(name) for name in COLUMNS]
    columns = ", ".join(quoted(field.column) for field in fields)
    table, places = quoted(UsageRecord._meta.db_table), ", ".join(["%s"] * len(COLUMNS))
    statement = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608  # names of our own
    rows = _rows(records)
    with connection.cursor() as cursor:
        while batch := sorted(islice(rows, BATCH), key=itemgetter(START)):
            cursor.executemany(statement, batch)


def _rows(records: Iterable[NewRecord]) -> Iterator[tuple[Any, ...]]:
    """Values as the database takes them. Whole numbers, texts and None are the same for all; ids and times are not."""
    id_of, time_of = _conversion("uuid"), _conversion("start")
    stay, corrects = None, None
    of_stay: tuple[Any, ...] = ()
    for record in records:
        if record.stay is not stay or record.corrects is not corrects:
            stay, corrects = record.stay, record.corrects
            keys = (record.period.pk, corrects.pk if corrects is not None else None)
            times = (time_of(stay.start), time_of(stay.end))
            ids = (id_of(record.snapshot_uuid), *map(id_of, stay.place))
            of_stay = (*keys, *times, *ids, *stay.names, *stay.sizes)
        own = (id_of(uuid.uuid4()), record.type, record.currency)
        yield (*of_stay, *own, *record_columns(record.amounts).values())


def _conversion(name: str) -> Callable[[Any], Any]:
    """How values of this field, and of all of its kind, are given to the database."""
    field: Any = UsageRecord._meta.get_field(name)
    return lambda value: field.get_db_prep_save(value, connection)

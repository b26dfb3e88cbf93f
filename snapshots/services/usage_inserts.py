"""Writes usage records, many at once. Django's `bulk_create` would take longer to compose its statements than all the rest of
a closing takes: here one statement, always the same, is given one row after the other."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db import connection
from django.db.models import DateTimeField, UUIDField

from snapshots.models import UsageRecord

CONVERTED = (DateTimeField, UUIDField)
"""Which fields the databases take in different forms. Whole numbers, text and None are the same for all."""


def insert_records(records: Iterable[UsageRecord]) -> None:
    """Write these records, which are not written yet. They do not learn their keys."""
    fields = [field for field in UsageRecord._meta.concrete_fields if not field.primary_key]
    quoted = connection.ops.quote_name
    columns = ", ".join(quoted(field.column) for field in fields)
    places = ", ".join(["%s"] * len(fields))
    statement = f"INSERT INTO {quoted(UsageRecord._meta.db_table)} ({columns}) VALUES ({places})"  # noqa: S608  # names of ours
    with connection.cursor() as cursor:
        cursor.executemany(statement, _rows(records, [(field.attname, _conversion(field)) for field in fields]))


def _conversion(field: Any) -> Callable[[Any], Any] | None:
    if not isinstance(field, CONVERTED):
        return None
    return lambda value: field.get_db_prep_save(value, connection)


def _rows(
    records: Iterable[UsageRecord], columns: list[tuple[str, Callable[[Any], Any] | None]]
) -> Iterator[list[Any]]:
    # Most ids and times stand in many records.
    known: dict[Any, Any] = {}
    for record in records:
        row = []
        for name, convert in columns:
            value = getattr(record, name)
            if convert is not None and value is not None:
                converted = known.get(value)
                if converted is None:
                    converted = known[value] = convert(value)
                value = converted
            row.append(value)
        yield row

"""Lets prices be set and periods be closed one after the other. Both rooms take this lock first, so that what one has read
of periods and prices is still so when it writes."""

from django.db import connection
from django.db.transaction import TransactionManagementError

BILLING = int.from_bytes(b"billing")
"""The number of the lock, which no other lock of this kind has: it is the only one."""


def lock_billing() -> None:
    """Wait until nobody else sets prices or closes a period, and hold all others until this transaction ends. Raises
    `TransactionManagementError` outside a transaction.

    Not the lock of a row, since before the first period and the first price there is none. SQLite needs no lock: there
    transactions begin IMMEDIATE, and only one is open at a time.
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("Billing is locked inside a transaction only.")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [BILLING])

"""Nights in which schedules take what is due, for the tests of that."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import time_machine

from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.services.scheduled_snapshots import prune_scheduled_snapshots, take_due_snapshots
from tests.builders import run

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
FIRST = datetime(2026, 6, 2, 2, 30, tzinfo=UTC)
"""When a nightly schedule made at noon is first due."""
DAY = timedelta(days=1)


@contextmanager
def clock(at: datetime) -> Iterator[None]:
    with time_machine.travel(at, tick=False):
        yield


def nights(count: int, first: datetime = FIRST) -> None:
    """So many nights with their passes: what is due is taken, then what need not be kept is deleted."""
    for night in range(count):
        with clock(first + night * DAY):
            for job in take_due_snapshots():
                run(job)
            for job in prune_scheduled_snapshots():
                run(job)


def names(machine: VirtualMachine) -> list[str]:
    """What the machine has, the oldest first."""
    return list(
        VMSnapshot.objects.filter(machine=machine, parent__isnull=False).order_by("pk").values_list("name", flat=True)
    )

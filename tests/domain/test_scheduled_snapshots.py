"""What schedules are due for is taken, once, by all rules and limits; what they need not keep is deleted; what cannot be
done is told of, and keeps nothing else from being done."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from snapshots.choices import Trigger
from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.services.scheduled_snapshots import prune_scheduled_snapshots, take_due_snapshots
from tests.builders import run, schedule

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
FIRST = datetime(2026, 6, 2, 2, 30, tzinfo=UTC)
"""When a nightly schedule made at noon is first due."""
DAY = timedelta(days=1)


@contextmanager
def clock(at: datetime) -> Iterator[None]:
    with time_machine.travel(at, tick=False):
        yield


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[None]:
    with clock(NOON):
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


def test_what_is_due_is_taken_once_and_the_next_time_is_waited_for(web):
    nightly = schedule(web)
    assert take_due_snapshots() == []
    with clock(FIRST):
        (job,) = take_due_snapshots()
        assert run(job).state == "succeeded"
        assert take_due_snapshots() == []
    assert (job.trigger, job.requested_by) == (Trigger.SCHEDULE, None)
    nightly.refresh_from_db()
    assert (nightly.last_due_at, nightly.last_job, nightly.missed) == (FIRST, job, "")
    assert nightly.next_at == FIRST + DAY
    snapshot = VMSnapshot.objects.get(machine=web, parent__isnull=False)
    assert (snapshot.name, snapshot.schedule, snapshot.created_by) == ("nightly 2026-06-02 02:30 UTC", nightly, None)
    assert snapshot.description == "Taken by the schedule “nightly”."

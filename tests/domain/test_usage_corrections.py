"""Events that come late, after the period they belong to was closed, are made up for by records that say by how much it was
wrong; what was closed stays as it was."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import Sum

from snapshots.choices import UsageChange, UsageType
from snapshots.models import UsagePeriod, UsageRecord
from tests.usage import GIB, HOUR, Line, all_records, at, byte_hours, close, prove_all

pytestmark = pytest.mark.django_db

PRIMARY = UsageType.VM_SNAPSHOT_ON_PRIMARY

Deed = Callable[[Line], object]
LATE: dict[str, tuple[Deed, Deed, dict[Any, float]]] = {
    "one that was taken": (lambda line: None, lambda line: line.taken("2026-03-01 18:00"), {1: 6, 2: 24, 3: 24}),
    "one that was deleted": (
        lambda line: line.taken("2026-03-01 12:00"),
        lambda line: line.deleted("2026-03-02 06:00"),
        {1: 12, 2: 6},
    ),
    "one that came and went": (
        lambda line: None,
        lambda line: line.taken("2026-03-02 06:00").deleted("2026-03-02 07:00"),
        {2: 1},
    ),
    "a change of one that was gone long ago": (
        lambda line: line.taken("2026-03-01 06:00").deleted("2026-03-01 12:00"),
        lambda line: line.resized("2026-03-01 09:00", estimated_bytes=GIB),
        {1: 6},
    ),
}


@pytest.mark.parametrize("name", LATE)
def test_an_event_that_comes_late_is_made_up_for_in_the_next_closing(name: str) -> None:
    before, late, hours = LATE[name]
    line, other = Line(), Line().taken("2026-03-01 01:00")
    before(line)
    close("2026-03-03 01:00")
    recorded = list(UsageRecord.objects.order_by("pk").values())
    late(line)
    close("2026-03-04 01:00")
    found = {
        key[0].day: sums[0] / HOUR for key, sums in all_records().items() if key[1] == line.uuid and key[2] == PRIMARY
    }
    assert found == hours
    assert other.hours() == [23, 24, 24]
    assert list(UsageRecord.objects.order_by("pk").values())[: len(recorded)] == recorded
    prove_all()


def test_a_correction_says_which_period_it_corrects_and_by_how_much() -> None:
    line = Line(estimated_bytes=GIB).taken("2026-03-01 12:00")
    close("2026-03-02 01:00")
    line.deleted("2026-03-01 14:00")
    close("2026-03-03 01:00")
    correction = UsageRecord.objects.get(corrects__isnull=False, type=PRIMARY)
    assert correction.corrects is not None
    assert (correction.corrects.start, correction.period.start) == (at("2026-03-01"), at("2026-03-02"))
    assert correction.microseconds == -10 * HOUR
    assert byte_hours(correction) == (-10 * GIB, -10 * GIB)


def test_corrections_are_corrected_in_their_turn() -> None:
    line = Line().taken("2026-03-01 12:00")
    for day, hour in ((2, 20), (3, 18), (4, 13)):
        close(f"2026-03-0{day} 01:00")
        line.tell(f"2026-03-01 {hour}:00", UsageChange.RESIZE, estimated_bytes=hour * GIB)
    close("2026-03-05 01:00")
    prove_all()


def test_events_from_before_the_first_period_are_billed_too() -> None:
    line = Line().taken("2026-03-05 12:00")
    close("2026-03-06 01:00")
    early = Line().taken("2026-03-02 18:00")
    close("2026-03-07 01:00")
    assert line.hours() == [12, 24]
    assert early.hours() == [6, 24, 24, 24, 24]
    assert [period.number for period in UsagePeriod.objects.order_by("start")] == [-2, -1, 0, 1, 2]
    prove_all()


def test_a_late_event_of_one_that_moved_takes_from_one_place_what_it_gives_to_the_other() -> None:
    line = Line().taken("2026-03-01 12:00")
    home, away = line.facts["account_uuid"], uuid4()
    close("2026-03-02 01:00")
    line.moved("2026-03-01 18:00", account_uuid=away)
    close("2026-03-03 01:00")
    of = UsageRecord.objects.filter(type=PRIMARY)
    assert of.filter(account_uuid=home).aggregate(sum=Sum("microseconds"))["sum"] == 6 * HOUR
    assert of.filter(account_uuid=away).aggregate(sum=Sum("microseconds"))["sum"] == 30 * HOUR
    prove_all()

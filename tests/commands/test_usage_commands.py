"""`close_usage_periods` bills what is due; `prove_usage` shows that what was billed is what happened, or where not."""

import io
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.models import F
from pytest_django import Settings

from snapshots import tasks
from snapshots.models import UsageMonth, UsagePeriod, UsageRecord
from tests.usage import GIB, Line, at, close

pytestmark = pytest.mark.django_db


def told(command: str, *arguments: str, now: str = "2026-03-04 01:00") -> str:
    out = io.StringIO()
    with time_machine.travel(at(now), tick=False):
        call_command(command, *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def line() -> Line:
    """A VM snapshot that was there from the first of March, 12:00 on."""
    return Line(estimated_bytes=GIB, volume_bytes=2 * GIB).taken("2026-03-01 12:00")


def test_closing_says_what_it_closed_and_then_that_nothing_is_due(line: Line) -> None:
    said = told("close_usage_periods")
    assert said.count("Closed: ") == 3
    assert "Closed: 2026-03-01 00:00 to 2026-03-02 00:00 UTC, usage records: 2." in said
    assert told("close_usage_periods") == "No period is due.\n"


def test_the_proof_names_closed_and_open_time_and_their_sums(line: Line) -> None:
    close("2026-03-04 00:10")
    said = told("prove_usage")
    assert (
        "Closed periods 2026-03-01 00:00:00 UTC to 2026-03-04 00:00:00 UTC: 3 periods, 6 records equal 1 events."
        in said
    )
    assert "  2 sums of machines by month were compared with the records." in said
    assert f"VM snapshot: 60.000000 hours, {120 * GIB} byte-hours allocated" in said
    assert f"VM snapshot on primary storage: 60.000000 hours, {60 * GIB} byte-hours allocated" in said
    assert (
        "By the events alone, 2026-03-04 00:00:00 UTC to 2026-03-04 01:00:00 UTC:\n  VM snapshot: 1.000000 hours"
        in said
    )


def test_a_range_is_proved_by_its_whole_periods_and_the_rest_is_told_by_the_events(line: Line) -> None:
    close("2026-03-04 00:10")
    said = told("prove_usage", "--from", "2026-03-01T18:00", "--to", "2026-03-03T06:00")
    assert "Closed periods 2026-03-02 00:00:00 UTC to 2026-03-03 00:00:00 UTC: 1 periods" in said
    assert said.count("  VM snapshot: 6.000000 hours") == 2


def test_times_without_a_zone_are_in_that_of_the_periods(line: Line, settings: Settings) -> None:
    settings.USAGE_TIME_ZONE = "Europe/Berlin"
    close("2026-03-04 00:10")
    assert "2026-03-02 00:00:00 CET" in told("prove_usage", "--from", "2026-03-02")


@pytest.mark.parametrize("wrong", ["yesterday", "2026-02-30"])
def test_what_is_no_time_is_refused(line: Line, wrong: str) -> None:
    with pytest.raises(CommandError, match="no time like"):
        told("prove_usage", "--from", wrong)


def test_without_any_usage_there_is_nothing_to_prove() -> None:
    assert told("prove_usage") == "There is no usage to prove.\n"


def test_events_that_came_late_are_told_and_wait_for_the_next_closing(line: Line) -> None:
    close("2026-03-04 00:10")
    Line().taken("2026-03-02 12:00")
    assert "1 events came late" in told("prove_usage")
    close("2026-03-05 00:10")
    assert "came late" not in told("prove_usage", now="2026-03-05 01:00")


def refused() -> str:
    err = io.StringIO()
    with (
        time_machine.travel(at("2026-03-04 01:00"), tick=False),
        pytest.raises(CommandError, match="differ: ") as raised,
    ):
        call_command("prove_usage", stdout=io.StringIO(), stderr=err)
    assert raised.value.returncode == 1
    return err.getvalue()


def test_a_record_too_many_is_found_and_named(line: Line) -> None:
    close("2026-03-04 00:10")
    record = UsageRecord.objects.filter(type=27).latest("start")
    record.pk, record.uuid = None, uuid4()
    record.save(force_insert=True)
    said = refused()
    assert f"VM snapshot {line.uuid}, type 27, 2026-03-03 00:00 to 2026-03-04 00:00 UTC" in said


def test_a_record_that_is_one_byte_microsecond_off_is_found(line: Line) -> None:
    close("2026-03-04 00:10")
    with connection.cursor() as cursor:
        _let_change(cursor)
        cursor.execute("UPDATE snapshots_usagerecord SET allocated_rest = allocated_rest + 1 WHERE type = 25")
    said = refused()
    assert said.count(f"VM snapshot {line.uuid}, type 25, 2026-03-0") == 3
    assert said.count("Month 2026-03, ") == 1


def test_a_missing_record_and_one_in_the_wrong_period_are_found(line: Line) -> None:
    close("2026-03-04 00:10")
    first, second, third = UsagePeriod.objects.order_by("number")
    with connection.cursor() as cursor:
        _let_change(cursor)
        cursor.execute("DELETE FROM snapshots_usagerecord WHERE period_id = %s", [first.pk])
        cursor.execute("UPDATE snapshots_usagerecord SET period_id = %s WHERE period_id = %s", [third.pk, second.pk])
    said = refused()
    assert [said.count(f"{day}") for day in (first, second, third)] == [2, 2, 2]


TAMPERED: dict[str, Any] = {
    "a byte-microsecond more": {"allocated_rest": F("allocated_rest") + 1},
    "a GiB-hour less": {"measured_gib_hours": F("measured_gib_hours") - 1},
    "a microsecond more": {"microseconds": F("microseconds") + 1},
    "time that was not measured": {"unmeasured_microseconds": 1},
    "a price": {"cost_whole": 1, "cost_rest": 0},
    "a record too many": {"records": F("records") + 1},
    "another month": {"month": "2026-02-01"},
    "another account": {"account_uuid": UUID(int=0)},
    "another machine": {"machine_uuid": UUID(int=0)},
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_month_that_does_not_say_what_its_records_say_is_found_and_named(line: Line, what: str) -> None:
    close("2026-03-04 00:10")
    UsageMonth.objects.filter(type=27).update(**TAMPERED[what])
    said = refused()
    machine, account = line.facts["machine_uuid"], line.facts["account_uuid"]
    assert f"Month 2026-03, machine {machine}, account {account}, type 27: the records say 3 records, " in said
    assert "type 25" not in said


def test_a_month_that_is_missing_or_has_no_records_is_found(line: Line) -> None:
    close("2026-03-04 00:10")
    UsageMonth.objects.filter(type=27).delete()
    assert ", the month nothing." in refused()
    row = UsageMonth.objects.get(type=25)
    row.pk, row.machine_uuid = None, UUID(int=1)
    row.save(force_insert=True)
    assert f"machine {UUID(int=1)}" in refused()


def test_of_a_range_the_months_of_its_periods_are_compared_whole(line: Line) -> None:
    close("2026-04-04 00:10")
    assert "  2 sums of machines by month" in told("prove_usage", "--from", "2026-03-30", "--to", "2026-04-01")
    UsageMonth.objects.filter(month="2026-04-01").update(microseconds=0)
    told("prove_usage", "--from", "2026-03-30", "--to", "2026-04-01", now="2026-04-04 01:00")
    with pytest.raises(CommandError, match="differ: 2"):
        told("prove_usage", "--from", "2026-03-30", "--to", "2026-04-02", now="2026-04-04 01:00")


def test_a_gap_between_periods_is_found(line: Line) -> None:
    close("2026-03-04 00:10")
    with connection.cursor() as cursor:
        _let_change(cursor)
        cursor.execute("UPDATE snapshots_usageperiod SET start = %s WHERE number = 2", [at("2026-03-02 00:00:01")])
    assert "there is a gap" in refused()


def _let_change(cursor: Any) -> None:
    """As somebody could who may do everything in the database."""
    for table, name in (("usageperiod", "usage_period_is_closed"), ("usagerecord", "usage_record_is_final")):
        for verb in ("update", "delete"):
            place = f" ON snapshots_{table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER {name}_{verb}{place}")


def test_the_tick_closes_what_is_due(line: Line) -> None:
    with time_machine.travel(at("2026-03-02 00:10"), tick=False):
        tasks.close_usage_periods()
    assert UsagePeriod.objects.get().end == at("2026-03-02")
    assert line.hours() == [12]

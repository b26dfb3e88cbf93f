"""What is used is billed once: whenever, however often and in whatever order the periods are closed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F
from pytest_django import Settings

from snapshots.choices import PeriodLength, UsageChange, UsageType
from snapshots.models import OpenUsage, UsageEvent, UsagePeriod, UsageRecord
from snapshots.services import tenancy, usage_aggregation, usage_names, usage_new_records
from snapshots.services.snapshot_actions import request_delete, request_rename, request_revert
from tests.builders import SYSTEM, Cloud, People, acting, run, take
from tests.usage import GIB, HOUR, Line, all_records, at, byte_hours, close, prove_all

pytestmark = pytest.mark.django_db

PRIMARY = UsageType.VM_SNAPSHOT_ON_PRIMARY


def only(line: Line, kind: UsageType = PRIMARY) -> UsageRecord:
    return UsageRecord.objects.get(snapshot_uuid=line.uuid, type=kind)


# One period


def test_a_vm_snapshot_taken_and_deleted_within_a_period_is_billed_for_its_lifetime() -> None:
    line = Line().taken("2026-03-01 06:00").deleted("2026-03-01 09:30")
    close("2026-03-02 01:00")
    record = only(line)
    assert (record.start, record.end) == (at("2026-03-01 06:00"), at("2026-03-01 09:30"))
    assert record.microseconds == 3.5 * HOUR
    assert byte_hours(record) == (14 * GIB, 3.5 * GIB)
    prove_all()


def test_there_is_one_record_of_each_type_with_what_that_type_bills() -> None:
    line = Line(volume_bytes=10 * GIB, estimated_bytes=4 * GIB, measured_bytes=GIB).taken("2026-03-01 12:00")
    close("2026-03-02 01:00")
    assert byte_hours(only(line, UsageType.VM_SNAPSHOT)) == (120 * GIB, 0)
    assert byte_hours(only(line, PRIMARY)) == (48 * GIB, 12 * GIB)


def test_a_change_of_size_counts_from_its_own_moment() -> None:
    line = Line(estimated_bytes=GIB).taken("2026-03-01").resized("2026-03-01 06:00", estimated_bytes=3 * GIB)
    close("2026-03-02 01:00")
    assert byte_hours(only(line))[0] == 6 * GIB + 18 * 3 * GIB
    assert only(line).estimated_bytes == 3 * GIB


def test_a_revert_changes_nothing_in_what_is_billed() -> None:
    line = Line().taken("2026-03-01 06:00")
    line.tell("2026-03-01 07:00", UsageChange.REVERT)
    close("2026-03-02 01:00")
    assert line.hours() == [18]
    prove_all()


def test_what_is_not_measured_counts_as_nothing_and_is_marked() -> None:
    line = Line(measured_bytes=None).taken("2026-03-01").resized("2026-03-01 18:00", measured_bytes=2 * GIB)
    close("2026-03-02 01:00")
    record = only(line)
    assert record.unmeasured_microseconds == 18 * HOUR
    assert byte_hours(record)[1] == 12 * GIB


@pytest.mark.parametrize("what", ["account_uuid", "domain_uuid", "machine_uuid", "pool_uuid", "hypervisor_uuid"])
def test_what_moves_within_a_period_has_a_record_for_each_place(what: str) -> None:
    line = Line().taken("2026-03-01").moved("2026-03-01 08:00", **{what: uuid4()})
    close("2026-03-02 01:00")
    assert line.hours() == [8, 16]
    assert UsageRecord.objects.filter(snapshot_uuid=line.uuid).values(what).distinct().count() == 2
    prove_all()


def test_what_comes_back_to_a_place_has_one_record_there_without_the_time_it_was_away() -> None:
    line = Line().taken("2026-03-01")
    home = line.facts["account_uuid"]
    line.moved("2026-03-01 08:00", account_uuid=uuid4()).moved("2026-03-01 10:00", account_uuid=home)
    close("2026-03-02 01:00")
    assert line.hours() == [22, 2]
    prove_all()


def test_what_was_lost_for_a_while_is_not_billed_for_that() -> None:
    line = Line().taken("2026-03-01").deleted("2026-03-01 08:00").taken("2026-03-01 20:00")
    close("2026-03-02 01:00")
    assert line.hours() == [12]
    prove_all()


def test_petabytes_are_billed_to_the_last_byte_and_microsecond(settings: Settings) -> None:
    settings.USAGE_PERIOD = "month"
    size = 2**63 - 1
    line = Line(volume_bytes=size, estimated_bytes=size, measured_bytes=size).taken("2026-03-01 00:00:00.000001")
    close("2026-04-01 01:00")
    record = only(line)
    assert record.allocated_kib_hours * 1024 * HOUR + record.allocated_rest == size * (31 * 24 * HOUR - 1)
    assert record.measured_kib_hours * 1024 * HOUR + record.measured_rest == size * (31 * 24 * HOUR - 1)
    prove_all()


# One period after the other


def test_what_goes_on_is_carried_over_to_the_next_period() -> None:
    line = Line().taken("2026-03-01 18:00").deleted("2026-03-03 06:00")
    assert [period.start for period in close("2026-03-05 01:00")] == [at(f"2026-03-0{day}") for day in (1, 2, 3, 4)]
    assert line.hours() == [6, 24, 6]
    prove_all()


def test_a_missed_week_is_caught_up_with_period_by_period() -> None:
    lines = [Line().taken("2026-03-01 12:00") for _ in range(3)]
    close("2026-03-02 01:00")
    lines[0].deleted("2026-03-05 12:00")
    lines.append(Line().taken("2026-03-06").deleted("2026-03-06 01:00"))
    assert len(close("2026-03-09 01:00")) == 7
    assert [line.hours() for line in lines] == [[12, 24, 24, 24, 12], [12] + 7 * [24], [12] + 7 * [24], [1]]
    prove_all()


def test_more_than_is_written_at_once_is_billed_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_new_records, "BATCH", 3)
    monkeypatch.setattr(usage_names, "BATCH", 1)
    monkeypatch.setattr(usage_aggregation, "KEYS", 2)
    lines = [Line().taken(f"2026-03-01 {hour:02d}:00") for hour in (9, 3, 15, 21, 6, 12, 18)]
    close("2026-03-02 01:00")
    assert [line.hours() for line in lines] == [[15], [21], [9], [3], [18], [12], [6]]
    lines[0].deleted("2026-03-02 12:00")
    close("2026-03-04 01:00")
    assert [line.hours() for line in lines] == [[15, 12], *([24 - hour, 24, 24] for hour in (3, 15, 21, 6, 12, 18))]
    prove_all()


def test_the_last_event_of_each_vm_snapshot_that_is_there_is_carried_and_no_other() -> None:
    gone = Line().taken("2026-03-01 06:00").deleted("2026-03-02 06:00")
    stays = Line().taken("2026-03-01 06:00").resized("2026-03-02 06:00", estimated_bytes=2 * GIB)
    for until, carried in (
        ("2026-03-02 01:00", {gone: "create", stays: "create"}),
        ("2026-03-04 01:00", {stays: "resize"}),
    ):
        close(until)
        marked = UsageEvent.objects.filter(carried=True).values_list("snapshot_uuid", "change")
        assert set(marked) == {(line.uuid, change) for line, change in carried.items()}


def test_every_column_of_a_record_is_written() -> None:
    fields = {field.name for field in UsageRecord._meta.concrete_fields if not field.primary_key}
    assert set(usage_new_records.COLUMNS) == fields


def test_closing_again_closes_nothing_and_changes_nothing() -> None:
    Line().taken("2026-03-01 12:00")
    close("2026-03-02 01:00")
    before = all_records()
    assert close("2026-03-02 01:00") == []
    assert all_records() == before


def test_a_period_is_not_closed_before_its_time_of_grace_is_over(settings: Settings) -> None:
    settings.USAGE_CLOSE_AFTER_SECONDS = 600
    Line().taken("2026-03-01 12:00")
    assert close("2026-03-02 00:09:59") == []
    assert len(close("2026-03-02 00:10")) == 1


def test_nothing_is_closed_before_anything_was_used() -> None:
    assert close("2026-03-02 01:00") == []


def test_a_clock_that_was_set_back_closes_nothing_twice() -> None:
    line = Line().taken("2026-03-01 12:00")
    close("2026-03-03 01:00")
    assert close("2026-03-01 23:00") == []
    close("2026-03-04 01:00")
    assert line.hours() == [12, 24, 24]
    prove_all()


@pytest.mark.parametrize(("length", "expected"), [("hour", 24), ("day", 1), ("month", 0)])
def test_the_setting_says_how_long_a_period_is(settings: Settings, length: str, expected: int) -> None:
    settings.USAGE_PERIOD = length
    Line().taken("2026-03-01 00:30")
    assert len(close("2026-03-02 00:05")) == expected


def test_another_length_goes_on_where_the_last_period_ended(settings: Settings) -> None:
    line = Line().taken("2026-03-30 12:00")
    close("2026-03-31 01:00")
    settings.USAGE_PERIOD = "month"
    close("2026-05-01 01:00")
    settings.USAGE_PERIOD = "hour"
    close("2026-05-01 02:30")
    assert line.hours() == [12, 24, 30 * 24, 1, 1]
    assert {period.length for period in UsagePeriod.objects.all()} == set(PeriodLength)
    prove_all()


def test_days_are_those_of_the_zone_and_have_23_or_25_hours_where_it_changes_its_clocks(settings: Settings) -> None:
    settings.USAGE_TIME_ZONE = "Europe/Berlin"
    spring = Line().taken("2026-03-27 23:00").deleted("2026-03-30 22:00")
    close("2026-03-31 03:00")
    assert spring.hours() == [24, 23, 24]
    autumn = Line().taken("2026-10-23 22:00").deleted("2026-10-26 23:00")
    close("2026-10-28 03:00")
    assert autumn.hours() == [24, 25, 24]
    prove_all()


def test_the_29th_of_february_is_billed_in_a_leap_year(settings: Settings) -> None:
    line = Line().taken("2028-02-28").deleted("2028-03-01 01:00")
    close("2028-03-02 01:00")
    assert line.hours() == [24, 24, 1]
    settings.USAGE_PERIOD = "month"
    month = Line().taken("2032-02-01")
    close("2032-03-01 01:00")
    assert month.hours() == [29 * 24]
    prove_all()


# What never changes


@pytest.mark.parametrize("rows", [UsagePeriod, UsageRecord])
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_the_database_itself_refuses_to_change_what_is_closed(rows: Any, verb: str) -> None:
    Line().taken("2026-03-01 12:00")
    close("2026-03-02 01:00")
    verbs: dict[str, Callable[[], object]] = {
        "update": lambda: rows.objects.update(end=F("end") + timedelta(seconds=1)),
        "delete": lambda: rows.objects.all()._raw_delete("default"),
    }
    with pytest.raises(DatabaseError, match="never changes"), transaction.atomic():
        verbs[verb]()
    assert rows.objects.exists()


def test_periods_are_numbered_without_gap_and_cannot_begin_twice() -> None:
    Line().taken("2026-03-01 12:00")
    close("2026-03-04 01:00")
    first, *_ = periods = list(UsagePeriod.objects.order_by("start"))
    assert [period.number for period in periods] == [1, 2, 3]
    other = {"number": 9, "start": at("2026-05-01"), "end": at("2026-05-02")}
    for field in other:
        with pytest.raises(IntegrityError), transaction.atomic():
            UsagePeriod.objects.create(
                **(other | {field: getattr(first, field)}), length=first.length, closed_at=first.closed_at
            )


# A clock that ran ahead


def test_while_periods_are_closed_ahead_of_the_clock_none_is_closed_and_an_error_tells_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    early, late = Line().taken("2026-03-01"), Line()
    assert len(close("2026-03-11 01:00")) == 10
    assert not caplog.records
    late.taken("2026-03-02 06:00")
    assert close("2026-03-02 12:00") == []
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        "ERROR",
        "Usage periods are closed until 2026-03-11T00:00:00+00:00, which is to come: a clock was ahead. "
        "Usage until then is billed later.",
    )
    caplog.clear()
    assert len(close("2026-03-12 01:00")) == 1
    assert not caplog.records
    assert sum(late.hours()) == 18 + 9 * 24
    assert sum(early.hours()) == 11 * 24
    prove_all()


# Names


def test_records_carry_the_names_of_the_day_and_what_is_gone_keeps_its_own(
    people: People, cloud: Cloud, settings: Settings
) -> None:
    people.own(cloud)
    web = cloud.machine("web")
    kept, gone = take(web, "kept", people.alice), take(web, "gone", people.alice)
    assert run(request_delete(acting(people.alice), snapshot=gone)).state == "succeeded"
    assert run(request_rename(acting(people.alice), snapshot=kept, name="new name")).state == "succeeded"
    tenancy.rename(SYSTEM, thing=people.acme, name="Acme Ltd")
    close_tomorrow()
    names = {(row.snapshot_name, row.account_name, row.machine_name) for row in UsageRecord.objects.all()}
    assert names == {("new name", "Acme Ltd", "web"), ("gone", "Acme Ltd", "web")}


def test_usage_stays_when_everything_it_is_about_is_gone(people: People, cloud: Cloud) -> None:
    people.own(cloud)
    web = cloud.machine("web")
    snapshot = take(web, "one", people.alice)
    run(request_delete(acting(people.alice), snapshot=snapshot))
    for machine in (web, cloud.machine("db")):
        tenancy.assign_machine(SYSTEM, machine=machine, account=None)
    tenancy.delete_account(SYSTEM, account=people.acme)
    tenancy.delete_domain(SYSTEM, domain=people.engineering)
    close_tomorrow()
    names = {(row.snapshot_name, row.account_name, row.domain_name) for row in UsageRecord.objects.all()}
    assert names == {("one", "acme", "engineering")}


def close_tomorrow() -> None:
    last = UsageEvent.objects.latest("at").at
    close((last + timedelta(days=2)).strftime("%Y-%m-%d %H:%M"))


# Through the services


def test_a_revert_of_the_real_thing_leaves_one_uninterrupted_record(people: People, cloud: Cloud) -> None:
    people.own(cloud)
    snapshot = take(cloud.machine("db"), "one", people.alice)
    assert run(request_revert(acting(people.alice), snapshot=snapshot)).state == "succeeded"
    assert set(UsageEvent.objects.values_list("change", flat=True)) >= {"create", "revert"}
    close_tomorrow()
    began = UsageEvent.objects.earliest("at").at
    assert all(row.start == began for row in UsageRecord.objects.filter(period__number=1))
    assert OpenUsage.objects.count() == 1
    prove_all()

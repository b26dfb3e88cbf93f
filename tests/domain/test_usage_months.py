"""What is kept by month is what the records of the month add up to: after every closing, in any zone, however late
something becomes known and whatever is moved, deleted or very large."""

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from pytest_django import Settings

from snapshots.access import SYSTEM
from snapshots.choices import PriceUnit, UsageChange, UsageType
from snapshots.models import UsageEvent, UsageMonth, UsagePeriod, UsageRecord
from snapshots.services import tenancy, usage_months
from snapshots.services.snapshot_actions import request_delete
from snapshots.services.usage_aggregation import close_due_periods
from snapshots.services.usage_prices import PriceTerms, set_price
from snapshots.usage_lines import amounts_of_month
from tests.builders import Cloud, People, acting, run, take
from tests.usage import GIB, HOUR, Line, at, close, months_of_records, months_written, prove_all

pytestmark = pytest.mark.django_db

VOLUMES, PRIMARY = UsageType.VM_SNAPSHOT, UsageType.VM_SNAPSHOT_ON_PRIMARY
FEBRUARY, MARCH, APRIL = date(2026, 2, 1), date(2026, 3, 1), date(2026, 4, 1)
BEGIN = at("2026-01-20 00:00")
DAYS = 75
LATE = timedelta(days=20)
SECONDS_OF_A_DAY = 86_400


def hours(line: Line, kind: UsageType = PRIMARY) -> dict[date, float]:
    """How long the machine of the line was billed in each month, in the account it is in now."""
    rows = UsageMonth.objects.filter(
        machine_uuid=line.facts["machine_uuid"], account_uuid=line.facts["account_uuid"], type=kind
    )
    return {row.month: row.microseconds / HOUR for row in rows.order_by("month")}


def price(per: PriceUnit, amount: str, since: str) -> None:
    terms = PriceTerms(PRIMARY, per, Decimal(amount), "EUR", None, at(since), None)
    with time_machine.travel(at(since), tick=False):
        set_price(SYSTEM, terms)


# Whatever happens


def told(seed: int) -> list[tuple[Any, UsageEvent]]:
    """Usage events of a few machines that change owners, with the moments at which they become known: most at once, some
    weeks later."""
    chance = random.Random(seed)
    accounts, domain, pool, hypervisor = [uuid4() for _ in range(3)], uuid4(), uuid4(), uuid4()
    events = []
    for number in range(25):
        facts: dict[str, Any] = {
            **Line().facts,
            "machine_uuid": UUID(int=number % 7),
            "machine_name": f"machine {number % 7}",
            "account_uuid": chance.choice(accounts),
            "domain_uuid": domain,
            "pool_uuid": pool,
            "hypervisor_uuid": hypervisor,
        }
        moments = sorted(chance.randrange(DAYS * SECONDS_OF_A_DAY) for _ in range(chance.randrange(2, 7)))
        for step, second in enumerate(moments):
            change = UsageChange.CREATE if step == 0 else chance.choice(list(UsageChange))
            if change == UsageChange.TRANSFER:
                facts["account_uuid"] = chance.choice(accounts)
            facts["estimated_bytes"] = chance.randrange(2**40)
            facts["measured_bytes"] = chance.choice([None, chance.randrange(2**40)])
            moment = BEGIN + timedelta(seconds=second, microseconds=chance.randrange(10**6))
            event = UsageEvent(at=moment, change=change, alive=change != UsageChange.DELETE, **facts)
            events.append((moment + (chance.random() * LATE if chance.random() < 0.2 else timedelta()), event))
    return sorted(events, key=lambda known: known[0])


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Australia/Lord_Howe"])
def test_months_are_the_sums_of_their_records_after_every_closing(zone: str, settings: Settings) -> None:
    settings.USAGE_TIME_ZONE = zone
    price(PriceUnit.ALLOCATED, "0.000000123", "2026-01-25")
    chance = random.Random(zone)
    with time_machine.travel(BEGIN, tick=False) as clock:
        for known, event in told(chance.randrange(1000)):
            clock.move_to(known)
            if chance.random() < 0.2:
                close_due_periods()
                assert months_written() == months_of_records()
            event.save()
        clock.move_to(BEGIN + timedelta(days=DAYS) + LATE)
        close_due_periods()
    prove_all()
    # It was worth the name.
    assert UsageRecord.objects.filter(corrects__isnull=False, microseconds__lt=0).exists()
    assert set(UsageMonth.objects.values_list("month", flat=True)) >= {FEBRUARY, MARCH, APRIL}
    owners = UsageMonth.objects.filter(machine_uuid=UUID(int=1)).values_list("account_uuid", flat=True)
    assert len(set(owners)) > 1


def test_more_machines_than_are_written_at_once_are_all_added_to_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_months, "BATCH", 3)
    lines = [Line().taken("2026-03-01") for _ in range(8)]
    close("2026-03-02 01:00")
    close("2026-03-04 01:00")
    assert [hours(line) for line in lines] == [{MARCH: 72}] * 8
    prove_all()


def test_closing_again_adds_nothing() -> None:
    Line().taken("2026-03-01")
    close("2026-03-04 01:00")
    before = months_written()
    close("2026-03-04 01:00")
    assert months_written() == before


# Where months begin


def test_a_month_begins_where_the_zone_says(settings: Settings) -> None:
    settings.USAGE_TIME_ZONE = "America/New_York"
    line = Line().taken("2026-03-01 02:00").deleted("2026-03-01 09:00")
    close("2026-03-03 12:00")
    assert hours(line) == {FEBRUARY: 3, MARCH: 4}
    prove_all()


@pytest.mark.parametrize("length", ["hour", "day", "month"])
def test_months_are_the_same_however_long_a_period_is(length: str, settings: Settings) -> None:
    settings.USAGE_PERIOD = length
    settings.USAGE_TIME_ZONE = "Asia/Kathmandu"
    line = Line().taken("2026-02-28 12:00").deleted("2026-03-01 06:00")
    close("2026-04-01 12:00")
    assert hours(line) == {FEBRUARY: 6.25, MARCH: 11.75}
    prove_all()


def test_a_period_stays_in_the_month_of_the_zone_in_which_it_was_closed(settings: Settings) -> None:
    line = Line().taken("2026-02-28 12:00")
    close("2026-03-01 12:00")
    settings.USAGE_TIME_ZONE = "America/New_York"
    close("2026-03-02 12:00")
    # From midnight UTC to midnight in New York, and then a day.
    assert hours(line) == {FEBRUARY: 12 + 5, MARCH: 24}
    assert list(UsagePeriod.objects.order_by("start").values_list("month", flat=True)) == [FEBRUARY, FEBRUARY, MARCH]


def test_periods_from_before_the_first_have_their_months_too() -> None:
    Line().taken("2026-03-02 12:00")
    close("2026-03-03 01:00")
    early = Line().taken("2026-02-27 18:00")
    close("2026-03-04 01:00")
    assert hours(early) == {FEBRUARY: 30, MARCH: 72}
    prove_all()


# Corrections


def test_a_correction_counts_in_the_month_it_corrects_and_may_take_away_all_of_it() -> None:
    line = Line(estimated_bytes=GIB).taken("2026-02-28 12:00")
    close("2026-03-10 01:00")
    line.deleted("2026-02-28 18:00")
    close("2026-03-11 01:00")
    assert hours(line) == {FEBRUARY: 6, MARCH: 0}
    march = UsageMonth.objects.get(month=MARCH, type=PRIMARY)
    assert amounts_of_month(march) == (0, 0, 0, 0, None)
    prove_all()


def test_a_machine_that_moved_counts_in_both_accounts_also_when_that_is_known_late() -> None:
    line = Line().taken("2026-02-28 12:00")
    home = line.facts["account_uuid"]
    close("2026-03-03 01:00")
    line.moved("2026-02-28 18:00", account_uuid=uuid4())
    close("2026-03-04 01:00")
    assert hours(line) == {FEBRUARY: 6, MARCH: 72}
    line.facts["account_uuid"] = home
    assert hours(line) == {FEBRUARY: 6, MARCH: 0}
    prove_all()


def test_costs_are_added_up_and_a_correction_takes_its_part_away() -> None:
    price(PriceUnit.HOUR, "0.000000001", "2026-03-02")
    line = Line().taken("2026-03-01")
    close("2026-03-02 01:00")
    unpriced = UsageMonth.objects.get(type=PRIMARY)
    assert (unpriced.cost_whole, unpriced.cost_rest, unpriced.currency) == (None, None, "")
    close("2026-03-05 01:00")
    line.deleted("2026-03-03 12:00")
    close("2026-03-06 01:00")
    row = UsageMonth.objects.get(type=PRIMARY)
    assert (row.cost_whole, row.cost_rest, row.currency) == (0, 36, "EUR")
    prove_all()


# Sizes


def test_petabytes_on_many_vm_snapshots_are_kept_to_the_last_byte_and_microsecond(settings: Settings) -> None:
    settings.USAGE_PERIOD = "month"
    size, machine, account = 2**63 - 1, uuid4(), uuid4()
    lines = [
        Line(
            machine_uuid=machine,
            account_uuid=account,
            volume_bytes=size,
            estimated_bytes=size,
            measured_bytes=size,
        ).taken("2026-03-01 00:00:00.000001")
        for _ in range(5)
    ]
    close("2026-04-01 01:00")
    exact = len(lines) * size * (31 * 24 * HOUR - 1)
    assert [amounts_of_month(row).allocated for row in UsageMonth.objects.all()] == [exact, exact]
    assert amounts_of_month(UsageMonth.objects.get(type=PRIMARY)).measured == exact
    # It cannot be held by 64 bits of KiB-hours.
    assert exact // (1024 * HOUR) >= 2**63
    prove_all()


# What is gone, and names


def test_months_stay_when_the_machine_and_its_account_are_gone(people: People, cloud: Cloud) -> None:
    people.own(cloud)
    web = cloud.machine("web")
    snapshot = take(web, "one", people.alice)
    run(request_delete(acting(people.alice), snapshot=snapshot))
    close_tomorrow()
    before = months_written()
    for machine in (web, cloud.machine("db")):
        tenancy.assign_machine(SYSTEM, machine=machine, account=None)
    tenancy.delete_account(SYSTEM, account=people.acme)
    tenancy.delete_domain(SYSTEM, domain=people.engineering)
    close_tomorrow()
    assert before
    assert months_written() == before
    prove_all()


def close_tomorrow() -> None:
    last = UsageEvent.objects.latest("at").at
    close((last + timedelta(days=2)).strftime("%Y-%m-%d %H:%M"))


def test_a_machine_has_the_name_it_had_last_which_no_correction_changes() -> None:
    line = Line(machine_name="old").taken("2026-03-01 12:00")
    close("2026-03-02 01:00")
    line.resized("2026-03-02 12:00", machine_name="new").deleted("2026-03-02 18:00")
    close("2026-03-03 01:00")
    assert set(UsageMonth.objects.values_list("machine_name", flat=True)) == {"new"}
    line.tell("2026-03-01 18:00", UsageChange.DELETE, machine_name="old")
    close("2026-03-04 01:00")
    assert UsageRecord.objects.filter(corrects__isnull=False, machine_name="old").exists()
    assert set(UsageMonth.objects.values_list("machine_name", flat=True)) == {"new"}

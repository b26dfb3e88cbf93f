"""The page "Usage": what one's own account used, by month, machine and VM snapshot, billed or not yet."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from snapshots.access import SYSTEM
from snapshots.choices import PriceUnit, Role, UsageType
from snapshots.services import tenancy
from snapshots.services.snapshot_actions import request_rename
from snapshots.services.usage_aggregation import close_due_periods
from snapshots.services.usage_prices import PriceTerms, set_price
from tests.builders import Cloud, People, account, acting, run, take
from tests.doors.browser_client import Browser, Page, words
from tests.doors.drawn import numbers
from tests.usage import GIB, HOUR, Line, at, close, line_of

NOW = "2026-03-15 12:00"
pytestmark = pytest.mark.django_db


@pytest.fixture
def of_web(people: People) -> Line:
    """A VM snapshot of acme's machine "web", there since the 28th of February; `db` had one for six hours of March.
    Closed until the 15th."""
    made = line_of(people.acme, estimated_bytes=4 * GIB, measured_bytes=GIB).taken("2026-02-28 12:00")
    line_of(people.acme, snapshot_name="of db", machine_name="db").taken("2026-03-02").deleted("2026-03-02 06:00")
    line_of(people.other, snapshot_name="of others", machine_name="foreign").taken("2026-03-01")
    close("2026-03-15 00:30")
    return made


def look(person: Any, path: str = "/usage/") -> Page:
    with time_machine.travel(at(NOW), tick=False):
        return Browser(person).get(path)


def table(page: Page, title: str) -> list[list[str]]:
    rows = page.find(f'//section[@aria-labelledby="{title}-title"]//tbody/tr')
    return [[" ".join(cell.text_content().split()) for cell in row] for row in rows]


def test_the_months_are_charted_with_what_is_billed_and_what_is_not_yet(of_web: Line, people: People) -> None:
    drawn = numbers(look(people.alice), "by-month")
    assert drawn["labels"][-2:] == ["Feb 2026", "Mar 2026"]
    assert len(drawn["labels"]) == 12
    values = {series["name"]: series["values"][-2:] for series in drawn["series"]}
    march = 14 * 24 * 4 * GIB + 6 * 4 * GIB
    assert values["Estimated"] == [12 * 4 * GIB, march]
    assert values["Estimated, not billed yet"] == [0, 12 * 4 * GIB]
    assert values["Measured"] == [12 * GIB, 14 * 24 * GIB + 6 * GIB + 12 * GIB]


def test_the_month_is_shown_by_machine_and_the_largest_one_by_vm_snapshot(of_web: Line, people: People) -> None:
    line_of(people.acme, snapshot_name="older", machine_uuid=of_web.facts["machine_uuid"], machine_name="web").taken(
        "2026-03-14"
    ).deleted("2026-03-14 12:00")
    close("2026-03-16 00:30")
    page = look(people.alice)
    assert [row[:2] for row in table(page, "machines")] == [
        ["web no longer yours", "372 hours"],
        ["db no longer yours", "6 hours"],
    ]
    assert [row[:2] for row in table(page, "snapshots")] == [
        ["before the upgrade gone", "360 hours"],
        ["older gone", "12 hours"],
    ]
    assert numbers(page, "by-machine")["labels"] == ["web", "db"]
    assert numbers(page, "by-snapshot")["labels"] == ["before the upgrade", "older"]


def test_another_month_is_chosen_by_a_link_and_its_use_is_its_own(of_web: Line, people: People) -> None:
    link = look(people.alice).one('//section[@aria-labelledby="months-title"]//a[text()="Feb 2026"]').get("href")
    page = look(people.alice, link)
    assert table(page, "machines")[0][:2] == ["web no longer yours", "12 hours"]
    assert page.one("//select[@name='month']/option[@selected]").text == "Feb 2026"


def test_the_machine_whose_vm_snapshots_are_shown_is_named_and_marked_and_another_is_chosen_by_a_link(
    of_web: Line, people: People
) -> None:
    page = look(people.alice)
    assert shown(page) == ("web", "VM snapshots of web , Mar 2026", "By VM snapshot of web, Mar 2026")
    page = look(people.alice, page.one('//section[@aria-labelledby="machines-title"]//a[bdi="db"]').get("href"))
    assert shown(page) == ("db", "VM snapshots of db , Mar 2026", "By VM snapshot of db, Mar 2026")
    assert [row[0] for row in table(page, "snapshots")] == ["of db gone"]
    assert len(table(page, "machines")) == 2


def test_a_machine_that_was_not_used_in_the_month_gives_way_to_the_largest(of_web: Line, people: People) -> None:
    db = look(people.alice).one('//section[@aria-labelledby="machines-title"]//a[bdi="db"]').get("href")
    page = look(people.alice, db.replace("2026-03", "2026-02"))
    assert shown(page)[0] == "web"


def shown(page: Page) -> tuple[str, ...]:
    """The machine that is marked, and where it is named."""
    marked = page.one('//section[@aria-labelledby="machines-title"]//a[@aria-current="true"]')
    return marked.text_content(), *(
        words(page.one(f'//*[@id="{name}-title"]')) for name in ("snapshots", "by-snapshot")
    )


def test_what_is_not_billed_yet_stands_on_top(of_web: Line, people: People) -> None:
    text = words(look(people.alice).one('//section[@aria-labelledby="open-title"]'))
    assert "Used since 15 Mar 2026, 00:00:00 UTC , up to 15 Mar 2026, 12:00:00 UTC" in text
    assert "VM snapshots 12 hours" in text
    assert "Estimated 48 GiB hours" in text


def test_when_everything_is_billed_the_page_says_so(people: People) -> None:
    line_of(people.acme).taken("2026-03-01").deleted("2026-03-02")
    close("2026-03-15 00:30")
    page = look(people.alice)
    assert "is billed" in page.text
    assert "Estimated, not billed yet" not in page.source


def test_after_a_clock_ran_ahead_the_page_says_until_when_periods_are_closed(of_web: Line, people: People) -> None:
    close("2026-03-20 01:00")
    text = words(look(people.alice).one('//section[@aria-labelledby="open-title"]'))
    assert "Periods are closed until 20 Mar 2026, 00:00:00 UTC ; what is used until then is billed after it." in text
    assert "is billed." not in text
    second = account("second", people.engineering)
    line_of(second).taken("2026-03-15 06:00")
    page = look(people.dora, f"/usage/?account={second.uuid}")
    assert "Periods are closed until 20 Mar 2026, 00:00:00 UTC" in words(page.one('//div[contains(@class, "empty")]'))
    close("2026-03-21 01:00")
    with time_machine.travel(at("2026-03-21 02:00"), tick=False):
        later = Browser(people.dora).get(f"/usage/?account={second.uuid}")
    assert table(later, "months")[0][1] == f"{18 + 5 * 24 + 2} hours"
    assert "Periods are closed until" not in later.text


def test_what_left_the_account_since_the_last_closing_counts_until_then(of_web: Line, people: People) -> None:
    of_web.moved("2026-03-15 03:00", account_uuid=people.other.uuid)
    mine = numbers(look(people.alice), "by-month")["series"]
    theirs = numbers(look(people.charlie), "by-month")["series"]
    assert mine[1]["values"][-1] == 3 * 4 * GIB
    assert theirs[1]["values"][-1] == (9 * 4 + 12 * 4) * GIB


def test_a_correction_counts_in_the_month_in_which_it_was_used(of_web: Line, people: People) -> None:
    of_web.resized("2026-02-28 18:00", estimated_bytes=GIB).resized("2026-03-01 00:00", estimated_bytes=4 * GIB)
    close("2026-03-16 00:30")
    drawn = numbers(look(people.alice), "by-month")
    assert drawn["series"][0]["values"][-2] == (6 * 4 + 6) * GIB


def test_costs_are_shown_where_there_are_prices_and_nothing_of_them_where_there_are_none(people: People) -> None:
    line_of(people.acme, estimated_bytes=2 * GIB).taken("2026-03-01")
    assert "Cost" not in look(people.alice).text
    terms = PriceTerms(
        UsageType.VM_SNAPSHOT_ON_PRIMARY, PriceUnit.ALLOCATED, Decimal("0.1"), "EUR", None, at("2026-03-02"), None
    )
    set_price(SYSTEM, terms)
    close("2026-03-15 00:30")
    page = look(people.alice)
    assert table(page, "months")[0][-1] == f"{0.1 * 2 * (13 * 24 + 12):.2f} EUR"
    assert "Cost so far 2.40 EUR" in page.text


def test_with_monthly_periods_the_present_month_is_all_open(people: People, settings: Settings) -> None:
    settings.USAGE_PERIOD = "month"
    line_of(people.acme).taken("2026-02-14")
    close("2026-03-01 00:30")
    page = look(people.alice)
    assert table(page, "machines")[0][1] == f"{14 * 24 + 12} hours"
    assert numbers(page, "by-month")["series"][0]["values"][-1] == 0


def test_a_period_that_was_not_closed_for_months_is_shared_out_among_them(people: People) -> None:
    line_of(people.acme, estimated_bytes=GIB).taken("2026-01-30")
    drawn = numbers(look(people.alice), "by-month")
    assert drawn["series"][1]["values"][-3:] == [48 * GIB, 28 * 24 * GIB, (14 * 24 + 12) * GIB]


# For whom


def test_nobody_sees_the_usage_of_an_account_that_is_not_theirs(of_web: Line, people: People) -> None:
    for person in (people.charlie, people.nora):
        for path in ("/usage/", "/usage/records.csv"):
            assert look(person, f"{path}?account={people.acme.uuid}").status == 404
    assert look(people.alice, f"/usage/?account={uuid4()}").status == 404
    assert "before the upgrade" not in look(people.charlie).source
    rows = read(people.charlie, "/usage/records.csv")
    assert {row["snapshot_name"] for row in rows} == {"of others"}
    assert read(people.nora, "/usage/records.csv") == []


@pytest.mark.parametrize("who", ["alice", "bob", "dora", "root"])
def test_members_readers_and_admins_see_it(of_web: Line, people: People, who: str) -> None:
    assert "before the upgrade" in look(getattr(people, who), f"/usage/?account={people.acme.uuid}").source


def test_who_sees_several_accounts_chooses_one(of_web: Line, people: People) -> None:
    page = look(people.root)
    names = [option.text for option in page.find("//select[@name='account']/option")]
    assert names == ["acme (engineering)", "other (elsewhere)"]
    assert "of others" not in page.source
    assert "of others" in look(people.root, f"/usage/?account={people.other.uuid}").source
    assert not look(people.alice).find("//select[@name='account']")


def test_who_is_a_member_of_two_accounts_sees_both(of_web: Line, people: People) -> None:
    second = account("second", people.engineering)
    tenancy.grant_role(SYSTEM, user=people.alice, role=Role.READER, account=second)
    page = look(people.alice, f"/usage/?account={second.uuid}")
    assert page.status == 200
    assert "Nothing used in the last twelve months" in page.text


def test_an_empty_page_says_how_usage_begins(people: People) -> None:
    assert "Usage begins when a VM snapshot is taken" in look(people.alice).text
    assert "you are a member of none" in look(people.nora).text


@pytest.mark.parametrize(
    "query", ["month=2026-13", "month=x", "machine=x", "account=x", "month=1999-01", f"machine={UUID(int=1)}"]
)
def test_what_makes_no_sense_in_the_address_is_passed_over(of_web: Line, people: People, query: str) -> None:
    assert table(look(people.alice, f"/usage/?{query}"), "machines")


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("month", ["0001-01", "1970-01", "9999-12"])
def test_a_month_at_either_end_of_the_calendar_is_one_in_which_nothing_was_used(
    of_web: Line, people: People, settings: Settings, month: str, zone: str
) -> None:
    settings.USAGE_TIME_ZONE = zone
    assert read(people.alice, f"/usage/records.csv?month={month}") == []
    assert table(look(people.alice, f"/usage/?month={month}"), "machines")


# What is there still, and CSV


def test_what_is_still_there_is_linked_and_has_its_present_name(people: People, cloud: Cloud) -> None:
    people.own(cloud)
    snapshot = take(cloud.machine("web"), "<b>here</b>", people.alice)
    page = Browser(people.alice).get("/usage/")
    link = page.one('//section[@aria-labelledby="snapshots-title"]//tbody//a')
    assert (link.get("href"), link.text_content()) == (f"/snapshots/{snapshot.uuid}/", "<b>here</b>")
    assert "gone" not in page.text


def test_the_names_that_the_next_owner_chose_reach_the_former_one_by_no_door(people: People, cloud: Cloud) -> None:
    people.own(cloud)
    snapshot = take(cloud.machine("web"), "plain", people.alice)
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("web"), account=people.other)
    run(request_rename(acting(people.charlie), snapshot=snapshot, name="takeover of acme"))
    with time_machine.travel(timezone.now() + timedelta(days=1, hours=1)):
        close_due_periods()
        for path in ("/usage/", "/usage/records.csv", "/api/v1/usage-records/", "/api/v1/usage-records/?format=csv"):
            assert "plain" in Browser(people.alice).get(path).source, path
            assert "takeover of acme" not in Browser(people.alice).get(path).source, path
            assert "takeover of acme" in Browser(people.charlie).get(path).source, path


def read(person: Any, path: str) -> list[dict[str, str]]:
    browser = Browser(person)
    with time_machine.travel(at(NOW), tick=False):
        answer = browser.client.get(path)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]  # a streaming answer
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_holds_the_records_behind_the_page(of_web: Line, people: People) -> None:
    page = look(people.alice)
    everything = read(people.alice, page.one('//a[normalize-space()="All records as CSV"]').get("href"))
    assert len(everything) == 15 * 2 + 2
    month = page.one('//section[@aria-labelledby="machines-title"]//a[@download]').get("href")
    assert len(read(people.alice, month)) == 14 * 2 + 2
    machine = page.one('//section[@aria-labelledby="snapshots-title"]//a[@download]').get("href")
    rows = read(people.alice, machine)
    assert len(rows) == 14 * 2
    assert {row["virtual_machine_name"] for row in rows} == {"web"}
    assert read(people.alice, f"/usage/records.csv?account={people.acme.uuid}&month=2025-12") == []
    total = sum(float(row["hours"]) for row in everything if row["type"] == "27")
    assert total == 12 + 14 * 24 + 6
    assert total * HOUR == int(total * HOUR)


@pytest.mark.parametrize("chart", ["by-month", "by-machine", "by-snapshot"])
def test_each_charts_numbers_come_as_csv(of_web: Line, people: People, chart: str) -> None:
    page = look(people.alice)
    drawn = numbers(page, chart)
    path = page.one(f'//figure[@aria-labelledby="{chart}-title"]//a[@download]').get("href")
    answer = look(people.alice, path)
    head, *rows = csv.reader(io.StringIO(answer.source))
    assert head[1:] == [f"{series['name']} (byte-hours)" for series in drawn["series"]]
    assert [row[0] for row in rows] == drawn["labels"]
    assert [[int(cell) for cell in row[1:]] for row in rows] == [
        list(values) for values in zip(*(series["values"] for series in drawn["series"]), strict=True)
    ]
    assert look(people.charlie, path).status == 404


def test_the_numbers_are_those_of_the_month_and_the_machine_that_are_shown(of_web: Line, people: People) -> None:
    link = look(people.alice).one('//section[@aria-labelledby="machines-title"]//a[bdi="db"]').get("href")
    path = look(people.alice, link).one('//figure[@aria-labelledby="by-snapshot-title"]//a[@download]').get("href")
    assert [row[0] for row in csv.reader(io.StringIO(look(people.alice, path).source))] == ["VM snapshot", "of db"]


def test_what_was_closed_in_another_zone_is_everywhere_in_the_month_it_was_closed_in(
    people: People, settings: Settings
) -> None:
    line_of(people.acme, machine_name="early").taken("2026-03-01 02:00").deleted("2026-03-01 03:00")
    settings.USAGE_PERIOD = "hour"
    close("2026-03-01 03:00:00")
    close("2026-03-01 03:10")
    # These hours of March lie among those of February in New York, which come after.
    settings.USAGE_TIME_ZONE = "America/New_York"
    line_of(people.acme, machine_name="late").taken("2026-03-01 03:30").deleted("2026-03-01 16:00")
    close("2026-03-15 00:30")
    march = look(people.alice)
    assert [row[:2] for row in table(march, "months")] == [["Mar 2026", "12 hours"], ["Feb 2026", "1.5 hours"]]
    assert [row[:2] for row in table(march, "machines")] == [
        ["late no longer yours", "11 hours"],
        ["early no longer yours", "1 hours"],
    ]
    assert [row[1] for row in table(march, "snapshots")] == ["11 hours"]
    february = f"account={people.acme.uuid}&month=2026-02"
    page = look(people.alice, f"/usage/?{february}")
    assert [row[:2] for row in table(page, "machines")] == [["late no longer yours", "1.5 hours"]]
    assert [row[1] for row in table(page, "snapshots")] == ["1.5 hours"]
    records = read(people.alice, f"/usage/records.csv?{february}")
    assert {(row["virtual_machine_name"], row["hours"]) for row in records} == {("late", "0.5"), ("late", "1.0")}


@pytest.mark.parametrize("count", [1, 16])
def test_the_page_costs_the_same_however_much_was_used(people: People, count: int) -> None:
    for number in range(count):
        line_of(people.acme, machine_name=f"m{number}").taken("2026-03-02").resized("2026-03-15 01:00")
    close("2026-03-15 00:30")
    browser = Browser(people.alice)
    with time_machine.travel(at(NOW), tick=False), CaptureQueriesContext(connection) as queries:
        page = browser.get("/usage/")
    assert len(table(page, "machines")) == count
    assert len(queries) == 18

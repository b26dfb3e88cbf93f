"""Usage in the administration: looked at, summed up and exported by root admins; prices are set there."""

import csv
import io
import json
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from lxml import html

from snapshots.choices import PriceUnit, UsageType
from snapshots.models import UsagePeriod, UsagePrice, UsageRecord
from snapshots.services.usage_prices import PriceTerms, set_price
from tests.builders import PASSWORD, SYSTEM, People, empty_pool
from tests.doors.admin_forms import add, change, delete, errors, last_event, messages
from tests.usage import GIB, Line, at, close

RECORDS = "/admin/snapshots/usagerecord/"
EXPORT = f"{RECORDS}export/"


@pytest.fixture
def usage(people: People) -> Line:
    """Two VM snapshots of one day; one has a name that is a formula."""
    line = Line(snapshot_name="=1+1", estimated_bytes=2 * GIB).taken("2026-03-01 12:00")
    Line(machine_name="db", estimated_bytes=GIB, volume_bytes=GIB).taken("2026-03-01")
    close("2026-03-02 01:00")
    return line


def totals(root: Client, query: str = "") -> dict[str, dict[str, Any]]:
    answer = root.get(RECORDS + query)
    assert answer.status_code == 200
    return {line["type"]: line for line in answer.context["totals"]}


def exported(root: Client, form: int, query: str = "") -> bytes:
    answer = root.post(EXPORT + query, {"format": form, "resource": "0"})
    assert answer.status_code == 200
    assert answer["Content-Disposition"].startswith("attachment"), answer.content
    found: bytes = answer.content
    return found


def test_the_list_ends_with_the_sum_of_all_that_match(usage: Line, root: Client) -> None:
    found = totals(root)
    assert found["VM snapshot"]["records"] == 2
    primary = found["VM snapshot on primary storage"]
    assert (primary["hours"], primary["allocated"], primary["measured"]) == ("36.000", "48.000", "36.000")
    assert "The sum of all that match" in root.get(RECORDS).content.decode()


def test_filters_and_search_narrow_list_and_sum_alike(usage: Line, root: Client) -> None:
    assert set(totals(root, "?type__exact=27")) == {"VM snapshot on primary storage"}
    assert totals(root, "?q=db")["VM snapshot on primary storage"]["allocated"] == "24.000"
    assert totals(root, "?q=nothing") == {}


@pytest.mark.parametrize("what", ["account", "domain", "machine", "pool"])
def test_one_account_domain_machine_or_pool_is_chosen_by_its_whole_name_or_its_id(
    usage: Line, root: Client, what: str
) -> None:
    other = Line(**{f"{what}_name": "a & b"}).taken("2026-03-02 12:00")
    close("2026-03-03 01:00")
    assert totals(root, f"?{what}=a+%26+b")["VM snapshot"]["records"] == 1
    assert totals(root, f"?{what}={other.facts[f'{what}_uuid']}")["VM snapshot"]["records"] == 1
    assert totals(root, f"?{what}=a") == {}
    assert totals(root, f"?{what}=")["VM snapshot"]["records"] >= 3
    assert len(exported(root, 0, f"?{what}=a+%26+b").splitlines()) == 3


def test_filters_by_name_keep_each_other_and_are_taken_back_by_a_link(usage: Line, root: Client) -> None:
    page = html.fromstring(root.get(f"{RECORDS}?machine=db&pool=default&type__exact=27&p=1").content)
    (form,) = page.xpath('//form[.//label[@for="by-machine"]]')
    assert dict(form.form_values()) == {"machine": "db", "pool": "default", "type__exact": "27"}
    (link,) = form.xpath(".//a")
    assert (link.text, link.get("href")) == ("Any machine", "?pool=default&type__exact=27")
    assert not page.xpath('//form[.//label[@for="by-account"]]//a')


def test_the_filters_by_name_ask_for_no_list_of_names(usage: Line, root: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        root.get(RECORDS)
    assert not [query["sql"] for query in queries if "DISTINCT" in query["sql"] and "_name" in query["sql"]]


def test_sums_leave_64_bits_without_a_fault(people: People, root: Client) -> None:
    for _ in range(30):
        Line(volume_bytes=2**62, estimated_bytes=2**62).taken("2026-03-01")
    close("2026-03-02 01:00")
    assert totals(root)["VM snapshot"]["allocated"] == f"{30 * 24 * 2**32:,}.000"


def test_the_list_costs_the_same_however_long_it_is(usage: Line, root: Client) -> None:
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            root.get(RECORDS)
        counts.append(len(queries))
        for _ in range(10):
            Line().taken("2026-03-02")
        close("2026-03-03 01:00")
    assert counts[0] == counts[1]


def test_what_matches_is_exported_as_csv_with_names_that_stay_text(usage: Line, root: Client) -> None:
    rows = list(csv.DictReader(io.StringIO(exported(root, 0).decode())))
    assert len(rows) == 4
    mine = next(row for row in rows if row["snapshot"] == str(usage.uuid) and row["type"] == "27")
    assert (mine["snapshot_name"], mine["hours"], mine["allocated_byte_hours"]) == ("'=1+1", "12.0", str(24 * GIB))
    assert mine["start"] == "2026-03-01T12:00:00Z"
    assert len(list(csv.DictReader(io.StringIO(exported(root, 0, "?type__exact=27&q=db").decode())))) == 1


def test_what_matches_is_exported_as_a_workbook(usage: Line, root: Client) -> None:
    Line(snapshot_name="bell \x07").taken("2026-03-02 06:00")
    close("2026-03-03 01:00")
    sheet = openpyxl.load_workbook(io.BytesIO(exported(root, 1))).active
    head, *rows = [[cell.value for cell in row] for row in sheet.rows]
    assert len(rows) == 10
    names = {row[head.index("snapshot_name")] for row in rows}
    assert names == {"'=1+1", "before the upgrade", "bell \N{REPLACEMENT CHARACTER}"}
    assert not any(cell.data_type == "f" for row in sheet.rows for cell in row)


def test_what_matches_is_exported_as_json_as_it_is(usage: Line, root: Client) -> None:
    rows = json.loads(exported(root, 2, "?type__exact=27"))
    mine = next(row for row in rows if row["snapshot"] == str(usage.uuid))
    assert (mine["snapshot_name"], mine["hours"], mine["cost"]) == ("=1+1", 12.0, None)


def test_costs_are_exported_as_numbers_also_those_below_zero_of_corrections(root: Client) -> None:
    terms = PriceTerms(
        UsageType.VM_SNAPSHOT_ON_PRIMARY, PriceUnit.HOUR, Decimal("0.0000001"), "EUR", None, at("2026-03-01"), None
    )
    set_price(SYSTEM, terms)
    line = Line().taken("2026-03-01 12:00")
    close("2026-03-02 01:00")
    line.deleted("2026-03-01 22:00")
    close("2026-03-03 01:00")
    of_type_27 = "?type__exact=27&o=1"
    text = [row["cost"] for row in csv.DictReader(io.StringIO(exported(root, 0, of_type_27).decode()))]
    assert sorted(text) == ["-0.0000002", "0.0000012"]
    sheet = openpyxl.load_workbook(io.BytesIO(exported(root, 1, of_type_27))).active
    head, *rows = list(sheet.rows)
    costs = [row[[cell.value for cell in head].index("cost")] for row in rows]
    assert {(cell.data_type, cell.value) for cell in costs} == {("n", -2e-07), ("n", 1.2e-06)}
    exact = {row["cost"] for row in json.loads(exported(root, 2, of_type_27))}
    assert exact == {"-0.0000002", "0.0000012"}


def test_nothing_of_what_is_closed_can_be_changed_here(usage: Line, root: Client) -> None:
    for row in (UsageRecord.objects.first(), UsagePeriod.objects.first()):
        assert row is not None
        name = row._meta.model_name
        assert root.get(reverse(f"admin:snapshots_{name}_add")).status_code == 403
        assert root.get(reverse(f"admin:snapshots_{name}_delete", args=[row.pk])).status_code == 403
        page = root.get(reverse(f"admin:snapshots_{name}_change", args=[row.pk]))
        assert page.status_code == 200
        assert 'name="_save"' not in page.content.decode()
        assert change(root, row, microseconds="1").status_code == 403


@pytest.mark.parametrize("who", ["alice", "dora", "charlie"])
def test_nobody_else_exports(usage: Line, who: str) -> None:
    client = Client()
    assert client.login(username=who, password=PASSWORD)
    post = {"format": 0, "resource": "0"}
    for answer in (
        client.get(EXPORT, follow=True),
        client.post(EXPORT, post, follow=True),
        client.get(RECORDS, follow=True),
    ):
        assert answer.status_code == 403
        assert b"before the upgrade" not in answer.content


# Prices

PRICE = {
    "type": "27",
    "unit": "allocated",
    "pool": "",
    "amount": "0.25",
    "currency": "EUR",
    "valid_from_0": "2026-03-02",
    "valid_from_1": "00:00",
    "valid_until_0": "",
    "valid_until_1": "",
}


def test_a_price_is_set_changed_and_deleted_by_the_service(usage: Line, root: Client) -> None:
    assert add(root, UsagePrice, **PRICE).status_code == 302
    price = UsagePrice.objects.get()
    assert price.billionths == 250_000_000
    assert last_event().action == "usage_price.set"
    form = root.get(reverse("admin:snapshots_usageprice_change", args=[price.pk])).content.decode()
    assert 'value="0.25"' in form
    assert change(root, price, **PRICE | {"amount": "0.5"}).status_code == 302
    assert last_event().action == "usage_price.changed"
    assert UsagePrice.objects.get().billionths == 500_000_000
    delete(root, price)
    assert last_event().action == "usage_price.deleted"
    assert not UsagePrice.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"valid_from_0": "2026-03-01"}, "Usage is billed until 2026-03-02 00:00 UTC"),
        ({"amount": "-1"}, "greater than or equal to 0"),
        ({"amount": "0.0000000001"}, "9 decimal places"),
        ({"amount": "much"}, "Enter a number"),
        ({"type": "25", "unit": "measured"}, "Nothing is measured in type 25"),
        ({"valid_until_0": "2026-03-01", "valid_until_1": "00:00"}, "After the price begins to be valid"),
    ],
)
def test_a_price_that_cannot_be_is_shown_again_with_the_reason(
    usage: Line, root: Client, wrong: dict[str, str], sentence: str
) -> None:
    assert sentence in errors(add(root, UsagePrice, **PRICE | wrong))
    assert not UsagePrice.objects.exists()


def test_a_price_that_was_billed_by_is_not_deleted(usage: Line, root: Client) -> None:
    add(root, UsagePrice, **PRICE)
    close("2026-03-03 01:00")
    assert "so it stays" in messages(delete(root, UsagePrice.objects.get()))
    assert totals(root)["VM snapshot on primary storage"]["cost"] == f"{0.25 * 24 * 3:.2f} EUR"


def test_a_price_of_one_pool_is_no_price_of_all_after_a_change_however_it_is_posted(root: Client) -> None:
    pool = empty_pool()
    add(root, UsagePrice, **PRICE | {"pool": pool.pk})
    price = UsagePrice.objects.get()
    named = (pool.uuid, pool.name)
    pool.delete()
    page = root.get(reverse("admin:snapshots_usageprice_change", args=[price.pk]))
    assert "pool" not in page.context["adminform"].form.fields
    assert f'<div class="readonly">{named[1]}</div>' in page.content.decode()
    assert change(root, price, **PRICE | {"amount": "2"}).status_code == 302
    price.refresh_from_db()
    assert (price.pool_uuid, price.pool_name, price.billionths) == (*named, 2_000_000_000)

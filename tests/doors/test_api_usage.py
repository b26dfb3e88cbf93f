"""`usage-records/`: what was billed, for those who see the account, in pages or as a stream of CSV."""

import csv
import io
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from snapshots.access import SYSTEM
from snapshots.choices import Role
from snapshots.models import UsageRecord
from snapshots.reading.usage_table import UsageLine, usage_line
from snapshots.services import tenancy
from tests.builders import People, account, user
from tests.doors.api_client import Caller, problem
from tests.usage import GIB, Line, close, line_of

FIELDS = {
    "id", "type", "period_start", "period_end", "start", "end", "corrects_start", "corrects_end", "snapshot",
    "snapshot_name", "virtual_machine", "virtual_machine_name", "account", "account_name", "domain", "domain_name",
    "storage_pool", "storage_pool_name", "hypervisor", "hypervisor_name", "hours", "allocated_bytes", "measured_bytes",
    "allocated_byte_hours", "measured_byte_hours", "unmeasured_hours", "cost", "currency",
}  # fmt: skip


@pytest.fixture
def line(people: People) -> Line:
    """A VM snapshot of acme, taken at noon of the first of March; two days are closed."""
    made = line_of(people.acme, volume_bytes=8 * GIB, estimated_bytes=2 * GIB, measured_bytes=GIB)
    made.taken("2026-03-01 12:00")
    line_of(people.other, snapshot_name="of others").taken("2026-03-01 06:00")
    close("2026-03-03 01:00")
    return made


def as_csv(caller: Caller, path: str, **headers: str) -> list[dict[str, str]]:
    answer = caller.get(path, **headers)
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]  # a streaming answer
    return list(csv.DictReader(io.StringIO(text)))


def test_a_record_has_the_fields_of_the_contract(line: Line, people: People) -> None:
    volumes, primary = sorted(
        Caller(people.bob).rows("usage-records/?start_before=2026-03-02T00:00:00Z"), key=lambda row: row["type"]
    )
    assert set(volumes) == set(primary) == FIELDS
    assert (volumes["type"], primary["type"]) == (25, 27)
    assert volumes["hours"] == primary["hours"] == 12
    assert (volumes["allocated_bytes"], volumes["allocated_byte_hours"]) == (8 * GIB, 96 * GIB)
    assert [volumes[name] for name in ("measured_bytes", "measured_byte_hours", "unmeasured_hours")] == [None] * 3
    assert (primary["allocated_byte_hours"], primary["measured_byte_hours"]) == (24 * GIB, 12 * GIB)
    assert (primary["start"], primary["end"]) == ("2026-03-01T12:00:00Z", "2026-03-02T00:00:00Z")
    assert (primary["period_start"], primary["period_end"]) == ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")
    assert (primary["corrects_start"], primary["cost"], primary["currency"]) == (None, None, "")
    assert primary["snapshot"] == str(line.uuid)


def test_only_those_who_see_the_account_see_its_usage(line: Line, people: People) -> None:
    for person, names in (
        (people.alice, {"before the upgrade"}),
        (people.bob, {"before the upgrade"}),
        (people.dora, {"before the upgrade"}),
        (people.charlie, {"of others"}),
        (people.nora, set()),
        (people.root, {"before the upgrade", "of others"}),
    ):
        caller = Caller(person)
        assert {row["snapshot_name"] for row in caller.rows("usage-records/")} == names, person
        assert {row["snapshot_name"] for row in as_csv(caller, "usage-records/?format=csv")} == names, person
    charlie = Caller(people.charlie)
    for asked in (f"snapshot={line.uuid}", f"usageid={line.uuid}", f"account={people.acme.uuid}"):
        assert charlie.rows(f"usage-records/?{asked}") == []
        assert as_csv(charlie, f"usage-records/?{asked}&format=csv") == []
    problem(Caller(None).get("usage-records/"), 401, "unauthenticated")
    problem(Caller(None).get("usage-records/?format=csv"), 401, "unauthenticated")


def test_usage_of_a_deleted_account_is_for_the_admins_of_the_domain_it_was_in(people: People) -> None:
    gone = account("gone", people.engineering)
    member = user("gina", Role.OPERATOR, account=gone)
    line_of(gone, snapshot_name="of the gone").taken("2026-03-01").deleted("2026-03-01 06:00")
    close("2026-03-02 01:00")
    assert len(Caller(member).rows("usage-records/")) == 2
    tenancy.delete_account(SYSTEM, account=gone)
    for person in (people.dora, people.root):
        assert {row["account_name"] for row in Caller(person).rows("usage-records/")} == {"gone"}
    for person in (member, people.alice, people.charlie, people.nora):
        assert Caller(person).rows("usage-records/") == []


def test_an_admin_does_not_see_what_an_account_used_before_it_came_to_live_elsewhere(people: People) -> None:
    """The account is there and is not Dora's: its past in her domain is not hers either."""
    moved = line_of(people.other, snapshot_name="moved")
    moved.facts |= {"domain_uuid": people.engineering.uuid}
    moved.taken("2026-03-01")
    close("2026-03-02 01:00")
    assert Caller(people.dora).rows("usage-records/") == []
    assert len(Caller(people.charlie).rows("usage-records/")) == 2


FILTERS = ("account", "domain", "virtual_machine", "snapshot", "usageid", "storage_pool", "hypervisor", "type")


@pytest.mark.parametrize("name", FILTERS)
def test_records_are_found_by_each_filter(line: Line, people: People, name: str) -> None:
    root = Caller(people.root)
    wanted = root.rows(f"usage-records/?snapshot={line.uuid}&type=27")[0]
    value = wanted["snapshot" if name == "usageid" else name]
    found = root.rows(f"usage-records/?{name}={value}")
    assert 0 < len(found) < UsageRecord.objects.count()
    assert {row["snapshot" if name == "usageid" else name] for row in found} == {value}


def test_records_are_found_by_time_and_by_period(line: Line, people: People) -> None:
    alice = Caller(people.alice)
    assert len(alice.rows("usage-records/?start_after=2026-03-01T13:00:00Z")) == 2
    assert len(alice.rows("usage-records/?period_after=2026-03-01T00:00:00Z&period_before=2026-03-02T00:00:00Z")) == 2
    assert len(alice.rows("usage-records/?period_after=2026-03-01T00:00:00Z&period_before=2026-03-03T00:00:00Z")) == 4
    assert alice.rows("usage-records/?period_after=2026-03-02T00:00:01Z") == []


def test_corrections_are_told_apart_and_name_the_period_they_correct(line: Line, people: People) -> None:
    alice = Caller(people.alice)
    line.deleted("2026-03-01 18:00")
    close("2026-03-04 01:00")
    assert {row["corrects_start"] for row in alice.rows("usage-records/?correction=false")} == {None}
    found = alice.rows("usage-records/?correction=true&type=27&ordering=start")
    assert [row["hours"] for row in found] == [-6, -24]
    assert [row["corrects_start"] for row in found] == ["2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"]
    assert found[1]["allocated_byte_hours"] == -48 * GIB


@pytest.mark.parametrize(
    "query",
    [
        "type=26",
        "type=x",
        "account=x",
        "start_after=now",
        "format=xml",
        "unknown=1",
        "ordering=cost",
        "format=csv&page_size=5",
    ],
)
def test_what_cannot_be_asked_is_refused(line: Line, people: People, query: str) -> None:
    problem(Caller(people.alice).get(f"usage-records/?{query}"), 400, "invalid")


# CSV


def test_csv_holds_all_that_match_and_says_what_json_says(line: Line, people: People) -> None:
    alice = Caller(people.alice)
    for wanted in ("usage-records/?format=csv&type=27", "usage-records/?type=27"):
        rows = as_csv(alice, wanted, Accept="text/csv")
        shown = alice.rows("usage-records/?type=27")
        assert len(rows) == len(shown) == 2
        for row, json_row in zip(rows, shown, strict=True):
            assert {name: "" if value is None else str(value) for name, value in json_row.items()} == row


def test_csv_is_not_cut_into_pages(people: People) -> None:
    for _ in range(130):
        line_of(people.acme).taken("2026-03-01")
    close("2026-03-02 01:00")
    assert len(as_csv(Caller(people.alice), "usage-records/?format=csv")) == 260
    assert len(Caller(people.alice).rows("usage-records/")) == 50


def test_csv_comes_in_the_order_that_is_asked_for(line: Line, people: People) -> None:
    starts = [row["start"] for row in as_csv(Caller(people.alice), "usage-records/?format=csv&ordering=start&type=25")]
    assert starts == sorted(starts)
    assert len(set(starts)) == 2


@pytest.mark.parametrize("name", ["=1+1", "@cmd", "+1", "-1"])
def test_a_name_that_is_a_formula_reaches_a_spreadsheet_as_text(people: People, name: str) -> None:
    line_of(people.acme, snapshot_name=name, machine_name=name).taken("2026-03-01")
    close("2026-03-02 01:00")
    (row, _) = as_csv(Caller(people.alice), "usage-records/?format=csv")
    assert (row["snapshot_name"], row["virtual_machine_name"]) == (f"'{name}", f"'{name}")
    assert Caller(people.alice).rows("usage-records/")[0]["snapshot_name"] == name


def test_csv_is_sent_while_it_is_read(line: Line, people: People) -> None:
    read: list[int] = []  # by the time it is sent

    def counted(record: Any) -> UsageLine:
        read.append(record.pk)
        return usage_line(record)

    with patch("snapshots.api.usage_views.usage_line", counted):
        answer = Caller(people.alice).get("usage-records/?format=csv")
        lines = iter(answer)
        assert len([next(lines), next(lines)]) == 2
        assert len(read) == 1
        assert len(list(lines)) == 3


def test_json_is_what_a_client_gets_that_takes_anything(line: Line, people: People) -> None:
    for accept in ("*/*", "application/json, text/csv;q=0.5", "text/html"):
        assert Caller(people.alice).get("usage-records/", Accept=accept)["Content-Type"] == "application/json"


def test_a_list_costs_the_same_however_long_it_is(line: Line, people: People) -> None:
    alice = Caller(people.alice)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            alice.rows("usage-records/")
        counts.append(len(queries))
        for _ in range(20):
            line_of(people.acme).taken("2026-03-03")
        close("2026-03-05 01:00")
    assert counts == [3, 3]

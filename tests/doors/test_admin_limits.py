"""Limits in the admin: set, lowered, taken away, written to files and read from them, always through the service; and who
is near one. The user's dialog shows at once what an admin set."""

import csv
import io
import itertools
import json
from typing import Any

import pytest
import tablib
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from lxml import html

from snapshots.access import SYSTEM
from snapshots.choices import LimitKind
from snapshots.models import Event, Limit, LimitUse, VirtualMachine
from snapshots.services import tenancy
from tests.builders import PASSWORD, People, limit, take
from tests.doors.admin_forms import add, change, delete, errors, last_event, messages
from tests.doors.browser_client import Browser

FORMATS = {"csv": 0, "xlsx": 1, "json": 2}
NEAR = "admin:snapshots_limit_near"


def values() -> dict[str, int]:
    """What is set, by place and kind."""
    return {f"{row.account or row.domain} {row.kind}": row.value for row in Limit.objects.all()}


def test_a_limit_set_in_the_admin_is_in_the_users_dialog_at_once(
    root: Client, people: People, web: VirtualMachine
) -> None:
    take(web, "first", people.alice)
    address = f"/machines/{web.uuid}/take/"
    alice = Browser(people.alice)
    assert "Account acme 1 VM snapshot, no limit" in alice.get(address).text
    assert add(root, Limit, account=people.acme.pk, kind="snapshots", value=1).status_code == 302
    page = alice.get(address)
    assert "Account acme 1 of 1 VM snapshots" in page.text
    assert "The account acme has 1 VM snapshot and may have 1." in page.text
    row = Limit.objects.get()
    assert change(root, row, value=7).status_code == 302
    assert "Account acme 1 of 7 VM snapshots" in alice.get(address).text
    delete(root, row)
    assert "Account acme 1 VM snapshot, no limit" in alice.get(address).text
    assert last_event().action == "limits.set"
    assert Event.objects.filter(action="limits.set", user=people.root, trigger="admin").count() == 3


def test_limits_of_domains_are_set_too_and_what_is_lowered_is_told(root: Client, people: People) -> None:
    limit(people.acme, 9)
    form = {"domain": people.engineering.pk, "kind": "snapshots", "value": 5}
    answer = root.post(reverse("admin:snapshots_limit_add"), form, follow=True)
    assert "Lowered too: VM snapshots of acme is 5 now." in messages(answer)
    assert values() == {"acme snapshots": 5, "engineering snapshots": 5}


@pytest.mark.parametrize("value", ["-2", str(2**63), "1.5", "many", ""])
def test_what_is_no_limit_is_refused_at_the_field(root: Client, people: People, value: str) -> None:
    assert "value" in errors(add(root, Limit, account=people.acme.pk, kind="snapshots", value=value))
    assert not Limit.objects.exists()


def test_an_account_or_a_domain_has_to_be_chosen(root: Client, people: People) -> None:
    assert "Choose an account or a domain" in errors(add(root, Limit, kind="snapshots", value=5))
    both = {"account": people.acme.pk, "domain": people.engineering.pk}
    assert "Choose an account or a domain" in errors(add(root, Limit, **both, kind="snapshots", value=5))


def test_more_than_what_holds_above_is_refused_at_the_field(root: Client, people: People) -> None:
    limit(people.organisation, 5)
    assert "At most 5" in errors(add(root, Limit, account=people.acme.pk, kind="snapshots", value=6))


# Files


def export(root: Client, form: str) -> bytes:
    answer = root.post(reverse("admin:snapshots_limit_export"), {"format": FORMATS[form], "resource": "0"})
    assert answer.status_code == 200
    assert "attachment" in answer["Content-Disposition"], answer.content
    return bytes(answer.content)


def load(root: Client, form: str, content: bytes) -> Any:
    file = SimpleUploadedFile(f"limits.{form}", content)
    address = reverse("admin:snapshots_limit_import")
    return root.post(address, {"format": FORMATS[form], "import_file": file, "resource": ""}, follow=True)


def rows_as(form: str, rows: list[dict[str, Any]]) -> bytes:
    data = tablib.Dataset(*[list(row.values()) for row in rows], headers=list(rows[0]))
    made = data.export(form)
    return made if isinstance(made, bytes) else made.encode()


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_can_be_imported_again(root: Client, people: People, form: str) -> None:
    limit(people.acme, 5)
    limit(people.engineering, 2**62, LimitKind.BYTES)
    limit(people.other, -1, LimitKind.AGE_DAYS)
    before = values()
    file = export(root, form)
    Limit.objects.all().delete()
    assert load(root, form, file).status_code == 200
    assert values() == before
    assert Event.objects.filter(action="limits.set", user=people.root, trigger="admin").count() == 3


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("lowered", ["organisation", "engineering", "acme"])
def test_what_is_exported_puts_back_what_was_lowered_since(
    root: Client, people: People, form: str, lowered: str
) -> None:
    for place, value in ((people.organisation, 100), (people.engineering, 50), (people.acme, 20)):
        limit(place, value)
        limit(place, value, LimitKind.PER_MACHINE)
    before = values()
    file = export(root, form)
    for kind in (LimitKind.SNAPSHOTS, LimitKind.PER_MACHINE):
        limit(getattr(people, lowered), 5, kind)
    assert load(root, form, file).status_code == 200
    assert values() == before


def test_an_import_does_not_depend_on_the_order_of_its_rows(root: Client, people: People) -> None:
    wanted = [(people.organisation, 100), (people.engineering, 50), (people.acme, 20)]
    rows = [
        {"place": type(on).__name__.lower(), "id": str(on.uuid), "kind": "snapshots", "value": str(value)}
        for on, value in wanted
    ]
    for order in itertools.permutations(rows):
        limit(people.organisation, 5)
        assert load(root, "csv", rows_as("csv", list(order))).status_code == 200
        assert values() == {"organisation snapshots": 100, "engineering snapshots": 50, "acme snapshots": 20}


def test_the_list_has_the_domains_from_the_top_down_then_the_accounts(root: Client, people: People) -> None:
    for place in (people.acme, people.other, people.engineering, people.elsewhere, people.organisation):
        limit(place, 5)
    text = root.get(reverse("admin:snapshots_limit_changelist")).content.decode()
    names = ("domain organisation", "domain engineering", "domain elsewhere", "account acme", "account other")
    places = [text.index(f"the {name}<") for name in names]
    assert places == sorted(places)


def test_an_export_names_each_place_in_full(root: Client, people: People) -> None:
    limit(people.acme, 5)
    (row,) = csv.DictReader(io.StringIO(export(root, "csv").decode()))
    assert row == {
        "place": "account", "id": str(people.acme.uuid), "name": "organisation / engineering / acme",
        "kind": "snapshots", "value": "5",
    }  # fmt: skip
    (row,) = json.loads(export(root, "json"))
    assert str(row["value"]) == "5"


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_a_name_that_looks_like_a_formula_stays_text(root: Client, people: People, form: str) -> None:
    domain = tenancy.create_domain(SYSTEM, name="=1+1")
    limit(domain, 5)
    data = tablib.Dataset().load(export(root, form).decode() if form == "csv" else export(root, form), format=form)
    assert data.dict[0]["name"] == "'=1+1"


@pytest.mark.parametrize("form", FORMATS)
def test_an_import_with_a_refused_row_changes_nothing_and_says_why_for_each(
    root: Client, people: People, form: str
) -> None:
    limit(people.organisation, 5)
    acme, other = {"place": "account", "id": str(people.acme.uuid)}, {"place": "account", "id": str(people.other.uuid)}
    rows: list[dict[str, Any]] = [
        {**other, "kind": "snapshots", "value": "3"},
        {**acme, "kind": "snapshots", "value": "6"},
        {**acme, "kind": "bytes", "value": "-7"},
        {**acme, "kind": "bytes", "value": "many"},
        {**acme, "kind": "memory", "value": "1"},
        {"place": "account", "id": "acme", "kind": "bytes", "value": "1"},
        {"place": "machine", "id": str(people.acme.uuid), "kind": "bytes", "value": "1"},
        {"place": "domain", "id": str(people.acme.uuid), "kind": "bytes", "value": "1"},
    ]
    answer = load(root, form, rows_as(form, rows))
    assert [row.number for row in answer.context["result"].invalid_rows] == [2, 3, 4, 5, 6, 7, 8]
    text = answer.content.decode()
    assert "At most 5, which is what holds for the domain engineering." in text
    assert text.count("A limit is a whole number from 0 to") == 2
    assert "One of snapshots, bytes, per_machine, age_days." in text
    assert "There is no account with this id." in text
    assert "account or domain." in text
    assert "There is no domain with this id." in text
    assert values() == {"organisation snapshots": 5}
    assert not Event.objects.filter(trigger="admin").exists()


@pytest.mark.parametrize("content", [b"", b"place,id,kind,value\n", b"a,b\n1,2\n", b"account\n", b"place,id\ndomain\n"])
def test_a_file_of_something_else_changes_nothing(root: Client, people: People, content: bytes) -> None:
    limit(people.acme, 5)
    assert load(root, "csv", content).status_code == 200
    assert values() == {"acme snapshots": 5}


def test_an_empty_value_takes_a_limit_away(root: Client, people: People) -> None:
    limit(people.acme, 5)
    row = {"place": "account", "id": str(people.acme.uuid), "kind": "snapshots", "value": ""}
    assert load(root, "csv", rows_as("csv", [row])).status_code == 200
    assert values() == {}


@pytest.mark.parametrize("name", ["import", "export", "near"])
def test_files_and_overview_are_for_root_admins(people: People, name: str) -> None:
    address = reverse(f"admin:snapshots_limit_{name}")
    for person in ("alice", "dora", "charlie"):
        client = Client()
        assert client.login(username=person, password=PASSWORD)
        assert client.get(address, follow=True).status_code == 403
    assert Client().get(address).status_code == 302


@pytest.mark.parametrize("name", ["limit_import", "limit_export", "limit_near", "usagerecord_export"])
def test_the_pages_hold_no_script_or_style_of_their_own(root: Client, people: People, name: str) -> None:
    page = html.fromstring(root.get(reverse(f"admin:snapshots_{name}")).content)
    inline = page.xpath("//script[not(@src)] | //style | //*[@style] | //*[@*[starts-with(name(), 'on')]]")
    assert inline == []


# Who is near


def test_the_overview_has_the_fullest_first(root: Client, people: People) -> None:
    assert "Nobody has a limit" in root.get(reverse(NEAR)).content.decode()
    limit(people.acme, 10)
    limit(people.engineering, 4 * 1024**3, LimitKind.BYTES)
    limit(people.other, 0)
    LimitUse.objects.filter(account=people.acme).update(snapshots=9)
    LimitUse.objects.filter(domain=people.engineering).update(estimated_bytes=1024**3)
    text = root.get(reverse(NEAR)).content.decode()
    places = [text.index(f"<bdi>{name}</bdi></th>") for name in ("other", "acme", "engineering")]
    assert places == sorted(places)
    assert "90 %" in text
    assert "25 %" in text
    assert "nothing is allowed" in text

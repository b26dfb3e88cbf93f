"""`limits/`: what holds, what is used and where it comes from; set by admins above; nothing of it for strangers."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from snapshots.access import SYSTEM
from snapshots.choices import LimitKind, TokenScope
from snapshots.models import Account, Domain, Event, Limit, VirtualMachine, VMSnapshot
from snapshots.services import tenancy
from tests.builders import Cloud, People, account, limit, take
from tests.doors.api_client import Caller, problem

KINDS = ["snapshots", "bytes", "per_machine", "age_days"]
DEFAULT = {"place": "default", "id": None, "name": ""}


def of(caller: Caller, on: Account | Domain, kind: str = "snapshots") -> dict[str, object]:
    """What the caller is shown of a kind at a place."""
    word = "account" if isinstance(on, Account) else "domain"
    (row,) = caller.rows(f"limits/?{word}={on.uuid}&kind={kind}")
    (shown,) = row["limits"]
    return dict(shown)


def source(on: Account | Domain) -> dict[str, str]:
    return {"place": "account" if isinstance(on, Account) else "domain", "id": str(on.uuid), "name": on.name}


def test_each_place_is_shown_with_all_its_limits(people: People, web: VirtualMachine) -> None:
    take(web, "one", memory=True)
    limit(people.acme, 5)
    rows = Caller(people.bob).rows("limits/")
    assert {(row["place"], row["id"], row["name"]) for row in rows} == {
        ("account", str(people.acme.uuid), "acme"),
        ("domain", str(people.engineering.uuid), "engineering"),
    }
    acme = next(row for row in rows if row["place"] == "account")
    assert acme["limits"] == [
        {"kind": "snapshots", "value": 5, "effective": 5, "source": source(people.acme), "used": 1},
        {"kind": "bytes", "value": None, "effective": -1, "source": DEFAULT, "used": web.memory_bytes},
        {"kind": "per_machine", "value": None, "effective": 10, "source": DEFAULT, "used": None},
        {"kind": "age_days", "value": None, "effective": -1, "source": DEFAULT, "used": None},
    ]


def test_what_holds_is_the_least_of_what_is_set_here_and_above(people: People) -> None:
    root = Caller(people.root)
    limit(people.organisation, 9)
    assert of(root, people.acme) == {
        "kind": "snapshots", "value": None, "effective": 9, "source": source(people.organisation), "used": 0,
    }  # fmt: skip
    limit(people.acme, 3)
    limit(people.engineering, 5)
    assert of(root, people.acme)["source"] == source(people.acme)
    assert of(root, people.engineering)["effective"] == 5
    limit(people.engineering, 3)
    assert of(root, people.acme)["source"] == source(people.acme), "the nearest of equals"


def test_a_kind_that_is_not_shared_comes_from_the_nearest(people: People) -> None:
    root = Caller(people.root)
    limit(people.organisation, 8, LimitKind.PER_MACHINE)
    assert of(root, people.acme, "per_machine")["effective"] == 8
    limit(people.engineering, 4, LimitKind.PER_MACHINE)
    assert of(root, people.acme, "per_machine") == {
        "kind": "per_machine", "value": None, "effective": 4, "source": source(people.engineering), "used": None,
    }  # fmt: skip


def test_of_domains_above_that_one_does_not_see_nothing_shows(people: People, web: VirtualMachine) -> None:
    limit(people.organisation, 7)
    limit(people.organisation, 6, LimitKind.PER_MACHINE)
    for person in (people.alice, people.dora):
        caller = Caller(person)
        assert of(caller, people.acme) == {
            "kind": "snapshots", "value": None, "effective": -1, "source": DEFAULT, "used": 0,
        }  # fmt: skip
        assert of(caller, people.acme, "per_machine")["source"] == {"place": "domain", "id": None, "name": ""}
        assert "organisation" not in str(caller.get("limits/").content)


def test_what_others_use_of_a_domain_shows_only_to_its_admins_or_where_it_is_limited(
    people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("foreign"), account=account("third", people.engineering))
    take(cloud.machine("foreign"), "theirs", memory=True)
    members = [Caller(people.alice), Caller(people.bob)]
    for caller in members:
        assert [of(caller, people.engineering, kind)["used"] for kind in KINDS[:2]] == [None, None]
        assert of(caller, people.acme)["used"] == 0, "an account's is shown to its members"
    for person in (people.dora, people.root):
        assert of(Caller(person), people.engineering)["used"] == 1
    limit(people.organisation, 9)
    assert of(members[0], people.engineering)["used"] is None, "that a domain above is limited is not for them"
    limit(people.engineering, 5)
    for caller in members:
        assert of(caller, people.engineering)["used"] == 1
        assert of(caller, people.engineering, "bytes")["used"] is None


def test_strangers_see_none_of_it(people: People) -> None:
    limit(people.acme, 7777)
    for person, seen in ((people.charlie, {"other", "elsewhere"}), (people.nora, set())):
        caller = Caller(person)
        assert {row["name"] for row in caller.rows("limits/")} == seen
        assert caller.rows(f"limits/?account={people.acme.uuid}") == []
        assert caller.rows(f"limits/?domain={people.engineering.uuid}") == []
        assert "7777" not in str(caller.get("limits/").content)


def test_the_list_is_ordered_by_use_filtered_and_cut_into_pages(people: People, web: VirtualMachine) -> None:
    take(web, "one", memory=True)
    root = Caller(people.root)
    assert set(root.names("limits/")[:3]) == {"organisation", "engineering", "acme"}
    assert set(root.names("limits/?ordering=estimated_bytes")[-3:]) == {"organisation", "engineering", "acme"}
    assert [row["kind"] for row in root.rows("limits/?kind=bytes")[0]["limits"]] == ["bytes"]
    first = root.get("limits/?page_size=2").json()
    assert [row["name"] for row in root.get(first["next"]).json()["results"]] == root.names("limits/")[2:4]
    problem(root.get("limits/?kind=memory"), 400, "invalid")
    problem(root.get("limits/?accounts=x"), 400, "invalid")


@pytest.mark.parametrize("count", [1, 12])
def test_the_list_costs_the_same_however_long_it_is(people: People, count: int) -> None:
    for number in range(count):
        limit(account(f"a{number}", people.engineering), number)
        limit(people.engineering, 20)
    caller = Caller(people.dora)
    with CaptureQueriesContext(connection) as captured:
        caller.rows("limits/?page_size=200")
    assert len(captured) == 6


# Setting


def test_an_admin_sets_changes_and_takes_away_a_limit(people: People) -> None:
    dora = Caller(people.dora)
    body = {"account": str(people.acme.uuid), "kind": "snapshots", "value": 5}
    answer = dora.put("limits/", body)
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["id"], shown["place"], shown["name"], shown["lowered"]) == (
        str(people.acme.uuid),
        "account",
        "acme",
        [],
    )
    assert [row["kind"] for row in shown["limits"]] == KINDS
    assert shown["limits"][0]["value"] == 5
    assert dora.put("limits/", body | {"value": -1}).json()["limits"][0]["value"] == -1
    assert dora.put("limits/", body | {"value": None}).json()["limits"][0]["value"] is None
    assert not Limit.objects.exists()
    event = Event.objects.filter(action="limits.set").last()
    assert event is not None
    assert (event.user, event.trigger, event.account) == (people.dora, "api", people.acme)


def test_what_is_lowered_with_a_domain_is_told(people: People) -> None:
    limit(people.acme, 9)
    body = {"domain": str(people.engineering.uuid), "kind": "snapshots", "value": 5}
    assert Caller(people.root).put("limits/", body).json()["lowered"] == [
        {"account": str(people.acme.uuid), "domain": None, "kind": "snapshots", "value": 5}
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"value": -2}, "value"),
        ({"value": 2**63}, "value"),
        ({"value": 1.5}, "value"),
        ({"value": 1.0}, "value"),
        ({"value": "5"}, "value"),
        ({"value": True}, "value"),
        ({"value": [5]}, "value"),
        ({"kind": "memory"}, "kind"),
        ({"kind": None}, "kind"),
        ({"account": "acme"}, "account"),
        ({"account": None}, "body"),
        ({"domain": str(uuid.uuid4())}, "body"),
        ({"max": 5}, "max"),
    ],
)
def test_a_bad_limit_is_refused_at_its_field(people: People, change: dict[str, object], field: str) -> None:
    body = {"account": str(people.acme.uuid), "kind": "snapshots", "value": 5} | change
    assert list(problem(Caller(people.root).put("limits/", body), 400, "invalid")["fields"]) == [field]
    assert not Limit.objects.exists()


def test_value_and_kind_are_asked_for(people: People) -> None:
    refused = problem(Caller(people.root).put("limits/", {"account": str(people.acme.uuid)}), 400, "invalid")
    assert set(refused["fields"]) == {"kind", "value"}


def test_more_than_what_holds_above_is_refused(people: People) -> None:
    limit(people.engineering, 5)
    body = {"account": str(people.acme.uuid), "kind": "snapshots", "value": 6}
    assert "At most 5" in problem(Caller(people.dora).put("limits/", body), 400, "invalid")["fields"]["value"][0]


def test_nobody_sets_their_own_and_a_token_for_reading_sets_nothing(people: People) -> None:
    own = {"domain": str(people.engineering.uuid), "kind": "snapshots", "value": 6}
    problem(Caller(people.dora).put("limits/", own), 403, "forbidden")
    account_of_hers = {"account": str(people.acme.uuid), "kind": "snapshots", "value": 6}
    for caller in (Caller(people.alice), Caller(people.bob), Caller(people.root, TokenScope.READ)):
        problem(caller.put("limits/", account_of_hers), 403, "forbidden")
    assert not Limit.objects.exists()


@pytest.mark.parametrize("word", ["account", "domain"])
def test_a_strangers_place_is_not_there(people: People, word: str) -> None:
    row = people.acme if word == "account" else people.engineering
    for person in (people.charlie, people.nora):
        caller = Caller(person)
        body = {"kind": "snapshots", "value": 6}
        hidden = problem(caller.put("limits/", body | {word: str(row.uuid)}), 404, "not_found")
        assert hidden == problem(caller.put("limits/", body | {word: str(uuid.uuid4())}), 404, "not_found")


# In the way


def test_a_refused_take_tells_level_figures_and_who_can_raise_it(people: People, web: VirtualMachine) -> None:
    limit(people.acme, 0)
    path = f"virtual-machines/{web.uuid}/snapshots/"
    refused = problem(Caller(people.alice).post(path, {"name": "one"}), 409, "limit_exceeded")
    told = {name: refused[name] for name in ("level", "name", "kind", "limit", "used", "wanted", "raised_by")}
    assert told == {
        "level": "account", "name": "acme", "kind": "snapshots", "limit": 0, "used": 0, "wanted": 1,
        "raised_by": "an admin of the domain engineering",
    }  # fmt: skip


def test_an_admin_goes_beyond_by_saying_so(
    people: People, web: VirtualMachine, cloud: Cloud, settings: Settings
) -> None:
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    first = take(web, "first", memory=True)
    cloud.world.take_elsewhere(web.native_id, "theirs")
    cloud.sync()
    limit(people.acme, 0)
    theirs = VMSnapshot.objects.get(name="theirs")
    adopt, revert = f"snapshots/{theirs.uuid}/adopt/", f"snapshots/{first.uuid}/revert/"
    beyond = {"exceed_limits": True}
    dora, alice = Caller(people.dora), Caller(people.alice)
    for path, body in ((adopt, {}), (revert, {"safety_snapshot": True})):
        problem(dora.post(path, body), 409, "limit_exceeded")
        problem(alice.post(path, body | beyond), 409, "limit_exceeded")
        assert dora.post(path, body | beyond).status_code in (200, 202)
    assert Event.objects.filter(action="limits.exceeded", user=people.dora, trigger="api").count() == 2
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("unassigned"), account=people.acme)
    path = f"virtual-machines/{cloud.machine('unassigned').uuid}/snapshots/"
    problem(dora.post(path, {"name": "x", "exceed_limits": "yes"}), 400, "invalid")
    assert dora.post(path, {"name": "x"} | beyond).status_code == 202

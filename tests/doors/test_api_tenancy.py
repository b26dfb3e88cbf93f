"""`accounts/`, `domains/`, `tokens/`."""

import uuid

import pytest

from snapshots.access import SYSTEM
from snapshots.choices import TokenScope
from snapshots.models import ApiToken
from snapshots.services.tenancy import create_token
from tests.builders import People
from tests.doors.api_client import Caller, problem


def test_accounts_one_belongs_to_or_administers(people: People) -> None:
    assert Caller(people.bob).names("accounts/") == ["acme"]
    assert Caller(people.dora).names("accounts/") == ["acme"]
    assert Caller(people.root).names("accounts/?ordering=-name") == ["other", "acme"]
    assert Caller(people.root).names(f"accounts/?domain={people.elsewhere.uuid}") == ["other"]
    assert Caller(people.nora).names("accounts/") == []
    shown = Caller(people.bob).get(f"accounts/{people.acme.uuid}/").json()
    assert set(shown) == {"id", "name", "domain", "created_at"}
    assert shown["domain"] == str(people.engineering.uuid)


@pytest.mark.parametrize("noun", ["accounts", "domains"])
def test_a_strangers_account_or_domain_is_not_there(people: People, noun: str) -> None:
    row = people.other if noun == "accounts" else people.elsewhere
    alice = Caller(people.alice)
    hidden = problem(alice.get(f"{noun}/{row.uuid}/"), 404, "not_found")
    assert hidden == problem(alice.get(f"{noun}/{uuid.uuid4()}/"), 404, "not_found")


def test_domains_name_their_parent_only_to_those_who_see_it(people: People) -> None:
    path = f"domains/{people.engineering.uuid}/"
    assert Caller(people.root).get(path).json()["parent"] == str(people.organisation.uuid)
    assert Caller(people.bob).get(path).json()["parent"] is None
    assert Caller(people.dora).get(path).json()["parent"] is None
    assert Caller(people.bob).names("domains/") == ["engineering"]
    assert Caller(people.root).names("domains/?name=E") == ["elsewhere", "engineering"]


def test_a_token_is_shown_once_and_works(people: People) -> None:
    alice = Caller(people.alice)
    answer = alice.post("tokens/", {"name": "backup", "scope": "operate", "days": 7})
    assert answer.status_code == 201
    made = answer.json()
    assert set(made) == {"id", "name", "scope", "created_at", "expires_at", "token"}
    assert answer["Location"].endswith(f"/api/v1/tokens/{made['id']}/")
    listed = alice.rows("tokens/?ordering=name")
    assert listed[0] == {name: value for name, value in made.items() if name != "token"}
    assert made["token"] not in str(listed)
    header = f"Token {made['token']}"
    assert Caller(None).get("tokens/", Authorization=header).status_code == 200


def test_a_token_is_for_reading_unless_asked_otherwise(people: People) -> None:
    assert Caller(people.alice).post("tokens/", {"name": "x"}).json()["scope"] == "read"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x", "scope": "root"}, "scope"),
        ({"name": "x", "scope": True}, "scope"),
        ({"name": "x", "days": 0}, "days"),
        ({"name": "x", "days": 3651}, "days"),
        ({"name": "x", "days": "7"}, "days"),
        ({"name": "x", "days": True}, "days"),
        ({"name": "x", "days": 1.5}, "days"),
        ({"name": "x", "user": "root"}, "user"),
    ],
)
def test_a_bad_token_is_refused_at_its_field(people: People, body: object, field: str) -> None:
    assert list(problem(Caller(people.alice).post("tokens/", body), 400, "invalid")["fields"]) == [field]


def test_tokens_of_others_are_not_there_not_even_for_root_admins(people: People) -> None:
    theirs, _ = create_token(SYSTEM, user=people.alice, name="alices")
    for person in (people.charlie, people.bob, people.root):
        caller = Caller(person)
        assert "alices" not in caller.names("tokens/")
        for method in ("GET", "DELETE"):
            hidden = problem(caller.call(method, f"tokens/{theirs.uuid}/"), 404, "not_found")
            assert hidden == problem(caller.call(method, f"tokens/{uuid.uuid4()}/"), 404, "not_found")
    assert ApiToken.objects.filter(pk=theirs.pk).exists()


def test_a_token_ends_at_once(people: People) -> None:
    alice = Caller(people.alice)
    token, text = create_token(SYSTEM, user=people.alice, name="old", scope=TokenScope.OPERATE)
    answer = alice.delete(f"tokens/{token.uuid}/")
    assert (answer.status_code, answer.content) == (204, b"")
    problem(Caller(None).get("tokens/", Authorization=f"Token {text}"), 401, "unauthenticated")
    problem(alice.delete(f"tokens/{token.uuid}/"), 404, "not_found")


def test_a_token_for_reading_makes_and_ends_none(people: People) -> None:
    caller = Caller(people.alice, TokenScope.READ)
    own = caller.rows("tokens/")[0]
    problem(caller.post("tokens/", {"name": "x", "scope": "read"}), 403, "forbidden")
    problem(caller.delete(f"tokens/{own['id']}/"), 403, "forbidden")
    assert ApiToken.objects.count() == 1


def test_tokens_are_filtered(people: People) -> None:
    create_token(SYSTEM, user=people.alice, name="reading", scope=TokenScope.READ)
    assert Caller(people.alice).names("tokens/?scope=read") == ["reading"]

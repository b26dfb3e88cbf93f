"""Signing in and out, API tokens, the theme, and the pages that say that something is wrong."""

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django import Settings

from snapshots.models import ApiToken, Event, VirtualMachine
from tests.builders import PASSWORD, People
from tests.doors.browser_client import Browser, words


def sign_in(client: Client, name: str, password: str, **more: str) -> int:
    """The status of an attempt to sign in."""
    return client.post("/sign-in/", {"username": name, "password": password, **more}).status_code


def test_signing_in_leads_to_the_machines_or_to_where_one_was_going(people: People) -> None:
    assert Client().post("/sign-in/", {"username": "alice", "password": PASSWORD})["Location"] == "/"
    answer = Client().post("/sign-in/", {"username": "alice", "password": PASSWORD, "next": "/jobs/"})
    assert answer["Location"] == "/jobs/"


def test_signing_in_never_leads_to_another_site(people: People) -> None:
    answer = Client().post("/sign-in/", {"username": "alice", "password": PASSWORD, "next": "https://evil.example/"})
    assert answer["Location"] == "/"


def test_a_wrong_password_is_said_and_keeps_the_name(people: People) -> None:
    client = Client()
    answer = client.post("/sign-in/", {"username": "alice", "password": "wrong"})
    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()
    assert 'value="alice"' in answer.content.decode()
    assert not Session.objects.exists()


def test_too_many_attempts_lock_out_and_say_for_how_long(people: People, settings: Settings) -> None:
    settings.AXES_ENABLED = True
    settings.AXES_FAILURE_LIMIT = 3
    client = Client()
    statuses = [sign_in(client, "alice", "wrong") for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = client.post("/sign-in/", {"username": "alice", "password": PASSWORD})
    assert answer.status_code == 429
    assert "Too many attempts" in answer.content.decode()
    assert "15 minutes" in answer.content.decode()
    assert sign_in(Client(), "bob", PASSWORD) == 302, "only that name is locked"


def test_signing_out_takes_a_post_and_ends_the_session(people: People) -> None:
    browser = Browser(people.alice)
    assert browser.get("/sign-out/").status == 405
    assert browser.get("/").status == 200
    assert browser.post("/sign-out/").status == 302
    assert browser.get("/").status == 302


def test_a_person_who_was_switched_off_is_out_at_once(people: People) -> None:
    browser = Browser(people.alice)
    people.alice.is_active = False
    people.alice.save()
    assert browser.get("/").status == 302


def test_only_root_admins_see_the_way_to_the_admin_site(people: People) -> None:
    for name in ("alice", "bob", "charlie", "dora", "nora"):
        assert Browser(getattr(people, name)).get("/jobs/").find('//nav//a[@href="/admin/"]') == [], name
    assert Browser(people.root).get("/jobs/").find('//nav//a[@href="/admin/"]')


# --- API tokens ----------------------------------------------------------------------------------------------------


def test_the_text_of_a_token_is_shown_once_and_works(people: People, web: VirtualMachine) -> None:
    browser = Browser(people.alice)
    assert "You have no API token" in browser.get("/account/").text
    page = browser.post("/account/tokens/", {"name": "nightly", "scope": "read", "days": "30"})
    assert page.status == 201
    text = words(page.one('//*[@id="token-text"]'))
    assert Client().get("/api/v1/virtual-machines/", headers={"Authorization": f"Token {text}"}).status_code == 200
    again = browser.get("/account/")
    assert text not in again.source
    assert "nightly" in again.text
    assert "Read only" in again.text


@pytest.mark.parametrize(
    ("values", "status", "field"),
    [
        ({"name": "", "scope": "read", "days": "30"}, 422, "name"),
        ({"name": "x" * 256, "scope": "read", "days": "30"}, 422, "name"),
        ({"name": "x", "scope": "read", "days": "0"}, 422, "days"),
        ({"name": "x", "scope": "read", "days": "many"}, 422, "days"),
        ({"name": "x", "scope": "read", "days": "99999"}, 422, "days"),
    ],
)
def test_a_token_that_cannot_be_is_refused_beside_its_field(
    people: People, values: dict[str, str], status: int, field: str
) -> None:
    page = Browser(people.alice).post("/account/tokens/", values)
    assert page.status == status
    assert page.one(f'//*[@name="{field}"]').get("aria-invalid") == "true"
    assert not ApiToken.objects.exists()


def test_a_token_with_an_unknown_scope_is_refused(people: People) -> None:
    page = Browser(people.alice).post("/account/tokens/", {"name": "x", "scope": "everything", "days": "30"})
    assert page.status == 422
    assert not ApiToken.objects.exists()


def test_a_revoked_token_is_gone_at_once(people: People) -> None:
    browser = Browser(people.alice)
    browser.post("/account/tokens/", {"name": "nightly", "scope": "read", "days": "30"})
    token = ApiToken.objects.get()
    assert browser.post(f"/account/tokens/{token.uuid}/revoke/").status == 302
    assert not ApiToken.objects.exists()
    assert "The token nightly is revoked." in browser.get("/account/").text
    assert Event.objects.filter(action="token.revoked", user=people.alice).count() == 1


@pytest.mark.parametrize("who", ["bob", "charlie", "dora", "root"])
def test_tokens_of_others_do_not_exist(people: People, who: str) -> None:
    Browser(people.alice).post("/account/tokens/", {"name": "nightly", "scope": "read", "days": "30"})
    token = ApiToken.objects.get()
    browser = Browser(getattr(people, who))
    assert "nightly" not in browser.get("/account/").source
    assert browser.post(f"/account/tokens/{token.uuid}/revoke/").status == 404
    assert ApiToken.objects.count() == 1


# --- theme ---------------------------------------------------------------------------------------------------------


def test_the_theme_follows_the_system_until_one_is_chosen(people: People) -> None:
    browser = Browser(people.alice)
    root = browser.get("/account/").root
    assert root.get("data-theme") == "auto"
    assert root.get("data-bs-theme") is None
    assert browser.post("/account/theme/", {"theme": "dark", "back": "/jobs/"}).response["Location"] == "/jobs/"
    assert browser.get("/jobs/").root.get("data-bs-theme") == "dark"
    browser.post("/account/theme/", {"theme": "auto", "back": "/"})
    assert browser.get("/jobs/").root.get("data-bs-theme") is None


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_choosing_a_theme_never_leads_to_another_site(people: People, back: str) -> None:
    answer = Browser(people.alice).post("/account/theme/", {"theme": "dark", "back": back})
    assert answer.response["Location"] == "/"


def test_a_theme_that_is_none_is_passed_over(people: People) -> None:
    browser = Browser(people.alice)
    browser.post("/account/theme/", {"theme": '"><script>', "back": "/"})
    browser.client.cookies["theme"] = "nonsense"
    assert browser.get("/account/").root.get("data-theme") == "auto"


# --- when something is wrong ---------------------------------------------------------------------------------------


def test_an_unknown_address_is_a_page_with_a_way_out(people: People) -> None:
    page = Browser(people.alice).get("/no/such/page/")
    assert page.status == 404
    assert page.find('//main//a[@href="/"]')


def test_a_fault_of_ours_is_a_page_too(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the plumbing")

    monkeypatch.setattr("snapshots.web.job_views.job_list", broken)
    browser = Browser(people.alice)
    browser.client.raise_request_exception = False
    page = browser.get("/jobs/")
    assert page.status == 500
    assert "Something went wrong here" in page.text
    assert "plumbing" not in page.source

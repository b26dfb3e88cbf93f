"""Errors of every kind in the one agreed form, authentication, and what must never come out."""

import json
import uuid
from datetime import timedelta

import pytest
import time_machine
from django.core.cache import cache
from django.test import Client
from django.urls import URLPattern
from django.utils import timezone
from pytest_django import Settings
from rest_framework.throttling import UserRateThrottle

from snapshots import refusals
from snapshots.access import SYSTEM
from snapshots.api.errors import STATUS_OF_REFUSAL, status_of
from snapshots.api.urls import version_1
from snapshots.choices import TokenScope
from snapshots.models import ApiToken, Job, VirtualMachine
from snapshots.reading import rest_lists
from snapshots.services import tenancy
from snapshots.services.machine_actions import request_start
from tests.builders import PASSWORD, People, take
from tests.doors.api_client import Caller, accepted, problem

LISTS = [
    "virtual-machines/", "snapshots/", "jobs/", "events/", "volumes/", "hypervisors/", "storage-pools/", "accounts/",
    "domains/", "tokens/", "usage-records/", "limits/",
]  # fmt: skip


def test_every_refusal_has_a_status_of_its_own() -> None:
    kinds = set(refusals.Refusal.__subclasses__()) | {refusals.Refusal}
    assert kinds == set(STATUS_OF_REFUSAL)
    assert all(400 <= status < 600 for status in STATUS_OF_REFUSAL.values())

    class Narrower(refusals.NotSupported):
        pass

    assert status_of(Narrower("x")) == 422


@pytest.mark.parametrize("path", LISTS)
def test_nobody_gets_nothing(people: People, path: str) -> None:
    answer = Caller(None).get(path)
    problem(answer, 401, "unauthenticated")
    assert answer["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize("pattern", [str(entry.pattern) for entry in version_1 if isinstance(entry, URLPattern)])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE", "PUT"])
def test_nobody_gets_nothing_anywhere_and_learns_nothing(people: People, pattern: str, method: str) -> None:
    path = pattern.replace("<uuid:id>", str(uuid.uuid4()))
    problem(Caller(None).call(method, path, {"name": "x"}), 401, "unauthenticated")


@pytest.mark.parametrize(
    "header", ["Token wrong", "Token", "Token a b", "Token \xff\xfe", f"Token {'a' * 64}", "Token " + "x" * 5000]
)
def test_a_wrong_token_is_refused(people: People, header: str) -> None:
    answer = Caller(None).get("virtual-machines/", Authorization=header)
    problem(answer, 401, "unauthenticated")
    assert answer["WWW-Authenticate"] == "Token"


@pytest.mark.parametrize("header", ["Bearer abc", "Basic YTpi", "nonsense"])
def test_another_kind_of_login_is_nobodys(people: People, header: str) -> None:
    problem(Caller(None).get("virtual-machines/", Authorization=header), 401, "unauthenticated")


def test_an_expired_token_is_refused_and_reading_it_deletes_nothing(people: People) -> None:
    _, text = tenancy.create_token(SYSTEM, user=people.alice, name="short", days=1)
    header = f"Token {text}"
    assert Caller(None).get("virtual-machines/", Authorization=header).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(days=1, seconds=1)):
        problem(Caller(None).get("virtual-machines/", Authorization=header), 401, "unauthenticated")
    assert ApiToken.objects.filter(name="short").exists()


def test_a_token_of_a_user_who_was_switched_off_is_refused(people: People) -> None:
    caller = Caller(people.alice)
    people.alice.is_active = False
    people.alice.save()
    problem(caller.get("virtual-machines/"), 401, "unauthenticated")


def test_a_token_for_reading_reads_and_does_not_act(web: VirtualMachine, people: People) -> None:
    caller = Caller(people.alice, TokenScope.READ)
    assert caller.names("virtual-machines/") == ["db", "web"]
    snapshot = take(web, "one")
    for method, path, body in (
        ("POST", f"virtual-machines/{web.uuid}/snapshots/", {"name": "x"}),
        ("POST", f"virtual-machines/{web.uuid}/sync/", None),
        ("PATCH", f"snapshots/{snapshot.uuid}/", {"name": "x"}),
        ("DELETE", f"snapshots/{snapshot.uuid}/", None),
        ("POST", "tokens/", {"name": "wider", "scope": "operate"}),
    ):
        refusal = problem(caller.call(method, path, body), 403, "forbidden")
        assert "for reading only" in refusal["detail"]
    assert not Job.objects.filter(machine=web, trigger="api").exists()


def signed_in(people: People) -> Client:
    client = Client(enforce_csrf_checks=True)
    assert client.login(username="alice", password=PASSWORD)
    return client


def test_a_browser_session_reads_and_acts_with_its_csrf_token_only(web: VirtualMachine, people: People) -> None:
    client = signed_in(people)
    address = f"/api/v1/virtual-machines/{web.uuid}/stop/"
    assert client.get("/api/v1/virtual-machines/").status_code == 200
    problem(client.post(address, b"{}", content_type="application/json"), 403, "forbidden")
    client.get("/api/docs/?script=")  # hands out the cookie
    token = client.cookies["csrftoken"].value
    accepted(client.post(address, b"{}", content_type="application/json", headers={"X-CSRFToken": token}))


@pytest.mark.parametrize(
    "path", ["nonsense/", "", "virtual-machines", "virtual-machines/7/", "jobs/x/cancel/", "quotas/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_an_address_that_leads_nowhere(people: People, path: str, method: str) -> None:
    problem(Caller(people.alice).call(method, path), 404, "not_found")


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "NONSENSE"])
def test_other_methods_are_refused(people: People, method: str) -> None:
    problem(Caller(people.alice).call(method, "virtual-machines/"), 405, "method_not_allowed")


def test_head_is_get_without_the_body(people: People) -> None:
    answer = Caller(people.alice).call("HEAD", "virtual-machines/")
    assert (answer.status_code, answer.content) == (200, b"")


BROKEN = [b"{", b"{'name': 1}", b"\xff\xfe", b'{"name": NaN}', b"[" * 100_000, b'{"name": "\x00"}', b'{"a":' * 50_000]


@pytest.mark.parametrize("body", BROKEN, ids=[repr(body[:8]) for body in BROKEN])
def test_broken_json_is_refused(web: VirtualMachine, people: People, body: bytes) -> None:
    problem(Caller(people.alice).post(f"virtual-machines/{web.uuid}/snapshots/", body), 400, "invalid")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "virtual-machines/{machine}/snapshots/"),
        ("POST", "virtual-machines/{machine}/start/"),
        ("POST", "virtual-machines/{machine}/stop/"),
        ("POST", "virtual-machines/{machine}/sync/"),
        ("PATCH", "snapshots/{snapshot}/"),
        ("DELETE", "snapshots/{snapshot}/"),
        ("POST", "snapshots/{snapshot}/revert/"),
        ("POST", "jobs/{job}/cancel/"),
        ("POST", "volumes/{volume}/attach/"),
        ("POST", "volumes/{volume}/detach/"),
        ("POST", "hypervisors/{hypervisor}/sync/"),
        ("POST", "tokens/"),
        ("DELETE", "tokens/{token}/"),
    ],
)
def test_a_field_that_is_not_known_is_refused_wherever_there_is_a_body(
    web: VirtualMachine, db_machine: VirtualMachine, people: People, method: str, path: str
) -> None:
    snapshot, volume = take(web, "one"), web.volumes.get(target="vdb")
    job = request_start(SYSTEM, machine=db_machine)
    token, _ = tenancy.create_token(SYSTEM, user=people.root, name="mine")
    ids = {
        "machine": web.uuid,
        "snapshot": snapshot.uuid,
        "job": job.uuid,
        "volume": volume.uuid,
        "hypervisor": web.hypervisor.uuid,
        "token": token.uuid,
    }
    before = (Job.objects.count(), ApiToken.objects.filter(name="mine").count())
    refusal = problem(Caller(people.root).call(method, path.format(**ids), {"memroy": True}), 400, "invalid")
    assert refusal["fields"]["memroy"] == ["This field is not known here."]
    assert (Job.objects.count(), ApiToken.objects.filter(name="mine").count()) == before


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_is_not_json_is_refused(web: VirtualMachine, people: People, content_type: str) -> None:
    caller = Caller(people.alice)
    answer = caller.post(f"virtual-machines/{web.uuid}/snapshots/", b"name=x", Content_Type=content_type)
    problem(answer, 415, "unsupported_media_type")


def test_an_action_needs_neither_body_nor_content_type(web: VirtualMachine, people: People) -> None:
    accepted(Caller(people.alice).post(f"virtual-machines/{web.uuid}/stop/", b"", Content_Type=""))


def test_a_body_that_is_too_large_is_refused(web: VirtualMachine, people: People, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    body = {"name": "x", "description": "y" * 2000}
    problem(Caller(people.alice).post(f"virtual-machines/{web.uuid}/snapshots/", body), 413, "too_large")


def test_json_is_answered_whatever_is_accepted(people: People) -> None:
    answer = Caller(people.alice).get("virtual-machines/", Accept="text/html")
    assert answer["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["virtual-machines/{}/", "virtual-machines/{}/tree/", "jobs/{}/"])
def test_an_unknown_parameter_is_refused_on_single_things_too(people: People, path: str) -> None:
    problem(Caller(people.alice).get(path.format(uuid.uuid4()) + "?verbose=1"), 400, "invalid")


def test_too_many_requests(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UserRateThrottle, "get_rate", lambda self: "2/min")
    cache.clear()  # earlier tests' requests are counted there
    caller = Caller(people.alice)
    assert [caller.get("tokens/").status_code for _ in range(2)] == [200, 200]
    answer = caller.get("tokens/")
    problem(answer, 429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= 61


def test_a_fault_of_ours_is_logged_and_tells_nothing(
    people: People, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(person: object) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(rest_lists, "tree_of", broken)
    monkeypatch.setattr("snapshots.api.machine_views.OfMachine.rows_of", staticmethod(broken))
    caller = Caller(people.alice)
    caller.client.raise_request_exception = False
    answer = caller.get("virtual-machines/")
    problem(answer, 500, "internal_error")
    assert b"secret" not in answer.content
    assert b"Traceback" not in answer.content
    assert "the secret is 42" in caplog.text


def test_no_list_or_thing_shows_a_primary_key_or_a_secret(web: VirtualMachine, people: People) -> None:
    take(web, "one")
    caller = Caller(people.root)
    for path in LISTS:
        text = json.dumps(caller.rows(path))
        assert '"pk"' not in text
        assert "password" not in text
        assert "digest" not in text
        assert "native_id" not in text
        for row in json.loads(text):
            uuid.UUID(row["id"])

"""Endpoints in the admin: added, changed, tested, read again and removed, through services and with an event."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from hypervisors.models import Hypervisor
from snapshots.choices import JobAction, JobState
from snapshots.models import Event, Job
from tests.builders import PASSWORD, Cloud, People, run
from tests.doors.admin_forms import act, add, change, delete, errors, last_event, messages


def test_an_endpoint_is_added_with_a_password_that_never_comes_back(root: Client) -> None:
    answer = add(root, Hypervisor, name="host & co", kind="simulated", address="lab", username="u", password="s3cret!")
    assert answer.status_code == 302, errors(answer)
    made = Hypervisor.objects.get(name="host & co")
    assert str(made.password) == "s3cret!"
    page = root.get(reverse("admin:hypervisors_hypervisor_change", args=[made.pk])).content.decode()
    assert "s3cret!" not in page
    assert "s3cret!" not in " ".join(Event.objects.values_list("detail", flat=True))
    assert last_event().action == "hypervisor.added"


def change_endpoint(client: Client, row: Hypervisor, **values: object) -> Any:
    told = {"name": row.name, "address": row.address, "username": row.username, "password": "", "enabled": "on"}
    return change(client, row, **{**told, **values})


def test_a_blank_password_leaves_the_stored_one(root: Client) -> None:
    add(root, Hypervisor, name="host", kind="simulated", address="lab", username="u", password="s3cret!")
    row = Hypervisor.objects.get()
    assert change_endpoint(root, row, username="v").status_code == 302
    row.refresh_from_db()
    assert (row.username, str(row.password)) == ("v", "s3cret!")
    assert "new password" not in last_event().detail
    change_endpoint(root, row, password="other 1")
    assert str(Hypervisor.objects.get().password) == "other 1"
    change_endpoint(root, row, forget_password="on")
    assert str(Hypervisor.objects.get().password) == ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "abacus"}, "Select a valid choice"),
        ({"address": " "}, "required"),
        ({"address": "a\x00b"}, "Null characters"),
        ({"name": ""}, "required"),
        ({"name": "x" * 256}, "at most 255"),
        ({"name": "taken"}, "already"),
    ],
)
def test_a_bad_endpoint_is_refused_at_the_field(values: dict[str, str], said: str, root: Client) -> None:
    add(root, Hypervisor, name="taken", kind="simulated", address="a", username="", password="")
    typed = {"name": "host", "kind": "simulated", "address": "lab", "username": "", "password": "s3cret!", **values}
    answer = add(root, Hypervisor, **typed)
    assert said in errors(answer)
    assert "s3cret!" not in answer.content.decode()
    assert Hypervisor.objects.count() == 1


def test_a_kind_whose_library_is_missing_is_offered_with_the_reason_and_refused(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(kind: str) -> str:
        return "The library is not installed." if kind == "libvirt" else ""

    monkeypatch.setattr("snapshots.admin.endpoints.why_unavailable", missing)
    monkeypatch.setattr("snapshots.services.endpoints.why_unavailable", missing)
    page = root.get(reverse("admin:hypervisors_hypervisor_add")).content.decode()
    assert "KVM (libvirt) (not available: The library is not installed.)" in page
    answer = add(root, Hypervisor, name="host", kind="libvirt", address="qemu:///system", username="", password="")
    assert "not installed" in errors(answer)
    assert not Hypervisor.objects.exists()


def test_the_connection_is_tested_by_a_job_that_the_message_links_to(root: Client, cloud: Cloud) -> None:
    cloud.world.forget_calls()
    for answer in (
        act(root, "test_connection", [cloud.hypervisor]),
        root.post(reverse("admin:test_endpoint", args=[cloud.hypervisor.pk]), follow=True),
    ):
        job = Job.objects.get(action=JobAction.CHECK_CONNECTION)
        assert reverse("admin:snapshots_job_change", args=[job.pk]) in messages(answer)
    assert not cloud.world.calls(), "a request never talks to a hypervisor"
    assert run(job).state == JobState.SUCCEEDED


def test_everything_is_read_again_by_a_job(root: Client, cloud: Cloud) -> None:
    cloud.world.forget_calls()
    before = set(Job.objects.values_list("pk", flat=True))
    act(root, "read_everything", [cloud.hypervisor])
    root.post(reverse("admin:read_endpoint", args=[cloud.hypervisor.pk]), follow=True)
    job = Job.objects.exclude(pk__in=before).get()
    assert (job.action, job.trigger) == (JobAction.SYNC_HYPERVISOR, "admin")
    assert not cloud.world.calls()
    assert run(job).state == JobState.SUCCEEDED


def test_an_endpoint_that_is_down_shows_why_after_the_test(root: Client, cloud: Cloud) -> None:
    cloud.world.set_down(True)
    act(root, "test_connection", [cloud.hypervisor])
    assert run(Job.objects.get(action=JobAction.CHECK_CONNECTION)).state == JobState.FAILED
    page = root.get(reverse("admin:hypervisors_hypervisor_change", args=[cloud.hypervisor.pk])).content.decode()
    assert "Not reachable" in page
    assert Hypervisor.objects.get().last_error in page


def test_a_switched_off_endpoint_is_neither_tested_nor_read(root: Client, cloud: Cloud) -> None:
    change_endpoint(root, cloud.hypervisor, enabled="")
    before = Job.objects.count()
    for action in ("test_connection", "read_everything"):
        assert "switched off" in messages(act(root, action, [cloud.hypervisor]))
    assert Job.objects.count() == before


def test_the_buttons_of_an_endpoint_answer_to_posts_of_root_admins_only(people: People, cloud: Cloud) -> None:
    before = Job.objects.count()
    for name in ("test_endpoint", "read_endpoint"):
        address = reverse(f"admin:{name}", args=[cloud.hypervisor.pk])
        for person in ("alice", "dora"):
            client = Client()
            client.login(username=person, password=PASSWORD)
            assert client.post(address, follow=True).status_code == 403
        assert Client().post(address).status_code == 302
        root = Client()
        root.login(username="root", password=PASSWORD)
        assert root.get(address).status_code == 405
        assert root.post(reverse(f"admin:{name}", args=["999999"])).status_code == 404
        assert Client(enforce_csrf_checks=True).post(address).status_code in (302, 403)
    assert Job.objects.count() == before


def test_an_endpoint_that_holds_machines_is_not_removed_and_a_mistake_is(root: Client, cloud: Cloud) -> None:
    assert "Switch it off instead" in messages(delete(root, cloud.hypervisor))
    add(root, Hypervisor, name="mistake", kind="simulated", address="nowhere", username="", password="")
    delete(root, Hypervisor.objects.get(name="mistake"))
    assert list(Hypervisor.objects.all()) == [cloud.hypervisor]
    assert last_event().action == "hypervisor.removed"


def test_an_endpoint_whose_login_no_key_opens_is_shown_and_can_be_given_a_new_one(
    root: Client, settings: Settings
) -> None:
    add(root, Hypervisor, name="host", kind="simulated", address="lab", username="u", password="s3cret!")
    row = Hypervisor.objects.get()
    settings.CREDENTIAL_KEY_DIGESTS = [b"k" * 32]
    assert root.get(reverse("admin:hypervisors_hypervisor_changelist")).status_code == 200
    assert root.get(reverse("admin:hypervisors_hypervisor_change", args=[row.pk])).status_code == 200
    assert change_endpoint(root, row, password="new one 1").status_code == 302
    assert str(Hypervisor.objects.get().password) == "new one 1"

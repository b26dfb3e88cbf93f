"""Managed endpoints: root admins only, secrets go in and never come out, nothing is connected to by asking."""

import pytest
from django.db import connection

from hypervisors.drivers.simulated.driver import SimulatedDriver
from hypervisors.models import Hypervisor
from snapshots.choices import JobAction, JobState
from snapshots.models import Event, Job
from snapshots.services import endpoints
from tests.builders import acting, run
from tests.domain.refusing import assert_refused

SECRET = "open sesame & <more>"


def change(root, hypervisor, **values):
    given = {
        "name": hypervisor.name,
        "address": hypervisor.address,
        "username": hypervisor.username,
        "password": None,
        "enabled": hypervisor.enabled,
    }
    return endpoints.change_endpoint(root, hypervisor=hypervisor, **{**given, **values})


def stored(hypervisor) -> str:
    """The row as the database holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM hypervisors_hypervisor WHERE id = %s", [hypervisor.pk])
        return str(cursor.fetchone())


def test_an_endpoint_is_added_without_connecting_and_its_password_is_kept_encrypted(root, people):
    added = endpoints.add_endpoint(
        root, name="host", kind="simulated", address=" nowhere ", username="me", password=SECRET
    )
    assert (added.state, added.address, added.enabled) == (Hypervisor.State.UNTRIED, "nowhere", True)
    assert SECRET not in stored(added)
    assert Hypervisor.objects.get(pk=added.pk).password == SECRET
    assert not Event.objects.filter(detail__contains=SECRET).exists()


def test_without_a_new_password_the_old_one_stays(root, cloud):
    change(root, cloud.hypervisor, password=SECRET)
    change(root, cloud.hypervisor, username="other")
    again = Hypervisor.objects.get(pk=cloud.hypervisor.pk)
    assert (again.password, again.username) == (SECRET, "other")
    assert not Event.objects.filter(detail__contains=SECRET).exists()
    change(root, cloud.hypervisor, password="")
    assert Hypervisor.objects.get(pk=cloud.hypervisor.pk).password == ""


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"name": ""}, "invalid"),
        ({"name": "x" * 256}, "invalid"),
        ({"kind": "unheard of"}, "invalid"),
        ({"address": "  "}, "invalid"),
        ({"address": "a\nb"}, "invalid"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused(root, values, code):
    given = {"name": "host", "kind": "simulated", "address": "nowhere", **values}
    refusal = assert_refused(None, code, lambda: endpoints.add_endpoint(root, **given))
    assert list(refusal.extra["fields"]) == list(values)


def test_names_of_endpoints_are_unique(root, cloud):
    assert_refused(
        cloud.world,
        "name_taken",
        lambda: endpoints.add_endpoint(root, name=cloud.name, kind="simulated", address="elsewhere"),
    )
    other = endpoints.add_endpoint(root, name="other", kind="simulated", address="elsewhere")
    assert_refused(cloud.world, "name_taken", lambda: change(root, other, name=cloud.name))


@pytest.mark.parametrize("person", ["alice", "bob", "charlie", "dora", "nora"])
def test_only_root_admins_manage_endpoints(people, cloud, person):
    actor = acting(getattr(people, person))
    for request in (
        lambda: endpoints.add_endpoint(actor, name="x", kind="simulated", address="x"),
        lambda: change(actor, cloud.hypervisor, enabled=False),
        lambda: endpoints.request_sync(actor, hypervisor=cloud.hypervisor),
        lambda: endpoints.request_connection_check(actor, hypervisor=cloud.hypervisor),
        lambda: endpoints.remove_endpoint(actor, hypervisor=cloud.hypervisor),
    ):
        assert_refused(cloud.world, "forbidden", request)


def test_an_endpoint_that_is_switched_off_is_neither_read_nor_tried(root, cloud):
    change(root, cloud.hypervisor, enabled=False)
    off = Hypervisor.objects.get(pk=cloud.hypervisor.pk)
    for request in (endpoints.request_sync, endpoints.request_connection_check):
        refusal = assert_refused(cloud.world, "invalid_state", lambda ask=request: ask(root, hypervisor=off))
        assert "switched off" in refusal.detail


def test_a_connection_is_tried_in_a_job_and_what_came_of_it_is_written_down(root, cloud):
    job = endpoints.request_connection_check(root, hypervisor=cloud.hypervisor)
    assert endpoints.request_connection_check(root, hypervisor=cloud.hypervisor).pk == job.pk
    assert run(job).state == JobState.SUCCEEDED
    cloud.world.require_password("me", SECRET)
    job = run(endpoints.request_connection_check(root, hypervisor=cloud.hypervisor))
    assert (job.action, job.state, job.error_code) == (
        JobAction.CHECK_CONNECTION,
        JobState.FAILED,
        "hypervisor_login_refused",
    )
    cloud.hypervisor.refresh_from_db()
    assert cloud.hypervisor.state == Hypervisor.State.UNREACHABLE
    change(root, cloud.hypervisor, username="me", password=SECRET)
    assert run(endpoints.request_connection_check(root, hypervisor=cloud.hypervisor)).state == JobState.SUCCEEDED
    cloud.hypervisor.refresh_from_db()
    assert (cloud.hypervisor.state, cloud.hypervisor.last_error) == (Hypervisor.State.REACHABLE, "")


def check_with(monkeypatch, root, cloud, *missing: str) -> Job:
    """Test the connection of an endpoint whose login lacks these."""
    monkeypatch.setattr(SimulatedDriver, "missing_privileges", lambda _: missing)
    return run(endpoints.request_connection_check(root, hypervisor=cloud.hypervisor))


def test_a_tested_connection_names_what_the_login_may_not_do(monkeypatch, root, cloud):
    job = check_with(monkeypatch, root, cloud, "Snapshot.Revert", "Snapshot.Create")
    assert (job.state, job.error_code) == (JobState.SUCCEEDED, "")
    assert job.error_detail == "The login lacks: Snapshot.Create, Snapshot.Revert."
    cloud.hypervisor.refresh_from_db()
    assert cloud.hypervisor.missing_privileges == ["Snapshot.Create", "Snapshot.Revert"]
    event = Event.objects.get(action="hypervisor.privileges_missing")
    assert event.hypervisor == cloud.hypervisor
    assert event.level == Event.Level.WARNING
    assert "Snapshot.Create, Snapshot.Revert" in event.detail


def test_the_same_missing_privileges_are_told_of_once(monkeypatch, root, cloud):
    for _ in range(2):
        job = check_with(monkeypatch, root, cloud, "Snapshot.Create")
        assert job.error_detail == "The login lacks: Snapshot.Create."
    assert Event.objects.filter(action="hypervisor.privileges_missing").count() == 1


def test_privileges_that_were_granted_are_missed_no_more(monkeypatch, root, cloud):
    check_with(monkeypatch, root, cloud, "Snapshot.Create")
    assert check_with(monkeypatch, root, cloud).error_detail == ""
    cloud.hypervisor.refresh_from_db()
    assert cloud.hypervisor.missing_privileges == []
    assert Event.objects.filter(action="hypervisor.privileges_complete").count() == 1


def test_a_connection_that_cannot_be_made_leaves_what_is_known_of_privileges(monkeypatch, root, cloud):
    check_with(monkeypatch, root, cloud, "Snapshot.Create")
    cloud.world.set_down(True)
    assert run(endpoints.request_connection_check(root, hypervisor=cloud.hypervisor)).state == JobState.FAILED
    cloud.hypervisor.refresh_from_db()
    assert cloud.hypervisor.missing_privileges == ["Snapshot.Create"]


def test_an_endpoint_switched_off_while_its_job_waited_is_not_asked(root, cloud):
    job = endpoints.request_sync(root, hypervisor=cloud.hypervisor)
    change(root, cloud.hypervisor, enabled=False)
    cloud.world.forget_calls()
    assert run(job).error_code == "hypervisor_unreachable"
    assert cloud.world.calls() == {}


def test_an_endpoint_that_brought_something_is_not_removed_and_an_empty_one_is(root, cloud):
    assert_refused(cloud.world, "invalid_state", lambda: endpoints.remove_endpoint(root, hypervisor=cloud.hypervisor))
    empty = endpoints.add_endpoint(root, name="empty", kind="simulated", address="nowhere")
    job = endpoints.request_sync(root, hypervisor=empty)
    assert_refused(cloud.world, "invalid_state", lambda: endpoints.remove_endpoint(root, hypervisor=empty))
    run(job)
    endpoints.remove_endpoint(root, hypervisor=empty)
    assert not Hypervisor.objects.filter(name="empty").exists()

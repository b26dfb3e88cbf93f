"""`jobs/` and `events/`, and the promise that a request repeated with its key is carried out once."""

import uuid

import pytest

from snapshots.access import SYSTEM
from snapshots.models import IdempotencyKey, Job, VirtualMachine
from snapshots.services import endpoints
from tests.builders import Cloud, People, run, take
from tests.doors.api_client import Caller, accepted, problem

JOB_FIELDS = {
    "id", "action", "state", "progress", "error", "virtual_machine", "snapshot", "requested_by", "created_at",
    "started_at", "finished_at",
}  # fmt: skip


@pytest.fixture
def job(web: VirtualMachine, people: People) -> dict[str, str]:
    """Alice's waiting job on the machine `web`."""
    return accepted(Caller(people.alice).post(f"virtual-machines/{web.uuid}/snapshots/", {"name": "one"}))


def row(job: dict[str, str]) -> Job:
    return Job.objects.get(uuid=job["id"])


def test_a_job_has_the_fields_of_the_contract(job: dict[str, str], web: VirtualMachine, people: People) -> None:
    shown = Caller(people.bob).get(f"jobs/{job['id']}/").json()
    assert shown == job
    assert set(shown) == JOB_FIELDS
    assert (shown["requested_by"], shown["virtual_machine"]) == ("alice", str(web.uuid))


def test_a_failed_job_says_why(web: VirtualMachine, cloud: Cloud, people: People) -> None:
    alice = Caller(people.alice)
    job = accepted(alice.post(f"virtual-machines/{web.uuid}/stop/"))
    cloud.world.set_down(True)
    run(row(job))
    shown = alice.get(f"jobs/{job['id']}/").json()
    assert shown["state"] == "failed"
    assert shown["error"]["code"] == "hypervisor_unreachable"
    assert shown["error"]["detail"]
    assert shown["finished_at"]


def test_a_job_whose_outcome_is_being_sought_has_no_error_yet(
    job: dict[str, str], cloud: Cloud, people: People
) -> None:
    cloud.world.finish_late("create_snapshot", 3600)
    sought = run(row(job))
    assert (sought.state, sought.error_code) == ("running", "hypervisor_timeout")
    shown = Caller(people.alice).get(f"jobs/{job['id']}/").json()
    assert (shown["state"], shown["error"], shown["finished_at"]) == ("running", None, None)


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("POST", "cancel/")])
def test_a_stranger_gets_what_an_unknown_id_gives(job: dict[str, str], people: People, method: str, rest: str) -> None:
    stranger = Caller(people.charlie)
    hidden = problem(stranger.call(method, f"jobs/{job['id']}/{rest}"), 404, "not_found")
    assert hidden == problem(stranger.call(method, f"jobs/{uuid.uuid4()}/{rest}"), 404, "not_found")
    assert row(job).state == "queued"


def test_a_reader_may_not_cancel(job: dict[str, str], people: People) -> None:
    problem(Caller(people.bob).post(f"jobs/{job['id']}/cancel/"), 403, "forbidden")
    assert row(job).state == "queued"


def test_looking_at_cancel_is_refused(job: dict[str, str], people: People) -> None:
    problem(Caller(people.alice).get(f"jobs/{job['id']}/cancel/"), 405, "method_not_allowed")


def test_a_waiting_job_is_cancelled_at_once_and_only_once(job: dict[str, str], people: People) -> None:
    alice = Caller(people.alice)
    ended = accepted(alice.post(f"jobs/{job['id']}/cancel/"))
    assert (ended["id"], ended["state"]) == (job["id"], "cancelled")
    assert alice.names("snapshots/") == []
    problem(alice.post(f"jobs/{job['id']}/cancel/"), 409, "invalid_state")


def test_jobs_are_filtered(job: dict[str, str], db_machine: VirtualMachine, people: People) -> None:
    alice = Caller(people.alice)
    start = accepted(alice.post(f"virtual-machines/{db_machine.uuid}/start/"))
    run(row(start))
    expected = {
        "": [start, job],
        "ordering=created_at": [job, start],
        "state=queued": [job],
        "state=succeeded": [start],
        "action=start_machine": [start],
        f"virtual_machine={db_machine.uuid}": [start],
        f"snapshot={job['snapshot']}": [job],
        "created_after=2999-01-01T00:00:00Z": [],
        "created_before=2999-01-01T00:00:00Z": [start, job],
    }
    found = {query: [shown["id"] for shown in alice.rows(f"jobs/?{query}")] for query in expected}
    assert found == {query: [each["id"] for each in jobs] for query, jobs in expected.items()}
    assert Caller(people.charlie).rows("jobs/") == []
    problem(alice.get("jobs/?state=done"), 400, "invalid")


def test_jobs_on_a_whole_hypervisor_are_for_root_admins(job: dict[str, str], cloud: Cloud, people: People) -> None:
    sync = Job.objects.get(hypervisor=cloud.hypervisor, action="sync_hypervisor")
    shown = Caller(people.root).get(f"jobs/{sync.uuid}/").json()
    assert (shown["virtual_machine"], shown["snapshot"], shown["requested_by"]) == (None, None, None)
    problem(Caller(people.dora).get(f"jobs/{sync.uuid}/"), 404, "not_found")


def test_the_same_request_with_the_same_key_leads_to_the_same_job(web: VirtualMachine, people: People) -> None:
    alice, path = Caller(people.alice), f"virtual-machines/{web.uuid}/snapshots/"
    first = accepted(alice.post(path, {"name": "one"}, Idempotency_Key="k1"))
    assert accepted(alice.post(path, {"name": "one"}, Idempotency_Key="k1")) == first
    assert Job.objects.filter(machine=web, trigger="api").count() == 1


@pytest.mark.parametrize(
    ("rest", "body"), [("snapshots/", {"name": "two"}), ("stop/", {"force": True}), ("sync/", None)]
)
def test_a_key_used_for_another_request_is_refused(
    web: VirtualMachine, people: People, rest: str, body: object
) -> None:
    alice = Caller(people.alice)
    accepted(alice.post(f"virtual-machines/{web.uuid}/snapshots/", {"name": "one"}, Idempotency_Key="k1"))
    answer = alice.post(f"virtual-machines/{web.uuid}/{rest}", body, Idempotency_Key="k1")
    problem(answer, 422, "idempotency_key_reused")


def test_the_query_belongs_to_the_request(web: VirtualMachine, people: People) -> None:
    snapshot, alice = take(web, "one"), Caller(people.alice)
    accepted(alice.delete(f"snapshots/{snapshot.uuid}/", Idempotency_Key="k"))
    answer = alice.delete(f"snapshots/{snapshot.uuid}/?descendants=true", Idempotency_Key="k")
    problem(answer, 422, "idempotency_key_reused")


def test_a_deletion_repeated_after_it_was_done_still_finds_its_job(web: VirtualMachine, people: People) -> None:
    snapshot, alice = take(web, "one"), Caller(people.alice)
    first = accepted(alice.delete(f"snapshots/{snapshot.uuid}/", Idempotency_Key="k"))
    run(row(first))
    again = accepted(alice.delete(f"snapshots/{snapshot.uuid}/", Idempotency_Key="k"))
    assert (again["id"], again["state"]) == (first["id"], "succeeded")
    problem(alice.delete(f"snapshots/{snapshot.uuid}/"), 404, "not_found")


def test_keys_belong_to_their_user(web: VirtualMachine, people: People) -> None:
    path = f"virtual-machines/{web.uuid}/snapshots/"
    accepted(Caller(people.alice).post(path, {"name": "one"}, Idempotency_Key="k"))
    problem(Caller(people.dora).post(path, {"name": "one"}, Idempotency_Key="k"), 409, "vm_busy")


def test_a_refused_request_keeps_no_key(web: VirtualMachine, people: People) -> None:
    alice, path = Caller(people.alice), f"virtual-machines/{web.uuid}/start/"
    problem(alice.post(path, Idempotency_Key="k"), 409, "invalid_state")
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_of_the_wrong_length_is_refused(web: VirtualMachine, people: People, key: str) -> None:
    problem(Caller(people.alice).post(f"virtual-machines/{web.uuid}/stop/", Idempotency_Key=key), 400, "invalid")


def test_events_tell_what_happened_to_those_who_see_the_account(
    job: dict[str, str], web: VirtualMachine, people: People
) -> None:
    alice = Caller(people.alice)
    accepted(alice.post(f"jobs/{job['id']}/cancel/"))
    events = {event["action"]: event for event in alice.rows("events/?action=snapshot.create")}
    assert set(events) == {
        "snapshot.create.requested", "snapshot.create.cancel_requested", "snapshot.create.cancelled",
    }  # fmt: skip
    asked = events["snapshot.create.requested"]
    assert (asked["user"], asked["trigger"], asked["level"]) == ("alice", "api", "info")
    assert (asked["virtual_machine"], asked["virtual_machine_name"]) == (str(web.uuid), "web")
    assert (asked["snapshot"], asked["snapshot_name"], asked["job"]) == (job["snapshot"], "one", job["id"])
    assert (asked["account"], asked["hypervisor"]) == (str(people.acme.uuid), str(web.hypervisor.uuid))
    assert [event["action"] for event in alice.rows(f"events/?level=warning&virtual_machine={web.uuid}")] == [
        "snapshot.create.cancelled"
    ]
    assert alice.rows("events/?action=snapshot.creat") == []
    assert alice.rows("events/?at_after=2999-01-01T00:00:00Z") == []
    assert Caller(people.charlie).rows("events/?action=snapshot.create") == []


def test_events_of_no_account_are_for_root_admins(web: VirtualMachine, cloud: Cloud, people: People) -> None:
    endpoints.change_endpoint(
        SYSTEM,
        hypervisor=cloud.hypervisor,
        name=cloud.name,
        address=cloud.name,
        username="",
        password=None,
        enabled=True,
    )
    assert len(Caller(people.root).rows("events/?action=hypervisor.changed")) == 1
    assert Caller(people.dora).rows("events/?action=hypervisor.changed") == []

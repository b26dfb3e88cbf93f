"""`DELETE virtual-machines/{id}/snapshots/`: all VM snapshots of a machine."""

import uuid

import pytest

from hypervisors.drivers.simulated.world import Machine, Taken
from snapshots.access import SYSTEM
from snapshots.choices import TokenScope
from snapshots.models import Job, VirtualMachine
from snapshots.services.tenancy import assign_machine
from tests.builders import Cloud, People, drawn, run, take
from tests.doors.api_client import Caller, accepted, problem


def at(machine: VirtualMachine, rest: str = "") -> str:
    return f"virtual-machines/{machine.uuid}/snapshots/{rest}"


@pytest.fixture
def two(web: VirtualMachine) -> VirtualMachine:
    """The machine `web` with the VM snapshots `first` and `second`."""
    take(web, "first")
    take(web, "second")
    return web


def test_all_are_deleted_by_a_job_that_is_about_the_machine(two: VirtualMachine, people: People) -> None:
    alice = Caller(people.alice)
    answer = alice.delete(at(two))
    job = accepted(answer)
    assert (job["action"], job["state"], job["virtual_machine"], job["snapshot"]) == (
        "delete_all_snapshots", "queued", str(two.uuid), None,
    )  # fmt: skip
    assert {row["state"] for row in alice.rows(at(two))} == {"Expunging"}
    assert answer["Location"].endswith(f"/api/v1/jobs/{job['id']}/")
    run(Job.objects.get(uuid=job["id"]))
    assert alice.rows(at(two)) == []
    assert alice.get(f"jobs/{job['id']}/").json()["state"] == "succeeded"
    assert [event["detail"] for event in alice.rows("events/?action=snapshot.delete_all.requested")] == [
        "first, second"
    ]


def test_a_repeated_request_with_its_key_finds_its_job_and_deletes_nothing_more(
    two: VirtualMachine, people: People
) -> None:
    alice = Caller(people.alice)
    first = accepted(alice.delete(at(two), Idempotency_Key="k"))
    run(Job.objects.get(uuid=first["id"]))
    take(two, "taken since")
    again = accepted(alice.delete(at(two), Idempotency_Key="k"))
    assert (again["id"], again["state"]) == (first["id"], "succeeded")
    assert drawn(two) == {"taken since": None}


def test_a_machine_without_any_is_refused(web: VirtualMachine, people: People) -> None:
    assert "nothing to delete" in problem(Caller(people.alice).delete(at(web)), 409, "invalid_state")["detail"]


def test_a_busy_machine_is_refused_with_the_job(two: VirtualMachine, people: People) -> None:
    alice = Caller(people.alice)
    job = accepted(alice.post(at(two), {"name": "third"}))
    assert problem(alice.delete(at(two)), 409, "vm_busy")["job"] == job["id"]


def test_a_hypervisor_that_cannot_do_it_is_told_with_its_reason(people: People) -> None:
    missing = (("delete_descendants", "Not on this storage."),)
    cloud = Cloud((Machine("odd", missing=missing, snapshots=(Taken("a"), Taken("b"))),))
    assign_machine(SYSTEM, machine=cloud.machine("odd"), account=people.acme)
    refusal = problem(Caller(people.alice).delete(at(cloud.machine("odd"))), 422, "not_supported")
    assert refusal["detail"] == "Not on this storage."


@pytest.mark.parametrize("query", ["?name=first", "?descendants=true", "?drift=lost"])
def test_no_parameter_narrows_it_so_each_is_refused(two: VirtualMachine, people: People, query: str) -> None:
    problem(Caller(people.alice).delete(at(two, query)), 400, "invalid")
    assert set(drawn(two)) == {"first", "second"}
    assert not Job.objects.filter(state="queued").exists()


def test_it_takes_no_body(two: VirtualMachine, people: People) -> None:
    problem(Caller(people.alice).delete(at(two), {"names": ["first"]}), 400, "invalid")
    assert not Job.objects.filter(state="queued").exists()


def test_a_stranger_gets_what_an_unknown_id_gives(two: VirtualMachine, people: People) -> None:
    for person in (people.charlie, people.nora):
        stranger = Caller(person)
        hidden = problem(stranger.delete(at(two)), 404, "not_found")
        assert hidden == problem(stranger.delete(f"virtual-machines/{uuid.uuid4()}/snapshots/"), 404, "not_found")
    assert not Job.objects.filter(state="queued").exists()


def test_readers_and_tokens_for_reading_may_not(two: VirtualMachine, people: People) -> None:
    problem(Caller(people.bob).delete(at(two)), 403, "forbidden")
    problem(Caller(people.alice, TokenScope.READ).delete(at(two)), 403, "forbidden")
    problem(Caller(None).delete(at(two)), 401, "unauthenticated")
    assert not Job.objects.filter(state="queued").exists()

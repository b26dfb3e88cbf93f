"""What schedules took, and which schedules there are, found over REST; and keeping one for good."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from snapshots.access import SYSTEM
from snapshots.models import Event, Schedule, VirtualMachine
from snapshots.services import schedules
from snapshots.services.snapshot_actions import request_create
from tests.builders import People, run, schedule, taken_by
from tests.doors.api_client import Caller, problem


def of(machine: VirtualMachine) -> str:
    return f"virtual-machines/{machine.uuid}/schedules/"


def at(row: Schedule) -> str:
    return f"schedules/{row.uuid}/"


def test_a_vm_snapshot_says_which_schedule_took_it_and_is_found_by_it(
    web: VirtualMachine, people: People, nightly: Schedule
) -> None:
    snapshot = taken_by(nightly, "one")
    run(request_create(SYSTEM, machine=web, name="by hand"))
    alice = Caller(people.alice)
    assert alice.get(f"snapshots/{snapshot.uuid}/").json()["schedule"] == str(nightly.uuid)
    for path in ("snapshots/", f"virtual-machines/{web.uuid}/snapshots/"):
        assert {row["name"]: row["schedule"] for row in alice.rows(path)} == {
            "one": str(nightly.uuid),
            "by hand": None,
        }
        assert alice.names(f"{path}?schedule={nightly.uuid}") == ["one"]
        assert alice.names(f"{path}?schedule={uuid.uuid4()}") == []
        problem(alice.get(f"{path}?schedule=nightly"), 400, "invalid")
    (node,) = alice.get(f"virtual-machines/{web.uuid}/tree/").json()["nodes"]
    assert (node["schedule"], node["children"][0]["schedule"]) == (str(nightly.uuid), None)


def test_how_many_it_has_counts_those_that_are_ready(people: People, nightly: Schedule) -> None:
    taken_by(nightly, "one")
    taken_by(nightly, "two")
    request_create(SYSTEM, machine=nightly.machine, name="under way", schedule=nightly)
    assert Caller(people.alice).get(at(nightly)).json()["kept"] == 2


def test_one_is_kept_for_good(people: People, nightly: Schedule) -> None:
    snapshot = taken_by(nightly, "one")
    alice = Caller(people.alice)
    before = alice.get(f"snapshots/{snapshot.uuid}/").json()
    answer = alice.post(f"snapshots/{snapshot.uuid}/keep/")
    assert answer.status_code == 200, answer.content
    assert answer.json() == before | {"schedule": None}
    assert alice.get(at(nightly)).json()["kept"] == 0
    assert Event.objects.get(action="snapshot.kept").trigger == "api"
    problem(alice.post(f"snapshots/{snapshot.uuid}/keep/"), 409, "invalid_state")


def test_what_is_sent_along_with_keeping_is_refused(people: People, nightly: Schedule) -> None:
    path = f"snapshots/{taken_by(nightly, 'one').uuid}/keep/"
    alice = Caller(people.alice)
    problem(alice.post(path, {"schedule": None}), 400, "invalid")
    problem(alice.post(f"{path}?for=ever"), 400, "invalid")
    problem(alice.get(path), 405, "method_not_allowed")


# Finding


def test_lists_are_filtered_ordered_and_cut_into_pages(
    web: VirtualMachine, db_machine: VirtualMachine, people: People
) -> None:
    hourly = schedule(web, name="c", frequency="hourly")
    paused = schedules.pause_schedule(SYSTEM, schedule=schedule(web, name="a", keep=2))
    other = schedule(db_machine, name="b", keep=1)
    Schedule.objects.filter(pk=other.pk).update(missed="The machine was busy.")
    alice = Caller(people.alice)
    assert alice.names("schedules/") == ["a", "b", "c"]
    assert alice.names("schedules/?ordering=-created_at") == ["b", "a", "c"]
    assert alice.names("schedules/?ordering=keep") == ["b", "a", "c"]
    for query, names in {
        f"virtual_machine={web.uuid}": ["a", "c"],
        f"account={people.acme.uuid}": ["a", "b", "c"],
        f"account={people.other.uuid}": [],
        "enabled=true": ["b", "c"],
        "enabled=false": [paused.name],
        "missed=true": ["b"],
        "missed=false": ["a", "c"],
        "frequency=hourly": [hourly.name],
    }.items():
        assert alice.names(f"schedules/?{query}") == names, query
    assert alice.names(f"{of(web)}?enabled=true") == ["c"]
    assert alice.get("schedules/?missed=true").json()["results"][0]["missed"] == "The machine was busy."
    first = alice.get("schedules/?page_size=2").json()
    assert [row["name"] for row in alice.get(first["next"]).json()["results"]] == ["c"]
    for query in ("frequency=yearly", "enabled=yes", "missed=1", "account=acme", "ordering=next_at", "machine=x"):
        problem(alice.get(f"schedules/?{query}"), 400, "invalid")
    problem(alice.get(f"{of(web)}?account={people.acme.uuid}"), 400, "invalid")


@pytest.mark.parametrize("count", [1, 8])
def test_a_list_costs_the_same_however_long_it_is(web: VirtualMachine, people: People, count: int) -> None:
    for number in range(count):
        taken_by(schedule(web, name=f"s{number}", keep=1), f"n{number}")
    caller = Caller(people.alice)
    for path, cost in (("schedules/", 4), (of(web), 5)):
        with CaptureQueriesContext(connection) as captured:
            assert [row["kept"] for row in caller.rows(path)] == [1] * count
        assert len(captured) == cost

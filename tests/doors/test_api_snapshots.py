"""`snapshots/`: lists over all machines, one VM snapshot, rename, revert, delete."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from snapshots.access import SYSTEM
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services import tenancy
from tests.builders import Cloud, People, run, take
from tests.doors.api_client import Caller, accepted, problem


def at(snapshot: VMSnapshot, rest: str = "") -> str:
    return f"snapshots/{snapshot.uuid}/{rest}"


def job_row(job: dict[str, str]) -> Job:
    return Job.objects.get(uuid=job["id"])


@pytest.fixture
def one(web: VirtualMachine) -> VMSnapshot:
    """A ready VM snapshot with memory of the running machine `web`, its current one."""
    return take(web, "one")


def test_the_list_shows_real_snapshots_of_ones_machines_only(one: VMSnapshot, cloud: Cloud, people: People) -> None:
    take(cloud.machine("foreign"), "theirs")
    assert Caller(people.alice).names("snapshots/") == ["one"]
    assert Caller(people.charlie).names("snapshots/") == ["theirs"]
    assert Caller(people.root).names("snapshots/") == ["theirs", "one"]
    assert Caller(people.nora).names("snapshots/") == []


def test_the_hidden_anchor_cannot_be_had(one: VMSnapshot, people: People) -> None:
    anchor = VMSnapshot.objects.get(machine=one.machine, parent=None)
    problem(Caller(people.root).get(at(anchor)), 404, "not_found")
    problem(Caller(people.root).delete(at(anchor)), 404, "not_found")
    assert Caller(people.root).get(at(one)).json()["parent"] is None


CALLS = [
    ("GET", "", None),
    ("PATCH", "", {"name": "x"}),
    ("DELETE", "", None),
    ("DELETE", "?descendants=true", None),
    ("POST", "revert/", {}),
]


@pytest.mark.parametrize(("method", "rest", "body"), CALLS)
def test_a_stranger_gets_what_an_unknown_id_gives(
    one: VMSnapshot, people: People, method: str, rest: str, body: object
) -> None:
    stranger = Caller(people.charlie)
    hidden = problem(stranger.call(method, at(one, rest), body), 404, "not_found")
    assert hidden == problem(stranger.call(method, f"snapshots/{uuid.uuid4()}/{rest}", body), 404, "not_found")
    one.refresh_from_db()
    assert one.state == "Ready"


@pytest.mark.parametrize(("method", "rest", "body"), CALLS[1:])
def test_a_reader_may_not_change(one: VMSnapshot, people: People, method: str, rest: str, body: object) -> None:
    problem(Caller(people.bob).call(method, at(one, rest), body), 403, "forbidden")
    one.refresh_from_db()
    assert one.state == "Ready"


def test_looking_at_revert_is_refused(one: VMSnapshot, people: People) -> None:
    problem(Caller(people.alice).get(at(one, "revert/")), 405, "method_not_allowed")


def test_rename_and_describe(one: VMSnapshot, people: People) -> None:
    alice = Caller(people.alice)
    run(job_row(accepted(alice.patch(at(one), {"name": "<b>first</b>"}))))
    run(job_row(accepted(alice.patch(at(one), {"description": "before\nthe change"}))))
    shown = alice.get(at(one)).json()
    assert (shown["name"], shown["description"]) == ("<b>first</b>", "before\nthe change")


@pytest.mark.parametrize(
    ("body", "field"), [({}, "body"), ({"name": ""}, "name"), ({"state": "Ready"}, "state"), ({"name": None}, "name")]
)
def test_a_bad_change_is_refused_at_its_field(one: VMSnapshot, people: People, body: object, field: str) -> None:
    assert list(problem(Caller(people.alice).patch(at(one), body), 400, "invalid")["fields"]) == [field]


def test_a_change_to_a_name_in_use_is_refused(one: VMSnapshot, people: People) -> None:
    two = take(one.machine, "two")
    problem(Caller(people.alice).patch(at(two), {"name": "one"}), 409, "name_taken")


def test_delete_alone_moves_the_children_up(one: VMSnapshot, people: People) -> None:
    two = take(one.machine, "two")
    alice = Caller(people.alice)
    job = accepted(alice.delete(at(one)))
    assert job["action"] == "delete_snapshot"
    assert alice.get(at(one)).json()["state"] == "Expunging"
    run(job_row(job))
    problem(alice.get(at(one)), 404, "not_found")
    assert alice.get(at(two)).json()["parent"] is None
    assert alice.get(f"jobs/{job['id']}/").json()["snapshot"] == str(one.uuid)


def test_delete_with_descendants_takes_all_below(one: VMSnapshot, people: People) -> None:
    take(one.machine, "two")
    alice = Caller(people.alice)
    job = accepted(alice.delete(at(one, "?descendants=true")))
    assert job["action"] == "delete_snapshot_tree"
    run(job_row(job))
    assert alice.names("snapshots/") == []


def test_descendants_false_is_delete_alone(one: VMSnapshot, people: People) -> None:
    assert accepted(Caller(people.alice).delete(at(one, "?descendants=false")))["action"] == "delete_snapshot"


@pytest.mark.parametrize(
    "query", ["descendants=yes", "descendants=", "descendant=true", "descendants=true&descendants=true"]
)
def test_a_misspelt_query_deletes_nothing(one: VMSnapshot, people: People, query: str) -> None:
    problem(Caller(people.alice).delete(at(one, f"?{query}")), 400, "invalid")
    one.refresh_from_db()
    assert one.state == "Ready"


def test_delete_takes_no_body(one: VMSnapshot, people: People) -> None:
    refusal = problem(Caller(people.alice).delete(at(one), {"descendants": True}), 400, "invalid")
    assert list(refusal["fields"]) == ["descendants"]


def test_a_snapshot_being_reverted_to_cannot_be_deleted(one: VMSnapshot, people: People) -> None:
    alice = Caller(people.alice)
    job = accepted(alice.post(at(one, "revert/"), {"safety_snapshot": False}))
    assert alice.get(at(one)).json()["state"] == "Reverting"
    assert problem(alice.delete(at(one)), 409, "vm_busy")["job"] == job["id"]


def test_revert_takes_a_safety_snapshot_unless_told_otherwise(one: VMSnapshot, people: People) -> None:
    alice = Caller(people.alice)
    assert "safety_snapshot" in job_row(accepted(alice.post(at(one, "revert/")))).arguments
    assert set(alice.names("snapshots/")) == {"one", "Before revert to one"}


def test_revert_can_do_without_a_safety_snapshot(one: VMSnapshot, people: People) -> None:
    alice = Caller(people.alice)
    take(one.machine, "two")
    run(job_row(accepted(alice.post(at(one, "revert/"), {"safety_snapshot": False, "power": "stopped"}))))
    assert alice.get(at(one)).json()["current"] is True
    assert sorted(alice.names("snapshots/")) == ["one", "two"]


def test_revert_of_a_running_machine_to_a_disk_snapshot_asks_for_a_choice(web: VirtualMachine, people: People) -> None:
    disk = take(web, "disk", memory=False)
    alice = Caller(people.alice)
    refusal = problem(alice.post(at(disk, "revert/"), {}), 409, "invalid_state")
    assert set(refusal["choices"]) == {"as_snapshot", "running", "stopped"}
    assert job_row(accepted(alice.post(at(disk, "revert/"), {"power": "running"}))).arguments["power"] == "running"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"power": "on"}, "power"),
        ({"power": 1}, "power"),
        ({"power": ["stopped"]}, "power"),
        ({"safety_snapshot": "no"}, "safety_snapshot"),
        ({"safety": False}, "safety"),
    ],
)
def test_a_bad_revert_is_refused_at_its_field(one: VMSnapshot, people: People, body: object, field: str) -> None:
    assert list(problem(Caller(people.alice).post(at(one, "revert/"), body), 400, "invalid")["fields"]) == [field]


def test_a_memory_snapshot_cannot_be_reverted_to_power_it_does_not_offer(one: VMSnapshot, people: People) -> None:
    problem(Caller(people.alice).post(at(one, "revert/"), {"power": "running"}), 422, "not_supported")


def test_snapshots_are_filtered_and_ordered(
    one: VMSnapshot, db_machine: VirtualMachine, cloud: Cloud, people: People
) -> None:
    take(db_machine, "two")
    cloud.world.take_elsewhere(db_machine.native_id, "three")
    cloud.sync()
    bob = Caller(people.bob)
    expected = {
        "state=Ready": ["one", "three", "two"],
        "state=Error": [],
        "type=DiskAndMemory": ["one"],
        "origin=elsewhere": ["three"],
        f"virtual_machine={one.machine.uuid}": ["one"],
        "name=two": ["two"],
        "name=tw": [],
        "current=true": ["one", "three"],
        "current=false": ["two"],
        "created_after=2999-01-01T00:00:00Z": [],
        "created_before=2999-01-01T00:00:00%2B02:00&name=one": ["one"],
        "created_before=2999-01-01T00:00:00+02:00&name=one": ["one"],
        "created_before=2000-01-01": [],
    }
    assert {query: sorted(bob.names(f"snapshots/?{query}")) for query in expected} == expected


@pytest.mark.parametrize(
    "query",
    [
        "stat=Error", "state=error", "current=1", "virtual_machine=7", "created_after=yesterday",
        "created_after=9999-12-31T23:59:59-14:00", "created_after=2026-02-30T00:00:00Z", "ordering=created",
        "ordering=--created_at", "ordering=name", "ordering=", "page_size=0", "page_size=201", "page_size=x", "cursor=x",
        "cursor=",
        "state=Ready&state=Error", "name=%00", "format=xml",
    ],
)  # fmt: skip
def test_a_bad_query_is_refused_at_its_parameter(one: VMSnapshot, people: People, query: str) -> None:
    refusal = problem(Caller(people.alice).get(f"snapshots/?{query}"), 400, "invalid")
    assert list(refusal["fields"]) == [query.partition("=")[0]]


def test_a_machine_that_changed_hands_takes_its_snapshots_along(one: VMSnapshot, people: People) -> None:
    tenancy.assign_machine(SYSTEM, machine=one.machine, account=people.other)
    problem(Caller(people.alice).get(at(one)), 404, "not_found")
    assert Caller(people.charlie).get(at(one)).json()["name"] == "one"


@pytest.mark.parametrize(
    ("person", "query", "index"),
    [
        ("root", "", "snapshot_newest_first"),
        ("root", "state=Error", "snapshot_not_ready"),
        ("root", "state=Creating", "snapshot_not_ready"),
        ("root", "origin=elsewhere", "snapshot_made_elsewhere"),
        ("alice", "", "snapshot_in_tree_order"),
        ("alice", "state=Ready", "snapshot_in_tree_order"),
        ("alice", "origin=vmsnap", "snapshot_in_tree_order"),
    ],
)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="says how SQLite plans, which keeps no statistics of its own")
def test_a_list_over_everybodys_snapshots_is_read_through_an_index_that_bounds_it(
    one: VMSnapshot, people: People, person: str, query: str, index: str
) -> None:
    caller = Caller(getattr(people, person))
    with CaptureQueriesContext(connection) as captured:
        caller.rows(f"snapshots/?{query}")
    statement = next(each["sql"] for each in captured if "LIMIT 51" in each["sql"])
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + statement.replace("%", "%%"))
        plan = " ".join(row[3] for row in cursor.fetchall() if "snapshots_vmsnapshot" in row[3])
    assert index in plan

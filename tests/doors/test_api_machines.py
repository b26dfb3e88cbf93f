"""`virtual-machines/`: lists, one machine, its VM snapshots and tree, start, stop, sync."""

import uuid

import pytest
from pytest_django import DjangoAssertNumQueries, Settings

from hypervisors.capabilities import Capabilities
from hypervisors.drivers.simulated.world import Machine, Taken
from snapshots.access import SYSTEM
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services import tenancy
from tests.builders import Cloud, People, run, take
from tests.doors.api_client import Caller, accepted, problem

MACHINE_FIELDS = {
    "id", "name", "hypervisor", "power_state", "account", "domain", "memory_bytes", "snapshot_count", "capabilities",
    "synced_at", "folder", "resource_pool", "tags", "needs_consolidation", "question", "missing_since", "unadopted_count",
    "lost_count",
}  # fmt: skip
SNAPSHOT_FIELDS = {
    "id", "name", "description", "state", "type", "parent", "current", "virtual_machine", "origin", "created_at",
    "created_by", "schedule", "estimated_bytes", "measured_bytes", "adopted_at", "error",
}  # fmt: skip


def at(machine: VirtualMachine, rest: str = "") -> str:
    return f"virtual-machines/{machine.uuid}/{rest}"


def job_row(job: dict[str, str]) -> Job:
    return Job.objects.get(uuid=job["id"])


def test_the_list_shows_exactly_the_machines_of_ones_accounts(web: VirtualMachine, people: People) -> None:
    assert Caller(people.alice).names("virtual-machines/") == ["db", "web"]
    assert Caller(people.bob).names("virtual-machines/") == ["db", "web"]
    assert Caller(people.dora).names("virtual-machines/") == ["db", "web"]
    assert Caller(people.charlie).names("virtual-machines/") == ["foreign"]
    assert Caller(people.root).names("virtual-machines/") == ["db", "foreign", "unassigned", "web"]
    assert Caller(people.nora).names("virtual-machines/") == []


def test_a_machine_has_the_fields_of_the_contract(web: VirtualMachine, people: People) -> None:
    body = Caller(people.alice).get(at(web)).json()
    assert set(body) == MACHINE_FIELDS
    assert body["id"] == str(web.uuid)
    assert body["hypervisor"] == str(web.hypervisor.uuid)
    assert body["account"] == str(people.acme.uuid)
    assert body["domain"] == str(people.engineering.uuid)
    assert body["power_state"] == "running"
    assert body["memory_bytes"] == web.memory_bytes
    assert body["capabilities"]["memory"] == {"allowed": True, "reason": ""}
    assert set(body["capabilities"]) == set(Capabilities().as_json())


def test_a_machine_without_owner_has_null_for_account_and_domain(
    web: VirtualMachine, cloud: Cloud, people: People
) -> None:
    body = Caller(people.root).get(at(cloud.machine("unassigned"))).json()
    assert (body["account"], body["domain"]) == (None, None)


@pytest.mark.parametrize("rest", ["", "snapshots/", "tree/"])
def test_a_stranger_gets_for_a_machine_what_an_unknown_id_gives(web: VirtualMachine, people: People, rest: str) -> None:
    stranger = Caller(people.charlie)
    hidden = problem(stranger.get(at(web, rest)), 404, "not_found")
    unknown = problem(stranger.get(f"virtual-machines/{uuid.uuid4()}/{rest}"), 404, "not_found")
    assert hidden == unknown


@pytest.mark.parametrize("rest", ["snapshots/", "start/", "stop/", "sync/"])
def test_a_stranger_gets_for_an_action_what_an_unknown_id_gives(web: VirtualMachine, people: People, rest: str) -> None:
    stranger, body = Caller(people.charlie), {"name": "x"} if rest == "snapshots/" else {}
    hidden = problem(stranger.post(at(web, rest), body), 404, "not_found")
    assert hidden == problem(stranger.post(f"virtual-machines/{uuid.uuid4()}/{rest}", body), 404, "not_found")
    assert not Job.objects.filter(machine=web).exists()


@pytest.mark.parametrize("rest", ["snapshots/", "start/", "stop/"])
def test_a_reader_may_not_act(web: VirtualMachine, people: People, rest: str) -> None:
    body = {"name": "x"} if rest == "snapshots/" else {}
    problem(Caller(people.bob).post(at(web, rest), body), 403, "forbidden")
    assert not Job.objects.filter(machine=web).exists()


def test_a_reader_may_ask_for_a_fresh_reading(web: VirtualMachine, people: People) -> None:
    assert accepted(Caller(people.bob).post(at(web, "sync/")))["action"] == "sync_machine"


@pytest.mark.parametrize("rest", ["start/", "stop/", "sync/"])
def test_looking_at_an_action_is_refused(web: VirtualMachine, people: People, rest: str) -> None:
    answer = Caller(people.alice).get(at(web, rest))
    problem(answer, 405, "method_not_allowed")
    assert answer["Allow"] == "POST"


def test_start_and_stop_open_jobs(db_machine: VirtualMachine, web: VirtualMachine, people: People) -> None:
    alice = Caller(people.alice)
    started = accepted(alice.post(at(db_machine, "start/")))
    assert (started["action"], started["state"], started["virtual_machine"]) == (
        "start_machine", "queued", str(db_machine.uuid),
    )  # fmt: skip
    assert started["requested_by"] == "alice"
    stopped = accepted(alice.post(at(web, "stop/"), {"force": True}))
    assert job_row(stopped).arguments == {"force": True}


def test_the_event_of_an_action_says_who_through_which_door_and_from_where(web: VirtualMachine, people: People) -> None:
    accepted(Caller(people.alice).post(at(web, "stop/")))
    event = Caller(people.alice).rows("events/?action=machine.stop")[0]
    assert (event["user"], event["trigger"], event["from_address"]) == ("alice", "api", "127.0.0.1")


def test_stopping_a_stopped_machine_is_refused(db_machine: VirtualMachine, people: People) -> None:
    problem(Caller(people.alice).post(at(db_machine, "stop/")), 409, "invalid_state")


@pytest.mark.parametrize("force", ["yes", 1, None, [], {}])
def test_force_is_true_or_false_and_nothing_else(web: VirtualMachine, people: People, force: object) -> None:
    body = problem(Caller(people.alice).post(at(web, "stop/"), {"force": force}), 400, "invalid")
    assert list(body["fields"]) == ["force"]


def test_taking_a_snapshot_answers_with_the_job_and_the_new_id(web: VirtualMachine, people: People) -> None:
    alice = Caller(people.alice)
    job = accepted(alice.post(at(web, "snapshots/"), {"name": "one", "description": "d", "memory": True}))
    assert job["state"] == "queued"
    assert (job["progress"], job["error"], job["started_at"], job["finished_at"]) == (0, None, None, None)
    snapshot = alice.get(f"snapshots/{job['snapshot']}/").json()
    assert (snapshot["name"], snapshot["state"], snapshot["type"]) == ("one", "Allocated", "DiskAndMemory")
    assert alice.get(job_path := f"jobs/{job['id']}/").json()["id"] == job["id"], job_path


def test_a_snapshot_taken_through_rest_becomes_ready_and_current(web: VirtualMachine, people: People) -> None:
    alice = Caller(people.alice)
    job = accepted(alice.post(at(web, "snapshots/"), {"name": "one", "memory": True}))
    run(job_row(job))
    ended = alice.get(f"jobs/{job['id']}/").json()
    assert (ended["state"], ended["progress"], ended["error"]) == ("succeeded", 100, None)
    snapshot = alice.get(f"snapshots/{job['snapshot']}/").json()
    assert set(snapshot) == SNAPSHOT_FIELDS
    assert (snapshot["state"], snapshot["current"], snapshot["created_by"]) == ("Ready", True, "alice")
    assert snapshot["virtual_machine"] == str(web.uuid)


REFUSED_NAMES = ["", " ", "x" * 256, "a\u0000b", "a\nb", "\ud800"]


@pytest.mark.parametrize("name", REFUSED_NAMES, ids=[repr(name[:8]) for name in REFUSED_NAMES])
def test_a_bad_name_is_refused_at_its_field(web: VirtualMachine, people: People, name: str) -> None:
    body = problem(Caller(people.alice).post(at(web, "snapshots/"), {"name": name}), 400, "invalid")
    assert list(body["fields"]) == ["name"]
    assert not VMSnapshot.objects.real().exists()


@pytest.mark.parametrize("name", ["&<\"'>", "שלום עולם", "e\u0301", "🙂", "x" * 255])
def test_any_name_people_can_see_comes_back(web: VirtualMachine, people: People, name: str) -> None:
    alice = Caller(people.alice)
    job = accepted(alice.post(at(web, "snapshots/"), {"name": name}))
    shown = alice.get(f"snapshots/{job['snapshot']}/").json()["name"]
    assert shown == ("é" if name == "e\u0301" else name)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "nmae": "y"}, "nmae"),
        ({"name": "x", "\ud800": 1}, "\\ud800"),
        ({}, "name"),
        ({"name": None}, "name"),
        ({"name": 5}, "name"),
        ({"name": ["x"]}, "name"),
        ({"name": "x", "memory": "true"}, "memory"),
        ({"name": "x", "quiesce": 0}, "quiesce"),
        ({"name": "x", "description": 7}, "description"),
        ({"name": "x", "description": "y" * 4001}, "description"),
        ({"name": "x", "memory": True, "quiesce": True}, "quiesce"),
        ([], "body"),
        ("x", "body"),
        (None, "name"),
    ],
)
def test_a_bad_body_is_refused_and_names_the_field(
    web: VirtualMachine, people: People, body: object, field: str
) -> None:
    refusal = problem(Caller(people.alice).post(at(web, "snapshots/"), body), 400, "invalid")
    assert list(refusal["fields"]) == [field]
    assert not Job.objects.filter(machine=web).exists()


def test_a_name_in_use_is_refused(web: VirtualMachine, people: People) -> None:
    take(web, "one")
    refusal = problem(Caller(people.alice).post(at(web, "snapshots/"), {"name": "one"}), 409, "name_taken")
    assert list(refusal["fields"]) == ["name"]


def test_memory_of_a_stopped_machine_is_refused(db_machine: VirtualMachine, people: People) -> None:
    problem(
        Caller(people.alice).post(at(db_machine, "snapshots/"), {"name": "x", "memory": True}), 409, "invalid_state"
    )


def test_quiesce_without_an_agent_is_refused_for_good(web: VirtualMachine, people: People) -> None:
    problem(Caller(people.alice).post(at(web, "snapshots/"), {"name": "x", "quiesce": True}), 422, "not_supported")


def test_a_busy_machine_names_the_job_that_holds_it(web: VirtualMachine, people: People) -> None:
    alice = Caller(people.alice)
    job = accepted(alice.post(at(web, "snapshots/"), {"name": "one"}))
    refusal = problem(Caller(people.dora).post(at(web, "stop/")), 409, "vm_busy")
    assert refusal["job"] == job["id"]
    assert "alice" in refusal["detail"]


def test_the_maximum_of_snapshots_is_told_with_its_numbers(
    web: VirtualMachine, people: People, settings: Settings
) -> None:
    settings.SNAPSHOTS_PER_MACHINE = 1
    take(web, "one")
    refusal = problem(Caller(people.alice).post(at(web, "snapshots/"), {"name": "two"}), 409, "limit_exceeded")
    assert (refusal["level"], refusal["limit"], refusal["used"]) == ("machine", 1, 1)


def test_a_machines_snapshots_are_listed_newest_first_without_the_anchor(
    web: VirtualMachine, db_machine: VirtualMachine, people: People
) -> None:
    for name in ("one", "two"):
        take(web, name)
    take(db_machine, "other")
    assert Caller(people.bob).names(at(web, "snapshots/")) == ["two", "one"]
    assert Caller(people.bob).names(at(web, "snapshots/?name=one")) == ["one"]


def test_the_tree_nests_children_and_marks_the_current_one(people: People) -> None:
    world = Cloud((Machine("m", snapshots=(Taken("a"), Taken("b", parent=0), Taken("c", parent=0), Taken("d"))),))
    machine = world.machine("m")
    tenancy.assign_machine(SYSTEM, machine=machine, account=people.acme)
    tree = Caller(people.bob).get(at(machine, "tree/")).json()

    def shape(nodes: list[dict[str, object]]) -> dict[str, object]:
        return {node["name"]: shape(node["children"]) for node in nodes}  # type: ignore[misc, arg-type]  # JSON

    assert shape(tree["nodes"]) == {"a": {"b": {}, "c": {}}, "d": {}}
    first = tree["nodes"][0]
    assert set(first) == SNAPSHOT_FIELDS | {"children"}
    assert first["parent"] is None
    assert first["children"][0]["parent"] == first["id"]
    current = VMSnapshot.objects.get(machine=machine, current=True)
    assert tree["current"] == (None if current.is_anchor else str(current.uuid))
    assert tree["virtual_machine"] == str(machine.uuid)
    assert tree["snapshot_count"] == 4
    # Three paths: twice the allocated size of the volumes, and no memory was kept.
    volumes = sum(volume.capacity_bytes for volume in machine.volumes.all())
    assert tree["estimated_bytes"] == 2 * volumes
    assert tree["measured_bytes"] == sum(row.measured_bytes for row in machine.snapshots.real() if row.measured_bytes)


def test_the_tree_of_a_machine_without_snapshots_is_empty(web: VirtualMachine, people: People) -> None:
    tree = Caller(people.alice).get(at(web, "tree/")).json()
    assert (tree["nodes"], tree["current"], tree["estimated_bytes"], tree["measured_bytes"]) == ([], None, 0, None)


def test_estimates_are_the_same_in_list_tree_and_detail(web: VirtualMachine, people: People) -> None:
    one = take(web, "one")
    take(web, "two")
    alice = Caller(people.alice)
    run(job_row(accepted(alice.post(f"snapshots/{one.uuid}/revert/", {"safety_snapshot": False}))))
    take(web, "three", memory=False)
    listed = {row["name"]: row["estimated_bytes"] for row in alice.rows(at(web, "snapshots/"))}
    root = alice.get(at(web, "tree/")).json()["nodes"][0]
    nested = {row["name"]: row["estimated_bytes"] for row in [root, *root["children"]]}
    volumes = sum(volume.capacity_bytes for volume in web.volumes.all())
    assert listed == nested == {
        "one": web.memory_bytes, "two": volumes + web.memory_bytes, "three": volumes,
    }  # fmt: skip
    assert alice.get(f"snapshots/{one.uuid}/").json()["estimated_bytes"] == web.memory_bytes


def test_a_chain_deeper_than_any_encoder_nests_is_shown(people: People) -> None:
    length = 600
    chain = tuple(Taken(f"s{number}", parent=number - 1 if number else None) for number in range(length))
    world = Cloud((Machine("deep", snapshots=chain),))
    answer = Caller(people.root).get(at(world.machine("deep"), "tree/"))
    assert answer.status_code == 200
    text = answer.content.decode()
    assert text.endswith("]}" * (length + 1))
    assert text.count('"children":[{') == length - 1


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=WE", ["web"]),
        ("power_state=stopped", ["db", "unassigned"]),
        ("power_state=stopped&name=un", ["unassigned"]),
        ("ordering=-name", ["web", "unassigned", "foreign", "db"]),
        ("account={acme}", ["db", "web"]),
        ("domain={engineering}", ["db", "web"]),
        ("domain={organisation}", []),
        ("hypervisor={hypervisor}", ["db", "foreign", "unassigned", "web"]),
        ("hypervisor=00000000-0000-0000-0000-000000000000", []),
    ],
)
def test_machines_are_filtered_and_ordered(web: VirtualMachine, people: People, query: str, names: list[str]) -> None:
    ids = {
        "acme": people.acme.uuid,
        "engineering": people.engineering.uuid,
        "organisation": people.organisation.uuid,
        "hypervisor": web.hypervisor.uuid,
    }
    assert Caller(people.root).names("virtual-machines/?" + query.format(**ids)) == names


def test_reading_costs_the_same_however_much_there_is_and_calls_no_hypervisor(
    people: People, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    forest = (Taken("a"), Taken("b", parent=0), Taken("c", parent=0))
    cloud = Cloud(tuple(Machine(f"m{number}", snapshots=forest) for number in range(6)))
    first = cloud.machine("m0")
    tenancy.assign_machine(SYSTEM, machine=first, account=people.acme)
    caller = Caller(people.alice)
    cloud.world.forget_calls()

    def cost_all() -> None:
        # Each: the token with its user; whether they are a root admin.
        with django_assert_num_queries(3):  # the machines
            caller.get("virtual-machines/")
        with django_assert_num_queries(3):  # the machine
            caller.get(at(first))
        with django_assert_num_queries(6):  # the machine; its snapshots; paths; volumes
            caller.get(at(first, "snapshots/"))
        with django_assert_num_queries(5):  # the machine; its snapshots; volumes
            caller.get(at(first, "tree/"))
        with django_assert_num_queries(5):  # the snapshots; paths; volumes
            caller.get("snapshots/")

    cost_all()
    for number in range(1, 6):
        tenancy.assign_machine(SYSTEM, machine=cloud.machine(f"m{number}"), account=people.acme)
    assert len(caller.rows("snapshots/")) == 18
    cost_all()
    assert not cloud.world.calls()

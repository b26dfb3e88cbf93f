"""What others did on the hypervisor, over REST: finding it, adopting, acknowledging, consolidating."""

import uuid

import pytest
from django.http import HttpResponse

from snapshots.access import SYSTEM
from snapshots.choices import TokenScope
from snapshots.models import Event, Job, VirtualMachine, VMSnapshot
from snapshots.services import drift_actions, machine_actions
from tests.builders import Cloud, People, drawn, run, take
from tests.doors.api_client import Caller, accepted, problem


@pytest.fixture
def theirs(web: VirtualMachine, cloud: Cloud) -> VMSnapshot:
    """A VM snapshot of `web` that somebody made elsewhere."""
    cloud.world.take_elsewhere(web.native_id, "theirs")
    cloud.sync()
    found: VMSnapshot = VMSnapshot.objects.get(name="theirs")
    return found


@pytest.fixture
def lost(web: VirtualMachine, cloud: Cloud) -> VMSnapshot:
    """A VM snapshot of `web` that its hypervisor has no more."""
    row = take(web, "lost")
    cloud.world.delete_elsewhere(web.native_id, row.native_id)
    cloud.sync()
    row.refresh_from_db()
    assert row.lost
    return row


def at(snapshot: VMSnapshot, rest: str = "") -> str:
    return f"snapshots/{snapshot.uuid}/{rest}"


# Adopting


def test_adopting_answers_the_snapshot(theirs: VMSnapshot, people: People) -> None:
    alice = Caller(people.alice)
    before = alice.get(at(theirs)).json()
    assert (before["origin"], before["adopted_at"], before["error"]) == ("elsewhere", None, None)
    answer = alice.post(at(theirs, "adopt/"))
    assert answer.status_code == 200
    assert answer.json() == before | {"adopted_at": answer.json()["adopted_at"]}
    assert answer.json()["adopted_at"].endswith("Z")
    assert alice.get(at(theirs)).json() == answer.json()
    assert alice.post(at(theirs, "adopt/"), {}).json() == answer.json(), "once more changes nothing"
    assert Event.objects.get(action="snapshot.adopted").trigger == "api"


def test_adopting_beyond_the_maximum_is_refused(theirs: VMSnapshot, people: People, settings) -> None:
    settings.SNAPSHOTS_PER_MACHINE = 0
    body = problem(Caller(people.alice).post(at(theirs, "adopt/")), 409, "limit_exceeded")
    assert (body["level"], body["limit"], body["used"]) == ("machine", 0, 0)


def test_what_was_taken_here_cannot_be_adopted(web: VirtualMachine, people: People) -> None:
    problem(Caller(people.alice).post(at(take(web, "ours"), "adopt/")), 409, "invalid_state")


# Acknowledging


def test_a_lost_one_says_so_and_goes_once_that_is_acknowledged(lost: VMSnapshot, people: People) -> None:
    alice = Caller(people.alice)
    shown = alice.get(at(lost)).json()
    assert shown["state"] == "Error"
    assert shown["error"] == {"code": "gone_on_hypervisor", "detail": lost.error_detail}
    answer = alice.post(at(lost, "acknowledge/"))
    assert (answer.status_code, answer.content) == (204, b"")
    problem(alice.get(at(lost)), 404, "not_found")
    problem(alice.post(at(lost, "acknowledge/")), 404, "not_found")
    assert drawn(lost.machine) == {}


def test_one_that_is_not_lost_cannot_be_acknowledged(theirs: VMSnapshot, people: People) -> None:
    problem(Caller(people.alice).post(at(theirs, "acknowledge/")), 409, "invalid_state")


def test_nothing_is_acknowledged_while_the_machine_is_busy(lost: VMSnapshot, people: People) -> None:
    job = machine_actions.request_sync(SYSTEM, machine=lost.machine)
    body = problem(Caller(people.alice).post(at(lost, "acknowledge/")), 409, "vm_busy")
    assert body["job"] == str(job.uuid)


# Who may


ACTIONS = ["adopt/", "acknowledge/"]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_stranger_gets_what_an_unknown_id_gives(theirs: VMSnapshot, people: People, action: str) -> None:
    stranger = Caller(people.charlie)
    hidden = problem(stranger.post(at(theirs, action)), 404, "not_found")
    assert hidden == problem(stranger.post(f"snapshots/{uuid.uuid4()}/{action}"), 404, "not_found")
    theirs.refresh_from_db()
    assert theirs.adopted_at is None


@pytest.mark.parametrize("action", ACTIONS)
def test_a_reader_may_not(theirs: VMSnapshot, people: People, action: str) -> None:
    problem(Caller(people.bob).post(at(theirs, action)), 403, "forbidden")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_token_that_only_reads_may_not(theirs: VMSnapshot, people: People, action: str) -> None:
    problem(Caller(people.alice, TokenScope.READ).post(at(theirs, action)), 403, "forbidden")


@pytest.mark.parametrize("action", ACTIONS)
def test_nobody_may_without_signing_in(theirs: VMSnapshot, action: str) -> None:
    problem(Caller(None).post(at(theirs, action)), 401, "unauthenticated")


@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_sent_along_is_refused(theirs: VMSnapshot, people: People, action: str) -> None:
    alice = Caller(people.alice)
    problem(alice.post(at(theirs, action), {"force": True}), 400, "invalid")
    problem(alice.post(at(theirs, f"{action}?force=true")), 400, "invalid")
    problem(alice.get(at(theirs, action)), 405, "method_not_allowed")


# Finding


def test_snapshots_are_found_by_how_they_differ(theirs: VMSnapshot, lost: VMSnapshot, people: People) -> None:
    take(theirs.machine, "ours")
    alice = Caller(people.alice)
    assert alice.names("snapshots/?drift=made_elsewhere") == ["theirs"]
    assert alice.names("snapshots/?drift=lost") == ["lost"]
    assert alice.names(f"virtual-machines/{theirs.machine.uuid}/snapshots/?drift=lost") == ["lost"]
    drift_actions.adopt_snapshot(SYSTEM, snapshot=theirs)
    assert alice.names("snapshots/?drift=made_elsewhere") == []
    assert alice.names("snapshots/?origin=elsewhere") == ["theirs"]


def test_machines_are_found_by_whether_they_differ(theirs: VMSnapshot, people: People) -> None:
    alice = Caller(people.alice)
    assert alice.names("virtual-machines/?drift=true") == ["web"]
    assert alice.names("virtual-machines/?drift=false") == ["db"]
    drift_actions.adopt_snapshot(SYSTEM, snapshot=theirs)
    assert alice.names("virtual-machines/?drift=true") == []


def test_a_machine_with_a_lost_one_differs(lost: VMSnapshot, people: People) -> None:
    row = Caller(people.alice).rows("virtual-machines/?drift=true")[0]
    assert (row["name"], row["unadopted_count"], row["lost_count"], row["snapshot_count"]) == ("web", 0, 1, 1)


def test_machines_that_vanished_are_found(web: VirtualMachine, cloud: Cloud, people: People) -> None:
    for gone in ("db", "foreign"):
        cloud.world.undefine(cloud.machine(gone).native_id)
    cloud.sync()
    alice = Caller(people.alice)
    assert alice.names("virtual-machines/?missing=true") == ["db"]
    assert alice.names("virtual-machines/?missing=false") == ["web"]
    assert Caller(people.root).names("virtual-machines/?missing=true") == ["db", "foreign"]
    assert "missing" in problem(alice.get("virtual-machines/?missing=maybe"), 400, "invalid")["fields"]


def test_what_differs_with_others_is_not_found(theirs: VMSnapshot, lost: VMSnapshot, people: People) -> None:
    for person in (people.charlie, people.nora):
        caller = Caller(person)
        assert caller.names("snapshots/?drift=made_elsewhere") == caller.names("snapshots/?drift=lost") == []
        assert caller.names("virtual-machines/?drift=true") == []
    assert Caller(people.dora).names("snapshots/?drift=lost") == ["lost"]
    assert Caller(people.root).names("virtual-machines/?drift=true") == ["web"]


@pytest.mark.parametrize("path", ["snapshots/?drift=yes", "snapshots/?drift=true", "virtual-machines/?drift=lost"])
def test_a_difference_that_is_not_known_is_refused(people: People, path: str) -> None:
    assert "drift" in problem(Caller(people.alice).get(path), 400, "invalid")["fields"]


# A machine


def test_a_machine_says_where_it_is_filed_and_what_its_hypervisor_waits_for(
    web: VirtualMachine, cloud: Cloud, people: People
) -> None:
    cloud.world.file(web.native_id, folder="/dc/web", resource_pool="gold", tags=("backup", "dmz"))
    cloud.world.ask(web.native_id, "Was it moved or copied?")
    cloud.sync()
    shown = Caller(people.alice).get(f"virtual-machines/{web.uuid}/").json()
    assert (shown["folder"], shown["resource_pool"], shown["tags"]) == ("/dc/web", "gold", ["backup", "dmz"])
    assert (shown["question"], shown["needs_consolidation"], shown["missing_since"]) == (
        "Was it moved or copied?",
        False,
        None,
    )
    cloud.world.undefine(web.native_id)
    cloud.sync()
    assert Caller(people.alice).get(f"virtual-machines/{web.uuid}/").json()["missing_since"].endswith("Z")


def consolidate(caller: Caller, machine: VirtualMachine) -> HttpResponse:
    return caller.post(f"virtual-machines/{machine.uuid}/consolidate/")


def test_disks_left_behind_are_consolidated_by_a_job(web: VirtualMachine, cloud: Cloud, people: People) -> None:
    cloud.world.leave_disks_behind(web.native_id)
    cloud.sync()
    alice = Caller(people.alice)
    assert alice.get(f"virtual-machines/{web.uuid}/").json()["needs_consolidation"] is True
    job = accepted(consolidate(alice, web))
    assert job["action"] == "consolidate_disks"
    assert run(Job.objects.get(uuid=job["id"])).state == "succeeded"
    assert alice.get(f"virtual-machines/{web.uuid}/").json()["needs_consolidation"] is False


def test_consolidating_where_there_is_nothing_to_do_or_no_right_is_refused(
    web: VirtualMachine, cloud: Cloud, people: People
) -> None:
    problem(consolidate(Caller(people.alice), web), 422, "not_supported")
    problem(consolidate(Caller(people.bob), web), 403, "forbidden")
    problem(consolidate(Caller(people.charlie), web), 404, "not_found")
    problem(consolidate(Caller(None), web), 401, "unauthenticated")

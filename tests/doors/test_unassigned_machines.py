"""A machine that was found and given to nobody yet: for all but root admins it is not there, whichever way they look."""

import uuid
from typing import NamedTuple

import pytest

from snapshots.access import SYSTEM
from snapshots.models import Event, Job, VirtualMachine, VMSnapshot
from snapshots.services import machine_actions, tenancy
from tests.builders import Cloud, People, acting, run, take
from tests.doors.api_client import Caller, problem
from tests.doors.browser_client import Browser

EVERYBODY_ELSE = ["alice", "bob", "charlie", "dora", "nora"]
LISTS = ("virtual-machines", "snapshots", "jobs", "events", "volumes")


class Nobodys(NamedTuple):
    """The machine and what hangs on it: one VM snapshot taken here, one lost, one made elsewhere, jobs, events."""

    machine: VirtualMachine
    taken: VMSnapshot
    job: Job
    traces: tuple[str, ...]
    """Texts of which each would give it away."""


@pytest.fixture
def nobodys(web: VirtualMachine, cloud: Cloud, people: People) -> Nobodys:
    machine = cloud.machine("unassigned")
    taken, gone = take(machine, "kept secret", people.root), take(machine, "lost secret", people.root)
    cloud.world.delete_elsewhere(machine.native_id, gone.native_id)
    cloud.world.take_elsewhere(machine.native_id, "foreign secret")
    cloud.sync()
    machine = cloud.machine("unassigned")
    assert (machine.account, machine.unadopted_count, machine.lost_count) == (None, 1, 1)
    job = run(machine_actions.request_start(acting(people.root), machine=machine))
    volume = machine.volumes.get()
    traces = ("secret", *(str(row.uuid) for row in (machine, taken, gone, job, volume)), volume.name)
    return Nobodys(machine, taken, job, traces)


def gives_away(source: str, nobodys: Nobodys) -> list[str]:
    return [trace for trace in nobodys.traces if trace in source]


def test_no_list_over_rest_shows_anything_of_it(people: People, nobodys: Nobodys) -> None:
    root = Caller(people.root)
    queries = ("", "?name=unassigned", "?drift=true", "?drift=lost", "?drift=made_elsewhere")
    for who in EVERYBODY_ELSE:
        caller = Caller(getattr(people, who))
        for path in [f"{rows}/{query}" for rows in LISTS for query in queries]:
            answer = caller.get(path)
            if answer.status_code == 400:
                continue  # not a filter of this list
            assert answer.status_code == 200, (who, path)
            assert not gives_away(answer.content.decode(), nobodys), (who, path)
    for rows in LISTS:
        assert gives_away(root.get(f"{rows}/").content.decode(), nobodys), f"{rows}: so the test could not fail"


def test_asked_for_by_its_id_it_is_like_one_that_never_was(people: People, nobodys: Nobodys) -> None:
    machine, never = nobodys.machine, uuid.uuid4()
    addresses = (
        ("virtual-machines/{}/", machine.uuid),
        ("virtual-machines/{}/tree/", machine.uuid),
        ("virtual-machines/{}/snapshots/", machine.uuid),
        ("snapshots/{}/", nobodys.taken.uuid),
        ("jobs/{}/", nobodys.job.uuid),
        ("volumes/{}/", machine.volumes.get().uuid),
    )
    for who in EVERYBODY_ELSE:
        caller = Caller(getattr(people, who))
        for pattern, known in addresses:
            body = problem(caller.get(pattern.format(known)), 404, "not_found")
            assert body == problem(caller.get(pattern.format(never)), 404, "not_found"), (who, pattern)


def test_no_page_shows_anything_of_it(people: People, nobodys: Nobodys) -> None:
    root = Browser(people.root)
    for who in EVERYBODY_ELSE:
        person = Browser(getattr(people, who))
        for path in ("/", "/?q=unassigned", "/jobs/", "/account/", "/drift/", "/drift/?q=unassigned", "/import/"):
            page = person.get(path)
            assert page.status in (200, 404), (who, path)
            assert not gives_away(page.source, nobodys), (who, path)
    for path in ("/", "/?q=unassigned", "/jobs/", "/drift/", "/import/"):
        assert gives_away(root.get(path).source, nobodys), f"{path}: so the test could not fail"


def test_what_happened_before_it_was_given_away_stays_with_root_admins(
    people: People, nobodys: Nobodys, cloud: Cloud
) -> None:
    """Its events tell who did what when it was nobody's."""
    tenancy.assign_machine(SYSTEM, machine=nobodys.machine, account=people.acme)
    alice = Caller(people.alice)
    assert "unassigned" in alice.names("virtual-machines/")
    before = {
        str(row) for row in Event.objects.filter(machine=nobodys.machine, account=None).values_list("uuid", flat=True)
    }
    assert before
    assert before.isdisjoint(row["id"] for row in alice.rows("events/"))

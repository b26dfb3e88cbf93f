"""Every address of the pages, for everybody: who may, who may only look, for whom it does not exist."""

import pytest
from django.urls import URLPattern

from snapshots.models import ImportRule, Job, Schedule, StoragePool, VirtualMachine, VMSnapshot
from snapshots.services.machine_actions import request_start
from snapshots.services.machine_import import add_rule
from snapshots.web.urls import urlpatterns
from tests.builders import Cloud, People, acting, schedule, take
from tests.doors.browser_client import Browser

# The addresses about one thing: their names, whether they can be read, and whether they change something.
READ_AND_CHANGE = (
    "take_snapshot",
    "stop_machine",
    "attach_volume",
    "detach_volume",
    "revert_snapshot",
    "rename_snapshot",
    "delete_snapshot",
    "delete_snapshot_tree",
    "delete_all_snapshots",
    "add_schedule",
    "change_schedule",
    "delete_schedule",
)
READ_ONLY = (
    "machine",
    "machine_pulse",
    "machine_history",
    "snapshot",
    "job",
    "account_capacity",
    "machine_capacity",
    "machine_schedules",
)
CHANGE_ONLY = (
    "start_machine",
    "sync_machine",
    "cancel_job",
    "consolidate_machine",
    "adopt_machine",
    "adopt_snapshot",
    "acknowledge_snapshot",
    "keep_snapshot",
    "pause_schedule",
    "resume_schedule",
)
# Of a thing that others have a part in too: each sees their own part.
SHARED = ("pool_capacity",)
LISTS = (
    "machine_list",
    "job_list",
    "schedule_list",
    "usage",
    "usage_csv",
    "account",
    "dashboard",
    "capacity",
    "stale",
    "stale_csv",
    "stale_machines_csv",
)
OF_NOBODY_ELSE = (*LISTS, "make_token", "choose_theme", "sign_in", "sign_out")
TOKENS = ("revoke_token",)
# For root admins alone.
OF_ROOT_READ = ("import_machines", "import_rules")
OF_ROOT_READ_AND_CHANGE = ("assign_machine", "add_import_rule", "change_import_rule", "delete_import_rule")
OF_ROOT_CHANGE = ("assign_machines", "apply_import_rules", "move_import_rule", "sync_everything")
# For those who administer something.
OF_ADMINS = ("drift",)
OF_ROOT = OF_ROOT_READ + OF_ROOT_READ_AND_CHANGE + OF_ROOT_CHANGE


@pytest.fixture
def addresses(people: People, web: VirtualMachine, db_machine: VirtualMachine) -> dict[str, str]:
    """An address about acme's machine `web` for each name; the job is one on `db`."""
    snapshot = take(web, "first", people.alice)
    job = request_start(acting(people.alice), machine=db_machine)
    volume = web.volumes.first()
    assert volume is not None
    ids = {
        "machine_uuid": web.uuid,
        "snapshot_uuid": snapshot.uuid,
        "job_uuid": job.uuid,
        "volume_uuid": volume.uuid,
        "pool_uuid": StoragePool.objects.get(volumes=volume).uuid,
        "account_uuid": people.acme.uuid,
        "schedule_uuid": schedule(web, people.alice, name="first schedule").uuid,
        "rule_uuid": add_rule(acting(people.root), account=people.acme, name_pattern="un*").uuid,
    }
    made = {}
    for pattern in urlpatterns:
        path = "/" + str(pattern.pattern)
        for name, value in ids.items():
            path = path.replace(f"<uuid:{name}>", str(value))
        made[str(pattern.name)] = path
    return made


def counted() -> tuple[int, ...]:
    """How much there is of what the addresses change."""
    active = Schedule.objects.filter(enabled=True)
    return Job.objects.count(), VMSnapshot.objects.count(), Schedule.objects.count(), active.count()


def test_every_address_is_in_one_of_the_lists_of_this_file() -> None:
    assert all(isinstance(pattern, URLPattern) for pattern in urlpatterns)
    names = [pattern.name for pattern in urlpatterns]
    assert sorted(str(name) for name in names) == sorted(
        READ_AND_CHANGE + READ_ONLY + SHARED + CHANGE_ONLY + OF_NOBODY_ELSE + TOKENS + OF_ROOT + OF_ADMINS
    )


def test_without_signing_in_every_address_leads_to_the_sign_in_page(addresses: dict[str, str]) -> None:
    nobody = Browser(None)
    readable = READ_AND_CHANGE + READ_ONLY + SHARED + OF_ROOT_READ + OF_ROOT_READ_AND_CHANGE + OF_ADMINS
    for name in (*readable, *LISTS):
        page = nobody.get(addresses[name])
        assert page.status == 302, name
        assert page.response["Location"] == f"/sign-in/?next={addresses[name]}", name


def test_a_part_of_a_page_asked_for_after_signing_out_leads_the_whole_page_to_the_sign_in_page(
    addresses: dict[str, str],
) -> None:
    page = Browser(None).get(addresses["machine_pulse"], script=True)
    assert page.status == 200
    assert page.response["HX-Redirect"].startswith("/sign-in/?next=")
    assert page.source == ""


@pytest.mark.parametrize("who", ["charlie", "nora"])
def test_for_strangers_nothing_of_another_account_exists(people: People, addresses: dict[str, str], who: str) -> None:
    stranger = Browser(getattr(people, who))
    before = counted()
    for name in READ_AND_CHANGE + READ_ONLY:
        page = stranger.get(addresses[name])
        if name == "machine_pulse":
            # An open page whose machine was taken away is loaded anew, and is the page of nothing then.
            assert page.response["HX-Refresh"] == "true"
        else:
            assert page.status == 404, name
        assert "first" not in page.source, name
    for name in READ_AND_CHANGE + CHANGE_ONLY:
        page = stranger.post(addresses[name], {"name": "x", "kind": "disk", "way": "force"})
        assert page.status == 404, name
    assert counted() == before


@pytest.mark.parametrize("who", ["alice", "bob", "charlie", "dora", "nora"])
def test_for_everybody_but_root_admins_there_is_nothing_to_share_out(
    people: People, addresses: dict[str, str], cloud: Cloud, who: str
) -> None:
    person = Browser(getattr(people, who))
    assert "/import/" not in person.get("/").source
    for name in OF_ROOT:
        assert person.get(addresses[name]).status == 404, name
        values = {
            "machine": str(cloud.machine("unassigned").uuid),
            "account": str(people.acme.uuid),
            "name_pattern": "*",
        }
        page = person.post(addresses[name], values)
        assert page.status == 404, name
        assert "unassigned" not in page.source, name
    assert cloud.machine("unassigned").account is None
    assert ImportRule.objects.get().name_pattern == "un*"


@pytest.mark.parametrize(("who", "status"), [("alice", 404), ("bob", 404), ("nora", 404), ("dora", 200), ("root", 200)])
def test_the_drift_report_is_there_for_admins_alone(
    people: People, addresses: dict[str, str], who: str, status: int
) -> None:
    person = Browser(getattr(people, who))
    assert person.get(addresses["drift"]).status == status
    assert bool(person.get("/").find('//nav//a[@href="/drift/"]')) is (status == 200)
    assert person.post(addresses["drift"]).status == (405 if status == 200 else 404)


def test_root_admins_get_every_page_of_sharing_out(people: People, addresses: dict[str, str]) -> None:
    root = Browser(people.root)
    for name in OF_ROOT_READ + OF_ROOT_READ_AND_CHANGE:
        assert root.get(addresses[name]).status == 200, name
    for name in OF_ROOT_CHANGE:
        assert root.get(addresses[name]).status == 405, name
    for name in OF_ROOT_READ:
        assert root.post(addresses[name]).status == 405, name


def test_what_is_unknown_looks_the_same_as_what_is_forbidden(people: People, addresses: dict[str, str]) -> None:
    nowhere = "/machines/7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d/"
    charlie = Browser(people.charlie)
    unknown, forbidden = charlie.get(nowhere), charlie.get(addresses["machine"])
    assert unknown.status == forbidden.status == 404
    assert unknown.source.replace(nowhere, "") == forbidden.source.replace(addresses["machine"], "") or [
        line for line in unknown.source.splitlines() if "csrf" not in line and "back" not in line
    ] == [line for line in forbidden.source.splitlines() if "csrf" not in line and "back" not in line]


def test_a_reader_may_look_but_not_act(people: People, addresses: dict[str, str]) -> None:
    bob = Browser(people.bob)
    before = counted()
    for name in READ_ONLY:
        assert bob.get(addresses[name]).status in (200, 302), name
    for name in READ_AND_CHANGE:
        page = bob.post(addresses[name], {"name": "x", "kind": "disk", "way": "force", "power": "stopped"})
        assert page.status == 403, name
    for name in set(CHANGE_ONLY) - {"sync_machine"}:
        page = bob.post(addresses[name])
        assert page.status == 403, name
    assert counted() == before


def test_a_reader_may_have_a_machine_read_again(people: People, addresses: dict[str, str]) -> None:
    page = Browser(people.bob).post(addresses["sync_machine"])
    assert page.status == 302
    assert Job.objects.filter(action="sync_machine", requested_by=people.bob).count() == 1


@pytest.mark.parametrize("who", ["alice", "dora", "root"])
def test_operators_and_admins_get_every_page(people: People, addresses: dict[str, str], who: str) -> None:
    person = Browser(getattr(people, who))
    for name in (*READ_AND_CHANGE, *READ_ONLY, *SHARED, *LISTS):
        assert person.get(addresses[name]).status in (200, 302), name


@pytest.mark.parametrize("name", [*CHANGE_ONLY, *TOKENS, "make_token", "choose_theme", "sign_out"])
def test_what_changes_something_cannot_be_done_by_following_a_link(
    people: People, addresses: dict[str, str], name: str
) -> None:
    path = addresses[name].replace("<uuid:token_uuid>", "7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d")
    assert Browser(people.alice).get(path).status == 405


def test_what_only_shows_something_takes_no_post(people: People, addresses: dict[str, str]) -> None:
    for name in (*READ_ONLY, *SHARED, *LISTS):
        assert Browser(people.alice).post(addresses[name]).status == 405, name


def test_a_post_without_the_mark_of_the_session_does_nothing(people: People, addresses: dict[str, str]) -> None:
    browser = Browser(people.alice)
    before = Job.objects.count()
    for name in READ_AND_CHANGE + CHANGE_ONLY:
        answer = browser.client.post(addresses[name], {"name": "x", "kind": "disk"})
        assert answer.status_code == 403, name
        assert "The page was too old" in answer.content.decode()
    assert Job.objects.count() == before
    root = Browser(people.root)
    for name in OF_ROOT_READ_AND_CHANGE + OF_ROOT_CHANGE:
        assert root.client.post(addresses[name], {"account": "none"}).status_code == 403, name


def test_an_unassigned_machine_is_seen_by_root_admins_only(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    machine = cloud.machine("unassigned")
    for person in (people.alice, people.bob, people.charlie, people.dora):
        assert Browser(person).get(f"/machines/{machine.uuid}/").status == 404
    page = Browser(people.root).get(f"/machines/{machine.uuid}/")
    assert page.status == 200
    assert page.why_not("take") == ""

"""The dialogs: what each says beforehand, what it asks for, and how a refusal is shown in it."""

import json

import pytest
from pytest_django import Settings

from hypervisors.drivers.simulated.world import Machine
from snapshots.access import SYSTEM
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services.snapshot_actions import request_create, request_revert
from snapshots.services.tenancy import assign_machine
from tests.builders import Cloud, People, acting, current_name, drawn, only_job, run, take
from tests.doors.browser_client import Browser, machine_page, of_snapshot, words

NAME_TAKEN = "Another VM snapshot of this machine has this name."

# --- take ----------------------------------------------------------------------------------------------------------


def test_taking_offers_a_name_and_the_memory_of_a_running_machine(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    page = Browser(people.alice).get(f"{machine_page(web)}take/")
    assert page.one('//input[@name="name"]').get("value").startswith("20")
    assert page.checked("kind") == ["memory"]
    assert "The guest pauses while it is written" in page.choice("kind", "memory")
    assert "1 GiB" in page.choice("kind", "memory")
    assert page.choice("kind", "quiesce").startswith("off: ")
    assert "No guest agent answers" in page.choice("kind", "quiesce")
    assert "This machine 1 of 10 VM snapshots" in page.text
    assert "It will stem from first" in page.text


def test_taking_from_a_stopped_machine_says_why_there_is_no_memory(people: People, db_machine: VirtualMachine) -> None:
    page = Browser(people.alice).get(f"{machine_page(db_machine)}take/")
    assert page.checked("kind") == ["disk"]
    assert "db is stopped: it has no memory to keep. Start it first." in page.choice("kind", "memory")
    assert "the machine is off" in page.choice("kind", "disk").lower()


def test_a_guest_with_an_agent_can_be_asked_to_settle(people: People) -> None:
    cloud = Cloud((Machine("agent", agent=True),))
    assign_machine(SYSTEM, machine=cloud.machine("agent"), account=people.acme)
    path = f"{machine_page(cloud.machine('agent'))}take/"
    assert not Browser(people.alice).get(path).choice("kind", "quiesce").startswith("off: ")
    Browser(people.alice).post(path, {"name": "settled", "kind": "quiesce"})
    assert only_job().arguments == {"memory": False, "quiesce": True}


def test_taking_by_form_opens_the_job_and_goes_back_to_the_machine(people: People, web: VirtualMachine) -> None:
    browser = Browser(people.alice)
    answer = browser.post(
        f"{machine_page(web)}take/", {"name": "before upgrade", "description": "why", "kind": "memory"}
    )
    assert answer.status == 302
    assert answer.response["Location"] == machine_page(web)
    job = only_job()
    assert (job.requested_by, job.trigger) == (people.alice, "page")
    assert job.snapshot is not None
    assert (job.snapshot.name, job.snapshot.description, job.snapshot.type) == (
        "before upgrade",
        "why",
        "DiskAndMemory",
    )
    assert "Take VM snapshot: “before upgrade” on web." in browser.get(machine_page(web)).text


def test_taking_by_script_tells_the_open_page_to_look(people: People, web: VirtualMachine) -> None:
    answer = Browser(people.alice).post(f"{machine_page(web)}take/", {"name": "first", "kind": "disk"}, script=True)
    assert answer.status == 204
    told = json.loads(answer.response["HX-Trigger"])["vmsnap:accepted"]
    assert told["back"] == machine_page(web)
    assert "first" in told["said"]


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("taken", 409, NAME_TAKEN),
        ("", 422, "The name is empty."),
        ("   ", 422, "The name is empty."),
        ("x" * 256, 422, "At most 255 characters."),
        ("bell\x07", 422, "Control characters are not possible."),
    ],
)
def test_a_name_that_cannot_be_is_refused_beside_its_field(
    people: People, web: VirtualMachine, name: str, status: int, said: str, script: bool
) -> None:
    take(web, "taken", people.alice)
    page = Browser(people.alice).post(
        f"{machine_page(web)}take/", {"name": name, "description": "kept", "kind": "memory"}, script=script
    )
    assert page.status == status
    field = page.one('//input[@name="name"]')
    assert field.get("aria-invalid") == "true"
    assert words(page.one(f'//*[@id="{field.get("aria-describedby")}"]')) == said
    assert words(page.one("//textarea")) == "kept"
    assert page.checked("kind") == ["memory"]
    assert VMSnapshot.objects.real().count() == 1
    if script:
        assert page.response["HX-Retarget"] == "#dialog"
        assert page.find("//header") == []


@pytest.mark.parametrize(
    "name", ["&<\"'>", "<script>alert(1)</script>", "{{ 7|add:7 }}", "שלום עולם", "‮gnp.exe", "名前 🐘"]
)
def test_any_name_a_person_can_type_is_shown_as_it_is(people: People, web: VirtualMachine, name: str) -> None:
    browser = Browser(people.alice)
    assert browser.post(f"{machine_page(web)}take/", {"name": name, "kind": "disk"}).status == 302
    run(only_job())
    snapshot = VMSnapshot.objects.real().get()
    for path in (
        machine_page(web),
        f"{machine_page(web)}history/",
        "/jobs/",
        f"/jobs/{Job.objects.latest('pk').uuid}/",
        *(of_snapshot(snapshot, action) for action in ("revert", "delete", "delete-with-descendants")),
        f"{machine_page(web)}delete-all/",
    ):
        page = browser.get(path)
        assert page.status == 200
        assert name in page.root.text_content(), path
        assert "<script>alert" not in page.source, path
        assert any(name == bdi.text_content() for bdi in page.find("//bdi")), f"{path}: its direction stays its own"
    assert browser.get(of_snapshot(snapshot, "rename")).one('//input[@name="name"]').get("value") == name


def test_memory_of_a_stopped_machine_is_refused_in_the_dialog(people: People, db_machine: VirtualMachine) -> None:
    page = Browser(people.alice).post(f"{machine_page(db_machine)}take/", {"name": "x", "kind": "memory"})
    assert page.status == 409
    assert "it has no memory to keep" in words(page.one('//*[@role="alert"]'))


def test_quiesce_without_an_agent_is_refused_in_the_dialog(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).post(f"{machine_page(web)}take/", {"name": "x", "kind": "quiesce"})
    assert page.status == 409
    assert "guest agent" in words(page.one('//*[@role="alert"]'))


@pytest.mark.parametrize("kind", ["", "everything"])
def test_a_kind_that_is_none_is_refused_beside_its_field(people: People, web: VirtualMachine, kind: str) -> None:
    page = Browser(people.alice).post(f"{machine_page(web)}take/", {"name": "x", "kind": kind})
    assert page.status == 422
    assert page.find('//*[@class="field-error"]')
    assert not Job.objects.filter(state="queued").exists()


def test_one_more_than_the_maximum_is_refused_in_the_dialog(
    people: People, web: VirtualMachine, settings: Settings
) -> None:
    settings.SNAPSHOTS_PER_MACHINE = 1
    take(web, "first", people.alice)
    page = Browser(people.alice).post(f"{machine_page(web)}take/", {"name": "x", "kind": "disk"})
    assert page.status == 409
    assert "may have 1" in words(page.one('//*[@role="alert"]'))


def test_a_busy_machine_refuses_every_action_and_names_who_asked(people: People, web: VirtualMachine) -> None:
    snapshot = take(web, "first", people.alice)
    request_create(acting(people.dora), machine=web, name="second", memory=True)
    browser = Browser(people.alice)
    values = {"name": "x", "kind": "disk", "way": "force", "power": "stopped"}
    paths = [f"{machine_page(web)}{action}/" for action in ("take", "stop", "start", "sync", "delete-all")] + [
        of_snapshot(snapshot, action) for action in ("revert", "rename", "delete", "delete-with-descendants")
    ]
    for path in paths:
        for script in (False, True):
            page = browser.post(path, values, script=script)
            assert page.status == 409, path
            said = words(page.one('//*[@role="alert"]'))
            assert "“Take VM snapshot” is under way for dora" in said, path
    assert Job.objects.filter(state="queued").count() == 1


# --- revert --------------------------------------------------------------------------------------------------------


def test_reverting_a_running_machine_to_disks_asks_what_happens_to_power(people: People, web: VirtualMachine) -> None:
    snapshot = take(web, "disks", people.alice, memory=False)
    browser = Browser(people.alice)
    page = browser.get(of_snapshot(snapshot, "revert"))
    assert page.checked("power") == []
    assert "web is" not in page.choice("power", "stopped")
    assert "holds no memory to go on with. Please choose." in page.text
    assert {box.get("value") for box in page.find('//input[@name="power"]')} == {"stopped", "running"}
    refused = browser.post(of_snapshot(snapshot, "revert"), {"safety_snapshot": "on"})
    assert refused.status == 409
    assert "say whether the machine is to be stopped or running" in words(refused.one('//*[@role="alert"]'))
    assert browser.post(of_snapshot(snapshot, "revert"), {"power": "running"}).status == 302
    assert only_job().arguments == {"power": "running"}


def test_reverting_says_what_is_lost_and_offers_a_safety_snapshot(people: People, web: VirtualMachine) -> None:
    first = take(web, "first", people.alice)
    take(web, "second", people.alice)
    browser = Browser(people.alice)
    page = browser.get(of_snapshot(first, "revert"))
    assert "web goes back to the VM snapshot first" in page.text
    assert "everything that changed on its disks and in its memory since it last stood at second" in page.text
    assert page.checked("power") == ["as_snapshot"]
    assert page.checked("safety_snapshot") == ["on"]
    assert "disks and memory, so that you can come back" in page.text
    browser.post(of_snapshot(first, "revert"), {"power": "as_snapshot", "safety_snapshot": "on"})
    run(only_job())
    assert drawn(web) == {"first": None, "second": "first", "Before revert to first": "second"}
    assert current_name(web) == "first"


def test_a_safety_snapshot_for_which_there_is_no_room_is_off_with_the_reason(
    people: People, web: VirtualMachine, settings: Settings
) -> None:
    settings.SNAPSHOTS_PER_MACHINE = 1
    first = take(web, "first", people.alice)
    browser = Browser(people.alice)
    page = browser.get(of_snapshot(first, "revert"))
    box = page.one('//input[@name="safety_snapshot"]')
    assert box.get("disabled") is not None
    assert box.get("checked") is None
    assert "web has 1 VM snapshot and may have 1" in words(box.getparent())
    refused = browser.post(of_snapshot(first, "revert"), {"power": "as_snapshot", "safety_snapshot": "on"})
    assert refused.status == 409


def test_a_stopped_machine_reverts_without_a_question(people: People, db_machine: VirtualMachine) -> None:
    snapshot = take(db_machine, "first", people.alice)
    page = Browser(people.alice).get(of_snapshot(snapshot, "revert"))
    assert page.checked("power") == ["stopped"]
    assert "in its memory" not in page.text


def test_a_power_that_is_none_is_refused(people: People, web: VirtualMachine) -> None:
    snapshot = take(web, "first", people.alice)
    page = Browser(people.alice).post(of_snapshot(snapshot, "revert"), {"power": "sideways"})
    assert page.status == 422
    assert not Job.objects.filter(state="queued").exists()


# --- delete --------------------------------------------------------------------------------------------------------


@pytest.fixture
def branched(people: People, web: VirtualMachine) -> VMSnapshot:
    """The middle of three: first - middle - (left, right), the machine standing at `right`."""
    take(web, "first", people.alice)
    middle = take(web, "middle", people.alice)
    take(web, "left", people.alice)
    run(request_revert(acting(people.alice), snapshot=middle))
    take(web, "right", people.alice)
    middle.refresh_from_db()
    return middle


def test_deleting_one_says_who_moves_up(people: People, branched: VMSnapshot, web: VirtualMachine) -> None:
    browser = Browser(people.alice)
    page = browser.get(of_snapshot(branched, "delete"))
    assert "2 VM snapshots below it move up to first and stay usable: left right" in page.text
    assert "estimated 1 GiB" in page.text
    assert browser.post(of_snapshot(branched, "delete")).status == 302
    run(only_job())
    assert drawn(web) == {"first": None, "left": "first", "right": "first"}


def test_deleting_with_descendants_names_all_that_go(people: People, branched: VMSnapshot, web: VirtualMachine) -> None:
    browser = Browser(people.alice)
    page = browser.get(of_snapshot(branched, "delete-with-descendants"))
    assert "3 VM snapshots of web are deleted: middle and everything that stems from it" in page.text
    assert [words(item) for item in page.find('//ul[@class="names"]/li')] == ["middle", "left", "right you are here"]
    assert "it will stand at first" in page.text
    assert browser.post(of_snapshot(branched, "delete-with-descendants")).status == 302
    run(only_job())
    assert drawn(web) == {"first": None}
    assert current_name(web) == "first"


def test_the_machine_page_offers_both_ways_of_deleting(people: People, branched: VMSnapshot) -> None:
    page = Browser(people.alice).get(f"{machine_page(branched.machine)}?snapshot={branched.uuid}")
    assert page.why_not("delete") == page.why_not("delete-tree") == ""
    assert "The 2 below it move up to first" in page.text
    assert "Deletes 3 VM snapshots" in page.text


def test_deleting_the_current_one_says_where_the_machine_stands_then(people: People, web: VirtualMachine) -> None:
    snapshot = take(web, "only", people.alice)
    page = Browser(people.alice).get(of_snapshot(snapshot, "delete"))
    assert "it will stand at no VM snapshot" in page.text


def test_a_snapshot_being_reverted_to_cannot_be_deleted(people: People, web: VirtualMachine) -> None:
    snapshot = take(web, "first", people.alice)
    request_revert(acting(people.alice), snapshot=snapshot)
    page = Browser(people.alice).post(of_snapshot(snapshot, "delete"))
    assert page.status == 409
    assert "Revert to VM snapshot" in words(page.one('//*[@role="alert"]'))


def test_a_snapshot_that_is_gone_is_not_found(people: People, web: VirtualMachine) -> None:
    snapshot = take(web, "first", people.alice)
    browser = Browser(people.alice)
    browser.post(of_snapshot(snapshot, "delete"))
    run(only_job())
    for action in ("revert", "rename", "delete", "delete-with-descendants"):
        assert browser.get(of_snapshot(snapshot, action)).status == 404
        page = browser.get(of_snapshot(snapshot, action), script=True)
        assert page.status == 404
        assert page.response["HX-Retarget"] == "#dialog"
        assert "There is no such VM snapshot." in page.text


# --- rename --------------------------------------------------------------------------------------------------------


def test_renaming_fills_in_what_there_is_and_changes_it(people: People, web: VirtualMachine) -> None:
    snapshot = take(web, "first", people.alice)
    browser = Browser(people.alice)
    assert browser.get(of_snapshot(snapshot, "rename")).one('//input[@name="name"]').get("value") == "first"
    answer = browser.post(of_snapshot(snapshot, "rename"), {"name": "other", "description": "text"})
    assert answer.response["Location"] == f"{machine_page(web)}?snapshot={snapshot.uuid}"
    run(only_job())
    snapshot.refresh_from_db()
    assert (snapshot.name, snapshot.description) == ("other", "text")


def test_renaming_to_a_taken_name_is_refused_beside_the_field(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    second = take(web, "second", people.alice)
    page = Browser(people.alice).post(of_snapshot(second, "rename"), {"name": "first"}, script=True)
    assert page.status == 409
    assert NAME_TAKEN in page.text

"""Deleting all VM snapshots of a machine by its page: when that is offered, what the dialog says, and what it sends."""

import json

import pytest

from hypervisors.drivers.simulated.world import Machine, Taken
from snapshots.access import SYSTEM
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services.snapshot_actions import request_create
from snapshots.services.tenancy import assign_machine
from tests.builders import Cloud, People, acting, drawn, run, take
from tests.doors.browser_client import Browser, Page, machine_page, words


def dialog_of(machine: VirtualMachine) -> str:
    return f"{machine_page(machine)}delete-all/"


def shown_in(page: Page) -> dict[str, str]:
    """What the dialog's form sends."""
    return {"shown": page.one('//input[@name="shown"]').get("value")}


@pytest.fixture
def two(web: VirtualMachine, people: People) -> VirtualMachine:
    """The machine `web` with the VM snapshots `first` and `second`."""
    take(web, "first", people.alice)
    take(web, "second", people.alice)
    return web


@pytest.mark.parametrize("count", [0, 1])
def test_it_is_not_offered_where_deleting_one_is_the_same(people: People, web: VirtualMachine, count: int) -> None:
    for number in range(count):
        take(web, f"s{number}", people.alice)
    assert Browser(people.alice).get(machine_page(web)).find('//*[@id="offer-delete-all"]') == []


def test_it_is_offered_with_how_many_there_are(people: People, two: VirtualMachine) -> None:
    page = Browser(people.alice).get(machine_page(two))
    assert page.why_not("delete-all") == ""
    assert words(page.offer("delete-all")) == "Delete all 2"
    assert page.offer("delete-all").get("href") == dialog_of(two)


def test_who_may_only_look_is_told_so(people: People, two: VirtualMachine) -> None:
    bob = Browser(people.bob)
    assert "You may look at web but not change it." in bob.get(machine_page(two)).why_not("delete-all")
    page = bob.get(dialog_of(two))
    submit = page.one('//*[@class="dialog-foot"]/button[contains(., "Delete all of them")]')
    assert submit.get("aria-disabled") == "true"
    assert "You may look at web but not change it." in words(page.one('//*[@id="dialog-why"]'))


def test_while_the_machine_is_busy_it_says_with_what(people: People, two: VirtualMachine) -> None:
    request_create(acting(people.dora), machine=two, name="third")
    page = Browser(people.alice).get(machine_page(two))
    assert "Take VM snapshot" in page.why_not("delete-all")


def test_a_hypervisor_that_cannot_do_it_has_its_reason_beside_the_tree(people: People) -> None:
    missing = (("delete_descendants", "Not on this storage."),)
    cloud = Cloud((Machine("odd", missing=missing, snapshots=(Taken("a"), Taken("b"))),))
    assign_machine(SYSTEM, machine=cloud.machine("odd"), account=people.acme)
    page = Browser(people.alice).get(machine_page(cloud.machine("odd")))
    assert page.why_not("delete-all") == "Not on this storage."
    assert page.offer("delete-all").get("aria-describedby") == "why-delete-all"


def test_the_dialog_names_all_that_go_and_whose_they_are(people: People, two: VirtualMachine, cloud: Cloud) -> None:
    cloud.world.take_elsewhere(two.native_id, "theirs")
    first = VMSnapshot.objects.get(machine=two, name="first")
    cloud.world.delete_elsewhere(two.native_id, first.native_id)
    cloud.sync()
    page = Browser(people.alice).get(dialog_of(two))
    assert "All 3 VM snapshots of web are deleted." in page.text
    assert [words(item) for item in page.find('//ul[@class="names"]/li')] == [
        "first lost",
        "second",
        "theirs you are here made elsewhere",
    ]
    assert "1 of them was taken outside this product" in page.text
    assert "stems from no VM snapshot then" in page.text
    assert "estimated" in page.text


def test_confirming_it_deletes_all(people: People, two: VirtualMachine) -> None:
    browser = Browser(people.alice)
    answer = browser.post(dialog_of(two), shown_in(browser.get(dialog_of(two))))
    assert (answer.status, answer.response["Location"]) == (302, machine_page(two))
    assert "Delete all VM snapshots: web." in browser.get(machine_page(two)).text
    job = Job.objects.get(state="queued")
    assert (job.action, job.requested_by, job.trigger) == ("delete_all_snapshots", people.alice, "page")
    run(job)
    assert drawn(two) == {}
    assert "Delete all VM snapshots: done" in browser.get(machine_page(two)).text


def test_confirming_it_by_script_tells_the_open_page_to_look(people: People, two: VirtualMachine) -> None:
    browser = Browser(people.alice)
    answer = browser.post(dialog_of(two), shown_in(browser.get(dialog_of(two), script=True)), script=True)
    assert answer.status == 204
    assert json.loads(answer.response["HX-Trigger"])["vmsnap:accepted"]["back"] == machine_page(two)


@pytest.mark.parametrize("script", [False, True])
def test_one_that_came_since_the_dialog_was_opened_refuses_by_name(
    people: People, two: VirtualMachine, script: bool
) -> None:
    browser = Browser(people.alice)
    before = shown_in(browser.get(dialog_of(two)))
    take(two, "third", people.dora)
    page = browser.post(dialog_of(two), before, script=script)
    assert page.status == 409
    assert "you were not shown: third." in words(page.one('//*[@role="alert"]'))
    assert set(drawn(two)) == {"first", "second", "third"}
    assert not Job.objects.filter(state="queued").exists()


@pytest.mark.parametrize("values", [{}, {"shown": ""}, {"shown": "all of them \x00 7"}])
def test_a_form_that_names_none_of_them_deletes_none(
    people: People, two: VirtualMachine, values: dict[str, str]
) -> None:
    page = Browser(people.alice).post(dialog_of(two), values)
    assert page.status == 409
    assert not Job.objects.filter(state="queued").exists()


def test_of_very_many_the_dialog_names_some_and_sends_all(people: People) -> None:
    cloud = Cloud((Machine("many", snapshots=tuple(Taken(f"s{number}") for number in range(40))),))
    assign_machine(SYSTEM, machine=cloud.machine("many"), account=people.acme)
    machine = cloud.machine("many")
    browser = Browser(people.alice)
    page = browser.get(dialog_of(machine))
    assert words(page.find('//ul[@class="names"]/li')[-1]) == "and 10 more"
    assert browser.post(dialog_of(machine), shown_in(page)).status == 302
    run(Job.objects.get(state="queued"))
    assert drawn(machine) == {}


def test_where_there_is_none_the_dialog_says_so(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).get(dialog_of(web))
    assert page.status == 200
    assert "web has no VM snapshot, so there is nothing to delete." in words(page.one('//*[@id="dialog-why"]'))
    assert page.find('//button[contains(@class, "submits")]') == []

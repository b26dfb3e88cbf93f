"""The page of one machine: its tree, the details of a snapshot, what is offered and why not, what moves by itself."""

import re
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries, Settings

from hypervisors.drivers.simulated.world import Machine, Taken
from hypervisors.errors import OutOfSpace
from hypervisors.records import PowerAfterRevert, PowerState
from snapshots.access import SYSTEM
from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.services import events
from snapshots.services.endpoints import change_endpoint
from snapshots.services.machine_actions import request_start
from snapshots.services.snapshot_actions import request_create, request_revert
from snapshots.services.tenancy import assign_machine
from snapshots.web.template_tools import size
from tests.builders import Cloud, People, acting, drawn, run, take
from tests.doors.browser_client import Browser, Page, machine_page, words


def with_snapshots(people: People, count: int) -> tuple[Cloud, VirtualMachine]:
    """A machine of acme with this many snapshots in a tree with branches."""
    taken = [Taken(f"snapshot {n}", parent=None if n == 0 else n - 1 - n % 3) for n in range(count)]
    cloud = Cloud((Machine("many", snapshots=tuple(taken)),))
    assign_machine(SYSTEM, machine=cloud.machine("many"), account=people.acme)
    return cloud, cloud.machine("many")


def names_in_tree(page: Page) -> list[str]:
    """The snapshots' names in the drawn tree, top to bottom."""
    return [bdi.text_content() for bdi in page.find('//a[@role="treeitem"]//bdi')]


def test_the_page_draws_the_tree_and_where_the_machine_stands(people: People, web: VirtualMachine) -> None:
    first = take(web, "first", people.alice)
    take(web, "second", people.alice)
    run(request_revert(acting(people.alice), snapshot=first))
    take(web, "third", people.alice)
    page = Browser(people.alice).get(machine_page(web))
    assert names_in_tree(page) == ["first", "second", "third"]
    assert [item.get("aria-level") for item in page.find('//*[@role="treeitem"]')] == ["1", "2", "2", "3"]
    assert words(page.find('//*[@role="treeitem"]')[-1]).startswith("You are here")
    selected = page.one('//*[@aria-selected="true"]')
    assert "third" in selected.text_content()
    assert "current" in selected.text_content()


def parents_in_tree(page: Page) -> dict[str, str | None]:
    """The drawn tree as a screen reader hears it: the parent is the nearest row above, one level up."""
    line: list[str] = []
    shown: dict[str, str | None] = {}
    for item in page.find('//a[@role="treeitem"]'):
        level = int(item.get("aria-level"))
        name = item.xpath(".//bdi")[0].text_content()
        del line[level - 1 :]
        shown[name] = line[-1] if level > 1 else None
        line.append(name)
    return shown


def parents_in_rest(nodes: list[dict[str, Any]], parent: str | None = None) -> dict[str, str | None]:
    """The tree that REST tells of."""
    told: dict[str, str | None] = {}
    for node in nodes:
        told |= {node["name"]: parent} | parents_in_rest(node["children"], node["name"])
    return told


def test_the_page_rest_and_the_database_have_the_same_tree(people: People) -> None:
    _, machine = with_snapshots(people, 40)
    browser = Browser(people.alice)
    shown = parents_in_tree(browser.get(machine_page(machine)))
    told = browser.client.get(f"/api/v1/virtual-machines/{machine.uuid}/tree/").json()
    page = browser.get(machine_page(machine))
    assert f"{size(told['estimated_bytes'])} estimated" in page.text
    assert shown == parents_in_rest(told["nodes"]) == drawn(machine)


def test_every_row_of_the_tree_is_a_link_that_works_by_itself(people: People, web: VirtualMachine) -> None:
    first = take(web, "first", people.alice)
    take(web, "second", people.alice)
    browser = Browser(people.alice)
    href = browser.get(machine_page(web)).one('//a[@role="treeitem"][.//bdi="first"]').get("href")
    assert href == f"?snapshot={first.uuid}"
    page = browser.get(machine_page(web) + href)
    assert page.one('//*[@id="details-title"]').text_content() == "first"
    assert "first" in page.one('//*[@aria-selected="true"]').text_content()


def test_with_a_script_a_click_in_the_tree_fetches_the_details_alone(people: People, web: VirtualMachine) -> None:
    first = take(web, "first", people.alice)
    page = Browser(people.alice).get(f"{machine_page(web)}?snapshot={first.uuid}", script=True, target="details")
    assert page.one('//*[@id="details-title"]').text_content() == "first"
    assert page.find('//*[@role="tree"]') == []


def test_the_details_say_what_is_known_of_a_snapshot(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    job = request_create(acting(people.alice), machine=web, name="second", description="With\ntwo lines", memory=True)
    run(job)
    page = Browser(people.bob).get(machine_page(web))
    details = words(page.one('//*[@id="details"]'))
    second = VMSnapshot.objects.get(name="second")
    for said in ("Ready", "Disks and memory", "you are here", "With", "alice", "Stems from first", second.native_id):
        assert said in details, said
    assert re.search(r"Taken \d+ \w{3} \d{4}, \d\d:\d\d:\d\d UTC", details)
    assert "Size measured" in details
    assert "Size estimated 1 GiB" in details
    assert page.one('//*[@id="details"]//time').get("datetime").endswith("+00:00")


def test_a_snapshot_made_elsewhere_is_marked(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    cloud.world.take_elsewhere(web.native_id, "by somebody")
    cloud.sync()
    page = Browser(people.alice).get(machine_page(web))
    assert "made elsewhere" in page.one('//a[@role="treeitem"]').text_content()
    assert "somebody outside this product" in page.text


def test_a_snapshot_that_vanished_says_so_and_can_only_be_acknowledged(
    people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    snapshot = take(web, "gone", people.alice)
    cloud.world.delete_elsewhere(web.native_id, snapshot.native_id)
    cloud.sync()
    page = Browser(people.alice).get(f"{machine_page(web)}?snapshot={snapshot.uuid}")
    assert "no longer on the hypervisor" in page.one('//*[@id="details"]').text_content()
    assert words(page.one('//a[@role="treeitem"]//i')) == "lost"
    assert page.why_not("acknowledge") == ""
    assert len(page.find('//ul[@class="offers"]/li')) == 1


def test_a_machine_without_snapshots_teaches_the_next_step(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).get(machine_page(web))
    assert "No VM snapshot yet" in page.text
    assert page.find(f'//a[@href="/machines/{web.uuid}/take/"][contains(., "Take the first VM snapshot")]')
    assert "stems from no VM snapshot" in page.text


def test_a_machine_that_stems_from_none_of_its_snapshots_stands_beside_them(
    people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    snapshot = take(web, "only", people.alice)
    cloud.world.take_elsewhere(web.native_id, "branch")
    cloud.world.delete_elsewhere(web.native_id, snapshot.native_id)
    cloud.sync()
    page = Browser(people.alice).get(machine_page(web))
    assert names_in_tree(page) == ["only", "branch"] or names_in_tree(page) == ["branch", "only"]
    assert "Before the first VM snapshot" in page.text
    # Levels of a tree are counted from one.
    assert min(int(item.get("aria-level")) for item in page.find('//*[@role="treeitem"]')) == 1


def test_a_reader_sees_every_button_with_the_reason_why_it_is_off(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    page = Browser(people.bob).get(machine_page(web))
    for key in ("take", "stop", "revert", "rename", "delete", "attach"):
        assert page.why_not(key).startswith("You may look at web but not change it."), key
    assert page.why_not("sync") == ""


def test_an_operator_sees_what_can_be_done_and_why_not(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    page = Browser(people.alice).get(machine_page(web))
    for key in ("take", "stop", "sync", "revert", "rename", "delete"):
        assert page.why_not(key) == "", key
    assert "web has VM snapshots (first)" in page.why_not("attach")
    assert page.find('//*[@id="offer-start"]') == []
    assert page.find('//*[@id="offer-delete-tree"]') == [], "nothing is below it"


def test_a_busy_machine_shows_the_job_and_every_button_points_to_it(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    request_create(acting(people.alice), machine=web, name="second", memory=True)
    page = Browser(people.dora).get(machine_page(web))
    assert "Take VM snapshot “second” for alice" in page.text
    assert page.one("//progress").get("aria-label") == "Take VM snapshot"
    assert page.one('//*[@class="job-bar"]').get("aria-live") == "polite"
    for key in ("take", "stop", "sync", "revert", "rename", "delete", "attach"):
        assert "Take VM snapshot" in page.why_not(key), key
    assert "Waiting to be taken" in page.one('//a[@role="treeitem"][.//bdi="second"]').text_content()
    assert page.one('//*[@id="pulse"]').get("hx-trigger").startswith("every 1s")


def test_a_full_machine_says_so_before_the_click(people: People, web: VirtualMachine, settings: Settings) -> None:
    settings.SNAPSHOTS_PER_MACHINE = 1
    take(web, "first", people.alice)
    page = Browser(people.alice).get(machine_page(web))
    assert "has 1 VM snapshot and may have 1" in page.why_not("take")


def test_a_hypervisor_that_is_off_or_out_of_reach_is_told(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    cloud.world.set_down(True)
    cloud.sync()
    assert "could not be reached at the last contact" in Browser(people.alice).get(machine_page(web)).text
    change_endpoint(
        SYSTEM,
        hypervisor=cloud.hypervisor,
        name=cloud.name,
        address=cloud.name,
        username="",
        password=None,
        enabled=False,
    )
    page = Browser(people.alice).get(machine_page(web))
    assert "is switched off" in page.why_not("take")


def test_simulated_machines_are_labelled(people: People, web: VirtualMachine) -> None:
    for path in (machine_page(web), f"{machine_page(web)}history/", f"{machine_page(web)}take/", "/", "/jobs/"):
        text = Browser(people.alice).get(path).text.lower()
        assert "simulated" in text or path == "/jobs/", path


def test_the_history_tells_who_did_what_and_how_it_ended(people: People, web: VirtualMachine) -> None:
    take(web, "first", people.alice)
    for path in (machine_page(web), f"{machine_page(web)}history/"):
        text = Browser(people.bob).get(path).text
        assert "Take VM snapshot “first”: asked for" in text
        assert "Take VM snapshot “first”: done" in text
        assert "alice · Page from 127.0.0.1" in text


def test_the_history_goes_on_to_older_pages(people: People, web: VirtualMachine) -> None:
    for number in range(102):
        events.record(acting(people.alice), "machine.note", machine=web, detail=f"Line {number}.")
    browser = Browser(people.alice)
    page = browser.get(f"{machine_page(web)}history/")
    assert len(page.find('//ol[@class="events"]/li')) == 100
    assert page.find('//a[@rel="prev"]') == []
    older = browser.get(f"{machine_page(web)}history/" + page.one('//a[@rel="next"]').get("href"))
    assert "Line 1." in older.text
    assert "Line 101." not in older.text


# --- what moves by itself ------------------------------------------------------------------------------------------


def stamp_of(page: Page) -> str:
    """The mark by which an open page asks whether anything has changed."""
    found = re.search(r'"stamp":"(\w+)"', page.source)
    assert found
    return found[1]


def pulse(browser: Browser, web: VirtualMachine, stamp: str) -> Page:
    """What the open page gets when it asks."""
    return browser.get(f"{machine_page(web)}pulse/?stamp={stamp}&snapshot=", script=True, target="pulse")


def test_an_open_page_is_left_alone_while_nothing_changes(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    take(web, "first", people.alice)
    browser = Browser(people.alice)
    stamp = stamp_of(browser.get(machine_page(web)))
    assert pulse(browser, web, stamp).status == 204
    cloud.sync()
    assert pulse(browser, web, stamp).status == 204, "a reading that found nothing new changes nothing"


def test_an_open_page_follows_a_job_to_its_end(people: People, web: VirtualMachine) -> None:
    browser = Browser(people.bob)
    stamp = stamp_of(browser.get(machine_page(web)))
    job = request_create(acting(people.alice), machine=web, name="first", memory=True)
    begun = pulse(browser, web, stamp)
    assert begun.response["HX-Retarget"] == "#machine"
    assert "Waiting to be taken" in begun.text
    stamp = stamp_of(begun)
    again = pulse(browser, web, stamp)
    assert again.status == 200
    assert again.find("//progress")
    assert again.find('//*[@role="tree"]') == [], "only the bar, while only the progress moves"
    run(job)
    ended = pulse(browser, web, stamp)
    assert ended.response["HX-Retarget"] == "#machine"
    assert "done, just now" in ended.text
    assert "You are here" in ended.text
    assert ended.one('//*[@id="pulse"]').get("hx-trigger").startswith("every 15s")


def test_a_failed_job_shows_its_reason(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    cloud.world.refuse("create_snapshot", OutOfSpace)
    job = run(request_create(acting(people.alice), machine=web, name="first", memory=True))
    assert job.state == "failed"
    page = Browser(people.alice).get(machine_page(web))
    notice = page.one('//*[@id="pulse"]//*[@role="alert"]')
    assert job.error_detail in words(notice)


def test_an_open_page_notices_what_others_did_on_the_hypervisor(
    people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    browser = Browser(people.alice)
    stamp = stamp_of(browser.get(machine_page(web)))
    cloud.world.take_elsewhere(web.native_id, "by somebody")
    cloud.sync()
    page = pulse(browser, web, stamp)
    assert names_in_tree(page) == ["by somebody"]


def test_an_open_page_keeps_the_snapshot_that_was_chosen_and_else_follows_the_current_one(
    people: People, web: VirtualMachine
) -> None:
    first = take(web, "first", people.alice)
    take(web, "second", people.alice)
    browser = Browser(people.alice)
    kept = browser.get(f"{machine_page(web)}pulse/?stamp=old&snapshot={first.uuid}", script=True, target="pulse")
    assert kept.one('//*[@id="details-title"]').text_content() == "first"
    assert kept.one('//*[@id="chosen"]').get("value") == str(first.uuid)
    followed = browser.get(f"{machine_page(web)}pulse/?stamp=old&snapshot=", script=True, target="pulse")
    assert followed.one('//*[@id="details-title"]').text_content() == "second"
    assert followed.one('//*[@id="chosen"]').get("value") == ""


def test_without_a_script_the_page_of_a_busy_machine_loads_itself_again(people: People, web: VirtualMachine) -> None:
    browser = Browser(people.alice)
    assert browser.get(machine_page(web)).find("//noscript") == []
    request_create(acting(people.alice), machine=web, name="first", memory=True)
    assert browser.get(machine_page(web)).find('//noscript/meta[@http-equiv="refresh"]')


# --- cost ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 10, 100])
def test_the_machine_page_costs_nine_queries_whatever_the_number_of_snapshots(
    people: People, count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, machine = with_snapshots(people, count)
    browser = Browser(people.alice)
    # 1 session, 2 user, 3 is it a root admin, 4 machine with hypervisor, account, domain and whether one may act,
    # 5 limits with what is used of them, 6 snapshots with who took them, 7 newest jobs with who asked, 8 volumes with
    # their pools, 9 newest events
    with django_assert_num_queries(9):
        assert browser.get(machine_page(machine)).status == 200


def test_the_pulse_costs_five_queries_while_nothing_changes(
    people: People, web: VirtualMachine, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    browser = Browser(people.alice)
    request_create(acting(people.alice), machine=web, name="first", memory=True)
    stamp = stamp_of(browser.get(machine_page(web)))
    # 1 session, 2 user, 3 is it a root admin, 4 machine with its newest event, 5 newest job
    with django_assert_num_queries(5):
        assert pulse(browser, web, stamp).status == 200


def test_the_page_of_a_hundred_snapshots_is_under_80_kilobytes_and_calls_no_hypervisor(people: People) -> None:
    cloud, machine = with_snapshots(people, 100)
    cloud.world.forget_calls()
    page = Browser(people.alice).get(machine_page(machine))
    assert len(names_in_tree(page)) == 100
    assert len(page.source.encode()) < 80_000
    Browser(people.alice).get(f"{machine_page(machine)}pulse/?stamp=old", script=True)
    Browser(people.alice).get(f"{machine_page(machine)}take/")
    Browser(people.alice).get("/")
    assert not cloud.world.calls()


def test_a_thousand_snapshots_are_all_there(people: People) -> None:
    _, machine = with_snapshots(people, 1000)
    page = Browser(people.alice).get(machine_page(machine))
    assert len(names_in_tree(page)) == 1000


def test_a_machine_with_a_power_change_elsewhere_is_noticed(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    browser = Browser(people.alice)
    stamp = stamp_of(browser.get(machine_page(web)))
    cloud.world.set_power(web.native_id, PowerState.STOPPED)
    cloud.sync()
    page = pulse(browser, web, stamp)
    assert page.why_not("start") == ""


def test_a_start_that_was_asked_for_shows_at_once(people: People, db_machine: VirtualMachine) -> None:
    request_start(acting(people.alice), machine=db_machine)
    assert "Start machine for alice" in Browser(people.bob).get(machine_page(db_machine)).text


def test_a_revert_under_way_shows_at_the_snapshot(people: People, web: VirtualMachine) -> None:
    first = take(web, "first", people.alice)
    request_revert(acting(people.alice), snapshot=first, power=PowerAfterRevert.STOPPED)
    row = Browser(people.alice).get(machine_page(web)).one('//a[@role="treeitem"]')
    assert "Being reverted to" in row.text_content()

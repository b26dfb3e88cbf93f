"""Schedules on other pages: the list of all, the machine's page with its tree, the jobs and the history."""

import json
from dataclasses import replace

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from hypervisors.drivers.simulated.world import many_machines
from hypervisors.errors import OutOfSpace
from snapshots.access import SYSTEM
from snapshots.choices import LimitKind
from snapshots.models import Event, Job, Schedule, VirtualMachine, VMSnapshot
from snapshots.services.events import record
from snapshots.services.schedule_rules import terms_of
from snapshots.services.scheduled_snapshots import prune_scheduled_snapshots, take_due_snapshots
from snapshots.services.schedules import change_schedule, pause_schedule
from snapshots.services.snapshot_actions import request_delete
from snapshots.services.tenancy import assign_machine
from tests.builders import Cloud, People, acting, limit, run, schedule, take
from tests.doors.browser_client import Browser, Page, machine_page, of_snapshot, words
from tests.doors.schedule_pages import due_now, page_of


def names(page: Page) -> list[str]:
    """The schedules listed, in their order, with their machines."""
    return [words(row.xpath("./th/a")[0]) + ": " + words(row.xpath("./td/a")[0]) for row in page.find("//tbody/tr")]


def taken(row: Schedule) -> VMSnapshot:
    """A VM snapshot that the schedule has just taken."""
    due_now(row)
    job = run(take_due_snapshots()[0])
    assert job.state == "succeeded", job.error_detail
    snapshot: VMSnapshot = VMSnapshot.objects.get(uuid=job.snapshot_uuid)
    return snapshot


# --- the list ------------------------------------------------------------------------------------------------------


def test_everybody_sees_the_schedules_of_their_machines(
    people: People, db_machine: VirtualMachine, web: VirtualMachine, cloud: Cloud
) -> None:
    for machine, name in ((web, "b"), (web, "a"), (db_machine, "c"), (cloud.machine("foreign"), "d")):
        schedule(machine, name=name, keep=1)
    for who in (people.alice, people.bob, people.dora):
        assert names(Browser(who).get("/schedules/")) == ["db: c", "web: a", "web: b"]
    assert names(Browser(people.charlie).get("/schedules/")) == ["foreign: d"]
    assert len(names(Browser(people.root).get("/schedules/"))) == 4
    page = Browser(people.nora).get("/schedules/")
    assert "No schedule yet" in page.text
    assert "Open a machine and follow “Schedule VM snapshots”" in page.text


def test_a_line_leads_to_the_machine_and_its_schedule(people: People, web: VirtualMachine) -> None:
    nightly = schedule(web, people.alice, memory=True)
    page = Browser(people.bob).get("/schedules/")
    row = page.one("//tbody/tr")
    assert "web simulated nightly Every day at 02:30, UTC 3 disks and memory" in words(row)
    assert page.find(f'//tbody//a[@href="{machine_page(web)}"]')
    assert page.find(f'//tbody//a[@href="{page_of(web)}#schedule-{nightly.uuid}"]')
    assert words(row).endswith("not due yet")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["db: failed", "db: missed", "web: good", "web: paused"]),
        ("?q=WEB", ["web: good", "web: paused"]),
        ("?q=miss", ["db: missed"]),
        ("?q=%25", []),
        ("?state=active", ["db: failed", "db: missed", "web: good"]),
        ("?state=paused", ["web: paused"]),
        ("?state=wrong", ["db: failed", "db: missed"]),
        ("?state=wrong&q=fail", ["db: failed"]),
        ("?state=sideways&page=0", ["db: failed", "db: missed", "web: good", "web: paused"]),
    ],
)
def test_schedules_are_found_by_name_and_by_what_became_of_them(
    people: People, web: VirtualMachine, db_machine: VirtualMachine, cloud: Cloud, query: str, expected: list[str]
) -> None:
    taken(schedule(web, people.alice, name="good"))
    pause_schedule(SYSTEM, schedule=schedule(web, people.alice, name="paused"))
    due_now(schedule(db_machine, people.alice, name="failed"))
    cloud.world.refuse("create_snapshot", OutOfSpace)
    assert run(take_due_snapshots()[0]).state == "failed"
    due_now(schedule(db_machine, people.alice, name="missed"))
    VirtualMachine.objects.filter(pk=db_machine.pk).update(missing_since=timezone.now())
    take_due_snapshots()
    page = Browser(people.alice).get(f"/schedules/{query}")
    assert names(page) == expected
    if not expected:
        assert "No schedule matches" in page.text
        assert page.find('//main//a[@href="/schedules/"]')


def test_with_a_script_only_the_list_is_sent(people: People, web: VirtualMachine) -> None:
    schedule(web, people.alice)
    page = Browser(people.alice).get("/schedules/?q=night", script=True, target="schedules")
    assert page.root.get("id") == "schedules"
    assert names(page) == ["web: nightly"]


def test_the_list_costs_five_queries_whatever_its_length_and_goes_on_in_pages(
    people: People, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    cloud = Cloud(many_machines(51, 0))
    browser = Browser(people.alice)
    for count, machine in enumerate(VirtualMachine.objects.filter(hypervisor=cloud.hypervisor)):
        assign_machine(SYSTEM, machine=machine, account=people.acme)
        schedule(machine)
        if count in (0, 50):
            # 1 session, 2 user, 3 is it a root admin, 4 how many, 5 schedules with machines and jobs
            with django_assert_num_queries(5):
                page = browser.get("/schedules/")
    assert len(names(page)) == 50
    assert "1–50 of 51" in page.text
    following = browser.get("/schedules/" + page.one('//a[@rel="next"]').get("href"))
    assert len(names(following)) == 1


def test_the_list_is_found_from_every_page(people: People, web: VirtualMachine) -> None:
    page = Browser(people.bob).get("/")
    assert page.find('//nav//a[@href="/schedules/"]')
    assert page.find('//main//a[@href="/schedules/"]')
    assert Browser(people.bob).get("/schedules/").find('//nav//a[@href="/schedules/"][@aria-current="page"]')


# --- the page of a machine -------------------------------------------------------------------------------------------


def test_the_machine_page_leads_to_its_schedules_and_says_when_the_next_is_due(
    people: People, web: VirtualMachine
) -> None:
    browser = Browser(people.bob)

    def said() -> str:
        return words(browser.get(machine_page(web)).one(f'//dl[@class="facts"]//a[@href="{page_of(web)}"]'))

    assert said() == "Schedule VM snapshots"
    late, early = schedule(web, hour=23, minute=59), schedule(web, name="early", frequency="hourly", minute=1)
    assert said().startswith("next ")
    (time,) = browser.get(machine_page(web)).find('//dl[@class="facts"]//a/time')
    assert time.get("datetime") == min(early.next_at, late.next_at).isoformat(timespec="seconds")
    for row in (late, early):
        pause_schedule(SYSTEM, schedule=row)
    assert said() == "Schedule VM snapshots"


def test_schedules_cost_the_machine_page_no_query(
    people: People, web: VirtualMachine, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        row = schedule(web, name=f"schedule {number}", keep=2)
        taken(row)
        taken(row)
    browser = Browser(people.alice)
    with django_assert_num_queries(9):
        page = browser.get(machine_page(web))
    assert page.find('//*[@id="offer-keep"]')


def test_an_open_page_notices_a_schedule_and_a_time_that_passed_without_an_event(
    people: People, web: VirtualMachine
) -> None:
    browser = Browser(people.bob)

    def stamp() -> str:
        return str(browser.get(machine_page(web)).one('//*[@id="pulse"]').get("hx-vals"))

    row = schedule(web)
    first = stamp()
    due_now(row)
    VirtualMachine.objects.filter(pk=web.pk).update(missing_since=timezone.now())
    take_due_snapshots()
    second = stamp()
    assert first != second
    events = Event.objects.count()
    due_now(row)
    between = stamp()
    take_due_snapshots()
    assert Event.objects.count() == events, "the reason is the same, and told already"
    assert len({second, between, stamp()}) == 2


def test_what_a_schedule_took_is_marked_and_says_how_long_it_stays(people: People, web: VirtualMachine) -> None:
    row = schedule(web, people.alice)
    take(web, "by hand", people.alice)
    snapshot = taken(row)
    browser = Browser(people.bob)
    page = browser.get(machine_page(web))
    marked = [words(item) for item in page.find('//a[@role="treeitem"]') if "by schedule" in words(item)]
    assert len(marked) == 1
    assert snapshot.name in marked[0]
    assert page.one('//a[@role="treeitem"]//small//use').get("href").endswith("#clock")
    details = words(page.one('//*[@id="details"]'))
    assert "By the schedule “nightly”" in details
    assert "Kept until the schedule has 3 newer ones" in details
    change_schedule(SYSTEM, schedule=row, terms=replace(terms_of(row), keep=1))
    assert "Kept until the schedule has 1 newer one" in browser.get(machine_page(web)).text
    pause_schedule(SYSTEM, schedule=row)
    assert "Kept as long as the schedule is paused" in browser.get(machine_page(web)).text


def test_one_that_a_schedule_took_is_kept_for_good_by_a_click(people: People, web: VirtualMachine) -> None:
    snapshot = taken(schedule(web, people.alice))
    browser = Browser(people.alice)
    page = browser.get(machine_page(web))
    assert page.why_not("keep") == ""
    assert page.offer("keep").getparent().get("action") == of_snapshot(snapshot, "keep")
    assert Browser(people.bob).get(machine_page(web)).why_not("keep").startswith("You may look at web")
    answer = browser.post(of_snapshot(snapshot, "keep"), script=True)
    assert answer.status == 204
    said = json.loads(answer.response["HX-Trigger"])
    assert f"“{snapshot.name}” is out of its schedule: no schedule deletes it any more." in str(said)
    page = browser.get(machine_page(web))
    assert page.find('//*[@id="offer-keep"]') == []
    assert "by schedule" not in words(page.one('//*[@id="tree"]'))
    assert f"VM snapshot “{snapshot.name}”: taken out of its schedule" in page.text
    again = browser.post(of_snapshot(snapshot, "keep"))
    assert again.status == 409
    assert "it is kept already" in words(again.one('//*[@role="alert"]'))


@pytest.mark.parametrize(("days", "said"), [(1, "1 day"), (30, "30 days")])
def test_where_a_limit_of_age_holds_the_offer_says_that_it_deletes_all_the_same(
    people: People, web: VirtualMachine, days: int, said: str
) -> None:
    taken(schedule(web, people.alice))
    browser = Browser(people.alice)
    still = f"The limit of age still deletes it at {said}."
    assert "which does not delete it any more then." in browser.get(machine_page(web)).text
    assert still not in browser.get(machine_page(web)).text
    limit(people.engineering, days, LimitKind.AGE_DAYS)
    assert f"which does not delete it any more then. {still}" in browser.get(machine_page(web)).text


def test_one_that_is_being_deleted_cannot_be_kept_and_says_why(people: People, web: VirtualMachine) -> None:
    snapshot = taken(schedule(web, people.alice))
    request_delete(SYSTEM, snapshot=snapshot)
    page = Browser(people.alice).get(f"{machine_page(web)}?snapshot={snapshot.uuid}")
    assert page.why_not("keep").startswith(f"Delete VM snapshot “{snapshot.name}” waiting")
    assert "Kept until" not in words(page.one('//*[@id="details"]'))


def test_one_whose_taking_failed_is_not_kept_until_anything(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    row = schedule(web, people.alice)
    due_now(row)
    cloud.world.refuse("create_snapshot", OutOfSpace)
    failed = VMSnapshot.objects.get(uuid=run(take_due_snapshots()[0]).snapshot_uuid)
    page = Browser(people.alice).get(f"{machine_page(web)}?snapshot={failed.uuid}")
    details = words(page.one('//*[@id="details"]'))
    assert "By the schedule “nightly”" in details
    assert "Kept" not in details
    assert page.why_not("keep").startswith(f"The VM snapshot {failed.name} is Error and cannot be kept for good.")


def test_while_something_else_is_under_way_one_can_be_kept(people: People, web: VirtualMachine) -> None:
    snapshot = taken(schedule(web, people.alice))
    request_delete(SYSTEM, snapshot=take(web, "by hand", people.alice))
    page = Browser(people.alice).get(f"{machine_page(web)}?snapshot={snapshot.uuid}")
    assert page.why_not("keep") == ""


def test_without_a_script_the_browser_comes_back_to_what_was_kept(people: People, web: VirtualMachine) -> None:
    snapshot = taken(schedule(web, people.alice))
    answer = Browser(people.alice).post(of_snapshot(snapshot, "keep"))
    assert answer.response["Location"] == f"{machine_page(web)}?snapshot={snapshot.uuid}"


def test_what_is_lost_or_taken_by_hand_is_not_offered_to_be_kept(
    people: People, web: VirtualMachine, cloud: Cloud
) -> None:
    by_hand = take(web, "by hand", people.alice)
    lost = taken(schedule(web, people.alice))
    cloud.world.delete_elsewhere(web.native_id, lost.native_id)
    cloud.sync()
    for snapshot in (by_hand, lost):
        page = Browser(people.alice).get(f"{machine_page(web)}?snapshot={snapshot.uuid}")
        assert page.find('//*[@id="offer-keep"]') == []


# --- jobs and history ------------------------------------------------------------------------------------------------


def test_jobs_and_history_say_that_a_schedule_asked(people: People, web: VirtualMachine) -> None:
    row = schedule(web, people.alice, keep=1)
    for _number in range(2):
        taken(row)
    for job in prune_scheduled_snapshots():
        run(job)
    browser = Browser(people.bob)
    jobs = [words(cell) for cell in browser.get("/jobs/").find('//td[@data-label="Asked for by"]')]
    assert jobs.count("a schedule") == 3
    page = browser.get(f"/jobs/{Job.objects.latest('pk').uuid}/")
    assert "Asked for by a schedule" in page.text
    assert "the product itself" not in page.text
    assert "its schedule need not keep it" in page.text
    assert "The schedule “nightly” keeps only the newest, and this one is older." in page.text


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("schedule.added", "Schedule: added"),
        ("schedule.changed", "Schedule: changed"),
        ("schedule.paused", "Schedule: paused"),
        ("schedule.resumed", "Schedule: resumed"),
        ("schedule.deleted", "Schedule: deleted"),
        ("schedule.missed", "Schedule: missed"),
        ("snapshot.kept", "VM snapshot: taken out of its schedule"),
        ("snapshot.pruned", "VM snapshot: its schedule need not keep it"),
        ("snapshot.not_pruned", "VM snapshot: its schedule need not keep it, and it stays"),
    ],
)
def test_the_history_tells_of_schedules_in_plain_words(
    people: People, web: VirtualMachine, action: str, said: str
) -> None:
    record(acting(people.alice), action, machine=web)
    assert said in Browser(people.bob).get(f"{machine_page(web)}history/").text

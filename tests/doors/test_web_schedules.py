"""The page of a machine's schedules: what it tells, who may add, edit, pause, resume and delete, and the reasons for those
who may not."""

from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from hypervisors.errors import OutOfSpace
from snapshots.access import SYSTEM
from snapshots.models import Schedule, VirtualMachine, VMSnapshot
from snapshots.services.scheduled_snapshots import take_due_snapshots
from snapshots.services.schedules import pause_schedule
from tests.builders import Cloud, People, acting, run, schedule
from tests.doors.browser_client import Browser, machine_page, words
from tests.doors.schedule_pages import ASKED, adding, due_now, error_of, line, notices, of, page_of, sent

# --- the page ------------------------------------------------------------------------------------------------------


def test_an_empty_page_teaches_and_offers_the_first_schedule(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).get(page_of(web))
    assert "No schedule yet" in page.text
    assert "for example every night, and keeps the newest 7" in page.text
    assert page.why_not("add-schedule") == ""
    assert page.offer("add-schedule").get("href") == adding(web)


def test_a_schedule_says_when_what_how_many_and_when_next(people: People, web: VirtualMachine) -> None:
    nightly = schedule(web, people.alice, frequency="weekly", weekdays=(1, 5), memory=True, time_zone="Europe/Berlin")
    page = Browser(people.alice).get(page_of(web))
    said = line(page, nightly)
    assert "Every Monday and Friday at 02:30, Europe/Berlin" in said
    assert "disks and memory" in said
    assert "the newest 3 (none now)" in said
    assert "not due yet" in said
    (time,) = page.find("//main//li//time")
    assert time.get("datetime") == nightly.next_at.isoformat(timespec="seconds")
    assert "web may have 10 VM snapshots; schedules that are not paused keep 3" in page.text


def test_what_became_of_the_last_time_is_told_with_its_job(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    nightly = schedule(web, people.alice)
    browser = Browser(people.bob)
    due_now(nightly)
    (job,) = take_due_snapshots()
    assert "Last time Waiting" in line(browser.get(page_of(web)), nightly)
    run(job)
    page = browser.get(page_of(web))
    assert "Last time Done" in line(page, nightly)
    assert "(1 now)" in line(page, nightly)
    assert page.find(f'//li//a[@href="/jobs/{job.uuid}/"]')
    cloud.world.refuse("create_snapshot", OutOfSpace)
    due_now(nightly)
    failed = run(take_due_snapshots()[0])
    assert f"Failed {failed.error_detail}" in line(browser.get(page_of(web)), nightly).replace(
        words(browser.get(page_of(web)).find("//li//time")[1]) + " ", ""
    )


def test_a_time_that_was_missed_says_why(people: People, web: VirtualMachine) -> None:
    nightly = schedule(web, people.alice)
    due_now(nightly)
    VirtualMachine.objects.filter(pk=web.pk).update(missing_since=timezone.now())
    assert take_due_snapshots() == []
    said = line(Browser(people.alice).get(page_of(web)), nightly)
    assert "missed" in said
    assert "web is not on its hypervisor any more" in said


def test_a_last_job_that_is_no_longer_there_is_told(people: People, web: VirtualMachine) -> None:
    nightly = schedule(web, people.alice)
    Schedule.objects.filter(pk=nightly.pk).update(last_due_at=timezone.now())
    assert "its job is no longer there" in line(Browser(people.alice).get(page_of(web)), nightly)


def test_a_reader_sees_everything_and_why_every_button_is_off(people: People, web: VirtualMachine) -> None:
    nightly, paused = schedule(web), schedule(web, name="paused")
    pause_schedule(SYSTEM, schedule=paused)
    page = Browser(people.bob).get(page_of(web))
    assert "Every day at 02:30, UTC" in line(page, nightly)
    keys = [f"{verb}-{nightly.uuid}" for verb in ("change", "pause", "delete")] + [f"resume-{paused.uuid}"]
    for key in ("add-schedule", *keys):
        assert page.why_not(key).startswith("You may look at web but not change it."), key
    for path in (adding(web), of(nightly), of(nightly, "delete/")):
        dialog = Browser(people.bob).get(path)
        assert "You may look at web but not change it." in words(dialog.one('//*[@id="dialog-why"]')), path
        assert dialog.find('//button[@aria-disabled="true"]'), path


def test_a_missing_machine_can_have_no_more_schedules_and_says_why(people: People, web: VirtualMachine) -> None:
    nightly, paused = schedule(web), schedule(web, name="paused")
    pause_schedule(SYSTEM, schedule=paused)
    VirtualMachine.objects.filter(pk=web.pk).update(missing_since=timezone.now())
    browser = Browser(people.alice)
    page = browser.get(page_of(web))
    for key in ("add-schedule", f"resume-{paused.uuid}"):
        assert page.why_not(key).startswith("web is not on its hypervisor any more."), key
    for verb in ("change", "pause", "delete"):
        assert page.why_not(f"{verb}-{nightly.uuid}") == "", verb
    assert "web is not on its hypervisor any more" in browser.get(adding(web)).text
    for path, values in ((adding(web), ASKED), (of(paused, "resume/"), None)):
        assert "web is not on its hypervisor any more" in browser.post(path, values).text
    assert Schedule.objects.count() == 2


def test_of_a_machine_that_is_nobodys_nothing_is_scheduled(people: People, cloud: Cloud) -> None:
    machine = cloud.machine("unassigned")
    page = Browser(people.root).get(page_of(machine))
    assert page.why_not("add-schedule").startswith("unassigned belongs to no account")
    assert Browser(people.root).post(adding(machine), ASKED).status == 409
    assert not Schedule.objects.exists()


def test_a_machine_with_as_many_schedules_as_it_can_have_says_so(
    people: People, web: VirtualMachine, settings: Settings
) -> None:
    settings.SNAPSHOTS_PER_MACHINE = -1
    for number in range(10):
        schedule(web, name=f"schedule {number}")
    browser = Browser(people.alice)
    page = browser.get(page_of(web))
    assert "web has 10 schedules" in page.why_not("add-schedule")
    assert "may have" not in words(page.one('//p[@class="lead"]'))
    assert "web has 10 schedules" in words(browser.post(adding(web), ASKED).one('//*[@role="alert"]'))


@pytest.mark.parametrize("count", [1, 5])
def test_the_page_costs_six_queries_however_many_schedules_there_are(
    people: People, web: VirtualMachine, count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(count):
        schedule(web, name=f"schedule {number}", keep=1)
    browser = Browser(people.alice)
    # 1 session, 2 user, 3 is it a root admin, 4 machine, 5 limits, 6 schedules with their jobs
    with django_assert_num_queries(6):
        assert browser.get(page_of(web)).status == 200


# --- editing, pausing, resuming, deleting -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "terms",
    [
        {"frequency": "hourly", "every_hours": 8, "minute": 5, "hour": 0},
        {"frequency": "daily", "memory": True},
        {"frequency": "weekly", "weekdays": [1, 7]},
        {"frequency": "monthly", "day": -1},
    ],
)
def test_the_dialog_shows_what_there_is_and_sending_it_changes_nothing(
    people: People, web: VirtualMachine, terms: dict[str, Any]
) -> None:
    row = schedule(web, people.alice, **terms | {"weekdays": tuple(terms.get("weekdays", ()))})
    browser = Browser(people.alice)
    page = browser.get(of(row))
    shown: dict[str, Any] = {name: page.checked(name) for name in ("frequency", "weekdays", "kind")}
    for name in ("name", "minute", "time", "time_zone", "keep"):
        shown[name] = page.one(f'//input[@name="{name}"]').get("value")
    for name in ("every_hours", "day"):
        shown[name] = page.one(f'//select[@name="{name}"]/option[@selected]').get("value")
    before = Schedule.objects.values().get()
    assert "is changed" in notices(sent(browser, of(row), shown))[0]
    assert Schedule.objects.values().get() == before


def test_a_schedule_that_is_edited_is_due_by_its_new_rhythm(people: People, web: VirtualMachine) -> None:
    row = schedule(web, people.alice)
    page = sent(Browser(people.alice), of(row), ASKED)
    assert "Every Friday and Sunday at 04:30, Europe/Berlin" in line(page, row)
    assert "the newest 2" in line(page, row)


def test_editing_refuses_like_adding(people: People, web: VirtualMachine) -> None:
    row = schedule(web, people.alice)
    schedule(web, people.alice, name="other")
    page = Browser(people.alice).post(of(row), ASKED | {"name": "other", "keep": "9"}, script=True)
    assert page.status == 409
    assert "has a schedule named “other” already" in error_of(page, "name")
    page = Browser(people.alice).post(of(row), ASKED | {"keep": "9"}, script=True)
    assert page.status == 409
    assert "Keep at most 6 here" in error_of(page, "keep")


def test_the_dialog_warns_that_keeping_fewer_deletes(people: People, web: VirtualMachine) -> None:
    row = schedule(web, people.alice)
    due_now(row)
    run(take_due_snapshots()[0])
    page = Browser(people.alice).get(of(row))
    assert "1 of this schedule is there now; if it keeps fewer, the oldest are deleted." in page.text


def test_only_those_that_are_ready_are_told_as_kept(people: People, web: VirtualMachine, cloud: Cloud) -> None:
    row = schedule(web, people.alice)
    browser = Browser(people.alice)
    due_now(row)
    cloud.world.refuse("create_snapshot", OutOfSpace)
    assert run(take_due_snapshots()[0]).state == "failed"
    assert "(none now)" in line(browser.get(page_of(web)), row)
    assert "None of the VM snapshots it took is Ready." in browser.get(of(row, "delete/")).text
    due_now(row)
    job = take_due_snapshots()[0]
    assert "(none now)" in line(browser.get(page_of(web)), row)
    run(job)
    assert "(1 now)" in line(browser.get(page_of(web)), row)
    assert "1 of this schedule is there now" in browser.get(of(row)).text


def test_a_schedule_is_paused_and_resumed_by_a_click(people: People, web: VirtualMachine) -> None:
    row = schedule(web, people.alice)
    browser = Browser(people.alice)
    assert browser.get(page_of(web)).offer(f"pause-{row.uuid}").getparent().get("action") == of(row, "pause/")
    page = sent(browser, of(row, "pause/"))
    assert notices(page) == ["“nightly” is paused: it takes and deletes nothing."]
    assert "paused nothing is taken or deleted" in line(page, row)
    assert page.find("//main//li//time") == []
    assert "It is paused." in notices(sent(browser, of(row), ASKED))[0]
    page = sent(browser, of(row, "resume/"))
    assert "goes on. It is due next on" in notices(page)[0]
    assert page.why_not(f"pause-{row.uuid}") == ""


def test_a_schedule_for_which_there_is_no_room_cannot_be_resumed(people: People, web: VirtualMachine) -> None:
    row = schedule(web, people.alice, keep=5)
    pause_schedule(acting(people.alice), schedule=row)
    schedule(web, people.alice, name="other", keep=5)
    browser = Browser(people.alice)
    assert "its other schedules keep 5" in browser.get(page_of(web)).why_not(f"resume-{row.uuid}")
    for script in (False, True):
        page = browser.post(of(row, "resume/"), script=script)
        assert page.status == 409
        assert "its other schedules keep 5" in words(page.one('//*[@role="alert"]'))


def test_deleting_a_schedule_says_how_many_stay_and_leaves_them(people: People, web: VirtualMachine) -> None:
    row = schedule(web, people.alice)
    browser = Browser(people.alice)
    assert "None of the VM snapshots it took is Ready." in browser.get(of(row, "delete/")).text
    for said in ("The VM snapshot it took stays", "The 2 VM snapshots it took stay"):
        due_now(row)
        run(take_due_snapshots()[0])
        assert f"{said} , and no schedule deletes" in browser.get(of(row, "delete/")).text
    page = sent(browser, of(row, "delete/"))
    assert notices(page) == ["“nightly” is deleted. The VM snapshots it took stay."]
    assert VMSnapshot.objects.real().filter(schedule=None).count() == 2
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("action", ["", "pause/", "resume/", "delete/"])
def test_a_schedule_that_is_not_there_is_not_found(people: People, web: VirtualMachine, action: str) -> None:
    path = f"/schedules/7d9f4a0e-5a3c-4f52-9a3a-0d5f0f1c2b3d/{action}"
    assert Browser(people.alice).post(path, ASKED).status == 404
    page = Browser(people.alice).post(path, ASKED, script=True)
    assert page.status == 404
    assert "There is no such schedule." in page.text


@pytest.mark.parametrize("name", ["&<\"'>", "<script>alert(1)</script>", "{{ 7|add:7 }}", "שלום עולם", "名前 🐘"])
def test_any_name_a_person_can_type_is_shown_as_it_is(people: People, web: VirtualMachine, name: str) -> None:
    browser = Browser(people.alice)
    sent(browser, adding(web), ASKED | {"name": name})
    row = Schedule.objects.get()
    for path in (page_of(web), "/schedules/", of(row, "delete/"), f"{machine_page(web)}history/"):
        page = browser.get(path)
        assert name in page.root.text_content(), path
        assert "<script>alert" not in page.source, path
    assert browser.get(of(row)).one('//input[@name="name"]').get("value") == name

"""The page of a machine's schedules and its dialogs: adding, editing, pausing, resuming and deleting, by people who may, and
the reasons for those who may not."""

from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from hypervisors.capabilities import Capabilities, no
from hypervisors.drivers.simulated.world import Machine
from hypervisors.errors import OutOfSpace
from snapshots.access import SYSTEM
from snapshots.models import Schedule, VirtualMachine, VMSnapshot
from snapshots.services.scheduled_snapshots import take_due_snapshots
from snapshots.services.schedules import pause_schedule
from snapshots.services.tenancy import assign_machine
from tests.builders import Cloud, People, acting, run, schedule
from tests.doors.browser_client import Browser, Page, machine_page, words

ASKED = {"name": "Weekly", "frequency": "weekly", "weekdays": ["7", "5"], "time": "04:30", "time_zone": "Europe/Berlin",
         "kind": "disk", "keep": "2"}  # fmt: skip
"""A form as people send it."""


def page_of(machine: VirtualMachine) -> str:
    return f"{machine_page(machine)}schedules/"


def adding(machine: VirtualMachine) -> str:
    return f"{page_of(machine)}add/"


def of(row: Schedule, action: str = "") -> str:
    return f"/schedules/{row.uuid}/{action}"


def notices(page: Page) -> list[str]:
    """What the page tells of the last action."""
    return [words(line) for line in page.find('//main/p[starts-with(@class, "notice")]')]


def sent(browser: Browser, path: str, values: dict[str, Any] | None = None) -> Page:
    """Post, and look at the page that comes after it."""
    answer = browser.post(path, values)
    assert answer.status == 302, answer.text
    return browser.get(answer.response["Location"])


def line(page: Page, row: Schedule) -> str:
    """What the page says of a schedule."""
    return words(page.one(f'//li[@id="schedule-{row.uuid}"]'))


def due_now(row: Schedule) -> None:
    """As if its next time had come."""
    Schedule.objects.filter(pk=row.pk).update(next_at=timezone.now())


def error_of(page: Page, name: str) -> str:
    """What is said beside a field, where a screen reader finds it too."""
    control = page.find(f'//*[@aria-invalid="true"][@name="{name}" or .//*[@name="{name}"]]')[0]
    return " ".join(words(page.one(f'//*[@id="{key}"]')) for key in control.get("aria-describedby").split())


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
    assert "the newest 3 has none now" in said
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
    assert "has 1 now" in line(page, nightly)
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


# --- adding --------------------------------------------------------------------------------------------------------


def test_the_dialog_proposes_every_night_as_far_as_there_is_room(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).get(adding(web), script=True)
    assert page.one('//input[@name="name"]').get("value") == "Daily"
    assert page.checked("frequency") == ["daily"]
    assert page.checked("kind") == ["disk"]
    assert page.one('//input[@name="time"]').get("value") == "02:00"
    assert page.one('//input[@name="time_zone"]').get("value") == "UTC"
    assert page.one('//input[@name="keep"]').get("value") == "7"
    assert {box.get("data-suggests") for box in page.find('//input[@name="frequency"]')} == {
        "Hourly", "Daily", "Weekly", "Monthly",
    }  # fmt: skip
    schedule(web, people.alice, name="Daily", keep=6)
    page = Browser(people.alice).get(adding(web))
    assert page.one('//input[@name="name"]').get("value") == "Daily 2"
    assert page.one('//input[@name="keep"]').get("value") == "3"
    assert "At most 3 can be kept on this machine, whose other schedules keep 6." in page.text


def test_the_dialog_tells_of_limits_pools_and_lateness_before_the_click(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).get(adding(web))
    assert "This machine 0 of 10 VM snapshots" in page.text
    assert "How full the storage becomes" in page.text
    assert "count in limits like all others" in page.text
    assert "room for one more is needed" in page.text
    assert "late by more than 1 hour is not made up for" in page.text


def test_what_the_machine_can_never_do_is_off_with_the_reason(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).get(adding(web))
    assert page.choice("kind", "quiesce").startswith("off: ")
    assert "No guest agent answers" in page.choice("kind", "quiesce")
    assert not page.choice("kind", "memory").startswith("off: ")


def test_memory_of_a_machine_that_is_off_now_can_be_scheduled(people: People, db_machine: VirtualMachine) -> None:
    page = Browser(people.alice).get(adding(db_machine))
    assert not page.choice("kind", "memory").startswith("off: ")
    sent(Browser(people.alice), adding(db_machine), ASKED | {"kind": "memory"})
    assert Schedule.objects.get().memory


def test_disks_that_can_be_kept_at_rest_alone_say_so_and_are_not_proposed(people: People, web: VirtualMachine) -> None:
    abilities = Capabilities(disk_when_running=no("Its disks are raw."))
    VirtualMachine.objects.filter(pk=web.pk).update(capabilities=abilities.as_json())
    page = Browser(people.alice).get(adding(web))
    assert page.checked("kind") == ["memory"]
    assert "Only while the machine is off. Its disks are raw." in page.choice("kind", "disk")


@pytest.mark.parametrize(
    ("values", "terms"),
    [
        (
            {"frequency": "hourly", "every_hours": "6", "minute": "15", "time": "nonsense", "day": "99"},
            {"frequency": "hourly", "every_hours": 6, "minute": 15, "hour": 0, "weekdays": [], "day": 1},
        ),
        (
            {"frequency": "daily", "minute": "nonsense", "weekdays": ["99"]},
            {"frequency": "daily", "hour": 4, "minute": 30, "weekdays": [], "every_hours": 1},
        ),
        ({"every_hours": "5", "day": ""}, {"frequency": "weekly", "weekdays": [5, 7], "hour": 4, "minute": 30}),
        ({"frequency": "monthly", "day": "-1"}, {"frequency": "monthly", "day": -1, "hour": 4, "weekdays": []}),
        ({"kind": "memory", "time": "23:59:00"}, {"memory": True, "quiesce": False, "hour": 23, "minute": 59}),
    ],
)
def test_what_belongs_to_the_chosen_frequency_is_kept_and_the_rest_passed_over(
    people: People, web: VirtualMachine, values: dict[str, Any], terms: dict[str, Any]
) -> None:
    page = sent(Browser(people.alice), adding(web), ASKED | values)
    assert notices(page)[0].startswith("“Weekly” is added. It is due next on ")
    made = Schedule.objects.get()
    assert (made.machine, made.name, made.keep, made.time_zone) == (web, "Weekly", 2, "Europe/Berlin")
    assert made.created_by == people.alice
    assert {name: getattr(made, name) for name in terms} == terms


def test_a_guest_that_can_settle_is_asked_to(people: People) -> None:
    cloud = Cloud((Machine("agent", agent=True),))
    machine = cloud.machine("agent")
    assign_machine(SYSTEM, machine=machine, account=people.acme)
    sent(Browser(people.alice), adding(machine), ASKED | {"kind": "quiesce"})
    page = Browser(people.alice).get(page_of(machine))
    assert "disks, guest settled first" in line(page, Schedule.objects.get())


def test_added_by_script_the_open_page_goes_to_the_schedules(people: People, web: VirtualMachine) -> None:
    answer = Browser(people.alice).post(adding(web), ASKED, script=True)
    assert answer.response["HX-Redirect"] == page_of(web)
    assert Schedule.objects.count() == 1


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize(
    ("values", "field", "status", "said"),
    [
        ({"name": "  "}, "name", 422, "The name is empty."),
        ({"name": "x" * 101}, "name", 422, "at most 100"),
        ({"name": "nightly"}, "name", 422, "web has a schedule named “nightly” already."),
        ({"weekdays": []}, "weekdays", 422, "Choose at least one day of the week."),
        ({"weekdays": ["8"]}, "weekdays", 422, "Choose days of the list."),
        ({"time": ""}, "time", 422, "Give a time, like 02:30."),
        ({"time": "25:00"}, "time", 422, "Give a time, like 02:30."),
        ({"time_zone": "Mars/Base"}, "time_zone", 422, "There is no time zone “Mars/Base”."),
        ({"time_zone": ""}, "time_zone", 422, "There is no time zone"),
        (
            {"frequency": "hourly", "every_hours": "5", "minute": "0"},
            "every_hours",
            422,
            "Choose a number of the list.",
        ),
        ({"frequency": "hourly", "every_hours": "6", "minute": "60"}, "minute", 422, "Minutes go from 0 to 59."),
        ({"frequency": "hourly", "every_hours": "6", "minute": ""}, "minute", 422, "Give minutes from 0 to 59."),
        ({"frequency": "monthly", "day": "29"}, "day", 422, "Choose a day of the list."),
        ({"kind": "quiesce"}, "kind", 422, "No guest agent answers"),
        ({"kind": "everything"}, "kind", 422, "Choose what to keep."),
        ({"keep": "0"}, "keep", 422, "Between 1 and 1000 VM snapshots can be kept."),
        ({"keep": "many"}, "keep", 422, "Give a whole number."),
        ({"keep": "7"}, "keep", 409, "web may have 10 VM snapshots, and its other schedules keep 3."),
    ],
)
def test_a_refusal_stands_at_its_field_and_what_was_entered_stays(
    people: People, web: VirtualMachine, values: dict[str, Any], field: str, status: int, said: str, script: bool
) -> None:
    schedule(web, people.alice)
    asked = ASKED | values
    page = Browser(people.alice).post(adding(web), asked, script=script)
    assert page.status == status
    assert said in error_of(page, field)
    assert page.one('//input[@name="name"]').get("value") == asked["name"]
    assert page.one('//input[@name="time"]').get("value") == asked["time"]
    assert page.one('//input[@name="time_zone"]').get("value") == asked["time_zone"]
    assert page.one('//input[@name="keep"]').get("value") == asked["keep"]
    assert page.checked("frequency") == [asked["frequency"]]
    assert page.checked("weekdays") == [day for day in ("5", "7") if day in asked["weekdays"]]
    assert Schedule.objects.count() == 1


def test_without_a_frequency_nothing_but_that_is_asked_for(people: People, web: VirtualMachine) -> None:
    page = Browser(people.alice).post(adding(web), ASKED | {"frequency": "yearly", "time": ""})
    assert page.status == 422
    assert [words(line) for line in page.find('//p[@class="field-error"]')] == ["Choose how often."]


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
    assert page.status == 422
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
    assert "None of the VM snapshots it took is there any more." in browser.get(of(row, "delete/")).text
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

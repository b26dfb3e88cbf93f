"""The dialog in which a schedule is added: what it proposes and tells, what it keeps of what was entered, and how it
refuses."""

from typing import Any

import pytest

from hypervisors.capabilities import Capabilities, no
from hypervisors.drivers.simulated.world import Machine
from snapshots.access import SYSTEM
from snapshots.models import Schedule, VirtualMachine
from snapshots.services.tenancy import assign_machine
from tests.builders import Cloud, People, schedule
from tests.doors.browser_client import Browser, words
from tests.doors.schedule_pages import ASKED, adding, error_of, line, notices, page_of, sent


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


def test_disks_that_can_be_kept_at_rest_alone_are_off_while_it_runs_and_are_not_proposed_while_it_does_not(
    people: People, web: VirtualMachine, db_machine: VirtualMachine
) -> None:
    abilities = Capabilities(disk_when_running=no("Its disks are raw."))
    VirtualMachine.objects.filter(pk__in=[web.pk, db_machine.pk]).update(capabilities=abilities.as_json())
    said = {}
    for machine in (web, db_machine):
        page = Browser(people.alice).get(adding(machine))
        assert page.checked("kind") == ["memory"]
        said[machine.name] = page.choice("kind", "disk")
    assert said["web"].endswith("Not possible: Its disks are raw.")
    assert "Only while the machine is off. Its disks are raw." in said["db"]


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
        ({"name": "  "}, "name", 422, "Give it a name that can be seen."),
        ({"name": "x" * 101}, "name", 422, "at most 100"),
        ({"name": "nightly"}, "name", 409, "web has a schedule named “nightly” already."),
        ({"weekdays": []}, "weekdays", 422, "Choose at least one day of the week."),
        ({"weekdays": ["8"]}, "weekdays", 422, "Choose days of the list."),
        ({"time": ""}, "time", 422, "Give a time, like 02:30."),
        ({"time": "25:00"}, "time", 422, "Give a time, like 02:30."),
        ({"time": "02:30:45"}, "time", 422, "Give a time without seconds, like 02:30."),
        ({"time_zone": "Mars/Base"}, "time_zone", 422, "There is no time zone “Mars/Base”."),
        ({"time_zone": " "}, "time_zone", 422, "Choose a time zone."),
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
    assert error_of(page, "frequency") == "Choose how often."


@pytest.mark.parametrize(
    "values", [{"frequency": "yearly"}, {"weekdays": []}, {"kind": "everything"}, {"time": ""}, {"keep": "0"}]
)
def test_only_what_can_be_invalid_is_said_to_be(people: People, web: VirtualMachine, values: dict[str, Any]) -> None:
    page = Browser(people.alice).post(adding(web), ASKED | values)
    invalid = page.find('//*[@aria-invalid="true"]')
    assert invalid
    assert {(control.tag, control.get("type"), control.get("role")) for control in invalid} <= {
        ("fieldset", None, "radiogroup"), ("input", "checkbox", None), ("input", "time", None), ("input", "number", None),
    }  # fmt: skip

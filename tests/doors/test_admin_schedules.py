"""Schedules in the admin: found by what they are, paused, resumed and deleted through the services."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from lxml import html

from snapshots.access import SYSTEM
from snapshots.choices import LimitKind
from snapshots.models import Event, Schedule, VirtualMachine, VMSnapshot
from snapshots.services import schedules
from tests.builders import PASSWORD, Cloud, People, limit, schedule, taken_by
from tests.doors.admin_forms import act, add, change, delete, last_event, messages

LIST = "admin:snapshots_schedule_changelist"


def listed(root: Client, **query: object) -> list[str]:
    """The names in the list, as asked for."""
    answer = root.get(reverse(LIST), query)
    assert answer.status_code == 200
    return [cell.text_content() for cell in html.fromstring(answer.content).find_class("field-name")]


def test_the_list_says_when_and_how_many_are_there(root: Client, nightly: Schedule) -> None:
    taken_by(nightly, "one")
    page = html.fromstring(root.get(reverse(LIST)).content)
    row = {name: page.find_class(f"field-{name}")[0].text_content() for name in ("machine", "account", "when", "kept")}
    assert row == {"machine": "web", "account": "acme", "when": "every day at 02:30, UTC", "kept": "1 of 3"}


def test_the_list_tells_that_one_was_missed_and_the_schedules_page_why(root: Client, nightly: Schedule) -> None:
    def last_time() -> str:
        return str(html.fromstring(root.get(reverse(LIST)).content).find_class("field-last_time")[0].text_content())

    assert last_time() == "none yet"
    Schedule.objects.update(last_due_at=timezone.now())
    assert last_time() == "not missed"
    Schedule.objects.update(missed="The machine was busy.")
    assert last_time() == "missed"
    page = root.get(reverse("admin:snapshots_schedule_change", args=[nightly.pk]))
    assert "The machine was busy." in page.content.decode()


def test_schedules_are_filtered_and_searched(
    root: Client, web: VirtualMachine, people: People, cloud: Cloud, nightly: Schedule
) -> None:
    paused = schedules.pause_schedule(SYSTEM, schedule=schedule(web, name="paused", frequency="hourly"))
    missed = schedule(cloud.machine("foreign"), name="missed")
    Schedule.objects.filter(pk=missed.pk).update(missed="The machine was busy.")
    for query, names in (
        ({}, {"nightly", "paused", "missed"}),
        ({"frequency__exact": "hourly"}, {paused.name}),
        ({"enabled__exact": 0}, {"paused"}),
        ({"last_time": "missed"}, {"missed"}),
        ({"last_time": "not_missed"}, {"nightly", "paused"}),
        ({"machine__account__domain__id__exact": people.elsewhere.pk}, {"missed"}),
        ({"machine__hypervisor__id__exact": cloud.hypervisor.pk}, {"nightly", "paused", "missed"}),
        ({"q": "foreign"}, {"missed"}),
        ({"q": "alice"}, {"nightly"}),
        ({"q": str(nightly.uuid)}, {"nightly"}),
    ):
        assert set(listed(root, **query)) == names, query


@pytest.mark.parametrize("count", [1, 6])
def test_the_list_costs_the_same_however_long_it_is(
    root: Client, web: VirtualMachine, people: People, count: int
) -> None:
    for number in range(count):
        taken_by(schedule(web, people.alice, name=f"s{number}", keep=1), f"n{number}")
    root.get(reverse(LIST))
    with CaptureQueriesContext(connection) as captured:
        assert len(listed(root)) == count
    assert len(captured) == 12


def test_chosen_ones_are_paused_and_resumed(root: Client, web: VirtualMachine, people: People) -> None:
    rows = [schedule(web, people.alice, name=name) for name in ("a", "b")]
    assert messages(act(root, "pause", rows)) == "Paused: 2."
    assert not Schedule.objects.filter(enabled=True).exists()
    assert (last_event().action, last_event().trigger, last_event().user.username) == (
        "schedule.paused",
        "admin",
        "root",
    )
    limit(people.acme, 4, LimitKind.PER_MACHINE)
    said = messages(act(root, "resume", rows))
    assert "Resumed: 1." in said
    assert "b: web may have 4 VM snapshots" in said
    assert list(Schedule.objects.filter(enabled=True).values_list("name", flat=True)) == ["a"]


def test_deleting_leaves_what_they_took(root: Client, web: VirtualMachine, people: People) -> None:
    rows = [schedule(web, people.alice, name=name) for name in ("a", "b", "c")]
    snapshots = [taken_by(row, f"of {row.name}") for row in rows]
    assert messages(act(root, "delete_them", rows[:2])) == "Deleted: 2."
    assert "was deleted successfully" in messages(delete(root, rows[2]))
    assert not Schedule.objects.exists()
    assert Event.objects.filter(action="schedule.deleted", trigger="admin").count() == 3
    assert set(VMSnapshot.objects.filter(pk__in=[row.pk for row in snapshots]).values_list("schedule")) == {(None,)}


def test_nothing_is_changed_or_made_by_a_form(root: Client, web: VirtualMachine, nightly: Schedule) -> None:
    assert change(root, nightly, keep=1, name="other").status_code == 403
    assert add(root, Schedule, name="other", machine=web.pk).status_code == 403
    row = Schedule.objects.get()
    assert (row.name, row.keep) == ("nightly", 3)


def test_a_vm_snapshot_leads_to_its_schedule(root: Client, nightly: Schedule) -> None:
    text = root.get(reverse("admin:snapshots_vmsnapshot_change", args=[taken_by(nightly, "one").pk])).content.decode()
    assert reverse("admin:snapshots_schedule_change", args=[nightly.pk]) in text


def test_a_schedules_name_is_shown_as_text(root: Client, web: VirtualMachine) -> None:
    schedule(web, name="<script>alert(1)</script>")
    text = root.get(reverse(LIST)).content.decode()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


def test_nobody_else_acts_on_them_here(people: People, nightly: Schedule) -> None:
    for person in ("alice", "bob", "dora", "charlie"):
        client = Client()
        assert client.login(username=person, password=PASSWORD)
        for action in ("pause", "delete_them"):
            assert act(client, action, [nightly]).status_code == 403
    assert Schedule.objects.get().enabled

"""`schedules/`: when VM snapshots of a machine are taken and how many are kept, made and changed over REST; nothing of it
for strangers."""

import uuid
from typing import Any

import pytest

from snapshots.access import SYSTEM
from snapshots.choices import LimitKind, TokenScope
from snapshots.models import Event, Schedule, VirtualMachine, VMSnapshot
from snapshots.services import schedules, tenancy
from tests.builders import Cloud, People, acting, limit, taken_by
from tests.doors.api_client import Caller, problem

NIGHTLY = {"name": "nightly", "frequency": "daily", "hour": 2, "minute": 30, "time_zone": "Europe/Berlin", "keep": 3}


def of(machine: VirtualMachine) -> str:
    return f"virtual-machines/{machine.uuid}/schedules/"


def at(row: Schedule) -> str:
    return f"schedules/{row.uuid}/"


# Making


def test_making_one_answers_it_and_its_address(web: VirtualMachine, people: People) -> None:
    alice = Caller(people.alice)
    answer = alice.post(of(web), NIGHTLY)
    assert answer.status_code == 201, answer.content
    shown = answer.json()
    row = Schedule.objects.get()
    assert answer["Location"].endswith(f"/api/v1/schedules/{row.uuid}/")
    assert row.next_at is not None
    assert shown == NIGHTLY | {
        "id": str(row.uuid), "virtual_machine": str(web.uuid), "every_hours": 1, "weekdays": [], "day": 1,
        "when": "every day at 02:30, Europe/Berlin", "kept": 0, "memory": False, "quiesce": False, "enabled": True,
        "next_at": row.next_at.isoformat().replace("+00:00", "Z"), "last_due_at": None, "last_job": None, "missed": "",
        "created_by": "alice", "created_at": shown["created_at"],
    }  # fmt: skip
    assert alice.get(answer["Location"]).json() == shown
    assert alice.rows(of(web)) == alice.rows("schedules/") == [shown]
    event = Event.objects.get(action="schedule.added")
    assert (event.user, event.trigger, event.machine) == (people.alice, "api", web)


def test_days_of_the_week_are_words(web: VirtualMachine, people: People) -> None:
    weekly = NIGHTLY | {"frequency": "weekly", "weekdays": ["friday", "monday", "friday"]}
    shown = Caller(people.alice).post(of(web), weekly).json()
    assert shown["weekdays"] == ["monday", "friday"]
    assert shown["when"] == "every Monday and Friday at 02:30, Europe/Berlin"
    assert Schedule.objects.get().weekdays == [1, 5]


@pytest.mark.parametrize(
    ("terms", "when"),
    [
        ({"frequency": "hourly", "every_hours": 6, "minute": 15}, "every 6 hours from midnight at 15 minutes past"),
        ({"frequency": "monthly", "day": 28}, "on the 28th of every month at 02:30"),
        ({"frequency": "monthly", "day": -1}, "on the last day of every month at 02:30"),
    ],
)
def test_every_rhythm_can_be_asked_for(web: VirtualMachine, people: People, terms: dict[str, Any], when: str) -> None:
    shown = Caller(people.alice).post(of(web), NIGHTLY | terms).json()
    assert shown["when"] == f"{when}, Europe/Berlin"
    assert {name: shown[name] for name in terms} == terms


HUGE = 10**400


@pytest.mark.parametrize("value", [HUGE, -HUGE, 2**63, -7, 1.5, 1e300, "1", True, None, [1], {}])
@pytest.mark.parametrize("field", ["every_hours", "minute", "hour", "day", "keep"])
def test_a_number_that_cannot_be_is_refused_at_its_field(
    web: VirtualMachine, people: People, nightly: Schedule, field: str, value: object
) -> None:
    alice = Caller(people.alice)
    for answer in (
        alice.post(of(web), NIGHTLY | {"name": "x", field: value}),
        alice.patch(at(nightly), {field: value}),
    ):
        assert list(problem(answer, 400, "invalid")["fields"]) == [field]
    assert Schedule.objects.get() == nightly


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": 5}, "name"),
        ({"frequency": "yearly"}, "frequency"),
        ({"frequency": ["daily"]}, "frequency"),
        ({"frequency": "weekly"}, "weekdays"),
        ({"frequency": "weekly", "weekdays": []}, "weekdays"),
        ({"weekdays": ["Monday"]}, "weekdays"),
        ({"weekdays": [1]}, "weekdays"),
        ({"weekdays": "monday"}, "weekdays"),
        ({"weekdays": [["monday"]]}, "weekdays"),
        ({"weekdays": None}, "weekdays"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "\ud800"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"time_zone": None}, "time_zone"),
        ({"minute": 60}, "minute"),
        ({"hour": 24}, "hour"),
        ({"day": 29}, "day"),
        ({"day": 0}, "day"),
        ({"every_hours": 5}, "every_hours"),
        ({"keep": 0}, "keep"),
        ({"memory": "yes"}, "memory"),
        ({"memory": True, "quiesce": True}, "quiesce"),
        ({"next_at": "2026-01-01T00:00:00Z"}, "next_at"),
        ({"enabled": "false"}, "enabled"),
        ({"enabled": None}, "enabled"),
    ],
)
def test_what_is_wrong_is_told_by_field(
    web: VirtualMachine, people: People, nightly: Schedule, change: dict[str, object], field: str
) -> None:
    alice = Caller(people.alice)
    for answer in (alice.post(of(web), NIGHTLY | {"name": "x"} | change), alice.patch(at(nightly), change)):
        assert list(problem(answer, 400, "invalid")["fields"]) == [field]
    assert Schedule.objects.get() == nightly


def test_what_has_to_be_given_is_asked_for(web: VirtualMachine, people: People) -> None:
    refused = problem(Caller(people.alice).post(of(web), {}), 400, "invalid")
    assert set(refused["fields"]) == {"name", "frequency", "minute", "time_zone", "keep"}


def test_all_that_is_wrong_is_told_at_once(web: VirtualMachine, people: People) -> None:
    terms = NIGHTLY | {"minute": 77, "time_zone": "Mars", "keep": 5000}
    assert set(problem(Caller(people.alice).post(of(web), terms), 400, "invalid")["fields"]) == {
        "minute",
        "time_zone",
        "keep",
    }


def test_a_name_is_there_once_per_machine(
    web: VirtualMachine, db_machine: VirtualMachine, people: People, nightly: Schedule
) -> None:
    alice = Caller(people.alice)
    assert list(problem(alice.post(of(web), NIGHTLY), 409, "name_taken")["fields"]) == ["name"]
    assert alice.post(of(db_machine), NIGHTLY).status_code == 201


def test_keeping_more_than_fits_is_refused_at_its_field(web: VirtualMachine, people: People) -> None:
    limit(people.acme, 4, LimitKind.PER_MACHINE)
    alice = Caller(people.alice)
    refused = problem(alice.post(of(web), NIGHTLY | {"keep": 4}), 409, "limit_exceeded")
    assert (list(refused["fields"]), refused["limit"]) == (["keep"], 4)
    assert alice.post(of(web), NIGHTLY).status_code == 201
    problem(alice.post(of(web), NIGHTLY | {"name": "weekly", "keep": 1}), 409, "limit_exceeded")


def test_a_machine_that_is_gone_has_no_new_ones(web: VirtualMachine, people: People, cloud: Cloud) -> None:
    cloud.world.undefine(web.native_id)
    cloud.sync()
    problem(Caller(people.alice).post(of(web), NIGHTLY), 409, "invalid_state")


# Changing


def test_what_is_given_changes_and_the_rest_stays(people: People, nightly: Schedule) -> None:
    alice = Caller(people.alice)
    before = alice.get(at(nightly)).json()
    answer = alice.patch(at(nightly), {"keep": 5, "hour": 3})
    assert answer.status_code == 200, answer.content
    after = answer.json()
    changed = {"keep": 5, "hour": 3, "when": "every day at 03:30, UTC", "next_at": after["next_at"]}
    assert after == before | changed
    assert "T03:30:00" in after["next_at"]
    assert alice.get(at(nightly)).json() == after
    assert Event.objects.filter(action="schedule.changed").count() == 1


def test_a_change_without_a_new_time_leaves_the_next_time(people: People, nightly: Schedule) -> None:
    answer = Caller(people.alice).patch(at(nightly), {"name": "every night"})
    nightly.refresh_from_db()
    assert answer.json()["name"] == nightly.name == "every night"
    assert answer.json()["next_at"].startswith(f"{nightly.next_at:%Y-%m-%dT%H:%M}")


def test_it_is_paused_and_resumed(people: People, nightly: Schedule) -> None:
    alice = Caller(people.alice)
    paused = alice.patch(at(nightly), {"enabled": False}).json()
    assert (paused["enabled"], paused["next_at"]) == (False, None)
    assert alice.patch(at(nightly), {"enabled": False}).json() == paused, "once more changes nothing"
    resumed = alice.patch(at(nightly), {"enabled": True}).json()
    assert resumed["enabled"]
    assert resumed["next_at"]
    assert [event.action for event in Event.objects.filter(action__startswith="schedule.").order_by("pk")] == [
        "schedule.added",
        "schedule.paused",
        "schedule.resumed",
    ]


def test_pausing_or_resuming_goes_along_with_other_changes_all_or_nothing(people: People, nightly: Schedule) -> None:
    alice = Caller(people.alice)
    paused = alice.patch(at(nightly), {"enabled": False, "keep": 100})
    assert paused.status_code == 200, "one that is paused keeps nothing, so nothing has to fit in"
    refused = problem(alice.patch(at(nightly), {"enabled": True, "name": "other"}), 409, "limit_exceeded")
    assert list(refused["fields"]) == ["keep"]
    assert alice.get(at(nightly)).json() == paused.json()
    assert alice.patch(at(nightly), {"enabled": True, "keep": 2}).json()["enabled"]
    problem(alice.patch(at(nightly), {"enabled": False, "minute": 99}), 400, "invalid")
    assert alice.get(at(nightly)).json()["enabled"]


def test_a_change_has_to_say_something(people: People, nightly: Schedule) -> None:
    assert list(problem(Caller(people.alice).patch(at(nightly), {}), 400, "invalid")["fields"]) == ["body"]


def test_of_two_who_change_different_terms_each_gets_theirs(people: People, nightly: Schedule) -> None:
    schedules.amend_schedule(acting(people.alice), schedule=nightly, changes={"keep": 5})
    schedules.amend_schedule(acting(people.dora), schedule=nightly, changes={"hour": 4})  # as both have read it before
    nightly.refresh_from_db()
    assert (nightly.keep, nightly.hour) == (5, 4)


def test_deleting_it_leaves_what_it_took(people: People, nightly: Schedule) -> None:
    snapshot = taken_by(nightly, "one")
    alice = Caller(people.alice)
    answer = alice.delete(at(nightly))
    assert (answer.status_code, answer.content) == (204, b"")
    problem(alice.get(at(nightly)), 404, "not_found")
    problem(alice.delete(at(nightly)), 404, "not_found")
    problem(alice.patch(at(nightly), {"keep": 2}), 404, "not_found")
    assert alice.get(f"snapshots/{snapshot.uuid}/").json()["schedule"] is None


# Who may


def changes(caller: Caller, web: VirtualMachine, row: Schedule, snapshot: VMSnapshot) -> list[Any]:
    """The answers to all that changes something."""
    return [
        caller.post(of(web), NIGHTLY | {"name": "mine"}),
        caller.patch(at(row), {"keep": 1}),
        caller.patch(at(row), {"enabled": False}),
        caller.delete(at(row)),
        caller.post(f"snapshots/{snapshot.uuid}/keep/"),
    ]


def unchanged(row: Schedule, snapshot: VMSnapshot) -> bool:
    fresh, kept = Schedule.objects.get(), VMSnapshot.objects.get(pk=snapshot.pk)
    return (fresh.pk, fresh.keep, fresh.enabled, kept.schedule_id) == (row.pk, row.keep, True, row.pk)


def test_a_reader_sees_them_and_changes_none(web: VirtualMachine, people: People, nightly: Schedule) -> None:
    snapshot, bob = taken_by(nightly, "one"), Caller(people.bob)
    assert bob.names("schedules/") == bob.names(of(web)) == [bob.get(at(nightly)).json()["name"]] == ["nightly"]
    for answer in changes(bob, web, nightly, snapshot):
        problem(answer, 403, "forbidden")
    assert unchanged(nightly, snapshot)


def test_a_token_that_only_reads_changes_none(web: VirtualMachine, people: People, nightly: Schedule) -> None:
    snapshot, reading = taken_by(nightly, "one"), Caller(people.alice, TokenScope.READ)
    assert reading.names("schedules/") == ["nightly"]
    for answer in changes(reading, web, nightly, snapshot):
        problem(answer, 403, "forbidden")
    assert unchanged(nightly, snapshot)


def test_for_a_stranger_there_are_none(web: VirtualMachine, people: People, nightly: Schedule) -> None:
    snapshot = taken_by(nightly, "one")
    for person in (people.charlie, people.nora):
        stranger = Caller(person)
        assert stranger.names("schedules/") == stranger.names(f"schedules/?virtual_machine={web.uuid}") == []
        assert stranger.names(f"snapshots/?schedule={nightly.uuid}") == []
        hidden = problem(stranger.get(at(nightly)), 404, "not_found")
        assert hidden == problem(stranger.get(f"schedules/{uuid.uuid4()}/"), 404, "not_found")
        problem(stranger.get(of(web)), 404, "not_found")
        for answer in changes(stranger, web, nightly, snapshot):
            problem(answer, 404, "not_found")
    assert unchanged(nightly, snapshot)


def test_nobody_comes_in_without_signing_in(web: VirtualMachine, people: People, nightly: Schedule) -> None:
    snapshot, nobody = taken_by(nightly, "one"), Caller(None)
    reading = [nobody.get(path) for path in ("schedules/", at(nightly), of(web))]
    for answer in (*reading, *changes(nobody, web, nightly, snapshot)):
        problem(answer, 401, "unauthenticated")
    assert unchanged(nightly, snapshot)


def test_schedules_go_along_with_their_machine(web: VirtualMachine, people: People, nightly: Schedule) -> None:
    tenancy.assign_machine(SYSTEM, machine=web, account=people.other)
    problem(Caller(people.alice).get(at(nightly)), 404, "not_found")
    charlie = Caller(people.charlie)
    assert charlie.names("schedules/") == ["nightly"]
    assert charlie.patch(at(nightly), {"enabled": False}).status_code == 200

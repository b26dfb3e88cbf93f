"""VM snapshots older than their account or a domain above it allows are deleted, the oldest first, one of a machine at a
time; what cannot go now keeps nothing else from going."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hypervisors import errors
from snapshots import tasks
from snapshots.access import SYSTEM
from snapshots.choices import JobAction, JobState, LimitKind, Trigger
from snapshots.models import Account, Domain, Event, Job, VirtualMachine, VMSnapshot
from snapshots.reading.machine_page import machine_page
from snapshots.refusals import InvalidState
from snapshots.services import automatic_deletion
from snapshots.services.drift_actions import adopt_machine
from snapshots.services.expiry import expire_snapshots
from snapshots.services.limit_setting import set_limit
from snapshots.services.snapshot_actions import request_create, request_delete
from tests.builders import drawn, only_job, run, take
from tests.domain.scenes import DAY_SECONDS, later


def keep(on: Account | Domain, days: int) -> None:
    set_limit(SYSTEM, on=on, kind=LimitKind.AGE_DAYS, value=days)


def pass_of(day: float) -> list[Job]:
    """What the pass asks for so many days from now, carried out."""
    with later(day * DAY_SECONDS):
        return [run(job) for job in expire_snapshots()]


def test_what_is_older_than_its_account_allows_is_deleted_and_what_is_not_stays(people, web):
    keep(people.acme, 30)
    take(web, "old", memory=False)
    with later(20 * DAY_SECONDS):
        take(web, "young", memory=False)
    assert pass_of(29.9) == []
    (job,) = pass_of(30.1)
    assert (job.state, job.snapshot_name, job.requested_by, job.trigger) == ("succeeded", "old", None, Trigger.SYSTEM)
    assert drawn(web) == {"young": None}
    event = Event.objects.get(action="snapshot.expired")
    assert (event.snapshot_name, event.machine_name, event.account) == ("old", "web", people.acme)
    assert event.detail == "It is older than 30 days, the most by the limit of the account acme."


def test_the_nearest_that_says_something_decides(people, web, settings):
    settings.LIMIT_AGE_DAYS = 50
    take(web, "one", memory=False)
    assert pass_of(49) == []
    keep(people.organisation, 10)
    keep(people.engineering, 5)
    assert pass_of(4.9) == []
    (job,) = pass_of(5.1)
    assert job.snapshot_name == "one"
    assert "the domain engineering" in Event.objects.get(action="snapshot.expired").detail


def test_no_limit_of_an_account_holds_against_a_default(people, web, settings):
    settings.LIMIT_AGE_DAYS = 1
    keep(people.organisation, -1)
    keep(people.acme, -1)
    take(web, "one", memory=False)
    assert pass_of(1000) == []


def test_the_default_is_named_as_such(web, settings):
    settings.LIMIT_AGE_DAYS = 1
    take(web, "one", memory=False)
    assert len(pass_of(1.1)) == 1
    assert Event.objects.get(action="snapshot.expired").detail == "It is older than 1 day, the most by default."


@pytest.mark.parametrize("days", [365_001, 2**63 - 1])
def test_an_age_beyond_the_calendar_is_none(people, web, days):
    keep(people.acme, days)
    row = take(web, "one", memory=False)
    assert pass_of(1000) == []
    assert machine_page(people.alice, web.uuid).expires_at(row) is None


def test_each_machine_loses_one_at_a_time_the_oldest_first(people, web, db_machine):
    for name in ("a", "b", "c"):
        take(web, name, memory=False)
    take(db_machine, "d")
    keep(people.acme, 1)
    asked = [{job.snapshot_name for job in pass_of(day)} for day in (2, 3, 4, 5)]
    assert asked == [{"a", "d"}, {"b"}, {"c"}, set()]


def test_a_machine_that_is_busy_is_left_to_the_next_pass(people, web, db_machine):
    take(web, "one", memory=False)
    take(db_machine, "two")
    keep(people.acme, 1)
    waiting = request_create(SYSTEM, machine=web, name="under way")
    assert [job.snapshot_name for job in pass_of(2)] == ["two"]
    run(waiting)
    assert [job.snapshot_name for job in pass_of(2)] == ["one"]


def test_one_that_fails_holds_up_neither_other_machines_nor_those_after_it(people, web, db_machine, cloud):
    take(web, "first", memory=False)
    take(web, "second", memory=False)
    take(db_machine, "other")
    keep(people.acme, 1)
    cloud.world.refuse("delete_snapshot", errors.OutOfSpace)
    states = {job.snapshot_name: job.state for job in pass_of(2)}
    assert states == {"first": JobState.FAILED, "other": JobState.SUCCEEDED} or states == {
        "first": JobState.SUCCEEDED,
        "other": JobState.FAILED,
    }
    failed = next(name for name, state in states.items() if state == JobState.FAILED)
    again = [job.snapshot_name for job in pass_of(2.1)]
    assert failed not in again
    assert failed in [job.snapshot_name for day in (3.5, 3.6) for job in pass_of(day)]


@pytest.fixture
def first_stays(monkeypatch):
    """A function: asking for the deletion of what is called "first" ends in this exception."""
    ask = request_delete

    def make(error):
        def ask_for(actor, *, snapshot):
            if snapshot.name == "first":
                raise error
            return ask(actor, snapshot=snapshot)

        monkeypatch.setattr(automatic_deletion, "request_delete", ask_for)

    return make


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InvalidState("Its disk is in use."), "It is too old, and stays. Its disk is in use."),
        (RuntimeError("broken"), "It is too old, and stays. An error in VMSnap; the log has the details."),
    ],
)
def test_one_that_cannot_be_asked_for_lets_the_next_of_its_machine_go_and_is_told_of_once(
    people, web, db_machine, first_stays, error, told
):
    for name in ("first", "second", "third"):
        take(web, name, memory=False)
    take(db_machine, "other")
    keep(people.acme, 1)
    first_stays(error)
    asked = [{job.snapshot_name for job in pass_of(day)} for day in (2, 2.1, 2.2)]
    assert asked == [{"second", "other"}, {"third"}, set()]
    event = Event.objects.get(action="snapshot.not_expired")
    assert (event.snapshot_name, event.machine_name, event.level, event.detail) == ("first", "web", "warning", told)
    assert not Job.objects.filter(snapshot_name="first", state="queued").exists()


def test_an_error_of_ours_is_logged_once(people, web, first_stays, caplog):
    take(web, "first", memory=False)
    keep(people.acme, 1)
    first_stays(RuntimeError("broken"))
    assert [pass_of(day) for day in (2, 2.1)] == [[], []]
    assert [record.exc_info[0] for record in caplog.records if record.name == automatic_deletion.log.name] == [
        RuntimeError
    ]


def test_a_machine_that_can_delete_none_is_told_of_once_for_all(people, web, monkeypatch):
    for name in ("one", "two"):
        take(web, name, memory=False)
    keep(people.acme, 1)
    able = web.capabilities | {"delete": {"allowed": False, "reason": "Not here."}}
    VirtualMachine.objects.filter(pk=web.pk).update(capabilities=able)
    assert [pass_of(day) for day in (2, 2.1)] == [[], []]
    assert Event.objects.filter(action="snapshot.not_expired").count() == 1


def test_what_is_not_ours_or_lost_or_nobodys_is_not_touched(people, web, cloud, settings):
    settings.LIMIT_AGE_DAYS = 1
    cloud.world.take_elsewhere(web.native_id, "theirs")
    cloud.world.take_elsewhere(cloud.machine("unassigned").native_id, "nobodys")
    cloud.sync()
    lost = take(web, "lost", memory=False)
    cloud.world.delete_elsewhere(web.native_id, lost.native_id)
    cloud.sync()
    take(cloud.machine("unassigned"), "ours of nobody")
    assert VMSnapshot.objects.get(name="lost").lost
    assert pass_of(100) == []


def test_one_made_elsewhere_is_as_old_as_its_adoption(people, web, cloud):
    keep(people.acme, 30)
    cloud.world.take_elsewhere(web.native_id, "theirs")
    cloud.sync()
    with later(50 * DAY_SECONDS):
        adopt_machine(SYSTEM, machine=web)
        assert expire_snapshots() == []
    page = machine_page(people.alice, web.uuid)
    adopted_at = VMSnapshot.objects.get(name="theirs").adopted_at
    assert page.expires_at(page.snapshots[0]) == adopted_at + timedelta(days=30)
    assert pass_of(79.9) == []
    (job,) = pass_of(80.1)
    assert job.snapshot_name == "theirs"


def test_machines_that_are_missing_or_on_an_endpoint_that_is_off_wait(people, web, settings):
    settings.LIMIT_AGE_DAYS = 1
    take(web, "one", memory=False)
    VirtualMachine.objects.filter(pk=web.pk).update(missing_since=timezone.now())
    assert pass_of(2) == []
    VirtualMachine.objects.filter(pk=web.pk).update(missing_since=None)
    web.hypervisor.enabled = False
    web.hypervisor.save(update_fields=["enabled"])
    assert pass_of(2) == []


def test_the_tick_asks_for_what_is_too_old(people, web):
    take(web, "old", memory=False)
    keep(people.acme, 1)
    with later(2 * DAY_SECONDS):
        tasks.expire_snapshots()
    assert (only_job().action, only_job().snapshot_name) == (JobAction.DELETE_SNAPSHOT, "old")


def test_the_machines_page_says_when_one_expires(people, web):
    row = take(web, "one", memory=False)
    assert machine_page(people.alice, web.uuid).expires_at(row) is None
    keep(people.engineering, 30)
    page = machine_page(people.alice, web.uuid)
    assert page.expires_at(page.snapshots[0]) == row.created_at + timedelta(days=30)


def test_it_says_nothing_of_machines_that_expiry_leaves_alone(people, web):
    keep(people.acme, 30)
    row = take(web, "one", memory=False)

    def told() -> bool:
        return machine_page(people.alice, web.uuid).expires_at(row) is not None

    assert told()
    VirtualMachine.objects.filter(pk=web.pk).update(missing_since=timezone.now())
    assert not told()
    VirtualMachine.objects.filter(pk=web.pk).update(missing_since=None)
    web.hypervisor.enabled = False
    web.hypervisor.save(update_fields=["enabled"])
    assert not told()
    assert pass_of(31) == []


def test_a_current_one_with_children_goes_like_any_other(people, web):
    take(web, "root", memory=False)
    take(web, "leaf", memory=False)
    keep(people.acme, 1)
    pass_of(2)
    assert drawn(web) == {"leaf": None}

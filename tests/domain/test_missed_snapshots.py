"""What is due while a machine is busy, or VMSnap stands still, waits and is missed in the end; what cannot be done keeps
nothing else from being done, and is tried again."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import OperationalError

from hypervisors import errors
from snapshots import tasks
from snapshots.models import Event, Job, Schedule, VMSnapshot
from snapshots.refusals import InvalidState, NotVisible
from snapshots.services import automatic_deletion, scheduled_snapshots, schedules
from snapshots.services.machine_actions import request_stop
from snapshots.services.schedule_rules import terms_of
from snapshots.services.scheduled_snapshots import prune_scheduled_snapshots, take_due_snapshots
from snapshots.services.schedules import keep_snapshot
from snapshots.services.tenancy import assign_machine
from tests.builders import acting, run, schedule
from tests.domain.scheduling import DAY, FIRST, NOON, clock, names, nights


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[None]:
    with clock(NOON):
        yield


def test_a_busy_machine_is_waited_for(web):
    nightly = schedule(web)
    with clock(FIRST):
        stopping = request_stop(acting(None), machine=web, force=True)
        assert take_due_snapshots() == []
        nightly.refresh_from_db()
        assert (nightly.next_at, nightly.missed) == (FIRST, "")
        run(stopping)
    with clock(FIRST + timedelta(minutes=40)):
        assert run(take_due_snapshots()[0]).state == "succeeded"
    assert names(web) == ["nightly 2026-06-02 02:30 UTC"]


def test_what_is_busy_for_too_long_or_due_while_the_product_stood_still_is_missed_once(web):
    nightly = schedule(web)
    with clock(FIRST + 5 * DAY + timedelta(hours=1, seconds=1)):
        assert take_due_snapshots() == []
    nightly.refresh_from_db()
    assert nightly.missed == scheduled_snapshots.TOO_LATE
    assert nightly.next_at == FIRST + 6 * DAY
    assert Event.objects.filter(action="schedule.missed").count() == 1


def test_what_was_due_a_short_time_ago_is_made_up_for_once(web):
    nightly = schedule(web, frequency="hourly", minute=0)
    with clock(NOON + timedelta(hours=1, minutes=59)):
        assert len(take_due_snapshots()) == 1
        assert take_due_snapshots() == []
    nightly.refresh_from_db()
    assert nightly.next_at == NOON + timedelta(hours=2)


def test_a_clock_that_goes_back_takes_nothing_twice(web):
    schedule(web)
    nights(1)
    with clock(NOON):
        assert take_due_snapshots() == []
    nights(1)
    assert len(names(web)) == 1


def test_two_that_are_due_at_once_are_taken_one_after_the_other(web):
    schedule(web)
    schedule(web, name="weekly", frequency="weekly", weekdays=(2,))
    with clock(FIRST):
        (first,) = take_due_snapshots()
        assert take_due_snapshots() == []
        run(first)
        (second,) = take_due_snapshots()
        assert run(second).state == "succeeded"
    assert len(names(web)) == 2


def test_a_pass_ends_when_the_next_begins_and_machines_that_are_busy_keep_none_of_the_others_waiting(
    web, db_machine, settings
):
    settings.RUN_SCHEDULES_EVERY_SECONDS = -1  # the next pass begins at once
    for machine in (web, db_machine):
        schedule(machine, keep=1)
    with clock(FIRST):
        stopping = request_stop(acting(None), machine=web, force=True)
        assert [run(job).machine_name for job in take_due_snapshots()] == ["db"]
        run(stopping)
        assert [run(job).machine_name for job in take_due_snapshots()] == ["web"]
    with clock(FIRST + DAY):
        assert [len([run(job) for job in take_due_snapshots()]) for _ in range(3)] == [1, 1, 0]
        assert [len([run(job) for job in prune_scheduled_snapshots()]) for _ in range(3)] == [1, 1, 0]


def test_those_that_are_late_keep_none_waiting_that_can_be_taken_in_time(web, db_machine, settings):
    settings.RUN_SCHEDULES_EVERY_SECONDS = -1
    late, in_time = schedule(web), schedule(db_machine, hour=4)
    with clock(FIRST + timedelta(hours=2)):
        assert [job.machine_name for job in take_due_snapshots()] == ["db"]
        assert take_due_snapshots() == []
    late.refresh_from_db()
    in_time.refresh_from_db()
    assert (late.missed, in_time.missed) == (scheduled_snapshots.TOO_LATE, "")


def test_a_machine_that_is_missing_or_nobodys_or_whose_endpoint_is_off_is_missed(people, web, db_machine, cloud):
    missing, nobodys = schedule(web), schedule(db_machine)
    cloud.world.undefine(web.native_id)
    cloud.sync()
    assign_machine(acting(people.root), machine=db_machine, account=None)
    nights(2)
    missing.refresh_from_db()
    nobodys.refresh_from_db()
    assert "not on its hypervisor any more" in missing.missed
    assert "belongs to no account" in nobodys.missed
    assert Event.objects.filter(action="schedule.missed").count() == 2


@pytest.fixture
def first_fails(monkeypatch):
    """Asking for a VM snapshot, or for the deletion of one, of the machine `web` ends in this error."""

    def make(room, name, error):
        ask = getattr(room, name)

        def ask_for(actor, **values):
            machine = values["machine"] if "machine" in values else values["snapshot"].machine
            if machine.name == "web":
                raise error
            return ask(actor, **values)

        monkeypatch.setattr(room, name, ask_for)

    return make


def test_one_that_cannot_be_asked_for_keeps_no_other_from_being_taken(web, db_machine, first_fails, caplog):
    broken, whole = schedule(web), schedule(db_machine)
    first_fails(scheduled_snapshots, "request_create", RuntimeError("broken"))
    with clock(FIRST):
        (job,) = take_due_snapshots()
    assert job.machine_name == "db"
    broken.refresh_from_db()
    whole.refresh_from_db()
    assert (broken.missed, whole.missed) == (scheduled_snapshots.AN_ERROR, "")
    assert broken.next_at == FIRST + DAY
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [RuntimeError]


def test_a_database_that_is_busy_for_a_moment_lets_nothing_be_missed(web, monkeypatch, caplog):
    nightly = schedule(web)
    with clock(FIRST):
        with monkeypatch.context() as busy:
            busy.setattr(scheduled_snapshots, "request_create", failing(OperationalError("database is locked")))
            assert take_due_snapshots() == []
        nightly.refresh_from_db()
        assert (nightly.missed, nightly.next_at) == ("", FIRST)
        assert "has to wait: database is locked" in caplog.text
        assert run(take_due_snapshots()[0]).state == "succeeded"


def test_one_whose_zone_is_not_known_any_more_is_paused_told_of_and_stops_no_other(web, db_machine):
    lost = schedule(web)
    schedule(db_machine)
    Schedule.objects.filter(pk=lost.pk).update(time_zone="Atlantis/Poseidonis")
    with clock(FIRST):
        assert [job.machine_name for job in take_due_snapshots()] == ["db"]
    lost.refresh_from_db()
    assert (lost.enabled, lost.next_at) == (False, None)
    assert "Atlantis/Poseidonis" in lost.missed
    assert Event.objects.get(action="schedule.missed").detail.endswith("The schedule is paused.")


def failing(error):
    """Something that always ends in this error."""

    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("error", [InvalidState("Its disk is in use."), RuntimeError("broken")])
def test_one_that_cannot_be_deleted_keeps_no_other_from_being_deleted(web, db_machine, first_fails, error):
    for machine in (web, db_machine):
        schedule(machine, keep=1)
    first_fails(automatic_deletion, "request_delete", error)
    nights(3)
    assert (len(names(web)), len(names(db_machine))) == (3, 1)
    told = Event.objects.get(action="snapshot.not_pruned")
    assert (told.machine, told.level) == (web, "warning")
    assert told.detail.startswith("Its schedule need not keep it, and stays. ")


def test_a_deletion_that_fails_is_left_for_a_day_and_the_next_oldest_goes(web, cloud):
    nightly = schedule(web, keep=3)
    nights(3)
    Schedule.objects.filter(pk=nightly.pk).update(keep=1)
    cloud.world.refuse("delete_snapshot", errors.Busy)
    with clock(FIRST + 2 * DAY + timedelta(hours=1)):
        jobs = [run(job) for _ in range(3) for job in prune_scheduled_snapshots()]
    assert [(job.snapshot_name, job.state) for job in jobs] == [
        ("nightly 2026-06-02 02:30 UTC", "failed"),
        ("nightly 2026-06-03 02:30 UTC", "succeeded"),
    ]


def test_of_a_machine_that_goes_while_a_pass_is_under_way_nothing_is_taken(web, db_machine, monkeypatch):
    schedule(web)
    schedule(db_machine)
    lock = scheduled_snapshots.locked_machine

    def lock_after_it_went(pk):
        if pk == web.pk:
            raise NotVisible("There is no such virtual machine.")
        return lock(pk)

    monkeypatch.setattr(scheduled_snapshots, "locked_machine", lock_after_it_went)
    with clock(FIRST):
        assert [job.machine_name for job in take_due_snapshots()] == ["db"]


def test_an_hourly_one_that_was_missed_waits_for_the_time_that_is_not_late_yet(web):
    hourly = schedule(web, frequency="hourly", minute=0)
    with clock(NOON + timedelta(hours=6, minutes=20)):
        assert take_due_snapshots() == []
        hourly.refresh_from_db()
        assert (hourly.missed, hourly.next_at) == (scheduled_snapshots.TOO_LATE, NOON + timedelta(hours=6))
        assert run(take_due_snapshots()[0]).state == "succeeded"
    hourly.refresh_from_db()
    assert hourly.next_at == NOON + timedelta(hours=7)
    assert names(web) == ["nightly 2026-06-01 18:00 UTC"]


def test_a_change_that_is_saved_while_a_pass_is_under_way_holds_for_what_it_takes(web, alice, monkeypatch):
    nightly = schedule(web)
    lock = scheduled_snapshots.locked_machine

    def change_and_lock(pk):
        monkeypatch.setattr(scheduled_snapshots, "locked_machine", lock)
        schedules.change_schedule(alice, schedule=nightly, terms=replace(terms_of(nightly), name="each night"))
        return lock(pk)

    monkeypatch.setattr(scheduled_snapshots, "locked_machine", change_and_lock)
    with clock(FIRST):
        run(take_due_snapshots()[0])
    assert names(web) == ["each night 2026-06-02 02:30 UTC"]


DECISIONS = {
    "kept for good": lambda alice, nightly: keep_snapshot(
        alice, snapshot=VMSnapshot.objects.filter(schedule=nightly).order_by("pk")[0]
    ),
    "paused": lambda alice, nightly: schedules.pause_schedule(alice, schedule=nightly),
    "deleted": lambda alice, nightly: schedules.delete_schedule(alice, schedule=nightly),
    "keeps more": lambda alice, nightly: schedules.change_schedule(
        alice, schedule=nightly, terms=replace(terms_of(nightly), keep=5)
    ),
}


@pytest.mark.parametrize("decide", DECISIONS.values(), ids=DECISIONS.keys())
def test_what_somebody_decides_while_a_pass_is_under_way_is_heeded(web, alice, monkeypatch, decide):
    nightly = schedule(web, keep=1)
    with clock(FIRST):
        run(take_due_snapshots()[0])
    with clock(FIRST + DAY):
        run(take_due_snapshots()[0])
        nightly.refresh_from_db()
        lock = automatic_deletion.locked_machine

        def decide_and_lock(pk):
            decide(alice, nightly)
            return lock(pk)

        monkeypatch.setattr(automatic_deletion, "locked_machine", decide_and_lock)
        assert prune_scheduled_snapshots() == []
    assert len(names(web)) == 2


def test_a_database_that_is_busy_for_a_moment_is_no_reason_that_something_stays(web, db_machine, monkeypatch):
    for machine in (web, db_machine):
        schedule(machine, keep=1)
    for night in range(2):
        with clock(FIRST + night * DAY):
            for job in take_due_snapshots():
                run(job)
    with clock(FIRST + DAY):
        with monkeypatch.context() as busy:
            busy.setattr(automatic_deletion, "request_delete", failing(OperationalError("database is locked")))
            assert prune_scheduled_snapshots() == []
        assert len(prune_scheduled_snapshots()) == 2
    assert not Event.objects.filter(action="snapshot.not_pruned").exists()


def test_a_pass_that_dies_before_it_is_done_has_done_nothing_and_the_next_takes_it(web, monkeypatch):
    class Killed(BaseException):
        """The process ends here."""

    def die(*_, **__):
        raise Killed

    nightly = schedule(web)
    with clock(FIRST):
        with monkeypatch.context() as dying:
            dying.setattr(scheduled_snapshots, "_put_forward", die)
            with pytest.raises(Killed):
                take_due_snapshots()
        nightly.refresh_from_db()
        assert (Job.objects.filter(machine=web, action="create_snapshot").exists(), nightly.next_at) == (False, FIRST)
        assert run(take_due_snapshots()[0]).state == "succeeded"


def test_the_ticks_do_both(web):
    schedule(web, keep=1)
    for night in range(2):
        with clock(FIRST + night * DAY):
            tasks.take_scheduled_snapshots()
            run(Job.objects.get(state="queued"))
    with clock(FIRST + DAY):
        tasks.prune_scheduled_snapshots()
    assert Job.objects.get(state="queued").action == "delete_snapshot"

"""What schedules are due for is taken, once, by all rules and limits; what they need not keep is deleted; what cannot be
done is told of, and keeps nothing else from being done."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from hypervisors import errors
from snapshots import tasks
from snapshots.choices import Trigger
from snapshots.models import Event, Job, Schedule, VirtualMachine, VMSnapshot
from snapshots.refusals import InvalidState
from snapshots.services import automatic_deletion, scheduled_snapshots
from snapshots.services.book_check import check_books
from snapshots.services.machine_actions import request_stop
from snapshots.services.scheduled_snapshots import prune_scheduled_snapshots, take_due_snapshots
from snapshots.services.schedules import keep_snapshot, pause_schedule
from snapshots.services.tenancy import assign_machine
from tests.builders import acting, drawn, limit, run, schedule, take, use_of

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
FIRST = datetime(2026, 6, 2, 2, 30, tzinfo=UTC)
"""When a nightly schedule made at noon is first due."""
DAY = timedelta(days=1)


@contextmanager
def clock(at: datetime) -> Iterator[None]:
    with time_machine.travel(at, tick=False):
        yield


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[None]:
    with clock(NOON):
        yield


def nights(count: int, first: datetime = FIRST) -> None:
    """So many nights with their passes: what is due is taken, then what need not be kept is deleted."""
    for night in range(count):
        with clock(first + night * DAY):
            for job in take_due_snapshots():
                run(job)
            for job in prune_scheduled_snapshots():
                run(job)


def names(machine: VirtualMachine) -> list[str]:
    """What the machine has, the oldest first."""
    return list(
        VMSnapshot.objects.filter(machine=machine, parent__isnull=False).order_by("pk").values_list("name", flat=True)
    )


def test_what_is_due_is_taken_once_and_the_next_time_is_waited_for(web):
    nightly = schedule(web)
    assert take_due_snapshots() == []
    with clock(FIRST):
        (job,) = take_due_snapshots()
        assert run(job).state == "succeeded"
        assert take_due_snapshots() == []
    assert (job.trigger, job.requested_by) == (Trigger.SCHEDULE, None)
    nightly.refresh_from_db()
    assert (nightly.last_due_at, nightly.last_job, nightly.missed) == (FIRST, job, "")
    assert nightly.next_at == FIRST + DAY
    snapshot = VMSnapshot.objects.get(machine=web, parent__isnull=False)
    assert (snapshot.name, snapshot.schedule, snapshot.created_by) == ("nightly 2026-06-02 02:30 UTC", nightly, None)
    assert snapshot.description == "Taken by the schedule “nightly”."


def test_the_newest_are_kept_and_older_ones_deleted_once_the_next_is_there(web):
    schedule(web, keep=2)
    nights(4)
    assert names(web) == ["nightly 2026-06-04 02:30 UTC", "nightly 2026-06-05 02:30 UTC"]
    assert drawn(web) == {names(web)[0]: None, names(web)[1]: names(web)[0]}
    pruned = Event.objects.filter(action="snapshot.pruned").order_by("pk")
    assert [event.snapshot_name for event in pruned] == ["nightly 2026-06-02 02:30 UTC", "nightly 2026-06-03 02:30 UTC"]
    assert pruned[0].detail == "The schedule “nightly” keeps the newest 2, and this one is older."
    assert {job.trigger for job in Job.objects.filter(action="delete_snapshot")} == {Trigger.SCHEDULE}


def test_only_what_a_schedule_took_is_deleted_and_what_was_taken_out_of_it_stays(web):
    take(web, "by hand", memory=False)
    schedule(web, keep=1)
    nights(1)
    keep_snapshot(acting(None), snapshot=VMSnapshot.objects.get(machine=web, schedule__isnull=False))
    nights(3, FIRST + DAY)
    assert names(web) == ["by hand", "nightly 2026-06-02 02:30 UTC", "nightly 2026-06-05 02:30 UTC"]


def test_each_schedule_of_a_machine_keeps_its_own(web):
    schedule(web, keep=1)
    schedule(web, name="first", frequency="monthly", day=2, hour=5, keep=1)
    with clock(FIRST):
        run(take_due_snapshots()[0])
    with clock(FIRST.replace(hour=5)):
        run(take_due_snapshots()[0])
        assert prune_scheduled_snapshots() == []
    assert names(web) == ["nightly 2026-06-02 02:30 UTC", "first 2026-06-02 05:30 UTC"]


def test_with_fewer_to_keep_one_after_the_other_goes_the_oldest_first(web):
    nightly = schedule(web, keep=4)
    nights(4)
    Schedule.objects.filter(pk=nightly.pk).update(keep=1)
    with clock(FIRST + 4 * timedelta(hours=20)):
        for _ in range(3):
            (job,) = prune_scheduled_snapshots()
            assert prune_scheduled_snapshots() == []
            run(job)
        assert prune_scheduled_snapshots() == []
    assert names(web) == ["nightly 2026-06-05 02:30 UTC"]


def test_a_paused_schedule_takes_nothing_and_deletes_nothing(web):
    nightly = schedule(web, keep=2)
    nights(2)
    nightly.refresh_from_db()
    pause_schedule(acting(None), schedule=nightly)
    Schedule.objects.filter(pk=nightly.pk).update(keep=1)
    nights(2, FIRST + 2 * DAY)
    assert len(names(web)) == 2


def test_memory_is_kept_of_a_machine_that_runs_and_disks_of_one_that_is_off(web, db_machine):
    schedule(web, memory=True)
    schedule(db_machine, memory=True)
    nights(1)
    kinds = dict(VMSnapshot.objects.filter(schedule__isnull=False).values_list("machine__name", "type"))
    assert kinds == {"web": "DiskAndMemory", "db": "Disk"}


def test_a_guest_is_settled_first_where_it_runs(web, db_machine, cloud):
    for machine in (web, db_machine):
        cloud.world.set_agent(machine.native_id, True)
    cloud.sync()
    schedule(web, quiesce=True)
    schedule(db_machine, quiesce=True)
    with clock(FIRST):
        asked = {job.machine_name: job.arguments["quiesce"] for job in take_due_snapshots()}
    assert asked == {"web": True, "db": False}


def test_a_name_that_is_taken_gets_a_number(web):
    take(web, "nightly 2026-06-02 02:30 UTC", memory=False)
    schedule(web)
    nights(1)
    assert names(web)[1] == "nightly 2026-06-02 02:30 UTC (2)"


def test_names_tell_the_time_of_the_schedules_zone(web):
    schedule(web, time_zone="Europe/Berlin")
    nights(1, FIRST - timedelta(hours=2))
    assert names(web) == ["nightly 2026-06-02 02:30 CEST"]


def test_a_passing_failure_of_the_hypervisor_ends_the_job_and_the_next_night_is_tried(web, cloud):
    nightly = schedule(web)
    cloud.world.refuse("create_snapshot", errors.Busy)
    nights(1)
    nightly.refresh_from_db()
    assert (nightly.last_job.state, nightly.missed, nightly.next_at) == ("failed", "", FIRST + DAY)
    nights(1, FIRST + DAY)
    nightly.refresh_from_db()
    assert nightly.last_job.state == "succeeded"
    assert [row.state for row in VMSnapshot.objects.filter(schedule=nightly).order_by("pk")] == ["Error", "Ready"]


def test_one_that_failed_counts_for_nothing_that_is_kept(web, cloud):
    schedule(web, keep=1)
    nights(1)
    cloud.world.refuse("create_snapshot", errors.Busy)
    nights(1, FIRST + DAY)
    assert names(web)[0] == "nightly 2026-06-02 02:30 UTC"
    assert not Event.objects.filter(action="snapshot.pruned").exists()


# Limits and pools


def test_what_is_scheduled_counts_in_the_limits_of_account_and_domains(people, web):
    schedule(web, keep=2)
    nights(1)
    assert [use_of(place)[0] for place in (people.acme, people.engineering, people.organisation)] == [1, 1, 1]
    nights(3, FIRST + DAY)
    assert [use_of(place)[0] for place in (people.acme, people.engineering, people.organisation)] == [2, 2, 2]
    assert check_books(repair=False) == []


def test_a_limit_that_is_used_up_stops_a_schedule_like_anybody_and_is_told_of_once(people, web):
    limit(people.acme, 1)
    nightly = schedule(web)
    nights(4)
    assert len(names(web)) == 1
    nightly.refresh_from_db()
    assert (nightly.last_due_at, nightly.last_job) == (FIRST + 3 * DAY, None)
    assert nightly.missed.startswith("The account acme has 1 VM snapshot and may have 1.")
    event = Event.objects.get(action="schedule.missed")
    assert (event.level, event.trigger, event.machine, event.account) == ("warning", "schedule", web, people.acme)
    assert event.detail == f"“nightly” was due on 2026-06-03 at 02:30 UTC, and was missed. {nightly.missed}"


def test_where_admins_may_exceed_limits_a_schedule_may_not(people, web, settings):
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    limit(people.acme, 1)
    schedule(web, people.root)
    nights(2)
    assert len(names(web)) == 1


def test_of_a_limit_above_members_own_domain_the_history_tells_only_that_there_is_one(people, web):
    limit(people.organisation, 0)
    nightly = schedule(web)
    nights(1)
    nightly.refresh_from_db()
    assert "organisation" not in nightly.missed
    assert nightly.missed.startswith("A domain above the domain engineering has used up a limit of its own.")


def test_once_there_is_room_again_it_goes_on_and_a_new_reason_is_told(people, web):
    limit(people.acme, 0)
    nightly = schedule(web)
    nights(1)
    limit(people.acme, None)
    nights(1, FIRST + DAY)
    nightly.refresh_from_db()
    assert (nightly.missed, nightly.last_job.state) == ("", "succeeded")
    limit(people.acme, 0)
    nights(1, FIRST + 2 * DAY)
    assert Event.objects.filter(action="schedule.missed").count() == 2


def test_a_pool_that_would_become_too_full_stops_it_with_the_figures(web, cloud, settings):
    settings.POOL_OVERCOMMIT = 0.01
    nightly = schedule(web, memory=True)
    nights(1)
    nightly.refresh_from_db()
    assert nightly.missed.startswith("The storage pool default is ")
    assert names(web) == []


# Late, busy, gone


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


def test_a_pass_looks_after_so_many_and_machines_that_are_busy_keep_none_of_the_others_waiting(
    web, db_machine, monkeypatch
):
    monkeypatch.setattr(scheduled_snapshots, "AT_ONCE", 1)
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


def test_nothing_is_left_when_the_machine_goes_with_its_schedules(web):
    nightly = schedule(web)
    with clock(FIRST):
        Schedule.objects.filter(pk=nightly.pk).delete()
        assert take_due_snapshots() == []


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

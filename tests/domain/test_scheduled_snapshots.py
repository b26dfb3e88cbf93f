"""What schedules are due for is taken, once, by all rules and limits; what they need not keep is deleted; what cannot be
done is told of, and keeps nothing else from being done."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from hypervisors import errors
from snapshots.choices import Trigger
from snapshots.models import Event, Job, Schedule, VMSnapshot
from snapshots.services.book_check import check_books
from snapshots.services.scheduled_snapshots import prune_scheduled_snapshots, take_due_snapshots
from snapshots.services.schedules import keep_snapshot, pause_schedule
from tests.builders import acting, drawn, limit, run, schedule, take, use_of
from tests.domain.scheduling import DAY, FIRST, NOON, clock, names, nights


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[None]:
    with clock(NOON):
        yield


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
    assert names(web) == ["nightly 2026-06-03 02:30 UTC"]


def test_what_could_not_be_taken_goes_once_a_newer_one_is_there(web, cloud):
    schedule(web, keep=2)
    cloud.world.refuse("create_snapshot", errors.Busy, times=2)
    nights(2)
    assert [row.state for row in VMSnapshot.objects.filter(schedule__isnull=False)] == ["Error", "Error"]
    nights(2, FIRST + 2 * DAY)
    assert names(web) == ["nightly 2026-06-04 02:30 UTC", "nightly 2026-06-05 02:30 UTC"]
    assert "It could not be taken" in Event.objects.filter(action="snapshot.pruned")[0].detail


def test_the_clock_of_a_hypervisor_that_is_put_back_makes_none_older_than_those_before(web, cloud):
    schedule(web, keep=2)
    nights(2)
    # As though the hypervisor's clock had been days ahead.
    VMSnapshot.objects.filter(schedule__isnull=False).update(created_at=FIRST + 9 * DAY)
    nights(1, FIRST + 2 * DAY)
    assert names(web) == ["nightly 2026-06-03 02:30 UTC", "nightly 2026-06-04 02:30 UTC"]


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

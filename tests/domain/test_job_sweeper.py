"""Jobs that nobody looks after are found, whatever was lost: a message, a worker, the broker."""

from datetime import timedelta

import pytest
import time_machine
from celery import current_app
from django.utils import timezone
from kombu.exceptions import OperationalError

from hypervisors.models import Hypervisor
from snapshots import dispatch, tree
from snapshots.choices import JobAction, JobState, SnapshotState
from snapshots.models import Event, IdempotencyKey, Job, VMSnapshot
from snapshots.services import endpoints, idempotency, job_runner, job_sweeper, jobs, sync_schedule
from snapshots.services.snapshot_actions import request_create, request_delete, request_revert
from tests.builders import Cloud, acting, run, take
from tests.domain.refusing import assert_refused
from tests.domain.scenes import later


@pytest.fixture
def rung(monkeypatch) -> list[int]:
    """The jobs that the bell was rung for, in place of a worker that would come."""
    heard: list[int] = []

    def send(job_pk: int) -> bool:
        heard.append(job_pk)
        Job.objects.filter(pk=job_pk).update(sent_at=timezone.now())
        return True

    monkeypatch.setattr(dispatch, "send", send)
    return heard


def test_a_job_is_handed_over_after_the_commit_and_never_when_it_is_rolled_back(
    web, people, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        job = request_create(acting(people.alice), machine=web, name="first")
        assert Job.objects.get(pk=job.pk).state == JobState.QUEUED
    assert Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED


def test_a_second_delivery_of_the_same_message_does_nothing(web, people, cloud):
    job = request_create(acting(people.alice), machine=web, name="first")
    run(job)
    cloud.world.forget_calls()
    before = Job.objects.values().get(pk=job.pk)
    job_runner.run_job(job.pk)
    assert Job.objects.values().get(pk=job.pk) == before
    assert cloud.world.calls() == {}


def test_a_delivery_while_another_worker_is_at_it_does_nothing(web, people, cloud, monkeypatch):
    job = request_create(acting(people.alice), machine=web, name="first")
    real = job_runner._begin

    def deliver_again(*args):
        cloud.world.forget_calls()
        job_runner.run_job(job.pk)
        assert cloud.world.calls() == {}
        return real(*args)

    monkeypatch.setattr(job_runner, "_begin", deliver_again)
    assert run(job).state == JobState.SUCCEEDED


def test_a_message_for_a_job_that_is_not_there_does_nothing(db):
    job_runner.run_job(987654321)


def test_a_message_that_was_lost_or_never_left_is_sent_again(web, people, settings):
    job = request_create(acting(people.alice), machine=web, name="first")
    job_sweeper.sweep()
    assert Job.objects.get(pk=job.pk).state == JobState.QUEUED, "it may still be heard"
    with later(settings.JOB_RESEND_AFTER_SECONDS + 1):
        job_sweeper.sweep()
    assert Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED


def test_a_long_queue_does_not_fill_with_repetitions(web, people, rung, settings):
    job = request_create(acting(people.alice), machine=web, name="first")
    rounds = int(3600 / settings.SWEEP_EVERY_SECONDS)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for _ in range(rounds):
            clock.shift(timedelta(seconds=settings.SWEEP_EVERY_SECONDS))
            job_sweeper._ring_again()
    assert 10 < rung.count(job.pk) < 40


@pytest.mark.parametrize("error", [OperationalError("away"), ConnectionResetError("cut"), "of the transport"])
def test_a_broker_that_is_away_does_not_fail_the_request_and_the_job_is_sent_later(
    web, people, monkeypatch, django_capture_on_commit_callbacks, error
):
    if error == "of the transport":
        error = current_app.connection_for_write().connection_errors[0]("gone")

    def refuse(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched, django_capture_on_commit_callbacks(execute=True):
        patched.setattr(current_app.tasks[dispatch.RUN_JOB], "apply_async", refuse)
        job = request_create(acting(people.alice), machine=web, name="first")
    job.refresh_from_db()
    assert (job.state, job.sent_at) == (JobState.QUEUED, None)
    job_sweeper.sweep()
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED


def test_a_round_stops_at_the_first_message_the_broker_does_not_take(web, db_machine, people, monkeypatch, settings):
    for machine in (web, db_machine):
        request_create(acting(people.alice), machine=machine, name="first")
    tried: list[int] = []
    monkeypatch.setattr(dispatch, "send", lambda job_pk: bool(tried.append(job_pk)))
    with later(settings.JOB_RESEND_AFTER_SECONDS + 1):
        job_sweeper.sweep()
    assert len(tried) == 1


def test_a_job_whose_worker_gives_signs_of_life_is_left_to_it(web, people, rung, settings):
    job = request_create(acting(people.alice), machine=web, name="first")
    Job.objects.filter(pk=job.pk).update(
        state=JobState.RUNNING, claim="somebody", started_at=timezone.now(), heartbeat_at=timezone.now()
    )
    with later(settings.JOB_LOST_AFTER_SECONDS - 5):
        job_sweeper.sweep()
        job_runner.run_job(job.pk)
    assert rung == []
    assert Job.objects.get(pk=job.pk).claim == "somebody"


def test_a_worker_says_that_it_lives_while_it_looks_for_an_outcome(web, people, monkeypatch, settings):
    job = request_create(acting(people.alice), machine=web, name="first")
    now = timezone.now()
    Job.objects.filter(pk=job.pk).update(state=JobState.RUNNING, claim="x", started_at=now, heartbeat_at=now)
    began: list[int] = []
    real = job_runner.Heartbeat.__enter__
    monkeypatch.setattr(job_runner.Heartbeat, "__enter__", lambda self: (began.append(1), real(self))[1])
    with later(settings.JOB_LOST_AFTER_SECONDS + 1):
        job_sweeper.sweep()
    assert began == [1]
    assert Job.objects.get(pk=job.pk).state == JobState.FAILED


def test_a_settling_job_is_not_rung_for_again_and_again(web, people, rung, settings):
    job = request_create(acting(people.alice), machine=web, name="first")
    now = timezone.now()
    Job.objects.filter(pk=job.pk).update(
        state=JobState.RUNNING,
        claim="x",
        sent_at=now - timedelta(seconds=settings.JOB_RESEND_AFTER_SECONDS),
        started_at=now,
        heartbeat_at=now,
        settling_since=now,
    )
    with later(settings.JOB_HEARTBEAT_SECONDS + 1):
        job_sweeper.sweep()
        job_sweeper.sweep()
    assert rung == [job.pk]


@pytest.mark.parametrize(
    ("state", "had_failed", "after"),
    [
        (SnapshotState.ALLOCATED, False, None),
        (SnapshotState.CREATING, False, SnapshotState.ERROR),
        (SnapshotState.REVERTING, False, SnapshotState.READY),
        (SnapshotState.EXPUNGING, False, SnapshotState.ERROR),
        (SnapshotState.EXPUNGING, True, SnapshotState.ERROR),
    ],
)
def test_a_snapshot_left_in_between_without_any_job_is_freed(web, state, had_failed, after):
    row = take(web, "first")
    tree.set_state(row.pk, state, code="gone_on_hypervisor" if had_failed else "")
    job_sweeper.sweep()
    row = VMSnapshot.objects.filter(pk=row.pk).first()
    assert (row.state if row else None) == after


def test_a_snapshot_whose_job_is_under_way_is_left_to_it(web, people):
    row = take(web, "first")
    request_delete(acting(people.alice), snapshot=row)
    job_sweeper._free_stray_snapshots()
    row.refresh_from_db()
    assert row.state == SnapshotState.EXPUNGING


def test_keys_and_regular_readings_are_forgotten_in_time_and_nothing_else(web, people, cloud, settings):
    def make() -> Job:
        return request_create(acting(people.alice), machine=web, name="first")

    kept = idempotency.once(acting(people.alice), "key", "digest", make)
    run(kept)
    cloud.world.set_down(True)
    cloud.sync()
    cloud.world.set_down(False)
    with later(23 * 3600):
        job_sweeper._forget_old_rows()
    assert IdempotencyKey.objects.count() == 1
    assert Job.objects.filter(action=JobAction.SYNC_HYPERVISOR).count() == 2
    with later(25 * 3600):
        job_sweeper._forget_old_rows()
    assert IdempotencyKey.objects.count() == 0
    assert Job.objects.filter(action=JobAction.SYNC_HYPERVISOR).count() == 0
    assert Job.objects.filter(pk=kept.pk).exists()


# Cancelling, and who may


@pytest.mark.parametrize(("person", "code"), [("bob", "forbidden"), ("charlie", "not_found"), ("nora", "not_found")])
def test_a_job_is_cancelled_by_those_who_may_act_on_the_machine(web, people, cloud, person, code):
    job = request_create(acting(people.alice), machine=web, name="first")
    assert_refused(cloud.world, code, lambda: jobs.request_cancel(acting(getattr(people, person)), job))


def test_a_job_on_an_endpoint_does_not_exist_for_others_than_root_admins(people, cloud):
    job = sync_schedule.order_due_syncs()[0]
    for person in (people.alice, people.dora, people.nora):
        assert_refused(cloud.world, "not_found", lambda who=person: jobs.request_cancel(acting(who), job))
    assert jobs.request_cancel(acting(people.root), job).state == JobState.CANCELLED


def test_a_job_that_has_ended_cannot_be_cancelled(web, people, cloud):
    job = run(request_create(acting(people.alice), machine=web, name="first"))
    assert_refused(cloud.world, "invalid_state", lambda: jobs.request_cancel(acting(people.alice), job))


def test_a_cancelled_creation_leaves_no_row_and_a_cancelled_revert_leaves_its_snapshot_ready(web, people):
    alice = acting(people.alice)
    first = take(web, "first")
    jobs.request_cancel(alice, request_create(alice, machine=web, name="second"))
    job = request_revert(alice, snapshot=first, safety_snapshot=True)
    jobs.request_cancel(alice, job)
    assert list(VMSnapshot.objects.filter(machine=web, parent__isnull=False).values_list("name", "state")) == [
        ("first", "Ready")
    ]
    web.refresh_from_db()
    assert web.snapshot_count == 1


# The regular reading


def test_each_endpoint_that_is_switched_on_is_read_and_none_twice_at_once(cloud):
    other = Cloud()
    first = sync_schedule.order_due_syncs()
    assert {job.hypervisor_id for job in first} == {cloud.hypervisor.pk, other.hypervisor.pk}
    assert [job.pk for job in sync_schedule.order_due_syncs()] == [job.pk for job in first]
    for job in first:
        run(job)
    other.hypervisor.enabled = False
    other.hypervisor.save()
    assert [job.hypervisor_id for job in sync_schedule.order_due_syncs()] == [cloud.hypervisor.pk]


def test_an_endpoint_that_tells_what_changes_is_read_as_a_whole_at_every_tenth_tick_only(cloud, settings):
    (job,) = sync_schedule.order_due_syncs()
    run(job)
    rows = Hypervisor.objects.filter(pk=cloud.hypervisor.pk)
    rows.update(watch_beat_at=timezone.now())
    assert sync_schedule.order_due_syncs() == []
    ticks = timedelta(seconds=sync_schedule.TICKS_BETWEEN_REPAIRS * settings.SYNC_EVERY_SECONDS)
    rows.update(synced_at=timezone.now() - ticks)
    assert [job.hypervisor_id for job in sync_schedule.order_due_syncs()] == [cloud.hypervisor.pk]


@pytest.mark.parametrize("trouble", ["the watcher is silent", "the endpoint is away"])
def test_an_endpoint_that_tells_nothing_any_more_is_read_at_every_tick(cloud, settings, trouble):
    (job,) = sync_schedule.order_due_syncs()
    run(job)
    rows = Hypervisor.objects.filter(pk=cloud.hypervisor.pk)
    rows.update(watch_beat_at=timezone.now())
    if trouble == "the watcher is silent":
        rows.update(watch_beat_at=timezone.now() - timedelta(seconds=settings.WATCH_LOST_AFTER_SECONDS + 1))
    else:
        rows.update(state=Hypervisor.State.UNREACHABLE)
    assert [job.hypervisor_id for job in sync_schedule.order_due_syncs()] == [cloud.hypervisor.pk]


def refused_reading(cloud):
    """An endpoint whose password was changed on the hypervisor, read once since."""
    cloud.world.require_password("someone", "another")
    (job,) = sync_schedule.order_due_syncs()
    assert run(job).error_code == "hypervisor_login_refused"


def test_a_refused_login_is_not_tried_again_at_every_tick(cloud):
    """Servers lock accounts that are tried too often."""
    refused_reading(cloud)
    assert sync_schedule.order_due_syncs() == []
    other = Cloud()
    assert [job.hypervisor_id for job in sync_schedule.order_due_syncs()] == [other.hypervisor.pk]


def test_after_a_while_a_refused_login_is_tried_again(cloud):
    refused_reading(cloud)
    long_ago = timezone.now() - timedelta(seconds=sync_schedule.REFUSED_PAUSE_SECONDS)
    Job.objects.filter(hypervisor=cloud.hypervisor).update(finished_at=long_ago)
    assert [job.hypervisor_id for job in sync_schedule.order_due_syncs()] == [cloud.hypervisor.pk]


def test_an_endpoint_that_was_changed_is_tried_at_once(cloud, people):
    refused_reading(cloud)
    endpoints.change_endpoint(
        acting(people.root),
        hypervisor=cloud.hypervisor,
        name=cloud.name,
        address=cloud.name,
        username="someone",
        password="another",
        enabled=True,
    )
    (job,) = sync_schedule.order_due_syncs()
    assert run(job).state == JobState.SUCCEEDED


def test_people_may_try_a_refused_login_whenever_they_like_and_once_it_works_it_is_read_again(cloud, people):
    refused_reading(cloud)
    root = acting(people.root)
    assert run(endpoints.request_connection_check(root, hypervisor=cloud.hypervisor)).state == JobState.FAILED
    cloud.world.require_password("", "")
    assert run(endpoints.request_connection_check(root, hypervisor=cloud.hypervisor)).state == JobState.SUCCEEDED
    assert [job.hypervisor_id for job in sync_schedule.order_due_syncs()] == [cloud.hypervisor.pk]


def test_two_who_order_the_same_reading_at_once_get_the_same_job(cloud, monkeypatch):
    real = jobs._insert

    def too_late(actor, job):
        """Another process has written its row since we looked."""
        monkeypatch.setattr(jobs, "_insert", real)
        earlier.append(sync_schedule.order_due_syncs()[0])
        return real(actor, job)

    earlier: list[Job] = []
    monkeypatch.setattr(jobs, "_insert", too_late)
    job = jobs.open_hypervisor_job(acting(None), JobAction.SYNC_HYPERVISOR, cloud.hypervisor)
    assert job.pk == earlier[0].pk


def test_the_regular_reading_leaves_no_events_of_its_own(cloud):
    before = Event.objects.count()
    cloud.sync()
    assert Event.objects.count() == before

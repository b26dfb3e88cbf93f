"""What a hypervisor tells is read and written down, each thing once and nothing forgotten, one turn after the other."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from hypervisors.connections import open_driver
from hypervisors.driver import HypervisorDriver
from hypervisors.drivers.simulated.world import GIB, Machine
from hypervisors.errors import Busy, HypervisorError, LoginRefused, NotPermitted, OutOfReach, Unreachable
from hypervisors.records import PowerState
from snapshots.choices import ACTIVE_JOB_STATES, JobAction, JobState
from snapshots.models import Event, Job, StoragePool, VirtualMachine, VMSnapshot
from snapshots.services import change_watch, inventory_sync, watch_lease
from snapshots.services.change_watch import ChangeWatch
from snapshots.services.snapshot_actions import request_create
from tests.builders import Cloud, acting, current_name, drawn, run, take

pytestmark = pytest.mark.django_db


@pytest.fixture
def driver(cloud: Cloud) -> Iterator[HypervisorDriver]:
    with open_driver(cloud.hypervisor.pk) as opened:
        yield opened


@pytest.fixture
def watch(cloud: Cloud, driver: HypervisorDriver, monkeypatch: pytest.MonkeyPatch) -> ChangeWatch:
    """Has begun, and everything has been read since."""
    monkeypatch.setattr(change_watch, "ORDER_EVERY_SECONDS", 0.0)
    watch = ChangeWatch(cloud.hypervisor.pk, driver)
    watch.turn(0)
    run_waiting_sync(cloud)
    watch.turn(0)
    cloud.world.forget_calls()
    return watch


def waiting_syncs(cloud: Cloud) -> list[Job]:
    return list(
        Job.objects.filter(
            hypervisor=cloud.hypervisor, action=JobAction.SYNC_HYPERVISOR, state__in=ACTIVE_JOB_STATES
        ).order_by("pk")
    )


def run_waiting_sync(cloud: Cloud) -> None:
    (job,) = waiting_syncs(cloud)
    assert run(job).state == JobState.SUCCEEDED


def events_of(name: str) -> int:
    return Event.objects.filter(action=name).count()


# What is told is written


def test_a_snapshot_made_elsewhere_is_a_row_after_one_turn(cloud: Cloud, watch: ChangeWatch) -> None:
    web, db = cloud.machine("web"), cloud.machine("db")
    cloud.world.take_elsewhere(web.native_id, "by somebody")
    watch.turn(0)
    assert drawn(web) == {"by somebody": None}
    assert current_name(web) == "by somebody"
    assert VMSnapshot.objects.get(machine=web, name="by somebody").origin == "elsewhere"
    assert cloud.machine("db").synced_at == db.synced_at
    # The machine that was told of is read, and nothing else.
    calls = cloud.world.calls()
    assert (calls["read_machine"], calls["list_forests"], calls["list_machines"]) == (1, 1, 0)
    assert not waiting_syncs(cloud)


def test_nothing_is_asked_or_written_when_nothing_is_told(
    cloud: Cloud, watch: ChangeWatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        watch.turn(0)
    assert set(cloud.world.calls()) == {"wait_for_changes"}


def test_what_others_do_with_snapshots_is_followed_turn_by_turn(cloud: Cloud, watch: ChangeWatch) -> None:
    web = cloud.machine("web")
    first = cloud.world.take_elsewhere(web.native_id, "first")
    cloud.world.take_elsewhere(web.native_id, "second")
    watch.turn(0)
    assert drawn(web) == {"first": None, "second": "first"}
    cloud.world.rename_elsewhere(web.native_id, first, "the first")
    cloud.world.revert_elsewhere(web.native_id, first)
    watch.turn(0)
    assert drawn(web) == {"the first": None, "second": "the first"}
    assert current_name(web) == "the first"
    cloud.world.delete_elsewhere(web.native_id, first)
    watch.turn(0)
    assert drawn(web) == {"second": None}


def test_a_snapshot_of_ours_that_was_deleted_elsewhere_is_lost_not_gone(
    web: VirtualMachine, cloud: Cloud, watch: ChangeWatch
) -> None:
    ours = take(web, "ours")
    watch.turn(0)
    cloud.world.delete_elsewhere(web.native_id, ours.native_id)
    watch.turn(0)
    ours.refresh_from_db()
    assert ours.lost
    assert events_of("snapshot.vanished") == 1


def test_machines_that_appear_vanish_and_change_are_followed(cloud: Cloud, watch: ChangeWatch) -> None:
    cloud.world.define(Machine("newcomer"))
    cloud.world.undefine(cloud.machine("foreign").native_id)
    cloud.world.set_power(cloud.machine("db").native_id, PowerState.RUNNING)
    cloud.world.rename_machine(cloud.machine("unassigned").native_id, "named anew")
    watch.turn(0)
    assert cloud.machine("newcomer").power_state == "running"
    assert cloud.machine("foreign").missing_since is not None
    assert cloud.machine("db").power_state == "running"
    assert cloud.machine("named anew").missing_since is None
    assert events_of("machine.vanished") == events_of("machine.renamed") == 1


def test_pools_that_changed_are_read_without_machines(cloud: Cloud, watch: ChangeWatch) -> None:
    cloud.world.leave_free(cloud.world.pool_id(), 3 * GIB)
    watch.turn(0)
    assert StoragePool.objects.get(hypervisor=cloud.hypervisor).free_bytes == 3 * GIB
    assert set(cloud.world.calls()) == {"wait_for_changes", "list_pools"}


# Reading everything


def test_the_first_turn_has_everything_read_by_one_ordinary_job(cloud: Cloud, driver: HypervisorDriver) -> None:
    cloud.world.forget_calls()
    watch = ChangeWatch(cloud.hypervisor.pk, driver)
    for _ in range(3):
        watch.turn(0)
    (job,) = waiting_syncs(cloud)
    assert job.trigger == "system"
    # Not by the watch as well.
    assert cloud.world.calls().keys() == {"wait_for_changes"}
    assert run(job).state == JobState.SUCCEEDED
    for _ in range(3):
        watch.turn(0)
    assert not waiting_syncs(cloud)


def test_a_sync_that_waits_for_its_turn_is_not_ordered_twice(cloud: Cloud, driver: HypervisorDriver) -> None:
    job = change_watch.open_hypervisor_job(acting(None), JobAction.SYNC_HYPERVISOR, cloud.hypervisor)
    ChangeWatch(cloud.hypervisor.pk, driver).turn(0)
    assert waiting_syncs(cloud) == [job]


def test_a_sync_that_began_before_does_not_count_for_what_was_told_after(
    cloud: Cloud, driver: HypervisorDriver
) -> None:
    began_before = change_watch.open_hypervisor_job(acting(None), JobAction.SYNC_HYPERVISOR, cloud.hypervisor)
    now = timezone.now()
    Job.objects.filter(pk=began_before.pk).update(state=JobState.RUNNING, started_at=now, heartbeat_at=now)
    watch = ChangeWatch(cloud.hypervisor.pk, driver)
    watch.turn(0)
    assert waiting_syncs(cloud) == [began_before]
    assert not watch.settled
    Job.objects.filter(pk=began_before.pk).update(state=JobState.SUCCEEDED, finished_at=timezone.now())
    watch.turn(0)
    (ordered,) = waiting_syncs(cloud)
    assert ordered != began_before
    assert watch.settled


def test_very_many_changes_are_left_to_a_sync_of_everything(
    cloud: Cloud, watch: ChangeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_watch, "MOST_AT_ONCE", 1)
    for name in ("web", "db"):
        cloud.world.take_elsewhere(cloud.machine(name).native_id, "elsewhere")
    watch.turn(0)
    assert cloud.world.calls()["read_machine"] == 0
    run_waiting_sync(cloud)
    assert drawn(cloud.machine("web")) == drawn(cloud.machine("db")) == {"elsewhere": None}


# Beside our own jobs


def test_a_change_beside_one_of_our_jobs_is_read_once_the_job_has_ended(
    web: VirtualMachine, cloud: Cloud, watch: ChangeWatch
) -> None:
    job = request_create(acting(None), machine=web, name="ours", memory=True)
    cloud.world.set_power(web.native_id, PowerState.SUSPENDED)
    cloud.world.set_power(cloud.machine("db").native_id, PowerState.RUNNING)
    watch.turn(0)
    assert cloud.machine("web").power_state == "running"
    assert cloud.machine("db").power_state == "running"
    assert cloud.world.calls()["read_machine"] == 1
    assert not watch.settled
    # As if the job had looked at the machine for the last time before the change.
    Job.objects.filter(pk=job.pk).update(state=JobState.CANCELLED, finished_at=timezone.now())
    watch.turn(0)
    assert cloud.machine("web").power_state == "suspended"
    assert watch.settled


def test_a_reading_that_a_job_overtook_is_taken_again(
    web: VirtualMachine, cloud: Cloud, watch: ChangeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = inventory_sync.machine_identity.place_machines

    def with_a_job_in_between(*arguments: Any, **named: Any) -> object:
        monkeypatch.undo()
        take(web, "ours")
        return inner(*arguments, **named)

    monkeypatch.setattr(inventory_sync.machine_identity, "place_machines", with_a_job_in_between)
    cloud.world.take_elsewhere(web.native_id, "elsewhere")
    watch.turn(0)
    assert not watch.settled
    watch.turn(0)
    assert drawn(web) == {"elsewhere": None, "ours": "elsewhere"}
    assert watch.settled


# Failures


def test_an_endpoint_that_is_away_ends_the_watch(cloud: Cloud, watch: ChangeWatch) -> None:
    cloud.world.set_down(True)
    with pytest.raises(Unreachable):
        watch.turn(0)


def test_an_endpoint_that_goes_away_between_telling_and_reading_ends_the_watch(
    cloud: Cloud, watch: ChangeWatch
) -> None:
    cloud.world.take_elsewhere(cloud.machine("web").native_id, "elsewhere")
    cloud.world.refuse("read_machine", LoginRefused)
    with pytest.raises(LoginRefused):
        watch.turn(0)


def test_a_machine_that_cannot_be_read_now_is_read_at_the_next_turn(cloud: Cloud, watch: ChangeWatch) -> None:
    web = cloud.machine("web")
    cloud.world.refuse("read_machine", Busy, machine_id=web.native_id)
    cloud.world.take_elsewhere(web.native_id, "elsewhere")
    watch.turn(0)
    assert drawn(web) == {}
    watch.turn(0)
    assert drawn(web) == {"elsewhere": None}


def test_a_machine_that_can_never_be_read_is_left_to_the_regular_sync(cloud: Cloud, watch: ChangeWatch) -> None:
    cloud.world.refuse("read_machine", Busy, times=None)
    cloud.world.take_elsewhere(cloud.machine("web").native_id, "elsewhere")
    for _ in range(change_watch.TRIES + 3):
        watch.turn(0)
    assert cloud.world.calls()["read_machine"] == change_watch.TRIES
    assert not waiting_syncs(cloud)
    cloud.sync()
    assert drawn(cloud.machine("web")) == {"elsewhere": None}


@pytest.mark.parametrize("error", [OutOfReach, NotPermitted, Unreachable])
def test_a_machine_that_is_out_of_reach_is_not_taken_for_the_endpoint(
    cloud: Cloud, watch: ChangeWatch, error: type[HypervisorError]
) -> None:
    web = cloud.machine("web")
    cloud.world.refuse("read_machine", error, machine_id=web.native_id)
    cloud.world.take_elsewhere(web.native_id, "elsewhere")
    watch.turn(0)
    watch.turn(0)
    assert drawn(web) == {"elsewhere": None}


def test_an_endpoint_that_goes_away_while_it_is_read_ends_the_watch(cloud: Cloud, watch: ChangeWatch) -> None:
    cloud.world.refuse("read_machine", Unreachable)
    cloud.world.refuse("describe", Unreachable)
    cloud.world.take_elsewhere(cloud.machine("web").native_id, "elsewhere")
    with pytest.raises(Unreachable):
        watch.turn(0)


def test_a_hypervisor_that_loses_count_all_the_time_does_not_have_everything_read_all_the_time(
    cloud: Cloud, driver: HypervisorDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = driver.wait_for_changes("", 0)
    monkeypatch.setattr(driver, "wait_for_changes", lambda cursor, wait_seconds: everything)
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(change_watch, "time", SimpleNamespace(monotonic=lambda: clock.now))
    watch = ChangeWatch(cloud.hypervisor.pk, driver)
    watch.turn(0)
    run_waiting_sync(cloud)
    for _ in range(5):
        assert watch.turn(60) == change_watch.REST_SECONDS
    assert not waiting_syncs(cloud)
    clock.now += change_watch.ORDER_EVERY_SECONDS
    watch.turn(60)
    run_waiting_sync(cloud)


def test_a_failing_database_forgets_nothing(cloud: Cloud, watch: ChangeWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(hypervisor_pk: int, driver: HypervisorDriver, machine_ids: Collection[str]) -> set[str]:
        raise OperationalError("the database is away")

    monkeypatch.setattr(inventory_sync, "sync_machines", away)
    web = cloud.machine("web")
    cloud.world.take_elsewhere(web.native_id, "elsewhere")
    for _ in range(change_watch.TRIES + 1):
        with pytest.raises(OperationalError):
            watch.turn(0)
    monkeypatch.undo()
    watch.turn(0)
    assert drawn(web) == {"elsewhere": None}


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the watch sees it."""
    monkeypatch.setattr(change_watch, "time", SimpleNamespace(monotonic=lambda: 1000.0))


@pytest.mark.usefixtures("no_time_passes")
def test_after_news_there_is_a_rest_and_after_silence_none(cloud: Cloud, watch: ChangeWatch) -> None:
    assert watch.turn(0) == 0.0
    cloud.world.take_elsewhere(cloud.machine("web").native_id, "elsewhere")
    assert watch.turn(60) == change_watch.REST_SECONDS


@pytest.mark.usefixtures("no_time_passes")
def test_an_answer_that_comes_too_early_is_followed_by_a_rest_too(
    watch: ChangeWatch, driver: HypervisorDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = driver.wait_for_changes("", 0)
    empty = replace(answer, machine_ids=frozenset(), pools=False)
    monkeypatch.setattr(driver, "wait_for_changes", lambda cursor, wait_seconds: empty)
    assert watch.turn(60) == change_watch.REST_SECONDS


# Whose endpoint it is


def test_one_claim_at_a_time_has_an_endpoint(cloud: Cloud) -> None:
    assert watch_lease.take(cloud.hypervisor.pk, "one")
    assert not watch_lease.take(cloud.hypervisor.pk, "other")
    assert watch_lease.take(cloud.hypervisor.pk, "one")
    assert (watch_lease.beat("one"), watch_lease.beat("other")) == ({cloud.hypervisor.pk}, set())
    cloud.hypervisor.refresh_from_db()
    assert cloud.hypervisor.watched


def test_a_silent_claim_is_taken_over_and_does_not_come_back(cloud: Cloud) -> None:
    watch_lease.take(cloud.hypervisor.pk, "one")
    later = timezone.now() + timedelta(seconds=settings.WATCH_LOST_AFTER_SECONDS + 1)
    with time_machine.travel(later, tick=False):
        cloud.hypervisor.refresh_from_db()
        assert not cloud.hypervisor.watched
        assert watch_lease.take(cloud.hypervisor.pk, "other")
        assert watch_lease.beat("one") == set()
        assert not watch_lease.take(cloud.hypervisor.pk, "one")


def test_a_claim_that_says_that_it_lives_is_not_taken_over(cloud: Cloud) -> None:
    watch_lease.take(cloud.hypervisor.pk, "one")
    later = timezone.now() + timedelta(seconds=settings.WATCH_LOST_AFTER_SECONDS + 1)
    with time_machine.travel(later, tick=False):
        watch_lease.beat("one")
        assert not watch_lease.take(cloud.hypervisor.pk, "other")


def test_an_endpoint_given_back_is_free_at_once(cloud: Cloud) -> None:
    watch_lease.take(cloud.hypervisor.pk, "one")
    watch_lease.give_back("other")
    watch_lease.give_back("one", [])
    assert not watch_lease.take(cloud.hypervisor.pk, "other")
    watch_lease.give_back("one")
    assert watch_lease.take(cloud.hypervisor.pk, "other")


def test_an_endpoint_that_is_switched_off_is_watched_by_nobody(cloud: Cloud) -> None:
    cloud.hypervisor.enabled = False
    cloud.hypervisor.save()
    assert not watch_lease.take(cloud.hypervisor.pk, "one")


def test_claims_of_one_process_differ(cloud: Cloud) -> None:
    assert watch_lease.new_claim() != watch_lease.new_claim()

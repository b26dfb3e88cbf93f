"""Asking for something to be done with a machine or its volumes."""

import pytest
from django.utils import timezone

from hypervisors.drivers.simulated.world import Disk
from hypervisors.models import Hypervisor
from hypervisors.records import PowerState
from snapshots.choices import JobState, Role
from snapshots.models import Event, Job, VirtualMachine, Volume
from snapshots.services import snapshot_rules, tenancy
from snapshots.services.job_actions import MACHINE_JOBS
from snapshots.services.machine_actions import (
    request_attach,
    request_consolidate,
    request_detach,
    request_start,
    request_stop,
    request_sync,
)
from snapshots.services.snapshot_actions import request_create
from tests.builders import Cloud, acting, run, take, user
from tests.domain.refusing import assert_refused


@pytest.fixture
def spare(web, people, cloud) -> Volume:
    """A loose volume of acme."""
    volume = Volume.objects.get(hypervisor=cloud.hypervisor, name="spare-1.qcow2")
    tenancy.assign_volume(acting(people.root), volume=volume, account=people.acme)
    volume.refresh_from_db()
    return volume


def data_of(web) -> Volume:
    return Volume.objects.get(machine=web, name="web-data")


def test_a_machine_is_started_and_stopped(web, alice):
    assert run(request_stop(alice, machine=web)).state == JobState.SUCCEEDED
    web.refresh_from_db()
    assert web.power_state == "stopped"
    assert run(request_start(alice, machine=web)).state == JobState.SUCCEEDED
    web.refresh_from_db()
    assert web.power_state == "running"


def test_a_suspended_machine_is_resumed_and_keeps_what_it_knew(web, alice, cloud):
    cloud.world.let_run(web.native_id, 100)
    cloud.world.set_power(web.native_id, PowerState.SUSPENDED)
    cloud.sync()
    counted = cloud.world.counter(web.native_id)
    assert run(request_start(alice, machine=web)).state == JobState.SUCCEEDED
    assert cloud.world.counter(web.native_id) >= counted


def test_what_is_running_is_not_started_and_what_is_stopped_is_not_stopped(web, db_machine, alice, cloud):
    assert (
        "running already"
        in assert_refused(cloud.world, "invalid_state", lambda: request_start(alice, machine=web)).detail
    )
    assert (
        "stopped already"
        in assert_refused(cloud.world, "invalid_state", lambda: request_stop(alice, machine=db_machine)).detail
    )


def test_a_guest_that_does_not_hear_is_stopped_by_force_only_and_not_waited_for_as_long_as_a_job_may_take(
    web, people, settings
):
    settings.GUEST_ANSWER_SECONDS = 0.05
    cloud = Cloud()
    machine = cloud.machine("web")
    cloud.world._write("UPDATE machine SET ignores_shutdown = 1")
    root = acting(people.root)
    job = run(request_stop(root, machine=machine))
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_timeout")
    machine.refresh_from_db()
    assert machine.power_state == "running"
    assert run(request_stop(root, machine=machine, force=True)).state == JobState.SUCCEEDED


# Volumes


def test_a_loose_volume_is_attached_and_detached(web, alice, spare):
    assert run(request_attach(alice, volume=spare, machine=web)).state == JobState.SUCCEEDED
    spare.refresh_from_db()
    assert (spare.machine_id, spare.target) == (web.pk, "vdc")
    assert run(request_detach(alice, volume=spare)).state == JobState.SUCCEEDED
    spare.refresh_from_db()
    assert (spare.machine_id, spare.target, spare.account.name) == (None, "", "acme")


def test_volumes_stay_where_they_are_while_there_are_snapshots_and_the_refusal_names_them(web, alice, cloud, spare):
    for number in range(7):
        take(web, f"snapshot {number}")
    for request in (
        lambda: request_attach(alice, volume=spare, machine=web),
        lambda: request_detach(alice, volume=data_of(web)),
    ):
        refusal = assert_refused(cloud.world, "volumes_locked", request)
        assert "snapshot 0, snapshot 1" in refusal.detail
        assert "and 2 more" in refusal.detail
        assert len(refusal.extra["snapshots"]) == 7


def test_a_volume_that_is_attached_already_is_refused(web, db_machine, alice, cloud):
    refusal = assert_refused(
        cloud.world, "invalid_state", lambda: request_attach(alice, volume=data_of(web), machine=db_machine)
    )
    assert "web-data" in refusal.detail


def test_a_volume_that_is_not_attached_cannot_be_detached(web, alice, cloud, spare):
    assert_refused(cloud.world, "invalid_state", lambda: request_detach(alice, volume=spare))


def test_a_volume_on_another_hypervisor_cannot_be_attached(web, people, cloud):
    other = Cloud()
    volume = Volume.objects.get(hypervisor=other.hypervisor, name="spare-1.qcow2")
    refusal = assert_refused(
        cloud.world, "not_supported", lambda: request_attach(acting(people.root), volume=volume, machine=web)
    )
    assert "another hypervisor" in refusal.detail


def test_a_volume_that_is_gone_cannot_be_attached(web, people, cloud):
    native_id = cloud.world.add_loose(Disk(name="short-lived"))
    cloud.sync()
    cloud.world._write("DELETE FROM volume WHERE native_id = ?", native_id)
    cloud.sync()
    volume = Volume.objects.get(native_id=native_id)
    assert_refused(
        cloud.world, "invalid_state", lambda: request_attach(acting(people.root), volume=volume, machine=web)
    )


def test_a_volume_that_is_taken_behind_our_back_fails_with_the_hypervisors_reason(web, db_machine, alice, cloud, spare):
    cloud.world._write(
        "UPDATE volume SET machine_id = ?, target = 'vdb' WHERE native_id = ?", db_machine.native_id, spare.native_id
    )
    job = run(request_attach(alice, volume=spare, machine=web))
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_busy")


def test_the_volume_a_machine_starts_from_stays(web, alice):
    root_volume = Volume.objects.get(machine=web, name="web-root")
    job = run(request_detach(alice, volume=root_volume))
    assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_rejected")
    root_volume.refresh_from_db()
    assert root_volume.machine_id == web.pk


def test_looking_at_a_loose_volume_is_not_enough_to_take_it(web, people, cloud):
    """Frank operates another account and only reads acme, whose volume he would carry off."""
    frank = user("frank", Role.OPERATOR, account=people.other)
    tenancy.grant_role(acting(people.root), user=frank, role=Role.READER, account=people.acme)
    volume = Volume.objects.get(hypervisor=cloud.hypervisor, name="spare-1.qcow2")
    tenancy.assign_volume(acting(people.root), volume=volume, account=people.acme)
    refusal = assert_refused(
        cloud.world, "forbidden", lambda: request_attach(acting(frank), volume=volume, machine=cloud.machine("foreign"))
    )
    assert "spare-1" in refusal.detail


def test_a_volume_of_nobody_or_of_others_is_not_found(web, people, alice, cloud):
    volume = Volume.objects.get(hypervisor=cloud.hypervisor, name="spare-2.qcow2")
    assert_refused(cloud.world, "not_found", lambda: request_attach(alice, volume=volume, machine=web))
    foreign = Volume.objects.get(machine=cloud.machine("foreign"))
    assert_refused(cloud.world, "not_found", lambda: request_detach(alice, volume=foreign))


# Everybody and everything else


def _requests(web, spare, actor):
    return {
        "start": lambda: request_start(actor, machine=web),
        "stop": lambda: request_stop(actor, machine=web),
        "attach": lambda: request_attach(actor, volume=spare, machine=web),
        "detach": lambda: request_detach(actor, volume=data_of(web)),
        "sync": lambda: request_sync(actor, machine=web),
    }


REQUESTS = ["start", "stop", "attach", "detach", "sync"]


@pytest.mark.parametrize("what", REQUESTS)
@pytest.mark.parametrize(("person", "code"), [("bob", "forbidden"), ("charlie", "not_found"), ("nora", "not_found")])
def test_readers_may_not_and_strangers_find_nothing(web, people, cloud, spare, what, person, code):
    if (what, person) == ("sync", "bob"):
        assert request_sync(acting(people.bob), machine=web).state == JobState.QUEUED, "who sees may look again"
        return
    assert_refused(cloud.world, code, _requests(web, spare, acting(getattr(people, person)))[what])


@pytest.mark.parametrize("what", REQUESTS)
def test_a_busy_machine_refuses(web, people, cloud, spare, what):
    job = request_stop(acting(people.dora), machine=web)
    refusal = assert_refused(cloud.world, "vm_busy", _requests(web, spare, acting(people.alice))[what])
    assert refusal.extra["job"] == str(job.uuid)


@pytest.mark.parametrize("what", ["attach", "detach"])
def test_a_machine_with_a_volume_under_way_takes_no_snapshot(web, alice, cloud, spare, what):
    job = _requests(web, spare, alice)[what]()
    refusal = assert_refused(cloud.world, "vm_busy", lambda: request_create(alice, machine=web, name="first"))
    assert refusal.extra["job"] == str(job.uuid)


@pytest.mark.parametrize("what", REQUESTS)
def test_a_machine_on_a_hypervisor_that_is_switched_off_refuses(web, alice, cloud, spare, what):
    Hypervisor.objects.filter(pk=cloud.hypervisor.pk).update(enabled=False)
    assert_refused(cloud.world, "invalid_state", _requests(web, spare, alice)[what])


def test_a_machine_that_is_gone_can_only_be_looked_for_again(web, alice, cloud, spare):
    requests = _requests(web, spare, alice)
    del requests["detach"]  # its volumes are loose now
    cloud.world.undefine(web.native_id)
    cloud.sync()
    requests.pop("sync")
    for request in requests.values():
        assert_refused(cloud.world, "invalid_state", request)
    assert run(request_sync(alice, machine=web)).state == JobState.SUCCEEDED
    web.refresh_from_db()
    assert web.missing_since is not None


def test_what_only_the_guest_can_do_has_a_shorter_deadline_than_what_the_hypervisor_does(web, alice, settings, spare):
    settings.GUEST_ANSWER_SECONDS, settings.JOB_DEADLINE_SECONDS = 3, 3600

    def deadline(job) -> float:
        job = Job.objects.get(pk=job.pk)
        seconds = MACHINE_JOBS[job.action](job).deadline_seconds
        run(job)
        return seconds

    assert deadline(request_stop(alice, machine=web)) == 3
    assert deadline(request_start(alice, machine=web)) == 3600
    assert deadline(request_stop(alice, machine=web, force=True)) == 3600
    assert deadline(request_attach(alice, volume=spare, machine=web)) == 3600
    assert deadline(request_detach(alice, volume=spare)) == 3


# Consolidate


def test_disks_that_were_left_behind_are_consolidated(web, alice, cloud):
    cloud.world.leave_disks_behind(web.native_id)
    cloud.sync()
    job = run(request_consolidate(alice, machine=web))
    assert (job.action, job.state) == ("consolidate_disks", "succeeded")
    web.refresh_from_db()
    assert not web.needs_consolidation
    actions = Event.objects.filter(job=job).order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["machine.consolidate.requested", "machine.consolidate.succeeded"]


def test_a_machine_whose_hypervisor_leaves_nothing_behind_is_not_consolidated(web, alice, cloud):
    refusal = assert_refused(cloud.world, "not_supported", lambda: request_consolidate(alice, machine=web))
    assert refusal.detail == snapshot_rules.why_not_consolidate(web, None).detail


def test_a_machine_that_needs_no_consolidation_is_not_consolidated(web, alice, cloud):
    able = web.capabilities | {"consolidate": {"allowed": True, "reason": ""}}
    VirtualMachine.objects.filter(pk=web.pk).update(capabilities=able)
    assert_refused(cloud.world, "invalid_state", lambda: request_consolidate(alice, machine=web))


def test_a_busy_machine_and_one_that_is_missing_are_not_consolidated(web, alice, cloud):
    cloud.world.leave_disks_behind(web.native_id)
    cloud.sync()
    job = request_consolidate(alice, machine=web)
    assert_refused(cloud.world, "vm_busy", lambda: request_consolidate(alice, machine=web))
    run(job)
    cloud.world.undefine(web.native_id)
    cloud.sync()
    VirtualMachine.objects.filter(pk=web.pk).update(missing_since=timezone.now())
    assert_refused(cloud.world, "invalid_state", lambda: request_consolidate(alice, machine=web))


@pytest.mark.parametrize(("who", "code"), [("bob", "forbidden"), ("charlie", "not_found")])
def test_who_may_not_operate_a_machine_does_not_consolidate_it(web, people, cloud, who, code):
    actor = acting(getattr(people, who))
    assert_refused(cloud.world, code, lambda: request_consolidate(actor, machine=web))

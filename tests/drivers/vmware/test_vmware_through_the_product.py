"""The whole product over vSphere: reading, taking, reverting, deleting, volumes, what another administrator does meanwhile,
and a server that dies.

What is seen is in the rows, as pages and REST show them.
"""

import json
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from pyVmomi import vim

from hypervisors.models import Hypervisor
from hypervisors.records import PowerAfterRevert
from snapshots import tree
from snapshots.access import SYSTEM
from snapshots.choices import ACTIVE_JOB_STATES, GONE, JobState, Origin, SnapshotState
from snapshots.models import Event, Job, VirtualMachine, VMSnapshot, Volume
from snapshots.services import drift_actions, endpoints, machine_actions, snapshot_actions
from tests.builders import acting, current_name, drawn, endpoint_of, run, take
from tests.domain.scenes import sweep_once_lost
from tests.vsphere_simulator.server import VsphereSimulator
from tests.vsphere_simulator.world import GIB, Machine, World

from .vsphere_ground import Administrator, administrator_at, needs_simulator

pytestmark = [pytest.mark.django_db, needs_simulator]

CREATE, REVERT, REMOVE = "CreateSnapshot_Task", "RevertToSnapshot_Task", "RemoveSnapshot_Task"
WORLD = World(
    machines=(
        Machine("web", running=True, folder="shop/front", disk_bytes=(GIB,)),
        Machine("db", disk_bytes=(GIB, GIB)),
    ),
    remember="file",
)


@pytest.fixture
def server(lasting_server: VsphereSimulator) -> VsphereSimulator:
    return lasting_server


@pytest.fixture
def endpoint(server: VsphereSimulator) -> Hypervisor:
    """The vCenter, known to the product, its machines without snapshots, `web` running."""
    with administrator_at(server) as somebody:
        for machine in ("web", "db"):
            somebody.wait(machine_named(somebody, machine).RemoveAllSnapshots(True))
        web = machine_named(somebody, "web")
        if somebody.read(web, "runtime.powerState") != "poweredOn":
            somebody.wait(web.PowerOn())
    return endpoint_of(server, "vmware")


@pytest.fixture
def web(endpoint: Hypervisor) -> VirtualMachine:
    return synced(endpoint, "web")


@pytest.fixture
def db(endpoint: Hypervisor) -> VirtualMachine:
    return synced(endpoint, "db")


def machine_named(somebody: Administrator, name: str) -> Any:
    (found,) = [one for one in somebody.found(vim.VirtualMachine) if somebody.read(one, "name") == name]
    return found


def synced(endpoint: Hypervisor, name: str) -> VirtualMachine:
    succeeded(endpoints.request_sync(SYSTEM, hypervisor=endpoint))
    return VirtualMachine.objects.get(hypervisor=endpoint, name=name)


def succeeded(job: Job) -> Job:
    done = run(job)
    assert (done.state, done.error_detail) == (JobState.SUCCEEDED, "")
    return done


def told(machine: VirtualMachine) -> list[str]:
    return list(Event.objects.filter(machine=machine).order_by("pk").values_list("action", flat=True))


def assert_nothing_in_between(machine: VirtualMachine) -> None:
    assert not Job.objects.filter(state__in=ACTIVE_JOB_STATES).exists()
    assert set(VMSnapshot.objects.filter(machine=machine).values_list("state", flat=True)) == {SnapshotState.READY}
    assert tree.damaged_machines() == []
    told_before = set(Event.objects.values_list("pk", flat=True))
    synced(machine.hypervisor, machine.name)
    assert list(Event.objects.exclude(pk__in=told_before).values_list("action", "detail")) == []


def test_a_machine_is_read_and_its_snapshots_taken_renamed_reverted_and_deleted(web: VirtualMachine) -> None:
    assert (web.power_state, web.folder.endswith("/shop/front")) == ("running", True)
    first = take(web, "first", memory=True)
    second = take(web, "second", memory=False)
    take(web, "third", memory=False)
    succeeded(snapshot_actions.request_rename(acting(None), snapshot=second, name="a/b 100 %", description="one\ntwo"))
    second.refresh_from_db()
    assert (second.name, second.description) == ("a/b 100 %", "one\ntwo")
    succeeded(snapshot_actions.request_delete(acting(None), snapshot=second))
    assert drawn(web) == {"first": None, "third": "first"}
    first.refresh_from_db()
    succeeded(
        snapshot_actions.request_revert(
            acting(None), snapshot=first, power=PowerAfterRevert.AS_SNAPSHOT, safety_snapshot=True
        )
    )
    assert current_name(web) == "first"
    (safety,) = [name for name in drawn(web) if name not in ("first", "third")]
    assert drawn(web) == {"first": None, "third": "first", safety: "third"}
    web.refresh_from_db()
    assert web.power_state == "running"
    assert_nothing_in_between(web)
    first.refresh_from_db()
    succeeded(snapshot_actions.request_delete_tree(acting(None), snapshot=first))
    assert drawn(web) == {}
    assert_nothing_in_between(web)


def test_a_volume_has_one_row_through_snapshots_detaching_and_attaching(db: VirtualMachine) -> None:
    before = set(Volume.objects.filter(machine=db).values_list("pk", flat=True))
    snapshot = take(db, "before")
    take(db, "after")
    succeeded(snapshot_actions.request_revert(acting(None), snapshot=snapshot, power=PowerAfterRevert.STOPPED))
    synced(db.hypervisor, "db")
    assert set(Volume.objects.filter(machine=db, missing_since=None).values_list("pk", flat=True)) == before
    for row in VMSnapshot.objects.filter(machine=db, parent__isnull=False):
        succeeded(snapshot_actions.request_delete(acting(None), snapshot=row))
    volume = Volume.objects.filter(machine=db).order_by("target").last()
    assert volume is not None
    succeeded(machine_actions.request_detach(acting(None), volume=volume))
    synced(db.hypervisor, "db")
    volume.refresh_from_db()
    assert (volume.machine, volume.missing_since) == (None, None)
    succeeded(machine_actions.request_attach(acting(None), volume=volume, machine=db))
    synced(db.hypervisor, "db")
    assert set(Volume.objects.filter(machine=db, missing_since=None).values_list("pk", flat=True)) == before


def test_disks_left_behind_and_a_machine_that_waits_for_an_answer_are_shown_and_mended(
    server: VsphereSimulator, web: VirtualMachine
) -> None:
    server.set_needs_consolidation("web", needed=True)
    server.ask("web", "msg.uuid: <b>moved</b> or copied?")
    web = synced(web.hypervisor, "web")
    assert web.needs_consolidation
    assert "<b>moved</b>" in web.question
    server.clear()
    server.set_needs_consolidation("web", needed=True)
    succeeded(machine_actions.request_consolidate(acting(None), machine=web))
    web.refresh_from_db()
    assert (web.needs_consolidation, web.question) == (False, "")


def test_what_another_administrator_does_is_shown_adopted_lost_and_acknowledged(
    administrator: Administrator, web: VirtualMachine
) -> None:
    ours = take(web, "ours", memory=False)
    theirs = administrator.take(web.native_id, "theirs")
    twin = administrator.take(web.native_id, "ours")
    synced(web.hypervisor, "web")
    assert drawn(web) == {"ours": None, "theirs": "ours", "ours (2)": "theirs"}
    web.refresh_from_db()
    assert (web.snapshot_count, web.unadopted_count, web.counted) == (3, 2, 1)
    adopted = drift_actions.adopt_snapshot(acting(None), snapshot=VMSnapshot.objects.get(native_id=theirs))
    assert adopted.counts
    administrator.revert(theirs)
    administrator.delete(web.native_id, ours.native_id)
    administrator.delete(web.native_id, twin)
    synced(web.hypervisor, "web")
    assert current_name(web) == "theirs"
    ours.refresh_from_db()
    assert (ours.state, ours.error_code) == (SnapshotState.ERROR, GONE)
    assert drawn(web)["theirs"] is None
    assert "ours (2)" not in drawn(web)
    assert {"snapshot.appeared", "snapshot.adopted", "snapshot.vanished", "snapshot.removed_elsewhere"} < set(told(web))
    drift_actions.acknowledge_lost(acting(None), snapshot=ours)
    assert drawn(web) == {"theirs": None}
    adopted.refresh_from_db()
    succeeded(snapshot_actions.request_delete(acting(None), snapshot=adopted))
    assert_nothing_in_between(web)


def test_a_note_made_to_look_like_ours_puts_nothing_into_the_name_that_no_database_takes(
    administrator: Administrator, web: VirtualMachine
) -> None:
    name = "n" * 80
    kept = json.dumps(name + "\x00\ud800")
    administrator.take(web.native_id, name, f"[vmsnap - disk {kept}]")
    synced(web.hypervisor, "web")
    (row,) = VMSnapshot.objects.filter(machine=web, origin=Origin.ELSEWHERE)
    assert row.name == name + "\ufffd\ufffd"
    assert_nothing_in_between(web)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_taking_whose_answer_is_lost_happens_once_or_not_at_all_and_the_job_knows(
    server: VsphereSimulator, web: VirtualMachine, when: str
) -> None:
    server.drop(CREATE, when)
    job = run(snapshot_actions.request_create(acting(None), machine=web, name="lost answer"))
    if job.state == JobState.RUNNING:
        sweep_once_lost()
        job.refresh_from_db()
    assert job.state == (JobState.SUCCEEDED if when == "after" else JobState.FAILED), job.error_detail
    synced(web.hypervisor, "web")
    ready = VMSnapshot.objects.filter(machine=web, parent__isnull=False, state=SnapshotState.READY)
    assert [row.name for row in ready] == (["lost answer"] if when == "after" else [])
    assert all(row.origin == Origin.VMSNAP for row in ready)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_deletion_whose_answer_is_lost_ends_as_the_hypervisor_shows(
    server: VsphereSimulator, web: VirtualMachine, when: str
) -> None:
    doomed = take(web, "doomed", memory=False)
    server.drop(REMOVE, when)
    job = run(snapshot_actions.request_delete(acting(None), snapshot=doomed))
    if job.state == JobState.RUNNING:
        sweep_once_lost()
        job.refresh_from_db()
    assert job.state == (JobState.SUCCEEDED if when == "after" else JobState.FAILED), job.error_detail
    assert drawn(web) == ({} if when == "after" else {"doomed": None})
    assert_nothing_in_between(web)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_revert_whose_answer_is_lost_ends_as_the_hypervisor_shows(
    server: VsphereSimulator, web: VirtualMachine, when: str
) -> None:
    target = take(web, "target", memory=False)
    take(web, "later", memory=False)
    server.drop(REVERT, when)
    job = run(snapshot_actions.request_revert(acting(None), snapshot=target, power=PowerAfterRevert.STOPPED))
    if job.state == JobState.RUNNING:
        sweep_once_lost()
        job.refresh_from_db()
    assert job.state == (JobState.SUCCEEDED if when == "after" else JobState.FAILED), job.error_detail
    assert current_name(web) == ("target" if when == "after" else "later")
    assert_nothing_in_between(web)


@pytest.mark.parametrize(("end", "state"), [("done", "succeeded"), ("undone", "failed")])
def test_a_task_that_vcenter_forgets_ends_as_the_hypervisor_shows(
    server: VsphereSimulator, web: VirtualMachine, end: str, state: str
) -> None:
    server.hold(CREATE, machine="web")
    job = snapshot_actions.request_create(acting(None), machine=web, name="forgotten")
    with Meanwhile(lambda: server.forget(server.held_task(), done=end == "done")):
        job = run(job)
    if job.state == JobState.RUNNING:
        sweep_once_lost()
        job.refresh_from_db()
    assert job.state == state, job.error_detail
    synced(web.hypervisor, "web")
    states = VMSnapshot.objects.filter(machine=web, parent__isnull=False).values_list("name", "state")
    assert dict(states) == {"forgotten": "Ready" if end == "done" else "Error"}


def test_a_session_that_ends_while_a_task_runs_is_opened_again(server: VsphereSimulator, web: VirtualMachine) -> None:
    server.hold(CREATE, machine="web")
    job = snapshot_actions.request_create(acting(None), machine=web, name="long")

    def meanwhile() -> None:
        task = server.held_task()
        server.end_sessions()
        server.release(task)

    with Meanwhile(meanwhile):
        job = run(job)
    assert (job.state, job.error_detail) == (JobState.SUCCEEDED, "")
    assert drawn(web) == {"long": None}
    assert_nothing_in_between(web)


def test_a_server_started_again_during_a_task_leaves_nothing_in_between(
    server: VsphereSimulator, web: VirtualMachine
) -> None:
    server.hold(CREATE, machine="web")
    job = snapshot_actions.request_create(acting(None), machine=web, name="cut short")

    def meanwhile() -> None:
        server.held_task()
        server.restart()

    with Meanwhile(meanwhile):
        job = run(job)
    if job.state == JobState.RUNNING:
        sweep_once_lost()
        job.refresh_from_db()
    assert job.state == JobState.FAILED
    assert dict(VMSnapshot.objects.filter(machine=web, parent__isnull=False).values_list("name", "state")) in (
        {"cut short": "Error"},
        {},
    )
    take(synced(web.hypervisor, "web"), "next", memory=False)


def test_a_machine_deleted_during_its_job_is_missing_and_the_job_says_so(
    server: VsphereSimulator, endpoint: Hypervisor
) -> None:
    server.add_machine(Machine("goes"))
    goes = synced(endpoint, "goes")
    server.hold(CREATE, machine="goes")
    job = snapshot_actions.request_create(acting(None), machine=goes, name="never")

    def meanwhile() -> None:
        server.held_task()
        server.delete_machine("goes")

    with Meanwhile(meanwhile):
        job = run(job)
    if job.state == JobState.RUNNING:
        sweep_once_lost()
        job.refresh_from_db()
    assert (job.state, job.error_code) == (JobState.FAILED, GONE)
    goes.refresh_from_db()
    assert goes.missing_since is not None
    assert not Job.objects.filter(state__in=ACTIVE_JOB_STATES).exists()


class Meanwhile:
    """What happens on the hypervisor while a job is carried out here. What goes wrong in it fails the test."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # raised again in the test
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *raised: object) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

"""The whole product over a XenServer pool: reading, taking, reverting, deleting, volumes, and a server that dies.

What is seen is in the rows, as pages and REST show them.
"""

import pytest

from hypervisors.models import Hypervisor
from hypervisors.records import PowerAfterRevert
from hypervisors.xen_simulator.process import XenSimulator
from snapshots.access import SYSTEM
from snapshots.choices import JobState, SnapshotState
from snapshots.models import VirtualMachine, VMSnapshot, Volume
from snapshots.services import endpoints, machine_actions, snapshot_actions
from tests.builders import acting, current_name, drawn, endpoint_of, run, take
from tests.domain.scenes import sweep_once_lost

from .pool import ElsewhereInThePool, add_machine, disks_of_the_pool

pytestmark = pytest.mark.django_db


@pytest.fixture
def endpoint(pool: XenSimulator) -> Hypervisor:
    """The pool, known to the product."""
    pool.control.clear()
    return endpoint_of(pool, "xenserver")


def synced(endpoint: Hypervisor, machine_id: str) -> VirtualMachine:
    job = run(endpoints.request_sync(SYSTEM, hypervisor=endpoint))
    assert job.state == JobState.SUCCEEDED, job.error_detail
    return VirtualMachine.objects.get(hypervisor=endpoint, native_id=machine_id)


def test_a_machine_is_read_and_its_snapshots_taken_reverted_and_deleted(
    pool: XenSimulator, endpoint: Hypervisor
) -> None:
    machine_id = add_machine(pool, name="web", power="Running", tags=["shop"], folder="/shop")
    before = disks_of_the_pool(pool)
    machine = synced(endpoint, machine_id)
    assert (machine.name, machine.folder, machine.tags, machine.power_state) == ("web", "/shop", ["shop"], "running")
    first = take(machine, "first", memory=True)
    take(machine, "second", memory=False)
    assert drawn(machine) == {"first": None, "second": "first"}
    job = run(snapshot_actions.request_revert(acting(None), snapshot=first, power=PowerAfterRevert.AS_SNAPSHOT))
    assert (job.state, job.error_detail) == (JobState.SUCCEEDED, "")
    assert current_name(machine) == "first"
    ElsewhereInThePool(pool).take(machine_id, "made elsewhere")
    synced(endpoint, machine_id)
    assert drawn(machine) == {"first": None, "second": "first", "made elsewhere": "first"}
    first.refresh_from_db()
    job = run(snapshot_actions.request_delete_tree(acting(None), snapshot=first))
    assert (job.state, job.error_detail) == (JobState.SUCCEEDED, "")
    assert drawn(machine) == {}
    # The disks that the revert replaced are others now, but none more.
    assert len(disks_of_the_pool(pool)) == len(before)


def test_a_volume_has_one_row_through_reverts(pool: XenSimulator, endpoint: Hypervisor) -> None:
    machine = synced(endpoint, add_machine(pool, name="db"))
    (volume,) = Volume.objects.filter(machine=machine)
    snapshot = take(machine, "before")
    run(snapshot_actions.request_revert(acting(None), snapshot=snapshot, power=PowerAfterRevert.STOPPED))
    synced(endpoint, machine.native_id)
    (seen,) = Volume.objects.filter(machine=machine)
    assert (seen.pk, seen.missing_since) == (volume.pk, None)
    snapshot.refresh_from_db()
    run(snapshot_actions.request_delete(acting(None), snapshot=snapshot))
    job = run(machine_actions.request_detach(acting(None), volume=seen))
    assert (job.state, job.error_detail) == (JobState.SUCCEEDED, "")
    synced(endpoint, machine.native_id)
    seen.refresh_from_db()
    assert (seen.machine, seen.missing_since) == (None, None)


def test_a_deletion_during_which_the_server_dies_ends_and_leaves_no_disk(
    pool: XenSimulator, endpoint: Hypervisor
) -> None:
    machine_id = add_machine(pool, name="dying")
    before = disks_of_the_pool(pool)
    machine = synced(endpoint, machine_id)
    snapshot = take(machine, "goes")
    pool.control.die("VDI.destroy")
    job = run(snapshot_actions.request_delete(acting(None), snapshot=snapshot))
    assert job.state == JobState.RUNNING
    pool.wait_dead()
    pool.start()
    sweep_once_lost()
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED, job.error_detail
    assert not VMSnapshot.objects.filter(pk=snapshot.pk, state=SnapshotState.READY).exists()
    assert drawn(machine) == {}
    assert len(disks_of_the_pool(pool)) == len(before)

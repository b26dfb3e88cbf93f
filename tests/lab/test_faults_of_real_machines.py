"""Faults of a real hypervisor, through the whole product: the job, the row of the VM snapshot, and virsh beside it."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from hypervisors.connections import open_driver
from hypervisors.lab import Lab
from hypervisors.models import Hypervisor
from hypervisors.records import PowerAfterRevert
from snapshots import tree, tree_resync
from snapshots.access import SYSTEM
from snapshots.choices import JobState, SnapshotState
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services import endpoints
from snapshots.services.snapshot_actions import request_create, request_delete, request_revert
from tests.browser.trees import in_virsh
from tests.builders import acting, current_name, drawn, run, take

pytestmark = [pytest.mark.lab, pytest.mark.django_db]


@pytest.fixture(scope="module")
def faulty_lab(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of this file's own, as its pool is filled and its daemon stopped; the shared one is only asked for so that a
    computer without labs skips here too."""
    del lab
    own = Lab(tmp_path_factory.mktemp("lab"))
    try:
        own.up(["tiny-1", "batch-1"])
        yield own
    finally:
        own.reset()


@pytest.fixture
def hypervisor(faulty_lab: Lab) -> Hypervisor:
    """The lab as the product knows it, read once."""
    endpoint = endpoints.add_endpoint(SYSTEM, name="lab", kind="libvirt", address=faulty_lab.uri)
    assert run(endpoints.request_sync(SYSTEM, hypervisor=endpoint)).state == JobState.SUCCEEDED
    return endpoint


def known(hypervisor: Hypervisor, name: str) -> VirtualMachine:
    return VirtualMachine.objects.get(hypervisor=hypervisor, name=name)


def create(machine: VirtualMachine, name: str, *, memory: bool = False) -> Job:
    return run(request_create(acting(None), machine=machine, name=name, memory=memory))


def assert_the_tree_is_virshs(lab: Lab, machine: VirtualMachine) -> None:
    """All but the failed rows, which stand for what is not there."""
    ready = {row.name for row in VMSnapshot.objects.filter(machine=machine, state=SnapshotState.READY)}
    assert {name: parent for name, parent in drawn(machine).items() if name in ready} == in_virsh(lab, machine.name)
    rows = list(VMSnapshot.objects.filter(machine=machine))
    with open_driver(machine.hypervisor_id) as driver:
        assert not tree_resync.tree_differs(rows, driver.list_forests([machine.native_id])[machine.native_id])
    assert tree.damaged_machines() == []


def test_a_full_pool_fails_the_taking_with_its_own_code_and_the_tree_stays_virshs(
    faulty_lab: Lab, hypervisor: Hypervisor, settings: Settings
) -> None:
    if faulty_lab.small_pool_reason:
        pytest.skip(faulty_lab.small_pool_reason)
    # By the estimate the product would refuse first; here the hypervisor is to.
    settings.POOL_OVERCOMMIT = 100.0
    faulty_lab.wait_for_tick("tiny-1")
    machine = known(hypervisor, "tiny-1")
    take(machine, "base", memory=True)
    faulty_lab.fill_small_pool()
    try:
        job = create(machine, "too-much", memory=True)
        assert (job.state, job.error_code) == (JobState.FAILED, "out_of_space")
        row = VMSnapshot.objects.get(machine=machine, name="too-much")
        assert (row.state, row.error_code, row.current) == (SnapshotState.ERROR, "out_of_space", False)
        assert row.error_detail
        assert in_virsh(faulty_lab, "tiny-1") == {"base": None}
        assert current_name(machine) == "base"
        assert_the_tree_is_virshs(faulty_lab, machine)
        assert run(request_delete(acting(None), snapshot=row)).state == JobState.SUCCEEDED
    finally:
        faulty_lab.empty_small_pool()
    machine.refresh_from_db()
    assert machine.power_state == "running"
    take(machine, "fits", memory=True)
    assert drawn(machine) == {"base": None, "fits": "base"}
    assert_the_tree_is_virshs(faulty_lab, machine)


def test_a_snapshot_removed_with_virsh_fails_the_revert_to_it_and_is_shown_as_lost(
    faulty_lab: Lab, hypervisor: Hypervisor
) -> None:
    machine = known(hypervisor, "batch-1")
    base, top = take(machine, "base"), take(machine, "top")
    faulty_lab.virsh("snapshot-delete", "batch-1", base.native_id)
    job = run(request_revert(acting(None), snapshot=base, power=PowerAfterRevert.AS_SNAPSHOT))
    assert (job.state, job.error_code) == (JobState.FAILED, "gone_on_hypervisor")
    base.refresh_from_db()
    assert base.state == SnapshotState.ERROR
    assert in_virsh(faulty_lab, "batch-1") == {"top": None}
    assert_the_tree_is_virshs(faulty_lab, machine)
    for row in (base, top):
        assert run(request_delete(acting(None), snapshot=row)).state == JobState.SUCCEEDED
    assert drawn(machine) == in_virsh(faulty_lab, "batch-1") == {}


def test_a_machine_undefined_with_virsh_fails_the_job_and_is_marked_missing_until_it_is_back(
    faulty_lab: Lab, hypervisor: Hypervisor
) -> None:
    machine = known(hypervisor, "batch-1")
    definition = faulty_lab.virsh("dumpxml", "batch-1")
    faulty_lab.virsh("undefine", "batch-1")
    try:
        job = create(machine, "never")
        assert (job.state, job.error_code) == (JobState.FAILED, "gone_on_hypervisor")
        machine.refresh_from_db()
        assert machine.missing_since is not None
        assert not VMSnapshot.objects.filter(machine=machine, name="never").exists()
    finally:
        faulty_lab.virsh("define", "/dev/stdin", text=definition)
    assert run(endpoints.request_sync(SYSTEM, hypervisor=hypervisor)).state == JobState.SUCCEEDED
    machine.refresh_from_db()
    assert machine.missing_since is None


def test_a_daemon_that_is_down_fails_the_job_marks_the_endpoint_and_changes_nothing(
    faulty_lab: Lab, hypervisor: Hypervisor
) -> None:
    machine = known(hypervisor, "batch-1")
    faulty_lab.stop_libvirtd()
    try:
        job = create(machine, "never")
        assert (job.state, job.error_code) == (JobState.FAILED, "hypervisor_unreachable")
        hypervisor.refresh_from_db()
        assert hypervisor.state == Hypervisor.State.UNREACHABLE
        assert not VMSnapshot.objects.filter(machine=machine, name="never").exists()
    finally:
        faulty_lab.up([])
    assert in_virsh(faulty_lab, "batch-1") == {}
    assert run(endpoints.request_sync(SYSTEM, hypervisor=hypervisor)).state == JobState.SUCCEEDED
    assert_the_tree_is_virshs(faulty_lab, machine)

"""The whole product over a standalone ESXi host, which has no vCenter's ids, folders or custom attributes; and a login that
lacks a right."""

from typing import Any

import pytest

from hypervisors.models import Hypervisor
from hypervisors.records import PowerAfterRevert
from snapshots.access import SYSTEM
from snapshots.choices import JobState
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services import drift_actions, endpoints, snapshot_actions
from tests.builders import acting, current_name, drawn, endpoint_of, run, take
from tests.vsphere_simulator.server import VsphereSimulator
from tests.vsphere_simulator.world import World

from .vsphere_ground import Administrator, needs_simulator

pytestmark = [pytest.mark.django_db, needs_simulator]


WORLD = World(model="esxi")


@pytest.fixture
def endpoint(server: VsphereSimulator) -> Hypervisor:
    """The host, known to the product and read once."""
    hypervisor = endpoint_of(server, "vmware")
    sync(hypervisor)
    hypervisor.refresh_from_db()
    return hypervisor


@pytest.fixture
def machine(endpoint: Hypervisor) -> VirtualMachine:
    """A running machine."""
    found: VirtualMachine = VirtualMachine.objects.get(hypervisor=endpoint, name="running")
    return found


def sync(endpoint: Hypervisor) -> None:
    done(endpoints.request_sync(SYSTEM, hypervisor=endpoint))


def done(job: Job) -> None:
    job = run(job)
    assert (job.state, job.error_code, job.error_detail) == (JobState.SUCCEEDED, "", "")


def row(machine: VirtualMachine, name: str) -> Any:
    return VMSnapshot.objects.get(machine=machine, name=name)


def test_snapshots_are_taken_reverted_to_and_deleted(endpoint: Hypervisor, machine: VirtualMachine) -> None:
    assert (endpoint.native_id, endpoint.simulator) == (endpoint.address.removeprefix("https://"), True)
    first = take(machine, "first", memory=True)
    take(machine, "second", memory=False)
    done(snapshot_actions.request_revert(acting(None), snapshot=first, power=PowerAfterRevert.AS_SNAPSHOT))
    take(machine, "branch", memory=False)
    assert drawn(machine) == {"first": None, "second": "first", "branch": "first"}
    done(snapshot_actions.request_delete(acting(None), snapshot=row(machine, "branch")))
    assert (drawn(machine), current_name(machine)) == ({"first": None, "second": "first"}, "first")
    done(snapshot_actions.request_delete_tree(acting(None), snapshot=row(machine, "first")))
    assert (drawn(machine), current_name(machine)) == ({}, None)


def test_what_another_administrator_does_is_seen_and_decided_about(
    endpoint: Hypervisor, machine: VirtualMachine, administrator: Administrator
) -> None:
    ours = take(machine, "ours", memory=False)
    theirs = administrator.take(machine.native_id, "theirs")
    sync(endpoint)
    assert (drawn(machine), current_name(machine)) == ({"ours": None, "theirs": "ours"}, "theirs")
    drift_actions.adopt_snapshot(SYSTEM, snapshot=row(machine, "theirs"))
    administrator.revert(ours.native_id)
    administrator.delete(machine.native_id, theirs)
    # No reading in between: the action looks first.
    take(machine, "more", memory=False)
    assert drawn(machine) == {"ours": None, "theirs": "ours", "more": "ours"}
    assert row(machine, "theirs").lost
    drift_actions.acknowledge_lost(SYSTEM, snapshot=row(machine, "theirs"))
    assert drawn(machine) == {"ours": None, "more": "ours"}


def test_missing_rights_are_named_and_the_endpoint_stays_reachable(
    server: VsphereSimulator, endpoint: Hypervisor, machine: VirtualMachine
) -> None:
    right = "VirtualMachine.State.CreateSnapshot"
    server.take_privileges(right)
    refused = run(snapshot_actions.request_create(acting(None), machine=machine, name="new", memory=False))
    assert (refused.state, refused.error_code) == (JobState.FAILED, "hypervisor_login_refused")
    assert right in refused.error_detail
    endpoint.refresh_from_db()
    assert endpoint.state == Hypervisor.State.REACHABLE
    checked = run(endpoints.request_connection_check(SYSTEM, hypervisor=endpoint))
    assert (checked.state, right in checked.error_detail) == (JobState.SUCCEEDED, True)
    endpoint.refresh_from_db()
    assert endpoint.missing_privileges == [right]

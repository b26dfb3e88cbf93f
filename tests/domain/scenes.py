"""Scenes for the tests of jobs: one of each kind, ready to be carried out, and ways to say what must be true afterwards."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import time_machine
from django.conf import settings

from hypervisors.connections import open_driver
from hypervisors.drivers.simulated.rules import OPERATIONS
from hypervisors.drivers.simulated.world import Disk, Machine, Taken, World
from hypervisors.records import PowerAfterRevert, PowerState
from snapshots import tree, tree_resync
from snapshots.choices import ACTIVE_JOB_STATES, JobAction
from snapshots.models import Job, VirtualMachine, VMSnapshot, Volume
from snapshots.services import job_sweeper, machine_actions, snapshot_actions
from snapshots.services.book_check import check_books
from snapshots.services.job_runner import run_job
from snapshots.services.jobs import IN_BETWEEN
from tests.builders import Cloud, acting

DAY_SECONDS = 86_400


@dataclass
class Scene:
    """A queued job, the driver's method that carries it out, and what to look at."""

    cloud: Cloud
    machine: VirtualMachine
    job: Job
    operation: str

    @property
    def world(self) -> World:
        """The hypervisor's own side."""
        return self.cloud.world

    @property
    def native_id(self) -> str:
        """The machine, as its hypervisor calls it."""
        return self.machine.native_id

    def run(self) -> Job:
        """Carry the job out, as a worker would."""
        run_job(self.job.pk)
        return self.ended()

    def ended(self) -> Job:
        """The job's fresh row."""
        return Job.objects.get(pk=self.job.pk)

    def shape(self) -> tuple[object, ...]:
        """All that the job could change on the hypervisor."""
        with open_driver(self.cloud.hypervisor.pk) as driver:
            record = driver.read_machine(self.native_id)
            forest = driver.list_forests([self.native_id])[self.native_id]
        return (
            record.power_state,
            record.needs_consolidation,
            {volume.native_id for volume in record.volumes},
            forest.current_id,
            {(found.native_id, found.parent_id, found.name) for found in forest.snapshots},
        )


MACHINES = (
    Machine("db", power=PowerState.STOPPED, snapshots=(Taken("a"), Taken("b", parent=0), Taken("c", parent=1))),
    Machine("plain", power=PowerState.STOPPED),
    Machine("web", power=PowerState.RUNNING, disks=(Disk(name="web-root"), Disk(name="web-data"))),
)
"""`db` has the VM snapshots a, b below a, c below b, and stands at c; `plain` and `web` have none."""


def _branch(cloud: Cloud) -> VirtualMachine:
    return cloud.machine("db")


def _named(machine: VirtualMachine, name: str) -> VMSnapshot:
    found: VMSnapshot = VMSnapshot.objects.get(machine=machine, name=name)
    return found


def create(cloud: Cloud) -> Scene:
    machine = _branch(cloud)
    job = snapshot_actions.request_create(acting(None), machine=machine, name="new")
    return Scene(cloud, machine, job, "create_snapshot")


def revert(cloud: Cloud) -> Scene:
    machine = _branch(cloud)
    job = snapshot_actions.request_revert(acting(None), snapshot=_named(machine, "a"))
    return Scene(cloud, machine, job, "revert_to")


def revert_safely(cloud: Cloud) -> Scene:
    machine = _branch(cloud)
    job = snapshot_actions.request_revert(
        acting(None), snapshot=_named(machine, "a"), power=PowerAfterRevert.AS_SNAPSHOT, safety_snapshot=True
    )
    return Scene(cloud, machine, job, "revert_to")


def delete(cloud: Cloud) -> Scene:
    machine = _branch(cloud)
    job = snapshot_actions.request_delete(acting(None), snapshot=_named(machine, "b"))
    return Scene(cloud, machine, job, "delete_snapshot")


def delete_tree(cloud: Cloud) -> Scene:
    machine = _branch(cloud)
    job = snapshot_actions.request_delete_tree(acting(None), snapshot=_named(machine, "b"))
    return Scene(cloud, machine, job, "delete_with_descendants")


def delete_all(cloud: Cloud) -> Scene:
    machine = _branch(cloud)
    return Scene(cloud, machine, snapshot_actions.request_delete_all(acting(None), machine=machine), "delete_all")


def rename(cloud: Cloud) -> Scene:
    machine = _branch(cloud)
    job = snapshot_actions.request_rename(acting(None), snapshot=_named(machine, "b"), name="z", description="new")
    return Scene(cloud, machine, job, "rename_snapshot")


def start(cloud: Cloud) -> Scene:
    machine = cloud.machine("plain")
    return Scene(cloud, machine, machine_actions.request_start(acting(None), machine=machine), "start")


def stop(cloud: Cloud) -> Scene:
    machine = cloud.machine("web")
    return Scene(cloud, machine, machine_actions.request_stop(acting(None), machine=machine), "stop")


def attach(cloud: Cloud) -> Scene:
    machine = cloud.machine("plain")
    volume = Volume.objects.get(hypervisor=cloud.hypervisor, name="spare-1.qcow2")
    job = machine_actions.request_attach(acting(None), volume=volume, machine=machine)
    return Scene(cloud, machine, job, "attach_volume")


def detach(cloud: Cloud) -> Scene:
    machine = cloud.machine("web")
    volume = Volume.objects.get(hypervisor=cloud.hypervisor, name="web-data")
    return Scene(cloud, machine, machine_actions.request_detach(acting(None), volume=volume), "detach_volume")


def consolidate(cloud: Cloud) -> Scene:
    machine = cloud.machine("plain")
    cloud.world.leave_disks_behind(machine.native_id)
    cloud.sync()
    job = machine_actions.request_consolidate(acting(None), machine=machine)
    return Scene(cloud, machine, job, "consolidate_disks")


def sync(cloud: Cloud) -> Scene:
    machine = _branch(cloud)
    return Scene(cloud, machine, machine_actions.request_sync(acting(None), machine=machine), "read_machine")


CHANGING: dict[str, Callable[[Cloud], Scene]] = {
    JobAction.CREATE_SNAPSHOT: create,
    JobAction.REVERT_SNAPSHOT: revert,
    JobAction.DELETE_SNAPSHOT: delete,
    JobAction.DELETE_SNAPSHOT_TREE: delete_tree,
    JobAction.DELETE_ALL_SNAPSHOTS: delete_all,
    JobAction.RENAME_SNAPSHOT: rename,
    JobAction.START_MACHINE: start,
    JobAction.STOP_MACHINE: stop,
    JobAction.ATTACH_VOLUME: attach,
    JobAction.DETACH_VOLUME: detach,
    JobAction.CONSOLIDATE_DISKS: consolidate,
}

SCENES = {**CHANGING, JobAction.SYNC_MACHINE: sync}

changing = pytest.mark.parametrize("scene_of", CHANGING.values(), ids=CHANGING.keys())
any_job = pytest.mark.parametrize("scene_of", SCENES.values(), ids=SCENES.keys())


def changes_asked_for(world: World) -> int:
    """How often the hypervisor was asked to change anything."""
    return sum(count for operation, count in world.calls().items() if operation in OPERATIONS)


def assert_nothing_stays_in_between(scene: Scene) -> None:
    """The job has ended, nothing holds the machine, no VM snapshot is half-way, the trees are equal, and the books say what
    the rows say."""
    assert not Job.objects.filter(machine=scene.machine, state__in=ACTIVE_JOB_STATES).exists()
    assert not VMSnapshot.objects.filter(machine=scene.machine, state__in=IN_BETWEEN).exists()
    assert tree.damaged_machines() == []
    assert check_books(repair=False) == []
    with open_driver(scene.cloud.hypervisor.pk) as driver:
        forest = driver.list_forests([scene.native_id]).get(scene.native_id)
        record = driver.read_machine(scene.native_id) if forest is not None else None
    if forest is None or record is None:
        assert VirtualMachine.objects.get(pk=scene.machine.pk).missing_since is not None
        return
    rows = list(VMSnapshot.objects.filter(machine=scene.machine))
    assert not tree_resync.tree_differs(rows, forest)
    row = VirtualMachine.objects.get(pk=scene.machine.pk)
    assert (row.power_state, row.needs_consolidation) == (record.power_state, record.needs_consolidation)
    volumes = Volume.objects.filter(machine=scene.machine).values_list("native_id", flat=True)
    assert set(volumes) == {volume.native_id for volume in record.volumes}


@contextmanager
def later(seconds: float) -> Iterator[None]:
    """The same place, this much later."""
    with time_machine.travel(time.time() + seconds, tick=True):
        yield


def sweep_once_lost() -> None:
    """The sweeper's round at which a worker that fell silent now is taken for dead."""
    with later(settings.JOB_LOST_AFTER_SECONDS + 1):
        job_sweeper.sweep()


def read_again(cloud: Cloud) -> None:
    """The regular reading, once all that was done here has passed."""
    with later(DAY_SECONDS):
        assert cloud.sync().state == "succeeded"

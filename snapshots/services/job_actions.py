"""The jobs on a machine's power, volumes and disks, those on whole endpoints, and the table of all jobs on one machine."""

from django.conf import settings

from hypervisors.driver import HypervisorDriver, Watch
from hypervisors.records import MachineRecord, PowerState, SnapshotForest
from snapshots import ledger
from snapshots.choices import JobAction
from snapshots.models import Job, VirtualMachine, Volume
from snapshots.services import endpoint_health, inventory_sync
from snapshots.services.machine_job import MachineJob, TargetGone
from snapshots.services.snapshot_jobs import (
    CreateSnapshot,
    DeleteAllSnapshots,
    DeleteSnapshot,
    DeleteSnapshotTree,
    RenameSnapshot,
    RevertSnapshot,
)
from snapshots.services.snapshot_rules import volumes_locked


class StartMachine(MachineJob):
    """Start or resume the machine."""

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        driver.start(self.machine.native_id, watch)

    def record(self) -> None:
        VirtualMachine.objects.filter(pk=self.machine.pk).update(power_state=PowerState.RUNNING.value)

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        return machine.power_state == PowerState.RUNNING


class StopMachine(MachineJob):
    """Stop the machine."""

    @property
    def deadline_seconds(self) -> float:
        # A guest that does not hear must not keep its machine from being stopped by force.
        return super().deadline_seconds if self.job.arguments.get("force") else _guest_deadline()

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        driver.stop(self.machine.native_id, bool(self.job.arguments.get("force")), watch)

    def record(self) -> None:
        VirtualMachine.objects.filter(pk=self.machine.pk).update(power_state=PowerState.STOPPED.value)

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        return machine.power_state == PowerState.STOPPED


class AttachVolume(MachineJob):
    """Attach a loose volume."""

    def check(self, forest: SnapshotForest) -> None:
        if forest.snapshots:
            raise volumes_locked(self.machine, [record.name for record in forest.snapshots])

    @property
    def volume(self) -> Volume:
        """The volume the job is about. Raises `TargetGone`."""
        if self.job.volume is None:
            raise TargetGone("The volume is not known here any more.")
        return self.job.volume

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        driver.attach_volume(self.machine.native_id, self.volume.native_id)

    def record(self) -> None:
        Volume.objects.filter(pk=self.volume.pk).update(machine=self.machine, account=self.machine.account_id)
        ledger.settle([self.machine.pk])

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        return any(volume.native_id == self.volume.native_id for volume in machine.volumes)


class DetachVolume(AttachVolume):
    """Detach a volume."""

    @property
    def deadline_seconds(self) -> float:
        return _guest_deadline()

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        driver.detach_volume(self.machine.native_id, self.volume.native_id, watch)

    def record(self) -> None:
        Volume.objects.filter(pk=self.volume.pk).update(machine=None, target="")
        ledger.settle([self.machine.pk])

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        return not super().was_done(machine, forest)


class ConsolidateDisks(MachineJob):
    """Merge what removed snapshots left behind on the storage."""

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        driver.consolidate_disks(self.machine.native_id, watch)

    def record(self) -> None:
        VirtualMachine.objects.filter(pk=self.machine.pk).update(needs_consolidation=False)

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        return not machine.needs_consolidation


class SyncMachine(MachineJob):
    """Read the machine again: what every job does at its end is all there is to it."""

    only_looks = True

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        watch.report(10, "Reading the hypervisor")

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        return True


MACHINE_JOBS: dict[str, type[MachineJob]] = {
    JobAction.CREATE_SNAPSHOT: CreateSnapshot,
    JobAction.REVERT_SNAPSHOT: RevertSnapshot,
    JobAction.DELETE_SNAPSHOT: DeleteSnapshot,
    JobAction.DELETE_SNAPSHOT_TREE: DeleteSnapshotTree,
    JobAction.DELETE_ALL_SNAPSHOTS: DeleteAllSnapshots,
    JobAction.RENAME_SNAPSHOT: RenameSnapshot,
    JobAction.START_MACHINE: StartMachine,
    JobAction.STOP_MACHINE: StopMachine,
    JobAction.ATTACH_VOLUME: AttachVolume,
    JobAction.DETACH_VOLUME: DetachVolume,
    JobAction.CONSOLIDATE_DISKS: ConsolidateDisks,
    JobAction.SYNC_MACHINE: SyncMachine,
}


def read_endpoint(job: Job, driver: HypervisorDriver, watch: Watch) -> str:
    """Carry out a job on a whole endpoint: both kinds only read, and may be done again at any time. Answers what there is
    to say of it although it succeeded."""
    if job.action == JobAction.SYNC_HYPERVISOR:
        inventory_sync.sync_hypervisor(job.hypervisor_id, driver, watch)
        return ""
    endpoint_health.note_answer(job.hypervisor_id, driver.describe())
    return endpoint_health.note_privileges(job.hypervisor_id, driver.missing_privileges())


def _guest_deadline() -> float:
    """How long to wait for what only the guest can do."""
    return float(min(settings.GUEST_ANSWER_SECONDS, settings.JOB_DEADLINE_SECONDS))

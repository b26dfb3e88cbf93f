"""What a job on one machine is, whatever it does: how it begins in the rows, what it asks of the driver, what it writes
when that worked, and how to tell from looking at the hypervisor whether it was done.

The driver is called outside transactions; `check`, `begin` and `record` run inside the runner's. Before a job the machine's
tree is read and compared, and after it the machine and its tree again, so `record` writes only what such a reading cannot
know or what must stand even when the reading fails. The job runner enters, and the rooms of the kinds of jobs.
"""

from abc import ABC, abstractmethod

from django.conf import settings

from hypervisors.driver import HypervisorDriver, Watch
from hypervisors.errors import HypervisorError
from hypervisors.records import MachineRecord, SnapshotForest
from snapshots.models import Job, VirtualMachine, VMSnapshot


class TargetGone(Exception):
    """What the job was to act on has no row any more."""


class MachineJob(ABC):
    """A job that changes one machine."""

    only_looks = False
    """Whether there is nothing to it but the reading that follows every job, which then must not fail."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.target_went = False

    @property
    def deadline_seconds(self) -> float:
        """How long the hypervisor may take for it."""
        return float(settings.JOB_DEADLINE_SECONDS)

    @property
    def machine(self) -> VirtualMachine:
        """The machine the job holds. Raises `TargetGone`."""
        if self.job.machine is None:
            raise TargetGone("The machine is not known here any more.")
        return self.job.machine

    @property
    def snapshot(self) -> VMSnapshot:
        """The VM snapshot the job is about. Raises `TargetGone`."""
        if self.job.snapshot is None:
            raise TargetGone("The VM snapshot is not known here any more.")
        return self.job.snapshot

    def look_again(self, machine: VirtualMachine) -> None:
        """Others have changed the tree since the job was asked for, which is written down by now: read our rows anew.
        `target_went` says from then on whether the job's VM snapshot lost its row by that."""
        self.job.machine = machine
        if self.job.snapshot is not None:
            self.job.snapshot = VMSnapshot.objects.filter(pk=self.job.snapshot.pk).first()
            self.target_went = self.job.snapshot is None

    def check(self, forest: SnapshotForest) -> None:
        """Whether it still makes sense, given the machine's tree as it is right before it begins. Raises a `Refusal` or a
        `HypervisorError`, whose code and words end the job; nothing has been asked of the hypervisor then."""
        return

    def begin(self) -> None:
        """Write that it is under way."""
        return

    @abstractmethod
    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        """Ask the hypervisor for it. Raises what the driver raises."""

    def record(self) -> None:
        """Write that it was done."""
        return

    def record_part(self, forest: SnapshotForest) -> None:
        """Write what was done of it although it did not succeed, as the hypervisor shows."""
        return

    @abstractmethod
    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        """Whether the hypervisor, as seen now, shows that it was done; None when that cannot be told."""

    def clear_away(self, driver: HypervisorDriver, watch: Watch) -> None:
        """Before the outcome is looked for: have the hypervisor rid of what the action may have left half-way. Raises
        what the driver raises."""
        return

    def can_do_without(self, error: HypervisorError) -> bool:
        """Whether the job is done even though the hypervisor answered with this error."""
        return False

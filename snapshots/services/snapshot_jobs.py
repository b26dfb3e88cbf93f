"""The jobs on VM snapshots: take, revert, delete, rename. Only `job_actions` enters, whose table the job runner uses."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.db import transaction

from hypervisors.driver import HypervisorDriver, Watch
from hypervisors.errors import DriverMissing, HypervisorError, LoginRefused, NotFound, Rejected, TimedOut, Unreachable
from hypervisors.records import MachineRecord, PowerAfterRevert, SnapshotForest, SnapshotRecord, SnapshotRequest
from snapshots import ledger, tree
from snapshots.choices import SnapshotState
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services.jobs import require_owned
from snapshots.services.machine_job import MachineJob
from snapshots.services.snapshot_rules import name_taken


class CreateSnapshot(MachineJob):
    """Take a VM snapshot."""

    taken: SnapshotRecord | None = None

    def begin(self) -> None:
        tree.set_state(self.snapshot.pk, SnapshotState.CREATING)

    def check(self, forest: SnapshotForest) -> None:
        _require_free_name(self.machine, forest, self.snapshot)

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        self.taken = driver.create_snapshot(self.machine.native_id, _request(self.snapshot, self.job.arguments), watch)

    def record(self) -> None:
        if self.taken is not None:
            tree.confirm_taken(self.snapshot.pk, self.taken)

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        self.taken = forest.by_token(str(self.job.snapshot_uuid))
        return self.taken is not None


class RevertSnapshot(MachineJob):
    """Put the machine back to a VM snapshot, after taking a safety snapshot if one was asked for."""

    def check(self, forest: SnapshotForest) -> None:
        _require_there(self, forest)
        if "safety_snapshot" in self.job.arguments:
            _require_free_name(self.machine, forest, self._safety())

    def begin(self) -> None:
        self.job.arguments["was_current"] = self.snapshot.current
        Job.objects.filter(pk=self.job.pk).update(arguments=self.job.arguments)

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        if "safety_snapshot" in self.job.arguments:
            self._take_safety_snapshot(driver, watch)
        power = PowerAfterRevert(self.job.arguments["power"])
        driver.revert_to(self.machine.native_id, self.snapshot.native_id, power, watch)

    def _take_safety_snapshot(self, driver: HypervisorDriver, watch: Watch) -> None:
        safety = self._safety()
        watch.report(0, "Taking the safety snapshot")
        with transaction.atomic():
            self._hold()
            tree.set_state(safety.pk, SnapshotState.CREATING)
        taken = driver.create_snapshot(self.machine.native_id, _request(safety, self.job.arguments), watch)
        with transaction.atomic():
            self._hold()
            tree.confirm_taken(safety.pk, taken)
            self.job.arguments["was_current"] = False
            Job.objects.filter(pk=self.job.pk).update(arguments=self.job.arguments)
        watch.report(0, "Reverting")

    def _safety(self) -> VMSnapshot:
        safety: VMSnapshot = VMSnapshot.objects.get(uuid=self.job.arguments["safety_snapshot"])
        return safety

    def _hold(self) -> None:
        """Half-way through, make sure that the job is still this worker's before anything is written."""
        tree.hold_machine(self.machine.pk)
        require_owned(self.job)

    def record(self) -> None:
        tree.set_state(self.snapshot.pk, SnapshotState.READY)
        tree.make_current(self.machine.pk, self.snapshot.pk)
        ledger.note_revert(self.snapshot)

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        if "was_current" not in self.job.arguments or forest.current_id != self.snapshot.native_id:
            return False  # it had not begun, or the machine stands elsewhere
        return None if self.job.arguments["was_current"] else True


class Deletion(MachineJob):
    """What all ways of deleting share."""

    def clear_away(self, driver: HypervisorDriver, watch: Watch) -> None:
        # A deletion that was cut short may have left disks without a snapshot, and nobody would look for them again.
        with suppress(NotFound):  # the machine is gone, and with it whatever was left of it
            driver.finish_deletions(self.machine.native_id, watch)


class DeleteSnapshot(Deletion):
    """Delete one VM snapshot; its children move up. One that somebody else deleted before is what was wanted."""

    _native_id = ""

    def check(self, forest: SnapshotForest) -> None:
        if self.target_went:
            return
        if self.snapshot.native_id in forest.by_id():
            self._native_id = self.snapshot.native_id
        elif (late := forest.by_token(str(self.snapshot.uuid))) is not None:
            # A snapshot whose taking was given up may have been finished by the hypervisor afterwards.
            self._native_id = late.native_id

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        if not self._native_id:
            return  # it is not there: there is only the row
        try:
            driver.delete_snapshot(self.machine.native_id, self._native_id, watch)
        except NotFound:
            if self._native_id in _forest(driver, self.machine).by_id():
                raise

    def record(self) -> None:
        if VMSnapshot.objects.filter(uuid=self.job.snapshot_uuid).exists():
            tree.remove(self.snapshot.pk)

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        row = self.job.snapshot
        there = row is not None and row.native_id in forest.by_id()
        return not there and forest.by_token(str(self.job.snapshot_uuid)) is None

    def can_do_without(self, error: HypervisorError) -> bool:
        # An Error row can always be deleted, also when nobody can be asked about it. Should the hypervisor hold it after
        # all, the next sync shows it again.
        cannot_ask = NotFound | Unreachable | LoginRefused | TimedOut | DriverMissing
        return self.snapshot.error_code != "" and isinstance(error, cannot_ask)


class DeletionOfSeveral(Deletion):
    """Delete what was shown when that was asked for, and nothing else. Rows of what is lost or failed go with it."""

    def _doomed(self) -> list[VMSnapshot]:
        """The rows that were to go when that was asked for, as far as they are still there."""
        asked = [UUID(one) for one in self.job.arguments.get("doomed", ())]
        rows = VMSnapshot.objects.filter(machine=self.machine, parent__isnull=False, uuid__in=asked)
        return list(rows.order_by("lft"))

    def _there(self, forest: SnapshotForest) -> dict[int, str]:
        """Native ids of those that are on the hypervisor, by row; also of one whose taking was given up too early."""
        present = forest.by_id()
        found: dict[int, str] = {}
        for row in self._doomed():
            late = None if row.native_id in present else forest.by_token(str(row.uuid))
            if row.native_id in present or late is not None:
                found[row.pk] = late.native_id if late is not None else row.native_id
        return found

    def record(self) -> None:
        tree.remove_all_of(self.machine.pk, [row.pk for row in self._doomed()])

    def record_part(self, forest: SnapshotForest) -> None:
        there = self._there(forest)
        gone = [row.pk for row in self._doomed() if row.native_id and row.pk not in there and row.error_code == ""]
        tree.remove_all_of(self.machine.pk, gone)

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        return not self._there(forest)


class DeleteSnapshotTree(DeletionOfSeveral):
    """Delete a VM snapshot and everything below it."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._roots: list[str] = []

    def check(self, forest: SnapshotForest) -> None:
        doomed = self._there(forest)
        known = set(doomed.values())
        unseen = [
            record.name for record in forest.snapshots if record.parent_id in known and record.native_id not in known
        ]
        if unseen:
            raise Rejected(
                f"Below {self.job.snapshot_name} there is a VM snapshot that was not known here when you asked: "
                f"{unseen[0]}. Nothing was deleted. Look at the tree again."
            )
        parents = {record.native_id: record.parent_id for record in forest.snapshots}
        # Rows that are lost or failed may stand in between, so what is there can be several separate trees.
        self._roots = [native_id for native_id in doomed.values() if parents[native_id] not in known]

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        for native_id in self._roots:
            driver.delete_with_descendants(self.machine.native_id, native_id, watch)


class DeleteAllSnapshots(DeletionOfSeveral):
    """Delete all VM snapshots of a machine, in as few steps as its hypervisor allows."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._any_there = False

    def check(self, forest: SnapshotForest) -> None:
        known = set(self._there(forest).values())
        unseen = [record.name for record in forest.snapshots if record.native_id not in known]
        if unseen:
            raise Rejected(
                f"{self.machine.name} has a VM snapshot that was not known here when you asked: {unseen[0]}. Nothing was "
                "deleted. Look at the tree again."
            )
        self._any_there = bool(known)

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        if self._any_there:
            driver.delete_all(self.machine.native_id, watch)


class RenameSnapshot(MachineJob):
    """Change name and description."""

    @property
    def _wanted(self) -> tuple[str, str]:
        return self.job.arguments["name"], self.job.arguments["description"]

    def check(self, forest: SnapshotForest) -> None:
        _require_there(self, forest)
        name = self._wanted[0]
        others = VMSnapshot.objects.filter(machine=self.machine, parent__isnull=False, name=name)
        if name != self.snapshot.name and others.exclude(pk=self.snapshot.pk).exists():
            raise name_taken(self.machine, name)

    def perform(self, driver: HypervisorDriver, watch: Watch) -> None:
        driver.rename_snapshot(self.machine.native_id, self.snapshot.native_id, *self._wanted)

    def record(self) -> None:
        tree.rename(self.snapshot.pk, *self._wanted)

    def was_done(self, machine: MachineRecord, forest: SnapshotForest) -> bool | None:
        record = forest.by_id().get(self.snapshot.native_id)
        return record is not None and (record.name, record.description) == self._wanted


def _require_there(action: MachineJob, forest: SnapshotForest) -> None:
    """Raise `NotFound` unless the job's VM snapshot is on the hypervisor."""
    if action.target_went or action.snapshot.native_id not in forest.by_id():
        raise NotFound(
            f"{action.job.snapshot_name} is not on its hypervisor any more; somebody deleted it outside this product. "
            "Nothing was changed."
        )


def _require_free_name(machine: VirtualMachine, forest: SnapshotForest, snapshot: VMSnapshot) -> None:
    """Raise `NameTaken` when somebody else has taken a VM snapshot of the name meanwhile."""
    token = str(snapshot.uuid)
    if any(record.name == snapshot.name and record.token != token for record in forest.snapshots):
        raise name_taken(machine, snapshot.name)


def _request(snapshot: VMSnapshot, arguments: dict[str, Any]) -> SnapshotRequest:
    return SnapshotRequest(
        token=str(snapshot.uuid),
        name=snapshot.name,
        description=snapshot.description,
        memory=bool(arguments.get("memory")),
        quiesce=bool(arguments.get("quiesce")),
    )


def _forest(driver: HypervisorDriver, machine: VirtualMachine) -> SnapshotForest:
    """The machine's snapshots as they are now. Raises `NotFound` when the machine is gone."""
    forest = driver.list_forests([machine.native_id]).get(machine.native_id)
    if forest is None:
        raise NotFound(f"{machine.name} is not on its hypervisor any more.")
    return forest

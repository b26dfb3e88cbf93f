"""The contract every hypervisor driver keeps. One suite of tests runs over all of them (`tests/drivers/contract.py`).

A driver translates and nothing else: no database, no users, no limits, no retries of changing calls. It raises only
`hypervisors.errors`. Every call ends: within the endpoint's timeout for reads, within `deadline_seconds` of the watch
for changing calls; after that it raises `TimedOut` although the hypervisor may still be working.

Called from one thread at a time; a driver object is used for one job or one sync and then closed.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from hypervisors.capabilities import NOTHING_TO_CONSOLIDATE
from hypervisors.errors import Unsupported
from hypervisors.records import (
    Changes,
    HostRecord,
    Inventory,
    MachineRecord,
    PoolRecord,
    PowerAfterRevert,
    SnapshotForest,
    SnapshotRecord,
    SnapshotRequest,
    VolumeRecord,
)


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach one endpoint. `repr` never shows the password.

    `address` has the form its kind defines (a libvirt URI, a host name). `timeout_seconds` bounds connecting and each
    read. `options` are the kind's own, documented in its driver.

    For kinds that speak TLS by themselves: `ca_certificate` holds the certificates (PEM) that are trusted besides the
    system's, `insecure` gives up checking the server's certificate, and `redirect_hosts` are the other hosts to which the
    endpoint may send the login on (the members of a XenServer pool).
    """

    address: str
    username: str = ""
    password: str = ""
    timeout_seconds: float = 30.0
    options: tuple[tuple[str, str], ...] = ()
    ca_certificate: str = ""
    insecure: bool = False
    redirect_hosts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Login(address={self.address!r}, username={self.username!r})"


class Watch(Protocol):
    """The caller's side of a long call: it hears of progress and may ask for it to stop."""

    deadline_seconds: float
    """How long the whole call may take, in seconds from its start."""

    def report(self, percent: int, phase: str) -> None:
        """The call has come this far (0 to 100); `phase` is a short phrase for people. Cheap: call it whenever due."""
        ...

    def cancel_requested(self) -> bool:
        """Whether the user asked to stop. A driver that can does so, undoes what it began and raises `Cancelled`."""
        ...


@dataclass(slots=True)
class Unwatched:
    """The watch of calls that have none, such as attaching: nobody listens, nobody asks for them to stop."""

    deadline_seconds: float = float("inf")

    def report(self, percent: int, phase: str) -> None:
        """Nobody listens."""

    def cancel_requested(self) -> bool:
        """Nobody asks."""
        return False


class HypervisorDriver(ABC):
    """A connection to one endpoint. Construction connects and may raise `Unreachable`, `LoginRefused`, `TimedOut` or
    `DriverMissing`.

    Every method may raise `Unreachable` or `ConnectionLost` when the connection breaks (reads reconnect once first),
    `TimedOut`, and `NotPermitted` when rights are missing. Those that name a machine raise `NotFound` when it is gone, and
    `OutOfReach` when the endpoint answers and the machine's host or storage does not.
    """

    tells_changes = False
    """Whether `wait_for_changes` works here."""

    @abstractmethod
    def __init__(self, login: Login) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Give the connection back. Safe to call twice; never raises."""

    # Reading. Bulk calls: the number of round trips does not grow with what is read where the hypervisor allows it.

    @abstractmethod
    def describe(self) -> HostRecord:
        """The endpoint's own id, product and version."""

    @abstractmethod
    def list_pools(self) -> list[PoolRecord]:
        """All storage pools, inactive ones included."""

    @abstractmethod
    def list_machines(self) -> list[MachineRecord]:
        """All machines with volumes, power state and capabilities. One that vanishes while reading is left out."""

    @abstractmethod
    def read_machine(self, machine_id: str) -> MachineRecord:
        """One machine as `list_machines` would give it."""

    @abstractmethod
    def list_loose_volumes(self) -> list[VolumeRecord]:
        """Volumes in the pools that are attached to no machine and can be attached to one."""

    @abstractmethod
    def list_forests(self, machine_ids: Collection[str] | None = None) -> dict[str, SnapshotForest]:
        """The snapshot forests of these machines (None: of all). A machine that is gone has no entry."""

    @abstractmethod
    def operation_in_flight(self, machine_id: str) -> str | None:
        """What the hypervisor itself is carrying out on this machine right now, in a few words, or None."""

    def read_inventory(self) -> Inventory:
        """Everything at once."""
        return Inventory(
            host=self.describe(),
            pools=tuple(self.list_pools()),
            machines=tuple(self.list_machines()),
            loose_volumes=tuple(self.list_loose_volumes()),
            forests=self.list_forests(),
        )

    def missing_privileges(self) -> tuple[str, ...]:
        """What the login may not do although this product needs it, in the hypervisor's own words; empty where nothing is
        missing, or where the hypervisor knows no such thing."""
        return ()

    def wait_for_changes(self, cursor: str, wait_seconds: float) -> Changes:
        """What changed since the `Changes` that gave `cursor` (empty at the start: everything counts as changed, and the
        answer comes at once). With nothing changed yet, wait up to `wait_seconds` for something.

        A cursor is good for this driver object only, whatever the hypervisor would allow; one that nobody gave counts as
        empty. A change made after a machine was read, and a call before it, is told by the next call. Raises `Unsupported`
        where `tells_changes` is False.
        """
        raise Unsupported("This hypervisor does not tell what changed: it is read as a whole each time.")

    # Changing. Each either does the whole thing or raises with nothing left half-done, unless the error says that the
    # outcome is not known.

    @abstractmethod
    def create_snapshot(self, machine_id: str, request: SnapshotRequest, watch: Watch) -> SnapshotRecord:
        """Take a VM snapshot below the current one; it becomes current. The machine's power state stays as it was.

        Raises `Unsupported` (capabilities say why), `Rejected` (memory of a stopped machine; a request that has been
        carried out already, which stays as it is), `Busy`, `OutOfSpace`, `Cancelled`.
        """

    @abstractmethod
    def revert_to(self, machine_id: str, snapshot_id: str, power: PowerAfterRevert, watch: Watch) -> None:
        """Put the machine back to the snapshot, which becomes current. What runs now is lost.

        Raises `NotFound` for a snapshot that is gone, `Unsupported`, `Busy`, `Rejected`.
        """

    @abstractmethod
    def delete_snapshot(self, machine_id: str, snapshot_id: str, watch: Watch) -> None:
        """Delete one: its children move to its parent; if it was current its parent becomes current.

        Raises `NotFound`, `Busy`, `Rejected`.
        """

    @abstractmethod
    def delete_with_descendants(self, machine_id: str, snapshot_id: str, watch: Watch) -> None:
        """Delete the snapshot and everything below it; the machine itself keeps running as it is. If the current one
        was among them, the snapshot's parent becomes current.

        Raises as `delete_snapshot`. A failure half-way leaves a smaller, valid tree.
        """

    @abstractmethod
    def delete_all(self, machine_id: str, watch: Watch) -> None:
        """Delete all snapshots of the machine, however many trees they form; the machine itself keeps running as it is
        and stems from none afterwards. Nothing happens when there is none.

        Whatever is there when the hypervisor begins goes, so the caller looks right before. Raises `Busy`, `Rejected`,
        `OutOfSpace`, and `Unsupported` where one of them may not go. A failure half-way leaves a smaller, valid forest:
        what is left is found by reading.
        """

    def finish_deletions(self, machine_id: str, watch: Watch) -> None:
        """Clear away what deletions of this machine's snapshots left behind when they were cut short, where a
        hypervisor deletes in steps: disks of snapshots that are not in the forest any more. Nothing happens when there
        is none. Asked once the outcome of a deletion has to be found out. Raises as `delete_snapshot`."""
        return

    @abstractmethod
    def rename_snapshot(self, machine_id: str, snapshot_id: str, name: str, description: str) -> None:
        """Change name and description as users see them, not the native id. Raises `NotFound`, `Unsupported`."""

    @abstractmethod
    def start(self, machine_id: str, watch: Watch) -> None:
        """Start (or resume) the machine; returns once it runs. Nothing happens when it already runs."""

    @abstractmethod
    def stop(self, machine_id: str, force: bool, watch: Watch) -> None:
        """Stop the machine; returns once it is off. Nothing happens when it already is.

        Without `force` the guest is asked to shut down and `TimedOut` is raised, with nothing forced, when it does not
        within the deadline; with it the power is cut.
        """

    @abstractmethod
    def attach_volume(self, machine_id: str, volume_id: str) -> VolumeRecord:
        """Attach a loose volume, for good. Raises `NotFound`, `Busy` (attached elsewhere), `Unsupported`."""

    @abstractmethod
    def detach_volume(self, machine_id: str, volume_id: str, watch: Watch) -> None:
        """Detach the volume and keep its data; returns once the guest has let go of it.

        Raises `NotFound`, `Busy`, `TimedOut`.
        """

    def consolidate_disks(self, machine_id: str, watch: Watch) -> None:
        """Merge what removed snapshots left behind on the storage, for a machine that needs it
        (`MachineRecord.needs_consolidation`). Nothing happens when it does not. Raises `Unsupported`, `Busy`, `OutOfSpace`.
        """
        raise Unsupported(NOTHING_TO_CONSOLIDATE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

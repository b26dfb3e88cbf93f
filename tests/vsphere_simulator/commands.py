"""What the parent of a simulator can have happen: faults, tasks that stay under way until the test says so, lost answers,
sessions that end, and what another administrator would do. Each is a line of JSON (`launcher/control.go`), carried out
before the call returns.

Methods are named as on the wire: CreateSnapshot_Task, RetrievePropertiesEx. Machines are named by their names.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .world import Machine


class SimulatorError(Exception):
    """The simulator did not start, has ended, or refused a command; the words are its own."""


@dataclass(frozen=True)
class HeldTask:
    """A task that is under way. `task` is the value of its reference ("task-12")."""

    task: str
    method: str
    machine: str
    progress: int
    cancelled: bool


class Commands(ABC):
    """The commands; the simulator inherits them."""

    @abstractmethod
    def command(self, do: str, **fields: Any) -> Any:
        """Send a command and give its result. Raises `SimulatorError`."""

    # The next calls

    def fail(
        self,
        method: str,
        fault: str,
        *,
        machine: str = "",
        times: int = 1,
        at_call: bool = False,
        message: str = "",
        **fields: Any,
    ) -> None:
        """Have the next `times` calls (0: all until `clear`) of `method` fail with this fault (`TaskInProgress`): their
        task ends with it, or the call itself raises it. `fields` of the fault are set as given (`PrivilegeId="a.b"`).

        Any method can fail `at_call`; a task only those that change a machine's snapshots, power or devices.
        """
        self._plan(
            method=method, fault=fault, machine=machine, times=times, at_call=at_call, message=message, fields=fields
        )

    def hold(self, method: str, *, machine: str = "", times: int = 1, cancelable: bool = True, fault: str = "") -> None:
        """Have the tasks of the next calls stay under way until `release`, `forget` or a cancellation; with a `fault`
        they end with that when they are released."""
        self._plan(method=method, machine=machine, times=times, hold=True, stubborn=not cancelable, fault=fault)

    def drop(self, method: str, when: Literal["before", "after"], *, times: int = 1) -> None:
        """Have the connection end at the next call in place of an answer, before or after it is carried out."""
        self._plan(method=method, drop=when, times=times)

    def clear(self) -> None:
        """Forget what was planned, give back privileges, answer questions, end held tasks as cancelled."""
        self.command("clear")

    def calls(self) -> dict[str, int]:
        """How often each method has been called since the start."""
        counted: dict[str, int] = self.command("calls")
        return counted

    # Tasks under way

    def held_task(self, within_seconds: float = 30.0) -> HeldTask:
        """The task that is held, waited for if none is yet. Raises `SimulatorError` when none comes."""
        return HeldTask(**self.command("await", seconds=within_seconds)[0])

    def progress(self, task: HeldTask, percent: int) -> None:
        self.command("progress", task=task.task, percent=percent)

    def release(self, task: HeldTask) -> None:
        """Let it finish."""
        self.command("release", task=task.task)

    def forget(self, task: HeldTask, *, done: bool) -> None:
        """Make the server know nothing of the task any more, its work done or not."""
        self.command("forget", task=task.task, yes=done)

    # The account

    def end_sessions(self) -> None:
        """Log everybody out: their next call meets NotAuthenticated."""
        self.command("end sessions")

    def sessions(self) -> int:
        """How many are logged in."""
        number: int = self.command("sessions") or 0
        return number

    def take_privileges(self, *names: str) -> None:
        """Make these the privileges that the account lacks on everything ("VirtualMachine.State.CreateSnapshot")."""
        self.command("take privileges", names=names)

    # The inventory

    def add_machine(self, machine: Machine) -> None:
        self.command("add machine", new=asdict(machine))

    def delete_machine(self, machine: str) -> None:
        """Delete it, running or not; a task of its own ends with ManagedObjectNotFound."""
        self.command("delete", machine=machine)

    def ask(self, machine: str, text: str) -> None:
        """Have it wait for an answer, and its tasks with it."""
        self.command("ask", machine=machine, text=text)

    def set_tools(self, machine: str, *, installed: bool) -> None:
        self.command("tools", machine=machine, yes=installed)

    def set_deaf(self, machine: str, *, deaf: bool) -> None:
        """Whether its guest takes no notice when it is asked to shut down."""
        self.command("deaf guest", machine=machine, yes=deaf)

    def set_needs_consolidation(self, machine: str, *, needed: bool) -> None:
        self.command("consolidation", machine=machine, yes=needed)

    def set_disabled_methods(self, machine: str, *names: str) -> None:
        """What the server says cannot be called right now (`disabledMethod`)."""
        self.command("disable", machine=machine, names=names)

    def set_connection_state(self, machine: str, state: str) -> None:
        """`connected`, `disconnected`, `inaccessible`, `invalid` or `orphaned`."""
        self.command("connection", machine=machine, text=state)

    def make_disks_independent(self, machine: str) -> None:
        """Make its disks independent and persistent: snapshots leave them out."""
        self.command("independent", machine=machine)

    def set_free_space(self, datastore: str, free_bytes: int) -> None:
        self.command("free space", text=datastore, bytes=free_bytes)

    def set_accessible(self, datastore: str, *, accessible: bool) -> None:
        self.command("accessible", text=datastore, yes=accessible)

    def _plan(self, **plan: Any) -> None:
        self.command("plan", plan={name: value for name, value in plan.items() if value})


def for_go(value: Any) -> Any:
    """Names as Go's JSON reader matches them: without underscores, in any case. `fields` hold names of others."""
    if isinstance(value, dict):
        return {name.replace("_", ""): each if name == "fields" else for_go(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [for_go(each) for each in value]
    return value

"""The pool as one object: database, storage, sessions, faults and settings; and a call as those who answer it see it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypervisors.xen_simulator.database import Database
from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.faults import Cancellable, Faults
from hypervisors.xen_simulator.model import NULL
from hypervisors.xen_simulator.storage import Storage
from hypervisors.xen_simulator.task_runner import TaskRunner


@dataclass(frozen=True, slots=True)
class Account:
    """Who may log in, and as what (`model.ROLES`)."""

    password: str
    role: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How the simulator behaves. All times in seconds.

    `step_seconds`: how long each step of a long operation takes. `wait_seconds`: how long a call waits for another that
    is in its way; the real server waits for two hours. `collect_after`: when storage is coalesced by itself, 0 for only
    on request. `session_seconds`: how long a session may be idle. `request_seconds`: how long a request may take to
    come in.
    """

    step_seconds: float = 0.0
    wait_seconds: float = 7200.0
    collect_after: float = 0.0
    session_seconds: float = 86400.0
    request_seconds: float = 60.0


@dataclass
class Session:
    """Who is logged in, by the session's reference."""

    name: str
    role: str
    last_active: float


@dataclass
class Pool:
    """Everything that one server process holds."""

    folder: Path
    settings: Settings
    accounts: dict[str, Account]
    database: Database = field(init=False)
    storage: Storage = field(init=False)
    tasks: TaskRunner = field(init=False)
    faults: Faults = field(default_factory=Faults)
    sessions: dict[str, Session] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    full: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.database = Database(self.folder / "pool.sqlite3")
        self.storage = Storage(self.folder / "repositories")
        self.tasks = TaskRunner(self)

    @property
    def pool_ref(self) -> str:
        """The one pool."""
        return next(iter(self.database.tables["pool"]))

    @property
    def coordinator(self) -> str:
        """The host that answers."""
        master: str = self.database.get("pool", self.pool_ref, "master")
        return master


@dataclass
class Call(Cancellable):
    """One call under way. `task` is the task behind an asynchronous one; `called` the name with `Async.` before it."""

    pool: Pool
    called: str
    session: str = NULL
    user: str = ""
    role: str = ""
    task: str | None = None
    cancellable: bool = False

    @property
    def database(self) -> Database:
        """The pool's records."""
        return self.pool.database

    def set_cancellable(self, yes: bool) -> None:
        """From here on the task may (or may no longer) be cancelled."""
        self.cancellable = yes
        if self.task is not None and self.database.has("task", self.task):
            allowed = ["cancel", "destroy"] if yes else ["destroy"]
            self.database.set("task", self.task, allowed_operations=allowed)

    def raise_if_cancelled(self) -> None:
        """Raise TASK_CANCELLED when that was asked for and can be done."""
        if self.pool.stopping.is_set():
            raise XenFailure("INTERNAL_ERROR", "the server is stopping")
        if self.cancellable and self.task in self.pool.cancelled:
            raise XenFailure("TASK_CANCELLED", self.task or NULL)

    def progress(self, fraction: float) -> None:
        """Tell how far the work is, from 0 to 1."""
        if self.task is not None and self.database.has("task", self.task):
            self.database.set("task", self.task, progress=fraction)

    def step(self, name: str, fraction: float | None = None) -> None:
        """A step of the work begins: faults happen here, it takes its time, and it may be the last."""
        if fraction is not None:
            self.progress(fraction)
        self.pool.faults.pass_step(self.called, name, self)
        deadline = time.monotonic() + self.pool.settings.step_seconds
        while (left := deadline - time.monotonic()) > 0:
            self.pool.stopping.wait(min(left, 0.1))
            self.raise_if_cancelled()
        self.raise_if_cancelled()


Handler = Callable[..., Any]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Says which messages a function answers. It gets the call and the parameters, and returns the result."""

    def register(function: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, function))
        return function

    return register

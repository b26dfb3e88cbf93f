"""Runs asynchronous calls, each in a thread of its own, and keeps what remains of them until it is collected."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import NEVER, ROLES
from hypervisors.xen_simulator.moment import now

if TYPE_CHECKING:
    from hypervisors.xen_simulator.pool import Call, Pool

KEPT_SECONDS = 65 * 60.0
KEPT_FINISHED = 200
RUNNING_MOST = 100


class TaskRunner:
    """Starts tasks and collects those that ended long ago. One per pool."""

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.owners: dict[str, str] = {}
        self._ended: dict[str, float] = {}
        self._running: set[str] = set()

    def start(self, call: "Call", label: str, work: Callable[[], str]) -> str:
        """Make a task and let it do the work, which returns the written result. Raises TOO_MANY_PENDING_TASKS."""
        self.collect()
        database = self.pool.database
        with database.change():
            if len(self._running) >= RUNNING_MOST:
                raise XenFailure("TOO_MANY_PENDING_TASKS")
            task = self.make(call, label, "")
            self._running.add(task)
        call.task = task
        threading.Thread(target=self._run, args=(call, task, work), name=label, daemon=True).start()
        return task

    def make(self, call: "Call", label: str, description: str) -> str:
        """A pending task."""
        task = self.pool.database.create(
            "task",
            name_label=label,
            name_description=description,
            created=now(),
            finished=NEVER,
            status="pending",
            type="<none/>",
            resident_on=self.pool.coordinator,
            allowed_operations=["destroy"],
        )
        self.owners[task] = call.user
        return task

    def _run(self, call: "Call", task: str, work: Callable[[], str]) -> None:
        status, result, error_info = "failure", "", []
        try:
            result = work()
            status = "success"
        except XenFailure as failed:
            status = "cancelled" if failed.code == "TASK_CANCELLED" else "failure"
            error_info = failed.description
        except Exception as error:  # whatever it is, the task must end and say so
            error_info = ["INTERNAL_ERROR", f"{type(error).__name__}: {error}"]
            raise
        finally:
            self._end(call, task, status, result, error_info)

    def _end(self, call: "Call", task: str, status: str, result: str, error_info: list[str]) -> None:
        database = self.pool.database
        with database.change():
            self._running.discard(task)
            self.pool.cancelled.discard(task)
            self._ended[task] = time.monotonic()
            if not database.has("task", task):
                return  # destroyed meanwhile
            if self.pool.faults.take(frozenset({"forget_task"}), call.called, None):
                self.forget(task)
                return
            done = {"progress": 1.0} if status == "success" else {}
            database.set(
                "task",
                task,
                status=status,
                result=result,
                error_info=error_info,
                finished=now(),
                allowed_operations=["destroy"],
                current_operations={},
                **done,
            )

    def forget(self, task: str) -> None:
        """Delete a task; its work, if any, goes on unseen."""
        with self.pool.database.change():
            self.owners.pop(task, None)
            self._ended.pop(task, None)
            if self.pool.database.has("task", task):
                self.pool.database.delete("task", task)

    def collect(self) -> None:
        """Delete finished tasks after 65 minutes, the oldest sooner when there are more than 200."""
        with self.pool.database.change():
            oldest = sorted(self._ended, key=self._ended.__getitem__)
            too_many = len(oldest) - KEPT_FINISHED
            late = time.monotonic() - KEPT_SECONDS
            for number, task in enumerate(oldest):
                if number < too_many or self._ended[task] < late:
                    self.forget(task)

    def assert_own(self, call: "Call", task: str, what: str) -> None:
        """Anybody may end their own tasks; those of others take a pool operator."""
        self.pool.database.row("task", task)
        if self.owners.get(task) != call.user and ROLES.index(call.role) < ROLES.index("pool-operator"):
            raise XenFailure("RBAC_PERMISSION_DENIED", f"task.{what}/any", "No permission in user session.")

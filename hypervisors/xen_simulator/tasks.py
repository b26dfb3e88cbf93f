"""The messages of tasks; `task_runner` does their work."""

from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.pool import Call, handles


@handles("task.cancel")
def cancel(call: Call, task: str) -> None:
    """task.cancel: a request. The status stays pending until the work notices."""
    database = call.database
    call.pool.tasks.assert_own(call, task, "cancel")
    with database.change():
        values = database.row("task", task).values
        if "cancel" not in values["allowed_operations"]:
            raise XenFailure("OPERATION_NOT_ALLOWED", f"task {task} cannot be cancelled")
        call.pool.cancelled.add(task)
        database.put("task", task, "current_operations", call.session, "cancel")


@handles("task.destroy")
def destroy(call: Call, task: str) -> None:
    """task.destroy"""
    call.pool.tasks.assert_own(call, task, "destroy")
    call.pool.tasks.forget(task)


@handles("task.create")
def create(call: Call, label: str, description: str) -> str:
    """task.create: a task of the client's own, which nothing here works on."""
    return call.pool.tasks.make(call, label, description)


@handles("task.set_status", "task.set_progress", "task.set_result", "task.set_error_info")
def set_field(call: Call, task: str, value: object) -> None:
    """The setters for a task of the client's own."""
    call.pool.tasks.assert_own(call, task, "set")
    call.database.set("task", task, **{call.called.rpartition(".set_")[2]: value})

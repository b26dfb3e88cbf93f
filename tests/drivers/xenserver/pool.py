"""Pools of the XenAPI simulator for the tests of the driver, and another administrator who uses XenAPI by himself.

Only the tests of the XenServer driver enter.
"""

import ssl
import time
import xmlrpc.client
from typing import Any

import XenAPI

from hypervisors.driver import Login
from hypervisors.xen_simulator.process import XenSimulator

TIMEOUT_SECONDS = 20.0


def login_to(pool: XenSimulator, **other: Any) -> Login:
    """A login of the pool's local administrator."""
    values: dict[str, Any] = {
        "address": pool.url,
        "username": pool.username,
        "password": pool.password,
        "timeout_seconds": TIMEOUT_SECONDS,
        "ca_certificate": pool.ca_certificate,
    }
    return Login(**values | other)


def client_of(pool: XenSimulator) -> Any:
    """The official client by itself, logged in."""
    transport = xmlrpc.client.SafeTransport(context=ssl.create_default_context(cadata=pool.ca_certificate))
    client = XenAPI.Session(pool.url, transport=transport)
    client.login_with_password(pool.username, pool.password, "1.0", "somebody else")
    return client


class ElsewhereInThePool:
    """Takes and deletes through XenAPI, as the vendor's own tools do."""

    def __init__(self, pool: XenSimulator) -> None:
        self._client = client_of(pool)

    def take(self, machine_id: str, name: str) -> None:
        api = self._client.xenapi
        self.finished(api.Async.VM.snapshot(api.VM.get_by_uuid(machine_id), name))

    def delete(self, machine_id: str, snapshot_id: str) -> None:
        api = self._client.xenapi
        snapshot = api.VM.get_by_uuid(snapshot_id)
        disks = [api.VBD.get_VDI(slot) for slot in api.VM.get_VBDs(snapshot) if api.VBD.get_type(slot) == "Disk"]
        if api.VM.get_power_state(snapshot) != "Halted":
            self.finished(api.Async.VM.hard_shutdown(snapshot))
        self.finished(api.Async.VM.destroy(snapshot))
        for disk in disks:
            self.finished(api.Async.VDI.destroy(disk))

    def finished(self, task: str) -> None:
        """Wait for a task and see it succeed."""
        api = self._client.xenapi
        while api.task.get_status(task) == "pending":
            time.sleep(0.01)
        assert api.task.get_status(task) == "success", api.task.get_error_info(task)
        api.task.destroy(task)

    def close(self) -> None:
        self._client.xenapi.session.logout()


def uuids_by_name(pool: XenSimulator) -> dict[str, str]:
    """The uuids of all machines by their names. Where two have the same name, one of them is told."""
    records = client_of(pool).xenapi.VM.get_all_records().values()
    return {record["name_label"]: record["uuid"] for record in records if not record["is_a_snapshot"]}


def add_machine(pool: XenSimulator, **more: Any) -> str:
    """A machine of its own for a test: off, 64 MiB of memory and one disk, unless said otherwise. Returns its uuid."""
    disk = {"repository": "Local storage", "size": 64 << 20, "written": 4096}
    entry = {"name": "web", "memory": 64 << 20, "disks": [disk], **more}
    return str(pool.control.add_machine(entry)["uuid"])


def disks_of_the_pool(pool: XenSimulator) -> set[str]:
    """The uuids of all disks that are there once the storage has merged what can be merged."""
    pool.control.collect_garbage()
    return {disk["uuid"] for disk in client_of(pool).xenapi.VDI.get_all_records().values()}


def calls_of(pool: XenSimulator, message: str) -> int:
    """How often the message was sent since the last `control.clear`, by itself or as a task."""
    return sum(name.removeprefix("Async.") == message for name, _, _ in pool.control.calls())

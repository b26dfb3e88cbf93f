"""What the tests of the vSphere driver stand on: a simulator to talk to, and another administrator at it, who uses
pyvmomi's own client and nothing of the driver."""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyVmomi import SoapStubAdapter, vim, vmodl

from hypervisors.driver import Login
from hypervisors.drivers.vmware.driver import VMwareDriver
from tests.vsphere_simulator.binary import why_not
from tests.vsphere_simulator.server import VsphereSimulator
from tests.vsphere_simulator.world import LooseDisk, Machine, World

needs_simulator = pytest.mark.skipif(bool(why_not()), reason=why_not())

TASK_SECONDS = 60.0
WORLD = World(
    machines=(Machine("web", running=True), Machine("db"), Machine("goes", running=True)),
    loose_disks=(LooseDisk("[LocalDS_0] spare/spare.vmdk"),),
)
"""Where a file of tests has no world of its own."""


def login_to(server: VsphereSimulator, timeout_seconds: float = 30.0) -> Login:
    """A login that works."""
    return Login(
        server.address,
        username=server.username,
        password=server.password,
        timeout_seconds=timeout_seconds,
        ca_certificate=server.ca_certificate,
    )


class Administrator:
    """Another administrator at the same server."""

    def __init__(self, server: VsphereSimulator) -> None:
        trust = ssl.create_default_context(cadata=server.ca_certificate)
        stub = SoapStubAdapter(
            host="127.0.0.1",
            port=server.port,
            version="vim.version.version11",
            sslContext=trust,
            httpConnectionTimeout=30,
        )
        self.content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        self.session = self.content.sessionManager.Login(server.username, server.password, None)
        self._stub = stub

    def close(self) -> None:
        self._stub.DropConnections()

    def machine(self, machine_id: str) -> Any:
        """The machine's reference."""
        return self.content.searchIndex.FindByUuid(None, machine_id, True, True)

    def read(self, managed: Any, path: str) -> Any:
        """One property, None where it is not set."""
        collector = vmodl.query.PropertyCollector
        wanted = collector.FilterSpec(
            objectSet=[collector.ObjectSpec(obj=managed)],
            propSet=[collector.PropertySpec(type=type(managed), pathSet=[path])],
        )
        seen = self.content.propertyCollector.RetrievePropertiesEx([wanted], collector.RetrieveOptions())
        return next((one.val for one in seen.objects[0].propSet), None)

    def wait(self, task: Any) -> Any:
        """The result of a task that ends well."""
        until = time.monotonic() + TASK_SECONDS
        while str(self.read(task, "info.state")) not in ("success", "error"):
            assert time.monotonic() < until, "the task does not end"
            time.sleep(0.02)
        fault = self.read(task, "info.error")
        assert fault is None, fault
        return self.read(task, "info.result")

    def take(self, machine_id: str, name: str, description: str = "") -> str:
        """Take a snapshot without memory below the current one; gives its native id."""
        made = self.wait(self.machine(machine_id).CreateSnapshot(name, description, False, False))
        return str(made._GetMoId())

    def delete(self, machine_id: str, snapshot_id: str) -> None:
        self.wait(vim.vm.Snapshot(snapshot_id, self._stub).Remove(False, True))

    def revert(self, snapshot_id: str) -> None:
        self.wait(vim.vm.Snapshot(snapshot_id, self._stub).Revert(None, False))

    def rename(self, snapshot_id: str, name: str) -> None:
        vim.vm.Snapshot(snapshot_id, self._stub).Rename(name, None)

    def make(self, name: str) -> str:
        """Make a machine without disks; gives its native id."""
        (datacenter,) = self.found(vim.Datacenter)[:1]
        pool = self.found(vim.ResourcePool)[0]
        (store,) = [self.read(one, "name") for one in self.found(vim.Datastore)][:1]
        spec = vim.vm.ConfigSpec(
            name=name, memoryMB=64, numCPUs=1, guestId="otherGuest", files=vim.vm.FileInfo(vmPathName=f"[{store}]")
        )
        made = self.wait(self.read(datacenter, "vmFolder").CreateVm(spec, pool, None))
        return str(self.read(made, "config.instanceUuid"))

    def destroy(self, machine_id: str) -> None:
        """Destroy the machine, if it is still there."""
        machine = self.machine(machine_id)
        if machine is not None:
            self.wait(machine.Destroy())

    def found(self, kind: type) -> list[Any]:
        """Everything of this type in the inventory."""
        view = self.content.viewManager.CreateContainerView(self.content.rootFolder, [kind], True)
        return list(self.read(view, "view") or ())

    def end_other_sessions(self) -> int:
        """End every session but this one; gives how many there were."""
        others = [
            one.key for one in self.read(self.content.sessionManager, "sessionList") if one.key != self.session.key
        ]
        if others:
            self.content.sessionManager.Terminate(others)
        return len(others)


@contextmanager
def administrator_at(server: VsphereSimulator) -> Iterator[Administrator]:
    """Another administrator, gone at the end."""
    administrator = Administrator(server)
    try:
        yield administrator
    finally:
        administrator.close()


def named(driver: VMwareDriver, name: str) -> str:
    """The native id of the machine of this name."""
    (found,) = [machine.native_id for machine in driver.list_machines() if machine.name == name]
    return found


def until_true(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until the condition holds; fails when it does not."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it has not come about"
        time.sleep(0.02)

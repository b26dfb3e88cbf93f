"""A plain pyvmomi client for tests: another administrator at the same server, who does not use the driver."""

import ssl
from typing import Any, Protocol

from pyVmomi import SoapStubAdapter, vim, vmodl

Collector = vmodl.query.PropertyCollector
ANSWER_WITHIN_SECONDS = 180
# A connection left alone for longer is not used again: the server closes it after a while, and then the call would fail.
IDLE_SECONDS = 5


class Door(Protocol):
    """How to get in: a `VsphereSimulator` says so, and the demo's does in a file."""

    @property
    def port(self) -> int: ...

    @property
    def username(self) -> str: ...

    @property
    def password(self) -> str: ...

    @property
    def ca_certificate(self) -> str: ...


class Client:
    """Logged in to a simulator. Reads by property paths, as its tasks and machines have to be read."""

    def __init__(self, server: Door, password: str | None = None, ca_certificate: str | None = None) -> None:
        context = ssl.create_default_context(cadata=ca_certificate or server.ca_certificate)
        self.stub = SoapStubAdapter(
            host="127.0.0.1",
            port=server.port,
            sslContext=context,
            version="vim.version.version10",
            httpConnectionTimeout=ANSWER_WITHIN_SECONDS,
            connectionPoolTimeout=IDLE_SECONDS,
        )
        self.content: Any = vim.ServiceInstance("ServiceInstance", self.stub).RetrieveContent()
        self.content.sessionManager.Login(server.username, server.password if password is None else password)

    def close(self) -> None:
        """Drop the connection; the session stays."""
        self.stub.DropConnections()

    def read(self, thing: Any, *paths: str) -> dict[str, Any]:
        """The properties that are set."""
        found = self.content.propertyCollector.RetrievePropertiesEx(
            [spec_of(thing, *paths)], Collector.RetrieveOptions()
        )
        return {each.name: each.val for each in found.objects[0].propSet}

    def view(self, kind: Any) -> Any:
        """A view of everything of this kind."""
        return self.content.viewManager.CreateContainerView(self.content.rootFolder, [kind], True)

    def machine(self, name: str) -> Any:
        """The machine of this name."""
        found = {self.read(each, "name")["name"]: each for each in self.view(vim.VirtualMachine).view}
        return found[name]

    def outcome(self, task: Any) -> Any:
        """What a task that has ended gave; its fault is raised."""
        info = self.read(task, "info.state", "info.error", "info.result")
        assert info["info.state"] in ("success", "error"), info
        if "info.error" in info:
            raise info["info.error"]
        return info.get("info.result")

    def forest(self, machine: Any) -> tuple[dict[str, str | None], str | None]:
        """The name of each snapshot with its parent's, and the name of the current one."""
        seen = self.read(machine, "snapshot.rootSnapshotList", "snapshot.currentSnapshot")
        parents: dict[str, str | None] = {}
        current = None
        waiting = [(root, None) for root in seen.get("snapshot.rootSnapshotList", [])]
        while waiting:
            node, parent = waiting.pop(0)
            parents[node.name] = parent
            if node.snapshot == seen.get("snapshot.currentSnapshot"):
                current = node.name
            waiting += [(child, node.name) for child in node.childSnapshotList]
        return parents, current

    def node(self, machine: Any, name: str) -> Any:
        """The node of the snapshot with this name."""
        waiting = list(self.read(machine, "snapshot.rootSnapshotList").get("snapshot.rootSnapshotList", []))
        while waiting:
            node = waiting.pop()
            if node.name == name:
                return node
            waiting += node.childSnapshotList
        raise LookupError(name)

    def take(self, machine: Any, name: str, *, memory: bool = False, quiesce: bool = False) -> Any:
        return self.outcome(machine.CreateSnapshot_Task(name, "", memory, quiesce))

    def disks(self, machine: Any) -> list[Any]:
        devices = self.read(machine, "config.hardware.device")["config.hardware.device"]
        return [device for device in devices if isinstance(device, vim.vm.device.VirtualDisk)]


def spec_of(thing: Any, *paths: str) -> Any:
    """What to read of one thing."""
    return Collector.FilterSpec(
        objectSet=[Collector.ObjectSpec(obj=thing)],
        propSet=[Collector.PropertySpec(type=type(thing), pathSet=list(paths))],
    )


def spec_of_all(view: Any, kind: Any, *paths: str) -> Any:
    """What to read of everything of this kind in a view."""
    along = Collector.TraversalSpec(name="all", path="view", skip=False, type=vim.view.ContainerView)
    return Collector.FilterSpec(
        objectSet=[Collector.ObjectSpec(obj=view, skip=True, selectSet=[along])],
        propSet=[Collector.PropertySpec(type=kind, pathSet=list(paths))],
    )

"""The hypervisors' own tools at work behind the product's back: virsh, the pyvmomi client, the XenAPI client. Each does the
same things to one machine of the running demo, and tells its tree as the hypervisor itself has it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from lxml import etree
from pyVmomi import vim

from hypervisors.lab import Lab, LabError
from hypervisors.xen_simulator.process import XenSimulator
from tests.browser.running_product import Product
from tests.browser.trees import Seen
from tests.vsphere_simulator import client as vsphere
from tests.xen_simulator import client as xenapi
from tests.xen_simulator.ground import Ground

TASK_SECONDS = 120


class OwnTool(Protocol):
    """One machine, worked on with its hypervisor's own client."""

    def seen(self) -> Seen:
        """The tree and where the machine stands."""

    def power(self) -> str:
        """ "Running", "Stopped" or "Suspended", as the pages call it."""

    def take(self, name: str) -> None: ...

    def revert(self, name: str) -> None: ...

    def delete(self, name: str) -> None:
        """This one only."""


class Virsh:
    """virsh."""

    def __init__(self, lab: Lab, machine: str) -> None:
        self._lab = lab
        self._machine = machine

    def seen(self) -> Seen:
        names, parents = {}, {}
        for native in self._lab.virsh("snapshot-list", self._machine, "--name").split():
            found = etree.fromstring(self._lab.virsh("snapshot-dumpxml", self._machine, native))
            names[native] = _shown_name(found.findtext("description") or "", native)
            parents[native] = found.findtext("parent/name")
        try:
            current = self._lab.virsh("snapshot-current", self._machine, "--name").strip()
        except LabError as error:
            if "no current snapshot" not in str(error):
                raise
            current = None
        return Seen({name: names.get(parents[native]) for native, name in names.items()}, names.get(current))

    def power(self) -> str:
        words = {"running": "Running", "shut off": "Stopped"}
        return words[self._lab.virsh("domstate", self._machine).strip()]

    def take(self, name: str) -> None:
        self._lab.virsh("snapshot-create-as", self._machine, name)

    def revert(self, name: str) -> None:
        self._lab.virsh("snapshot-revert", self._machine, self._native(name))

    def delete(self, name: str) -> None:
        self._lab.virsh("snapshot-delete", self._machine, self._native(name))

    def _native(self, name: str) -> str:
        for native in self._lab.virsh("snapshot-list", self._machine, "--name").split():
            found = etree.fromstring(self._lab.virsh("snapshot-dumpxml", self._machine, native))
            if _shown_name(found.findtext("description") or "", native) == name:
                return native
        raise LookupError(name)


def _shown_name(description: str, native: str) -> str:
    """libvirt cannot rename, so the product keeps its names in the first line of the description, and marks that."""
    lines = description.strip().splitlines()
    return lines[0] if lines and lines[-1].startswith("[vmsnap") else native


class Pyvmomi:
    """The pyvmomi client."""

    def __init__(self, client: vsphere.Client, machine: str) -> None:
        self._client = client
        self._machine = client.machine(machine)

    def seen(self) -> Seen:
        return Seen(*self._client.forest(self._machine))

    def power(self) -> str:
        words = {"poweredOn": "Running", "poweredOff": "Stopped", "suspended": "Suspended"}
        return words[self._client.read(self._machine, "runtime.powerState")["runtime.powerState"]]

    def take(self, name: str) -> None:
        self._finish(self._machine.CreateSnapshot_Task(name, "", False, False))

    def revert(self, name: str) -> None:
        self._finish(self._snapshot(name).RevertToSnapshot_Task())

    def delete(self, name: str) -> None:
        self._finish(self._snapshot(name).RemoveSnapshot_Task(False))

    def _snapshot(self, name: str) -> Any:
        return self._client.node(self._machine, name).snapshot

    def _finish(self, task: Any) -> None:
        until = time.monotonic() + TASK_SECONDS
        ended = (vim.TaskInfo.State.success, vim.TaskInfo.State.error)
        while self._client.read(task, "info.state")["info.state"] not in ended:
            assert time.monotonic() < until, "the task does not end"
            time.sleep(0.1)  # the pace of asking; the condition is the task's end
        self._client.outcome(task)


class XenApi:
    """The XenAPI client."""

    def __init__(self, pool: XenSimulator, session: Any, machine: str) -> None:
        self._session = session
        self._ground = Ground(pool, session.xenapi)
        self._api = session.xenapi
        self._machine = next(
            ref for ref in self._api.VM.get_by_name_label(machine) if not self._api.VM.get_is_a_snapshot(ref)
        )

    def seen(self) -> Seen:
        self._connect_anew()
        return Seen(*self._ground.tree(self._machine))

    def power(self) -> str:
        self._connect_anew()
        words = {"Running": "Running", "Halted": "Stopped", "Suspended": "Suspended"}
        return words[self._api.VM.get_power_state(self._machine)]

    def take(self, name: str) -> None:
        self._connect_anew()
        self._ground.do("VM.snapshot", self._machine, name)

    def revert(self, name: str) -> None:
        self._ground.do("VM.revert", self._snapshot(name))

    def delete(self, name: str) -> None:
        """The record and, as a tidy administrator does, the disks and the memory it leaves."""
        snapshot = self._snapshot(name)
        disks = list(self._ground.disks(snapshot).values())
        memory = self._api.VM.get_suspend_VDI(snapshot)
        if self._api.VM.get_power_state(snapshot) != "Halted":
            self._ground.do("VM.hard_shutdown", snapshot)
        self._ground.do("VM.destroy", snapshot)
        for disk in [*disks, memory]:
            if disk in self._api.VDI.get_all():
                self._ground.do("VDI.destroy", disk)

    def close(self) -> None:
        """Log out."""
        self._connect_anew()
        self._api.session.logout()
        self._session("close")()

    def _snapshot(self, name: str) -> str:
        self._connect_anew()
        records = {ref: self._api.VM.get_name_label(ref) for ref in self._api.VM.get_snapshots(self._machine)}
        return next(ref for ref, label in records.items() if label == name)

    def _connect_anew(self) -> None:
        """What was left alone for a while may have been closed at the other end."""
        self._session("close")()


class _Told(NamedTuple):
    """What the demo's vCenter tells about getting in."""

    port: int
    username: str
    password: str
    ca_certificate: str


@contextmanager
def own_tool(product: Product, kind: str, machine: str) -> Iterator[OwnTool]:
    """The own tool of this kind of hypervisor, connected."""
    if kind == "libvirt":
        yield Virsh(product.lab, machine)
        return
    folder = product.folder / {"vmware": "vsphere", "xenserver": "xenserver"}[kind]
    told = json.loads((folder / "server.json").read_text(encoding="utf-8"))
    if kind == "vmware":
        client = vsphere.Client(_Told(*(told[name] for name in _Told._fields)))
        try:
            yield Pyvmomi(client, machine)
        finally:
            client.content.sessionManager.Logout()
            client.close()
        return
    # Never started here: it tells where the demo's is and whom it trusts.
    pool = XenSimulator(folder, port=told["port"])
    session = xenapi.unconnected(pool)
    session.login_with_password(pool.username, pool.password, "1.0", "another tool")
    tool = XenApi(pool, session, machine)
    yield tool
    tool.close()

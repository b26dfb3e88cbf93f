"""1,000 machines of the vCenter simulator, each with a tree of VM snapshots, and one bare bulk read of the same paths."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pyVmomi import vim, vmodl

from hypervisors.drivers.vmware.machines import FOREST_PATHS, MACHINE_PATHS, SURROUNDING_PATHS
from hypervisors.drivers.vmware.storage import DATASTORE_PATHS
from tests.bench.syncs import Compared, NotToBeHad
from tests.builders import endpoint_of
from tests.drivers.vmware.vsphere_ground import administrator_at
from tests.vsphere_simulator.binary import why_not
from tests.vsphere_simulator.server import VsphereSimulator
from tests.vsphere_simulator.world import Machine, World

MACHINES = 1000
SNAPSHOTS_EACH = 5


@contextmanager
def many_vsphere_machines() -> Iterator[Compared]:
    """The simulator with these machines. Raises `NotToBeHad`."""
    if reason := why_not():
        raise NotToBeHad(reason)
    machines = tuple(Machine(f"many-{number:04d}", snapshots=SNAPSHOTS_EACH) for number in range(MACHINES))
    with (
        tempfile.TemporaryDirectory(prefix="vmsnap-bench-vsphere-") as folder,
        VsphereSimulator(Path(folder), World(machines=machines)) as server,
        ExitStack() as stack,
    ):
        hypervisor = endpoint_of(server, "vmware", "many vSphere machines")

        def take(machine_id: str, name: str) -> None:
            with administrator_at(server) as other:
                other.take(machine_id, name)

        yield Compared(
            what=f"{MACHINES:,} vSphere machines x {SNAPSHOTS_EACH} VM snapshots",
            hypervisor=hypervisor,
            bare=_Bare(server, stack).read,
            bare_words="one bare bulk PropertyCollector read of the same paths, by pyvmomi",
            take=take,
        )


class _Bare:
    """Reads the paths that the driver reads, of the same objects, in one call (and more while the server pages). It logs in
    when it is first asked: a connection that nobody uses for long is closed by the server."""

    def __init__(self, server: VsphereSimulator, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack
        self._content: Any = None
        self._wanted: Any = None

    def read(self) -> int:
        """How many objects came."""
        if self._content is None:
            self._content = self._stack.enter_context(administrator_at(self._server)).content
            self._wanted = _filter(self._content)
        collector = self._content.propertyCollector
        page = collector.RetrievePropertiesEx([self._wanted], vmodl.query.PropertyCollector.RetrieveOptions())
        count = len(page.objects)
        while page.token:
            page = collector.ContinueRetrievePropertiesEx(page.token)
            count += len(page.objects)
        return count


def _filter(content: Any) -> Any:
    paths = {
        vim.VirtualMachine: tuple(dict.fromkeys((*MACHINE_PATHS, *FOREST_PATHS))),
        vim.Datastore: DATASTORE_PATHS,
        **SURROUNDING_PATHS,
    }
    collector = vmodl.query.PropertyCollector
    view = content.viewManager.CreateContainerView(content.rootFolder, None, True)
    through = collector.TraversalSpec(name="in view", type=vim.view.ContainerView, path="view", skip=False)
    return collector.FilterSpec(
        objectSet=[collector.ObjectSpec(obj=view, skip=True, selectSet=[through])],
        propSet=[collector.PropertySpec(type=kind, pathSet=list(names)) for kind, names in paths.items()],
    )

"""A running simulator for the tests of the simulator itself, one per module."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from .binary import why_not
from .client import Client
from .server import VsphereSimulator
from .world import GIB, Datastore, LooseDisk, Machine, World

WORLD = World(
    machines=(
        Machine("off", disk_bytes=(4 * GIB, 8 * GIB)),
        Machine("on", running=True, folder="shop/production", pool="gold", fields={"owner": "sales"}),
    ),
    loose_disks=(LooseDisk("[LocalDS_0] spare/spare.vmdk", GIB),),
    datastores=(Datastore(100 * GIB, 60 * GIB), Datastore()),
)


@pytest.fixture(scope="module", params=["vcenter", "esxi"])
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VsphereSimulator]:
    if reason := why_not():
        pytest.skip(f"no vSphere simulator: {reason}")
    with VsphereSimulator(tmp_path_factory.mktemp("vsphere"), replace(WORLD, model=model)) as running:
        yield running


@pytest.fixture
def client(server: VsphereSimulator) -> Iterator[Client]:
    """Logged in; afterwards the server is as it was."""
    logged_in = Client(server)
    yield logged_in
    server.clear()
    tidy = Client(server)  # the test may have ended all sessions
    for name, running in (("off", False), ("on", True)):
        machine = tidy.machine(name)
        tidy.outcome(machine.RemoveAllSnapshots_Task())
        power = tidy.read(machine, "runtime.powerState")["runtime.powerState"]
        if running != (power == "poweredOn"):
            tidy.outcome(machine.PowerOnVM_Task() if running else machine.PowerOffVM_Task())
    tidy.close()
    logged_in.close()

"""1,000 machines of the XenAPI simulator, each with a tree of VM snapshots, and the bare get_all_records of the classes
that the driver reads."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypervisors.drivers.xenserver.records import FIELDS
from hypervisors.xen_simulator.process import XenSimulator
from tests.bench.syncs import Compared
from tests.builders import endpoint_of
from tests.drivers.xenserver.pool import ElsewhereInThePool, client_of

MACHINES = 1000
SNAPSHOTS_EACH = 5


@contextmanager
def many_xen_machines() -> Iterator[Compared]:
    """The simulator with these machines."""
    with (
        tempfile.TemporaryDirectory(prefix="vmsnap-bench-xen-") as folder,
        XenSimulator(Path(folder) / "pool", world=f"large:{MACHINES}:{SNAPSHOTS_EACH}") as pool,
    ):
        client = client_of(pool)
        hypervisor = endpoint_of(pool, "xenserver", "many XenServer machines")

        def bare() -> int:
            return sum(len(getattr(client.xenapi, kind).get_all_records()) for kind in FIELDS)

        yield Compared(
            what=f"{MACHINES:,} XenServer machines x {SNAPSHOTS_EACH} VM snapshots",
            hypervisor=hypervisor,
            bare=bare,
            bare_words="one bare get_all_records of each class, by the XenAPI client",
            take=ElsewhereInThePool(pool).take,
        )

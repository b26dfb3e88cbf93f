"""1,000 simulated machines, each with a tree of VM snapshots. There is no client to read them bare."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from hypervisors.drivers.simulated.world import GIB, Pool, make_world, many_machines
from snapshots.access import SYSTEM
from snapshots.services import endpoints
from tests.bench.syncs import Compared

MACHINES = 1000
SNAPSHOTS_EACH = 5


@contextmanager
def many_simulated_machines() -> Iterator[Compared]:
    """A world with these machines."""
    path = Path(settings.DATA_DIR) / "simulated" / "many.sqlite3"
    world = make_world(path, many_machines(MACHINES, SNAPSHOTS_EACH), [Pool(total_bytes=100_000 * GIB)])
    hypervisor = endpoints.add_endpoint(SYSTEM, name="many simulated machines", kind="simulated", address=path.stem)
    yield Compared(
        what=f"{MACHINES:,} simulated machines x {SNAPSHOTS_EACH} VM snapshots",
        hypervisor=hypervisor,
        take=world.take_elsewhere,
    )

"""What is true of the whole installation and of interest on every page."""

from hypervisors.models import Hypervisor
from hypervisors.registry import KINDS


def is_simulated() -> bool:
    """Whether all hypervisors in use are simulated ones, so that no machine here is real. One query."""
    found = set(Hypervisor.objects.filter(enabled=True).values_list("kind", "simulator").distinct())
    return bool(found) and all(simulator or (kind in KINDS and KINDS[kind].simulated) for kind, simulator in found)

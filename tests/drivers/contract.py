"""The promises of `hypervisors.driver`, one test each. Every driver's tests run them by inheriting `DriverContract`.

A subclass says how to reach its hypervisor by overriding the fixtures in the first part of `Ground`. It must leave
its machines alone while a test runs: each test begins and ends with machines that have no snapshots and are in the
power state that their fixture's name says.

Nothing here knows one hypervisor from another. Where a machine lacks an ability, the test sees to it that the driver
refuses with the reason which the capabilities give, and ends there.
"""

from .contract_changes import AnswersAboutChanges, TellsChanges, TellsOfComingAndGoing
from .contract_ground import NOBODY, Elsewhere, Watching, current, request, shape
from .contract_growing import Growing, GuestsCount
from .contract_machines import HasLooseVolumes, Machines
from .contract_pruning import Pruning
from .contract_reading import AsksForALogin, Reading

__all__ = [
    "NOBODY",
    "AsksForALogin",
    "DriverContract",
    "Elsewhere",
    "GuestsCount",
    "HasLooseVolumes",
    "TellsChanges",
    "TellsOfComingAndGoing",
    "Watching",
    "current",
    "request",
    "shape",
]


class DriverContract(Reading, Growing, Pruning, Machines, AnswersAboutChanges):
    """Inherit it in a class named `Test…` and override the fixtures in the first part of `Ground`; beside it
    those of `AsksForALogin`, `GuestsCount`, `HasLooseVolumes`, `TellsChanges` and `TellsOfComingAndGoing` that fit the
    hypervisor."""

"""What changed since the last question, told by the server's own property collector.

One filter per session watches a few light properties of all machines: those that change whenever something does that this
product shows (`config.changeVersion` is new after every reconfiguration). Its first answer holds everything, later ones
only what changed. A new session begins anew, and so does a filter whose version the server no longer knows: then
everything has to be read, which the answer says. Folders and pools are watched too, because their names stand in many
machines; when one changes everything is read as well.
"""

import time
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from hypervisors.drivers.vmware.connection import Connection
from hypervisors.drivers.vmware.errors import moref
from hypervisors.drivers.vmware.machines import (
    CONSOLIDATE,
    IDENTITY,
    POWER,
    QUESTION,
    REACHED,
    SNAPSHOT,
    TEMPLATE,
    native_ids,
)
from hypervisors.drivers.vmware.properties import Paths, everything, filter_spec
from hypervisors.records import Changes

_Collector = vmodl.query.PropertyCollector
_PAUSE = 0.1
_DISKS = ("config.changeVersion", "summary.config.numVirtualDisks")
_WATCHED: Paths = {
    vim.VirtualMachine: (
        "name",
        "parent",
        "resourcePool",
        "customValue",
        "summary.config.memorySizeMB",
        IDENTITY,
        TEMPLATE,
        POWER,
        REACHED,
        CONSOLIDATE,
        QUESTION,
        SNAPSHOT,
        *_DISKS,
    ),
    vim.Datastore: (
        "name",
        "summary.accessible",
        "summary.maintenanceMode",
        "summary.capacity",
        "summary.freeSpace",
    ),
    vim.Folder: ("name", "parent"),
    vim.Datacenter: ("name", "parent"),
    vim.ResourcePool: ("name",),
}


@dataclass(slots=True)
class _Known:
    """What is known of a machine by its reference: enough to name it when it is gone."""

    identity: str | None = None
    template: bool = False


class ChangeWatch:
    """The filter of one driver object, and what it has told."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._filter: Any = None
        self._generation = 0
        self._began = 0
        self._version = ""
        self._machines: dict[str, _Known] = {}

    def wait(self, cursor: str, seconds: float) -> Changes:
        """What changed since `cursor`, or nothing when `seconds` have passed. Raises as a read."""
        until = self._connection.until() + seconds
        return self._connection.read(lambda: self._asked(cursor, seconds), until)

    def _asked(self, cursor: str, seconds: float) -> Changes:
        lost = self._filter is None or self._generation != self._connection.generation
        if lost or cursor != self._cursor():
            return self._from_the_start()
        try:
            return self._told(seconds)
        except (vmodl.query.InvalidCollectorVersion, vmodl.fault.ManagedObjectNotFound):
            return self._from_the_start()

    def _cursor(self) -> str:
        return f"{self._began}:{self._version}"

    def _from_the_start(self) -> Changes:
        """Begin to watch: what there is now counts as read from here on."""
        connection = self._connection
        if self._filter is not None and self._generation == connection.generation:
            self._destroy()
        watched = filter_spec(everything(connection), _WATCHED, connection.version)
        self._filter = connection.collector.CreateFilter(watched, False)
        self._generation = connection.generation
        self._began += 1
        self._version = ""
        self._machines = {}
        changed: set[str] = set()
        while True:
            told = self._next(0)
            if told is None:
                break
            self._take_in(told, changed)
            if not told.truncated:
                break
        return Changes(self._cursor(), None, pools=True)

    def _destroy(self) -> None:
        try:
            self._filter.DestroyPropertyFilter()
        except vmodl.fault.ManagedObjectNotFound:
            return  # It is gone, which is what was wanted.

    def _told(self, seconds: float) -> Changes:
        """What has changed, or nothing, and then not before the time is over."""
        ends = time.monotonic() + seconds
        changed: set[str] = set()
        everything_changed = pools = False
        # The server waits whole seconds; what is left of one is waited for here.
        told = self._next(int(seconds))
        while True:
            if told is not None:
                all_of_it, some_pools = self._take_in(told, changed)
                everything_changed, pools = everything_changed or all_of_it, pools or some_pools
            left = ends - time.monotonic()
            if told is not None and told.truncated:
                told = self._next(0)
            elif changed or everything_changed or pools or left <= 0:
                return Changes(self._cursor(), None if everything_changed else frozenset(changed), pools)
            else:
                if left < 1:
                    time.sleep(min(_PAUSE, left))
                told = self._next(int(left))

    def _next(self, seconds: int) -> Any:
        told = self._connection.collector.WaitForUpdatesEx(
            self._version, _Collector.WaitOptions(maxWaitSeconds=seconds)
        )
        if told is not None:
            self._version = str(told.version)
        return told

    def _take_in(self, told: Any, changed: set[str]) -> tuple[bool, bool]:
        """Note what an answer tells. Gives whether everything has to be read, and whether pools changed."""
        everything_changed = pools = False
        references: set[str] = set()
        before = self._ids()
        for updates in told.filterSet:
            for update in updates.objectSet:
                if isinstance(update.obj, vim.VirtualMachine):
                    references.add(moref(update.obj))
                    pools = self._take_in_machine(update) or pools
                elif isinstance(update.obj, vim.Datastore):
                    pools = True
                else:
                    everything_changed = everything_changed or str(update.kind) == "modify"
        after = self._ids()
        for reference in references:
            changed.update(ids[reference] for ids in (before, after) if reference in ids)
        # A UUID that two machines have moves from one to the other when the first goes.
        renamed = [one for one in after if one in before and before[one] != after[one]]
        changed.update(ids[one] for one in renamed for ids in (before, after))
        return everything_changed, pools

    def _take_in_machine(self, update: Any) -> bool:
        """Note a machine's update; gives whether its disks may have changed."""
        reference, kind = moref(update.obj), str(update.kind)
        if kind == "leave":
            self._machines.pop(reference, None)
            return True
        known = self._machines.setdefault(reference, _Known())
        for change in update.changeSet:
            if change.name == IDENTITY:
                known.identity = change.val
            elif change.name == TEMPLATE:
                known.template = change.val is True
        return kind == "enter" or any(change.name in _DISKS for change in update.changeSet)

    def _ids(self) -> dict[str, str]:
        return native_ids({one: known.identity for one, known in self._machines.items() if not known.template})

"""Reading properties by paths, in bulk: the only way this driver reads anything.

`RetrievePropertiesEx` answers for any number of objects in one call, page by page. A path that is asked for comes back in
one of three ways, and they mean different things: with a value; not at all, which says that it is not set; or in the
missing set with a fault, which says that the server would not or could not tell. The latter is kept apart, so that "may
not be read" is never taken for "there is none".
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim, vmodl
from pyVmomi.VmomiSupport import IsChildVersion

from hypervisors.drivers.vmware.connection import Connection

Paths = Mapping[type, Sequence[str]]
"""Which properties are read of which type."""

_Collector = vmodl.query.PropertyCollector

PAGE_OBJECTS = 200
"""A page holds so many objects at most, so that an answer stays small however many machines there are. Servers may send
fewer; the simulator sends all."""


@dataclass(slots=True)
class Seen:
    """An object and what was read of it. `missing` are the faults by path."""

    managed: Any
    values: dict[str, Any]
    missing: dict[str, Any] = field(default_factory=dict)

    def get(self, path: str) -> Any:
        """The value; None where it is not set or could not be read."""
        return self.values.get(path)

    def refused(self, paths: Iterable[str]) -> Any:
        """The fault of the first of these paths that the server would not tell, or None. A path that its version does
        not know counts as one that is not set."""
        for path in paths:
            fault = self.missing.get(path)
            if fault is not None and not isinstance(fault, vmodl.query.InvalidProperty):
                return fault
        return None


def everything(connection: Connection) -> list[Any]:
    """Object specifications for all that is in the inventory."""
    through_view = _Collector.TraversalSpec(name="in view", type=vim.view.ContainerView, path="view", skip=False)
    return [_Collector.ObjectSpec(obj=connection.view, skip=True, selectSet=[through_view])]


def only(objects: Iterable[Any]) -> list[Any]:
    """Object specifications for these objects themselves."""
    return [_Collector.ObjectSpec(obj=managed, skip=False) for managed in objects]


def filter_spec(objects: list[Any], paths: Paths, version: str) -> Any:
    """What the property collector takes to read or watch `paths` of `objects` in this version of the API.

    A real server refuses the whole call for one path that its version does not have, so those are not asked for.
    """
    return _Collector.FilterSpec(
        objectSet=objects,
        propSet=[
            _Collector.PropertySpec(
                type=kind, all=False, pathSet=[name for name in names if exists_in(kind, name, version)]
            )
            for kind, names in paths.items()
        ],
        reportMissingObjectsInResults=True,
    )


@functools.cache
def exists_in(kind: Any, path: str, version: str) -> bool:
    """Whether this version of the API has the property."""
    for part in path.split("."):
        step = kind._GetPropertyInfo(part)
        if not IsChildVersion(version, step.version):
            return False
        kind = step.type
    return True


def retrieve(connection: Connection, objects: list[Any], paths: Paths) -> Iterator[Seen]:
    """The objects with their properties, page by page; those that are gone are left out.

    Call inside `Connection.read`, and use it up there. Raises `NotAuthenticated` also where the server says so per path.
    """
    if not objects:
        return
    collector = connection.collector
    page = collector.RetrievePropertiesEx(
        [filter_spec(objects, paths, connection.version)], _Collector.RetrieveOptions(maxObjects=PAGE_OBJECTS)
    )
    while page is not None:
        for content in page.objects:
            seen = _seen(content)
            if seen is not None:
                yield seen
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None


def _seen(content: Any) -> Seen | None:
    seen = Seen(content.obj, {one.name: one.val for one in content.propSet})
    for one in content.missingSet:
        if isinstance(one.fault, vim.fault.NotAuthenticated):
            raise one.fault
        if isinstance(one.fault, vmodl.fault.ManagedObjectNotFound):
            return None
        seen.missing[one.path] = one.fault
    return seen


def read_one(connection: Connection, managed: Any, paths: Sequence[str]) -> Seen | None:
    """These properties of one object, or None when it is gone. Call inside `Connection.read`."""
    return unless_gone(lambda: next(iter(list(retrieve(connection, only([managed]), {type(managed): paths}))), None))


def unless_gone(read: Callable[[], Seen | None]) -> Seen | None:
    """What `read` gives, or None when the object it begins at is gone: some servers tell that by a fault of the call."""
    try:
        return read()
    except vmodl.fault.ManagedObjectNotFound:
        return None

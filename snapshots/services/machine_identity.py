"""Which row is which machine: those that appear, change, vanish, return, or turn up at another endpoint.

A machine is known by its hypervisor's lasting id of it. Found at another endpoint of the same kind while missing where it
was, it is the same machine there: the row moves, with its owner, its tree and its jobs. Found at two places at once
(it is being moved, or somebody copied it carelessly), the second gets a row of its own, which makes room for the first
once that place has lost it, as long as nobody has done anything with the second.

Only `inventory_sync` enters, inside a transaction.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from hypervisors.models import Hypervisor
from hypervisors.records import MachineRecord
from snapshots import tree
from snapshots.access import SYSTEM
from snapshots.choices import ACTIVE_JOB_STATES, Trigger
from snapshots.models import Event, Job, Schedule, VirtualMachine, VMSnapshot, Volume
from snapshots.services import events
from snapshots.services.jobs import QUIET_ACTIONS

BATCH = 500

_WRITTEN = (
    "name",
    "power_state",
    "memory_bytes",
    "capabilities",
    "folder",
    "resource_pool",
    "tags",
    "needs_consolidation",
    "question",
)


@dataclass(slots=True)
class Placed:
    """The rows of the machines of one reading. `rows` are those of the endpoint by native id, also the ones that are
    missing; `unsettled` the keys of those of which this reading has nothing to say, because something later has been
    written already or a job of ours was or is under way; `passed_over` the native ids of machines that have no row here
    yet, and are left to the next reading for the same reason; `rebooked` the keys of those that moved, vanished,
    returned or have another memory size now, whose books have to be settled."""

    rows: dict[str, VirtualMachine]
    unsettled: set[int]
    passed_over: set[str] = field(default_factory=set)
    rebooked: set[int] = field(default_factory=set)

    def settled(self, native_id: str) -> VirtualMachine | None:
        """The row that this reading may be written to, or None."""
        row = self.rows.get(native_id)
        return None if row is None or row.pk in self.unsettled else row


def lock_kind(hypervisor_pk: int) -> Hypervisor:
    """The endpoint, locked together with all of its kind: between them machines move, and two endpoints that are read at
    once must not both decide whose a machine is. Comes before the lock of any machine."""
    kind = Hypervisor.objects.filter(pk=hypervisor_pk).values("kind")
    # No key: rows that refer to an endpoint, such as jobs, may still be added.
    locked = Hypervisor.objects.select_for_update(no_key=True).filter(kind__in=kind).order_by("pk")
    return next(hypervisor for hypervisor in locked if hypervisor.pk == hypervisor_pk)


def place_machines(
    hypervisor: Hypervisor,
    records: Iterable[MachineRecord],
    read_from: datetime,
    *,
    among: Collection[str] | None = None,
) -> Placed:
    """Write down the machines of an endpoint as read since `read_from`. With `among` only those of these native ids were
    asked for; without it all were. One that was asked for and is not in `records` is gone. Call under `lock_kind`."""
    # Locked before the jobs are looked at, in one order: a job that ends from here on writes after this reading, not before
    # it.
    locked = VirtualMachine.objects.select_for_update(no_key=True).order_by("pk").filter(hypervisor=hypervisor)
    if among is not None:
        locked = locked.filter(native_id__in=among)
    placed = Placed({row.native_id: row for row in locked}, set())
    placed.unsettled = unsettled_since(read_from, placed.rows.values())
    seen: set[str] = set()
    new: list[MachineRecord] = []
    current: list[int] = []
    for record in records:
        seen.add(record.native_id)
        row = placed.rows.get(record.native_id)
        if row is None:
            new.append(record)
        elif row.pk not in placed.unsettled:
            if _differs(row, record):
                if needs_booking(row, record):
                    placed.rebooked.add(row.pk)
                update_machine(row, record, read_from)
            current.append(row.pk)
    VirtualMachine.objects.filter(pk__in=current).update(synced_at=read_from)
    _place_new(hypervisor, new, placed, read_from)
    gone = [row for row in placed.rows.values() if row.native_id not in seen and row.pk not in placed.unsettled]
    placed.rebooked |= {row.pk for row in gone if row.missing_since is None}
    mark_missing(gone, read_from)
    for row in _settle_missing(hypervisor, gone):
        del placed.rows[row.native_id]
        placed.rebooked.add(row.pk)
    return placed


def unsettled_since(read_from: datetime, machines: Iterable[VirtualMachine]) -> set[int]:
    """Keys of those of these machines of which a reading that began then has nothing to say."""
    machines = list(machines)
    # A time that has not come yet was written before the clock was set back: it must not hold up all readings until then.
    now = timezone.now()
    later = {row.pk for row in machines if row.synced_at is not None and read_from < row.synced_at <= now}
    return later | _held_since(read_from, machines)


def _held_since(read_from: datetime, machines: Iterable[VirtualMachine]) -> set[int]:
    """Keys of those on which a job of ours was or is under way since then."""
    jobs = Job.objects.filter(Q(state__in=ACTIVE_JOB_STATES) | Q(finished_at__gte=read_from), machine__isnull=False)
    return set(jobs.values_list("machine_id", flat=True)) & {machine.pk for machine in machines}


def update_machine(machine: VirtualMachine, record: MachineRecord, read_from: datetime) -> None:
    """Write down what was read of a machine, with events when it had been missing or has a new name."""
    if machine.missing_since is not None:
        events.record(SYSTEM, "machine.returned", machine=machine, detail="It is on its hypervisor again.")
    values = {**_values(record), "missing_since": None}
    if machine.name != values["name"]:
        events.record(
            SYSTEM, "machine.renamed", machine=machine, detail=f"{machine.name} is now named {values['name']}."
        )
    # Most of it is as it was: what need not be written need not be made into a statement either.
    changes = {name: value for name, value in values.items() if getattr(machine, name) != value}
    _write(machine, {**changes, "synced_at": read_from})


def needs_booking(machine: VirtualMachine, record: MachineRecord) -> bool:
    """Whether the machine's books follow from something that is to be written down of it."""
    return machine.missing_since is not None or machine.memory_bytes != record.memory_bytes


def mark_missing(machines: Collection[VirtualMachine], read_from: datetime) -> None:
    """Write down that these were not there; each is told of once."""
    VirtualMachine.objects.filter(pk__in=[machine.pk for machine in machines]).update(synced_at=read_from)
    newly = [machine for machine in machines if machine.missing_since is None]
    VirtualMachine.objects.filter(pk__in=[machine.pk for machine in newly]).update(
        missing_since=read_from, power_state="unknown"
    )
    for machine in newly:
        machine.missing_since, machine.power_state = read_from, "unknown"
    events.record_all(
        events.prepared(
            SYSTEM,
            "machine.vanished",
            level=Event.Level.WARNING,
            machine=machine,
            detail="Its hypervisor does not know it any more. Its VM snapshots are kept here as they were.",
        )
        for machine in newly
    )


def _values(record: MachineRecord) -> dict[str, Any]:
    return {
        "name": record.name[:255],
        "power_state": record.power_state.value,
        "memory_bytes": record.memory_bytes,
        "capabilities": record.capabilities.as_json(),
        "folder": record.folder[:1024],
        "resource_pool": record.resource_pool[:255],
        "tags": list(record.tags),
        "needs_consolidation": record.needs_consolidation,
        "question": record.question,
    }


def _differs(machine: VirtualMachine, record: MachineRecord) -> bool:
    return machine.missing_since is not None or any(
        getattr(machine, name) != value for name, value in _values(record).items()
    )


def _write(machine: VirtualMachine, values: dict[str, Any]) -> None:
    VirtualMachine.objects.filter(pk=machine.pk).update(**values)
    for name, value in values.items():
        setattr(machine, name, value)


def _place_new(hypervisor: Hypervisor, records: list[MachineRecord], placed: Placed, read_from: datetime) -> None:
    """Rows for machines that have none at this endpoint: those of another endpoint that misses them, else new ones."""
    if not records:
        return
    twins = _elsewhere(hypervisor, [record.native_id for record in records])
    # Should several endpoints miss it, it was last at the one that missed it last.
    missing = {row.native_id: row for row in twins.filter(missing_since__isnull=False).order_by("missing_since")}
    held = _held_since(read_from, missing.values())
    made: list[VirtualMachine] = []
    for record in records:
        row = missing.get(record.native_id)
        if row is None:
            made.append(
                VirtualMachine(
                    hypervisor=hypervisor, native_id=record.native_id, synced_at=read_from, **_values(record)
                )
            )
        elif row.pk in held:
            placed.passed_over.add(record.native_id)
        else:
            _move(row, hypervisor)
            _write(row, {**_values(record), "missing_since": None, "synced_at": read_from})
            placed.rows[record.native_id] = row
            placed.rebooked.add(row.pk)
    VirtualMachine.objects.bulk_create(made, batch_size=BATCH)
    tree.add_anchors(made)
    found = "It was found on its hypervisor."
    events.record_all(events.prepared(SYSTEM, "machine.appeared", machine=row, detail=found) for row in made)
    placed.rows |= {row.native_id: row for row in made}


def _elsewhere(hypervisor: Hypervisor, native_ids: Collection[str]) -> QuerySet[VirtualMachine]:
    """Machines of these ids at other endpoints of the same kind, locked. `lock_kind` keeps two readings from wanting each
    other's."""
    others = Hypervisor.objects.filter(kind=hypervisor.kind).exclude(pk=hypervisor.pk)
    rows = VirtualMachine.objects.select_for_update(no_key=True, of=("self",)).select_related("hypervisor")
    return rows.filter(hypervisor__in=others, native_id__in=native_ids)


def _move(machine: VirtualMachine, to: Hypervisor) -> None:
    """The machine is at that endpoint now. Its volumes at the old one are let go: the new one names its own."""
    left = machine.hypervisor
    Volume.objects.filter(machine=machine, hypervisor=left).update(machine=None, target="")
    tree.forget_native_ids(machine.pk)
    machine.hypervisor = to
    VirtualMachine.objects.filter(pk=machine.pk).update(hypervisor=to)
    events.record(
        SYSTEM,
        "machine.moved",
        machine=machine,
        detail=f"It was found on {to.name} and is not on {left.name} any more.",
    )


def _settle_missing(hypervisor: Hypervisor, gone: Iterable[VirtualMachine]) -> list[VirtualMachine]:
    """What becomes of machines that are missing here while another endpoint has them: they take the place of the row there,
    if nobody has done anything with that; else one with which nobody has done anything goes. Answers those that are not
    this endpoint's any more."""
    missing = {row.native_id: row for row in gone}
    if not missing:
        return []
    there = list(_elsewhere(hypervisor, missing).filter(missing_since=None).order_by("pk"))
    involved = [row.pk for row in there] + [missing[row.native_id].pk for row in there]
    untouched = set(_untouched(VirtualMachine.objects.filter(pk__in=involved)).values_list("pk", flat=True))
    settled = []
    for other in there:
        machine = missing.pop(other.native_id, None)
        if machine is None:
            continue
        machine.hypervisor = hypervisor
        if other.pk in untouched and (_unassigned(other) or _same_owner(other, machine)):
            _take_place_of(machine, other)
        elif machine.pk in untouched and _unassigned(machine):
            _remove(machine)
        else:
            continue
        settled.append(machine)
    return settled


def _take_place_of(machine: VirtualMachine, fresh: VirtualMachine) -> None:
    """The machine is where the fresh row says, which goes."""
    Volume.objects.filter(machine=fresh).update(machine=machine, account=machine.account_id)
    values = {name: getattr(fresh, name) for name in (*_WRITTEN, "missing_since", "synced_at")}
    place = fresh.hypervisor
    _remove(fresh)
    _move(machine, place)
    _write(machine, values)


def _remove(machine: VirtualMachine) -> None:
    """A row that stands for nothing of its own. Events keep its name."""
    Volume.objects.filter(machine=machine).update(machine=None, target="")
    tree.remove_all(machine.pk)
    VirtualMachine.objects.filter(pk=machine.pk).delete()


def _unassigned(machine: VirtualMachine) -> bool:
    """Whether nobody has decided yet whose it is."""
    return machine.account_id is None and machine.assigned_at is None


def _same_owner(one: VirtualMachine, other: VirtualMachine) -> bool:
    return one.account_id is not None and one.account_id == other.account_id


def _untouched(machines: QuerySet[VirtualMachine]) -> QuerySet[VirtualMachine]:
    """Those of which nobody has decided anything: no job was asked for, no VM snapshot was taken here or adopted, and
    none is scheduled. Whom they belong to is left to the caller."""
    only_read = Q(trigger=Trigger.SYSTEM, action__in=QUIET_ACTIONS) & ~Q(state__in=ACTIVE_JOB_STATES)
    jobs = Job.objects.filter(machine=OuterRef("pk")).exclude(only_read)
    ours = VMSnapshot.objects.counted().filter(machine=OuterRef("pk"))
    scheduled = Schedule.objects.filter(machine=OuterRef("pk"))
    return machines.filter(~Exists(jobs), ~Exists(ours), ~Exists(scheduled))

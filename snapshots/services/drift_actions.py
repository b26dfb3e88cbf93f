"""What people decide about differences between a tree and its hypervisor: adopt what was made elsewhere, acknowledge what
was lost. Both are matters of our rows alone; nothing here talks to a hypervisor.

Pages and REST enter, and `tree_sync` for endpoints that adopt automatically. Every function for people may raise
`NotVisible`, `Forbidden`, and the refusal of its rule in `snapshot_rules`.
"""

from django.db import transaction

from snapshots import tree
from snapshots.access import SYSTEM, Actor
from snapshots.choices import Origin, SnapshotState
from snapshots.models import Event, VirtualMachine, VMSnapshot
from snapshots.naming import some_of
from snapshots.services import events, limit_rules, limits
from snapshots.services import snapshot_rules as rules
from snapshots.services.jobs import active_job_of
from snapshots.services.locked_targets import heed, operable_machine, operable_snapshot

LEFT_UNADOPTED = "snapshot.left_unadopted"
NAMED_AT_MOST = 5


@transaction.atomic
def adopt_snapshot(actor: Actor, *, snapshot: VMSnapshot, exceed_limits: bool = False) -> VMSnapshot:
    """Make a VM snapshot made elsewhere ours: from now on it counts in limits and usage, and is marked lost rather than
    forgotten when it vanishes. One that is adopted already stays as it is. Raises `LimitExceeded`, unless `exceed_limits`
    was chosen by somebody who may."""
    snapshot, machine = operable_snapshot(actor, snapshot.pk)
    if snapshot.adopted_at is not None:
        return snapshot
    heed(rules.why_not_adopt(machine, snapshot))
    limits.require_room(actor, machine, _adopt(actor, machine, [snapshot]), exceed=exceed_limits)
    snapshot.refresh_from_db()
    return snapshot


@transaction.atomic
def adopt_machine(actor: Actor, *, machine: VirtualMachine, exceed_limits: bool = False) -> list[VMSnapshot]:
    """Adopt all VM snapshots of the machine that were made elsewhere and can be; none when not all of them have room
    (`LimitExceeded`), unless `exceed_limits` was chosen by somebody who may."""
    machine = operable_machine(actor, machine.pk)
    waiting = list(_waiting(machine.pk))
    heed(rules.why_not_adopt_all(machine, waiting))
    limits.require_room(actor, machine, _adopt(actor, machine, waiting), exceed=exceed_limits)
    return list(VMSnapshot.objects.filter(pk__in=[row.pk for row in waiting]).order_by("created_at", "pk"))


@transaction.atomic
def acknowledge_lost(actor: Actor, *, snapshot: VMSnapshot) -> None:
    """Take note that a VM snapshot is lost: its row goes, its children move up. Asks no hypervisor, so that it works
    while the machine is missing or its endpoint is away. Raises `VMBusy` while a job holds the machine."""
    snapshot, machine = operable_snapshot(actor, snapshot.pk)
    heed(rules.why_not_acknowledge(snapshot, active_job_of(machine.pk)))
    tree.remove(snapshot.pk)
    events.record(
        actor,
        "snapshot.acknowledged",
        machine=machine,
        snapshot_uuid=snapshot.uuid,
        snapshot_name=snapshot.name,
        detail="That it is lost was taken note of, and its row removed.",
    )


def adopt_found(machine: VirtualMachine) -> None:
    """Adopt what was made elsewhere on a machine whose endpoint is set to do so, oldest first, as far as the limits go.
    What they leave is told of once. Call inside a transaction that holds the machine's lock.

    A machine that another endpoint has as well is left alone until it is clear whose it is.
    """
    waiting = list(_waiting(machine.pk))
    if not waiting or _is_elsewhere_too(machine):
        return
    machine.refresh_from_db(fields=["snapshot_count", "unadopted_count", "lost_count", "failed_count"])
    room = limits.locked_room(machine)
    fitting = [
        wanted.snapshots
        for wanted in limits.adoption_of(machine, waiting)
        if not limit_rules.stopping(machine, room, wanted)
    ]
    count = max(fitting, default=0)
    _adopt(SYSTEM, machine, waiting[:count])
    if count < len(waiting):
        _tell_of_left(machine, waiting[count:])


def _tell_of_left(machine: VirtualMachine, left: list[VMSnapshot]) -> None:
    named = some_of([row.name for row in left], NAMED_AT_MOST)
    detail = f"There is no room for more VM snapshots of {machine.name}. Made elsewhere and not adopted: {named}."
    told = Event.objects.filter(machine=machine, action=LEFT_UNADOPTED).order_by("-at", "-pk").first()
    if told is None or told.detail != detail:
        events.record(SYSTEM, LEFT_UNADOPTED, level=Event.Level.WARNING, machine=machine, detail=detail)


def _adopt(actor: Actor, machine: VirtualMachine, rows: list[VMSnapshot]) -> VirtualMachine:
    """Adopt them and tell of it; answers the machine's row as it is then."""
    books = tree.adopt(machine.pk, [row.pk for row in rows])
    events.record_all(
        events.prepared(
            actor,
            "snapshot.adopted",
            machine=machine,
            snapshot_uuid=row.uuid,
            snapshot_name=row.name,
            detail="It was made elsewhere, and counts as taken here from now on.",
        )
        for row in rows
    )
    return books.machine


def _waiting(machine_pk: int) -> list[VMSnapshot]:
    """Those of the machine that can be adopted, oldest first."""
    rows = VMSnapshot.objects.filter(machine_id=machine_pk, origin=Origin.ELSEWHERE, adopted_at=None)
    return list(rows.filter(parent__isnull=False, state=SnapshotState.READY).order_by("created_at", "pk"))


def _is_elsewhere_too(machine: VirtualMachine) -> bool:
    same_id = VirtualMachine.objects.filter(native_id=machine.native_id, missing_since=None).exclude(pk=machine.pk)
    return same_id.filter(hypervisor__kind=machine.hypervisor.kind).exists()

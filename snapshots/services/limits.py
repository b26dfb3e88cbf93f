"""Holding limits: what was just reserved is checked, under the same locks and in the same transaction, and what passes a
limit is taken back with the transaction.

A reservation is the row that `tree` wrote; the books that `ledger` settled with it have locked the use of the account and
of all domains above it. So nobody passes a limit by racing, and nothing has to be given back by hand.
"""

from collections.abc import Sequence

from django.conf import settings

from snapshots import ledger
from snapshots.access import Actor, Person, administered_domains, is_root_admin
from snapshots.estimates import estimate_machine, share_of
from snapshots.limit_levels import Level, Room, Wanted, room_of, room_of_nobody
from snapshots.models import Account, Event, VirtualMachine, VMSnapshot, Volume
from snapshots.services import events, limit_rules


def require_room(actor: Actor, before: VirtualMachine, machine: VirtualMachine, *, exceed: bool = False) -> None:
    """Raise `LimitExceeded` when what was reserved on the machine since `before` was read passes a limit. One query.

    Call inside the transaction that made the reservation; `machine` is the row as `ledger.settle_one` left it. `exceed`:
    the person chose to go beyond; where this installation lets them, that is written down instead.
    """
    taken = Wanted(machine.counted - before.counted, machine.booked_bytes - before.booked_bytes)
    room = room_of(machine.account, None).before(taken)
    in_the_way = limit_rules.stopping(before, room, taken)
    if not in_the_way:
        return
    if exceed and actor.user is not None and may_exceed(actor.user, in_the_way):
        # Members of the account read it, whatever the admin sees.
        room = room.for_members()
        passed = limit_rules.stopping(before, room, taken)
        told = limit_rules.together(limit_rules.figures(before, room, level, taken) for level in passed)
        events.record(
            actor,
            "limits.exceeded",
            level=Event.Level.WARNING,
            machine=machine,
            detail=f"By choice of an admin. {told}",
        )
        return
    seen = room_of(machine.account, actor.user).before(taken)
    if actor.user is None:
        # What the product itself is refused stands in the history, which members of the account read.
        seen = seen.for_members()
    refusal = limit_rules.why_not_another(before, seen, taken)
    assert refusal is not None  # noqa: S101  # the same figures, read again under the same locks
    raise refusal


def may_exceed(person: Person, levels: Sequence[Level]) -> bool:
    """Whether this person may go beyond all of these limits: admins of the domains they are for, where the installation
    lets them. At most two queries."""
    if not settings.ADMINS_MAY_EXCEED_LIMITS:
        return False
    if is_root_admin(person):
        return True
    wanted = {level.admins for level in levels if level.admins is not None}
    of_root_alone = any(level.admins is None for level in levels)
    return not of_root_alone and administered_domains(person).filter(pk__in=wanted).count() == len(wanted)


def locked_room(machine: VirtualMachine) -> Room:
    """The room there is on the machine, which nobody else can take up before this transaction ends. Call inside one that
    holds the machine's lock."""
    if machine.account_id is None:
        return room_of_nobody()
    ledger.lock_use([machine.account_id])
    account = Account.objects.select_related("domain").get(pk=machine.account_id)
    ledger.lock_domain_use(account.domain.ancestor_ids)
    return room_of(account, None)


def adoption_of(machine: VirtualMachine, rows: list[VMSnapshot]) -> list[Wanted]:
    """What adopting the first of these, the first two and so on would take. Two queries."""
    snapshots = VMSnapshot.objects.filter(machine=machine, parent__isnull=False)
    volumes = Volume.objects.filter(machine=machine).values_list("capacity_bytes", flat=True)
    estimate = estimate_machine(snapshots, volume_bytes=sum(volumes), machine_memory_bytes=machine.memory_bytes)
    return [Wanted(count, share_of(estimate, [row.pk for row in rows[:count]])) for count in range(1, len(rows) + 1)]

"""Writes history. Every service that changes something calls `record` in the same transaction."""

from collections.abc import Iterable
from typing import Any

from snapshots.access import Actor
from snapshots.models import Account, Event, Job, VirtualMachine


def record(
    actor: Actor,
    action: str,
    *,
    detail: str = "",
    level: Event.Level = Event.Level.INFO,
    machine: VirtualMachine | None = None,
    job: Job | None = None,
    account: Account | None = None,
    snapshot_uuid: Any = None,
    snapshot_name: str = "",
    hypervisor_id: int | None = None,
) -> Event:
    """Add one event. What is not given is taken from the job and the machine."""
    event = prepared(
        actor,
        action,
        detail=detail,
        level=level,
        machine=machine,
        job=job,
        account=account,
        snapshot_uuid=snapshot_uuid,
        snapshot_name=snapshot_name,
        hypervisor_id=hypervisor_id,
    )
    event.save(force_insert=True)
    return event


def prepared(
    actor: Actor,
    action: str,
    *,
    detail: str = "",
    level: Event.Level = Event.Level.INFO,
    machine: VirtualMachine | None = None,
    job: Job | None = None,
    account: Account | None = None,
    snapshot_uuid: Any = None,
    snapshot_name: str = "",
    hypervisor_id: int | None = None,
) -> Event:
    """The event that `record` would add, not saved: for those who add many at once."""
    if job is not None:
        machine = machine or job.machine
        hypervisor_id = hypervisor_id or job.hypervisor_id
        snapshot_uuid = snapshot_uuid or job.snapshot_uuid
        snapshot_name = snapshot_name or job.snapshot_name
    return Event(
        action=action,
        level=level,
        detail=detail,
        user=actor.user,
        user_name=actor.user.get_username() if actor.user else "",
        trigger=actor.trigger,
        from_address=actor.from_address,
        account_id=account.pk if account else (machine.account_id if machine else None),
        hypervisor_id=hypervisor_id or (machine.hypervisor_id if machine else None),
        machine=machine,
        machine_name=machine.name if machine else "",
        snapshot_uuid=snapshot_uuid,
        snapshot_name=snapshot_name,
        job=job,
    )


def record_all(prepared_ones: Iterable[Event]) -> None:
    """Add many at once."""
    Event.objects.bulk_create(prepared_ones, batch_size=500)

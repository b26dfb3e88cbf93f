"""Writes down what the last contact with an endpoint showed, with an event when that changed."""

from collections.abc import Collection

from django.db import transaction
from django.utils import timezone

from hypervisors.errors import HypervisorError, LoginRefused, NotPermitted, OutOfReach, Unreachable
from hypervisors.models import Hypervisor
from hypervisors.records import HostRecord
from snapshots.access import SYSTEM
from snapshots.models import Event
from snapshots.services import events


def note_answer(hypervisor_pk: int, host: HostRecord | None = None) -> None:
    """The endpoint answered; `host` is what it said of itself, when it was asked."""
    values: dict[str, object] = {"state": Hypervisor.State.REACHABLE, "last_seen_at": timezone.now(), "last_error": ""}
    if host is not None:
        values |= {
            "native_id": host.native_id[:255],
            "product": host.product[:255],
            "version": host.version[:64],
            "simulator": host.simulator,
        }
    rows = Hypervisor.objects.filter(pk=hypervisor_pk)
    # Nearly always it was not lost, and then this is all.
    if rows.exclude(state=Hypervisor.State.UNREACHABLE).update(**values):
        return
    with transaction.atomic():
        if rows.filter(state=Hypervisor.State.UNREACHABLE).update(**values):
            events.record(SYSTEM, "hypervisor.reachable", hypervisor_id=hypervisor_pk, detail="It answers again.")


def note_privileges(hypervisor_pk: int, missing: Collection[str]) -> str:
    """What the login may not do although it should, as a check of the connection found, with an event when that is not
    what was known; answers it in words, empty when nothing is missing."""
    with transaction.atomic():
        hypervisor = Hypervisor.objects.select_for_update(no_key=True).get(pk=hypervisor_pk)
        now = sorted(missing)
        detail = f"The login lacks: {', '.join(now)}." if now else ""
        if hypervisor.missing_privileges == now:
            return detail
        Hypervisor.objects.filter(pk=hypervisor.pk).update(missing_privileges=now)
        if now:
            events.record(
                SYSTEM,
                "hypervisor.privileges_missing",
                level=Event.Level.WARNING,
                hypervisor_id=hypervisor.pk,
                detail=f"{detail} What needs them will fail.",
            )
        else:
            events.record(
                SYSTEM,
                "hypervisor.privileges_complete",
                hypervisor_id=hypervisor.pk,
                detail="The login may do all that this product needs.",
            )
    return detail


def note_error_of_machine(hypervisor_pk: int, error: HypervisorError) -> None:
    """As `note_error`, for a call about one machine: that its host is away, or that the login may not do something to it,
    says nothing of the endpoint."""
    if not isinstance(error, OutOfReach | NotPermitted):
        note_error(hypervisor_pk, error)


def note_error(hypervisor_pk: int, error: HypervisorError) -> None:
    """A call failed. Only errors that say something about the endpoint itself are written down. A call that took too long
    does not: a hypervisor at work on one machine may hold up the reading of all, and a silent one is `Unreachable` when it
    is next connected to."""
    if not isinstance(error, Unreachable | LoginRefused):
        return
    with transaction.atomic():
        changed = (
            Hypervisor.objects.filter(pk=hypervisor_pk)
            .exclude(state=Hypervisor.State.UNREACHABLE)
            .update(state=Hypervisor.State.UNREACHABLE)
        )
        Hypervisor.objects.filter(pk=hypervisor_pk).update(last_error=f"{error.title}. {error.detail}")
        if changed:
            events.record(
                SYSTEM,
                "hypervisor.unreachable",
                level=Event.Level.ERROR,
                hypervisor_id=hypervisor_pk,
                detail=error.detail,
            )

"""Managed endpoints: adding, changing, switching off, removing. Root admins only.

Raises `Forbidden`, `Invalid`, `NameTaken`. A password goes in and never comes back out: None leaves the stored one.
"""

import logging
from collections.abc import Sequence
from typing import TypedDict, Unpack

from django.db import IntegrityError, transaction

from hypervisors.models import Hypervisor
from hypervisors.registry import KINDS, why_unavailable
from snapshots.access import Actor, require_root_admin
from snapshots.choices import ACTIVE_JOB_STATES, JobAction
from snapshots.models import Event, Job, StoragePool, VirtualMachine, Volume
from snapshots.refusals import Invalid, InvalidState, NameTaken
from snapshots.services import events
from snapshots.services.endpoint_settings import clean_address, clean_certificates, clean_redirect_hosts
from snapshots.services.jobs import open_hypervisor_job
from snapshots.services.snapshot_rules import clean_name

log = logging.getLogger(__name__)


class Settings(TypedDict, total=False):
    """How an endpoint is trusted, and what is done with what others do there; see the columns of `Hypervisor`."""

    ca_certificate: str
    insecure: bool
    redirect_hosts: Sequence[str]
    adopt_automatically: bool


@transaction.atomic
def add_endpoint(
    actor: Actor,
    *,
    name: str,
    kind: str,
    address: str,
    username: str = "",
    password: str = "",
    **settings: Unpack[Settings],
) -> Hypervisor:
    """A new endpoint. Nothing is connected to yet: `request_sync` reads it."""
    require_root_admin(actor)
    kind = _usable(kind)
    hypervisor = Hypervisor(
        name=clean_name(name), kind=kind, address=clean_address(kind, address), username=username, password=password
    )
    _set(hypervisor, settings)
    _save(hypervisor)
    detail = f"{hypervisor.name} at {hypervisor.address}{_in_words(hypervisor)}."
    events.record(actor, "hypervisor.added", hypervisor_id=hypervisor.pk, detail=detail)
    if hypervisor.insecure:
        _warn_insecure(actor, hypervisor)
    return hypervisor


@transaction.atomic
def change_endpoint(
    actor: Actor,
    *,
    hypervisor: Hypervisor,
    name: str,
    address: str,
    username: str,
    password: str | None,
    enabled: bool,
    **settings: Unpack[Settings],
) -> Hypervisor:
    """Change how an endpoint is reached, or switch it on or off. Its kind stays, since its machines belong to it; so do
    the settings that are not given."""
    require_root_admin(actor)
    hypervisor = Hypervisor.objects.select_for_update().get(pk=hypervisor.pk)
    was_insecure = hypervisor.insecure
    hypervisor.name, hypervisor.username = clean_name(name), username
    hypervisor.address = clean_address(hypervisor.kind, address)
    hypervisor.enabled = enabled
    if password is not None:
        hypervisor.password = password
    _set(hypervisor, settings)
    _save(hypervisor)
    detail = f"{hypervisor.name} at {hypervisor.address}, {'on' if enabled else 'off'}"
    detail += f"{', new password' if password is not None else ''}{_in_words(hypervisor)}."
    events.record(actor, "hypervisor.changed", hypervisor_id=hypervisor.pk, detail=detail)
    if hypervisor.insecure and not was_insecure:
        _warn_insecure(actor, hypervisor)
    return hypervisor


def _set(hypervisor: Hypervisor, settings: Settings) -> None:
    """Put the given settings on the row. Raises `Invalid`, also for those that mean nothing for its kind."""
    entry = KINDS.get(hypervisor.kind)
    if "ca_certificate" in settings:
        hypervisor.ca_certificate = clean_certificates(settings["ca_certificate"])
    if "redirect_hosts" in settings:
        hypervisor.redirect_hosts = clean_redirect_hosts(settings["redirect_hosts"])
    hypervisor.insecure = settings.get("insecure", hypervisor.insecure)
    hypervisor.adopt_automatically = settings.get("adopt_automatically", hypervisor.adopt_automatically)
    meaningless = []
    if entry is None or not entry.speaks_tls:
        meaningless += [name for name in ("ca_certificate", "insecure") if getattr(hypervisor, name)]
    if (entry is None or not entry.redirects) and hypervisor.redirect_hosts:
        meaningless.append("redirect_hosts")
    if meaningless:
        sentence = f"This means nothing for {hypervisor.kind_label}. Leave it empty."
        raise Invalid(sentence, fields={name: [sentence] for name in meaningless})


def _in_words(hypervisor: Hypervisor) -> str:
    words = ", adopts VM snapshots made elsewhere by itself" if hypervisor.adopt_automatically else ""
    if hypervisor.insecure:
        return f"{words}, without checking its certificate"
    return words


def _warn_insecure(actor: Actor, hypervisor: Hypervisor) -> None:
    """Somebody chose to give up the check of the server's certificate: this must be found again later."""
    who = actor.user.get_username() if actor.user else "the product"
    log.warning("The certificate of hypervisor %s is not checked any more; chosen by %s", hypervisor.pk, who)
    events.record(
        actor,
        "hypervisor.insecure",
        level=Event.Level.WARNING,
        hypervisor_id=hypervisor.pk,
        detail=f"The certificate of {hypervisor.name} is not checked: whoever is in between can read the password and "
        "act in its place.",
    )


@transaction.atomic
def remove_endpoint(actor: Actor, *, hypervisor: Hypervisor) -> None:
    """Forget an endpoint that never brought anything. Raises `InvalidState` when machines, pools or volumes of it are
    known or a job is under way on it."""
    require_root_admin(actor)
    hypervisor = Hypervisor.objects.select_for_update().get(pk=hypervisor.pk)
    held = StoragePool.objects.filter(hypervisor=hypervisor).exists()
    held = held or VirtualMachine.objects.filter(hypervisor=hypervisor).exists()
    if held or Volume.objects.filter(hypervisor=hypervisor).exists():
        raise InvalidState(f"Machines or pools of {hypervisor.name} are known here. Switch it off instead.")
    if Job.objects.filter(hypervisor=hypervisor, state__in=ACTIVE_JOB_STATES).exists():
        raise InvalidState(f"A job is under way on {hypervisor.name}. Wait for it to end, or cancel it.")
    events.record(actor, "hypervisor.removed", detail=f"{hypervisor.name} at {hypervisor.address}.")
    hypervisor.delete()


def request_sync(actor: Actor, *, hypervisor: Hypervisor) -> Job:
    """Read everything the endpoint holds. One that is being read already gives that job."""
    _require_enabled(actor, hypervisor)
    return open_hypervisor_job(actor, JobAction.SYNC_HYPERVISOR, hypervisor)


def request_connection_check(actor: Actor, *, hypervisor: Hypervisor) -> Job:
    """Try to connect, and write down what came of it."""
    _require_enabled(actor, hypervisor)
    return open_hypervisor_job(actor, JobAction.CHECK_CONNECTION, hypervisor)


def _require_enabled(actor: Actor, hypervisor: Hypervisor) -> None:
    require_root_admin(actor)
    if not hypervisor.enabled:
        raise InvalidState(f"{hypervisor.name} is switched off. Switch it on first.")


def _usable(kind: str) -> str:
    if kind not in KINDS:
        raise Invalid(f"Unknown kind of hypervisor: {kind}.", fields={"kind": [f"One of {', '.join(KINDS)}."]})
    if reason := why_unavailable(kind):
        raise Invalid(reason, fields={"kind": [reason]})
    return kind


def _save(hypervisor: Hypervisor) -> None:
    try:
        with transaction.atomic():
            hypervisor.save()
    except IntegrityError:
        taken = f"There is a hypervisor named “{hypervisor.name}” already."
        raise NameTaken(taken, fields={"name": [taken]}) from None

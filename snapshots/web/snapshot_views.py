"""What is done with VM snapshots: take, revert, delete one, with descendants or all, rename. Each is a dialog that says
what will happen, and a POST."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from hypervisors.records import PowerAfterRevert
from snapshots.choices import PowerState, SnapshotType
from snapshots.models import VirtualMachine, VMSnapshot
from snapshots.reading.machine_page import MachinePage, machine_page, page_of_snapshot
from snapshots.reading.pool_effects import PoolEffect, pool_effects
from snapshots.refusals import Forbidden, NotVisible, Refusal, reason
from snapshots.services import snapshot_actions
from snapshots.services import snapshot_rules as rules
from snapshots.web import offers
from snapshots.web.answers import accepted, actor_of, dialog, refused, signed_in, status_of
from snapshots.web.forms import NameForm, RevertForm, TakeForm, uuid_or_none
from snapshots.web.limit_rows import InTheWay, in_the_way, limit_rows
from snapshots.web.pool_rows import pool_rows, too_full

NAMES_SHOWN = 30
WAYS_TO_TAKE = (("without memory", False), ("with memory", True))


@signed_in
@require_GET
def show_snapshot(request: HttpRequest, snapshot_uuid: UUID) -> HttpResponse:
    """A VM snapshot's own address leads to its place in the tree."""
    page, _ = page_of_snapshot(request.user, snapshot_uuid)
    return redirect(f"{_back(page)}?snapshot={snapshot_uuid}")


@signed_in
@require_http_methods(["GET", "POST"])
def take_snapshot(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Take a VM snapshot."""
    page = machine_page(request.user, machine_uuid)
    effects = pool_effects(page)
    kinds = _kinds(page, effects)
    status = 200
    if request.method == "POST":
        form, status = TakeForm(request.POST), 422
        if form.is_valid():
            values = form.cleaned_data
            try:
                job = snapshot_actions.request_create(
                    actor_of(request),
                    machine=page.machine,
                    name=values["name"],
                    description=values["description"],
                    memory=values["kind"] == "memory",
                    quiesce=values["kind"] == "quiesce",
                    exceed_limits=values["exceed_limits"],
                )
                return accepted(request, job, _back(page))
            except (Forbidden, NotVisible) as refusal:
                return refused(request, refusal)
            except Refusal as refusal:
                form.take_refusal(refusal)
                status = status_of(refusal)
    else:
        natural = next((kind.value for kind in (kinds[1], kinds[0], kinds[2]) if not kind.why_not), "")
        form = TakeForm(initial={"name": snapshot_actions.suggested_name(), "kind": natural})
    context = {
        "page": page,
        "form": form,
        "kinds": kinds,
        "limit_rows": limit_rows(page),
        "pool_rows": pool_rows(effects, WAYS_TO_TAKE),
        "exceeded": next((kind.limit.beyond for kind in kinds if kind.limit.may_exceed and not kind.why_not), ""),
        "title": f"Take a VM snapshot of {page.machine.name}",
        "address": reverse("take_snapshot", args=[machine_uuid]),
        "back": _back(page),
        "why_not": offers.take_offer(page).why_not,
    }
    return dialog(request, "snapshots/take.html", context, status)


@signed_in
@require_http_methods(["GET", "POST"])
def revert_snapshot(request: HttpRequest, snapshot_uuid: UUID) -> HttpResponse:
    """Put a machine back to a VM snapshot."""
    page, snapshot = page_of_snapshot(request.user, snapshot_uuid)
    powers = _powers(page.machine, snapshot)
    must_choose = rules.power_choice_needed(page.machine, snapshot)
    safety_memory = snapshot_actions.safety_holds_memory(page.machine)
    limit = in_the_way(page, page.taking(memory=safety_memory))
    effects = pool_effects(page)
    no_safety = (
        rules.why_not_create(page.machine, None, memory=safety_memory, quiesce=False)
        or limit.stops
        or too_full(effects, memory=safety_memory)
    )
    status = 200
    if request.method == "POST":
        form, status = RevertForm(request.POST), 422
        if form.is_valid():
            try:
                job = snapshot_actions.request_revert(
                    actor_of(request),
                    snapshot=snapshot,
                    power=form.power_chosen,
                    safety_snapshot=form.cleaned_data["safety_snapshot"],
                    exceed_limits=form.cleaned_data["exceed_limits"],
                )
                return accepted(request, job, _back(page))
            except (Forbidden, NotVisible) as refusal:
                return refused(request, refusal)
            except Refusal as refusal:
                form.take_refusal(refusal)
                status = status_of(refusal)
    else:
        preset = "" if must_choose else powers[0]["value"]
        form = RevertForm(initial={"power": preset, "safety_snapshot": no_safety is None and limit.refusal is None})
    context = _about(page, snapshot, "revert") | {
        "form": form,
        "powers": powers,
        "must_choose": must_choose,
        "safety_memory": safety_memory,
        "no_safety": reason(no_safety),
        "limit_rows": limit_rows(page),
        "pool_rows": pool_rows(effects, [("with the safety snapshot", safety_memory)]),
        "exceeded": limit.beyond if no_safety is None else "",
        "title": f"Revert {page.machine.name}",
        "address": reverse("revert_snapshot", args=[snapshot_uuid]),
    }
    return dialog(request, "snapshots/revert.html", context, status)


@signed_in
@require_http_methods(["GET", "POST"])
def delete_snapshot(request: HttpRequest, snapshot_uuid: UUID) -> HttpResponse:
    """Delete one VM snapshot; those below it move up."""
    page, snapshot = page_of_snapshot(request.user, snapshot_uuid)
    if request.method == "POST":
        job = snapshot_actions.request_delete(actor_of(request), snapshot=snapshot)
        return accepted(request, job, _back(page))
    context = _about(page, snapshot, "delete") | {
        "children": page.children_of(snapshot)[:NAMES_SHOWN],
        "children_not_shown": max(len(page.children_of(snapshot)) - NAMES_SHOWN, 0),
        "freed_bytes": page.estimate.freed_bytes[snapshot.pk],
        "title": "Delete a VM snapshot",
        "address": reverse("delete_snapshot", args=[snapshot_uuid]),
    }
    return dialog(request, "snapshots/delete.html", context)


@signed_in
@require_http_methods(["GET", "POST"])
def delete_snapshot_tree(request: HttpRequest, snapshot_uuid: UUID) -> HttpResponse:
    """Delete a VM snapshot and everything that stems from it."""
    page, snapshot = page_of_snapshot(request.user, snapshot_uuid)
    if request.method == "POST":
        job = snapshot_actions.request_delete_tree(actor_of(request), snapshot=snapshot)
        return accepted(request, job, _back(page))
    doomed = page.with_descendants(snapshot)
    context = _about(page, snapshot, "delete-tree") | {
        "doomed": doomed[:NAMES_SHOWN],
        "doomed_count": len(doomed),
        "doomed_not_shown": max(len(doomed) - NAMES_SHOWN, 0),
        "holds_current": any(row.current for row in doomed),
        "title": "Delete VM snapshots" if len(doomed) > 1 else "Delete a VM snapshot",
        "address": reverse("delete_snapshot_tree", args=[snapshot_uuid]),
    }
    return dialog(request, "snapshots/delete_tree.html", context)


@signed_in
@require_http_methods(["GET", "POST"])
def delete_all_snapshots(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Delete all VM snapshots of a machine: those that the dialog counted, and none that came since."""
    page = machine_page(request.user, machine_uuid)
    if request.method == "POST":
        shown = [found for text in request.POST.get("shown", "").split() if (found := uuid_or_none(text))]
        job = snapshot_actions.request_delete_all(actor_of(request), machine=page.machine, shown=shown)
        return accepted(request, job, _back(page))
    context = {
        "page": page,
        "machine": page.machine,
        "doomed": page.snapshots[:NAMES_SHOWN],
        "doomed_count": len(page.snapshots),
        "doomed_not_shown": max(len(page.snapshots) - NAMES_SHOWN, 0),
        "shown": " ".join(str(row.uuid) for row in page.snapshots),
        "freed_bytes": page.estimate.total_bytes,
        "title": f"Delete all VM snapshots of {page.machine.name}",
        "address": reverse("delete_all_snapshots", args=[machine_uuid]),
        "back": _back(page),
        "why_not": offers.delete_all_offer(page).why_not,
    }
    return dialog(request, "snapshots/delete_all.html", context)


@signed_in
@require_http_methods(["GET", "POST"])
def rename_snapshot(request: HttpRequest, snapshot_uuid: UUID) -> HttpResponse:
    """Change a VM snapshot's name and description."""
    page, snapshot = page_of_snapshot(request.user, snapshot_uuid)
    status = 200
    if request.method == "POST":
        form, status = NameForm(request.POST), 422
        if form.is_valid():
            values = form.cleaned_data
            try:
                job = snapshot_actions.request_rename(
                    actor_of(request), snapshot=snapshot, name=values["name"], description=values["description"]
                )
                return accepted(request, job, f"{_back(page)}?snapshot={snapshot_uuid}")
            except (Forbidden, NotVisible) as refusal:
                return refused(request, refusal)
            except Refusal as refusal:
                form.take_refusal(refusal)
                status = status_of(refusal)
    else:
        form = NameForm(initial={"name": snapshot.name, "description": snapshot.description})
    context = _about(page, snapshot, "rename") | {
        "form": form,
        "title": "Rename a VM snapshot",
        "address": reverse("rename_snapshot", args=[snapshot_uuid]),
    }
    return dialog(request, "snapshots/rename.html", context, status)


def _about(page: MachinePage, snapshot: VMSnapshot, key: str) -> dict[str, Any]:
    """What the dialogs about one VM snapshot have in common. Those who may only look are told so."""
    offer = next((offer for offer in offers.snapshot_offers(page, snapshot) if offer.key == key), None)
    return {
        "page": page,
        "machine": page.machine,
        "snapshot": snapshot,
        "parent": page.parent_of(snapshot),
        "back": f"{_back(page)}?snapshot={snapshot.uuid}",
        "why_not": "" if offer is None else offer.why_not,
    }


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to take a VM snapshot: what it means for the machine as it is now, what it would add to the estimate in
    bytes, and why not. `limit` is what the limits say to it."""

    value: str
    label: str
    effect: str
    added_bytes: int
    why_not: str
    limit: InTheWay


def _kinds(page: MachinePage, effects: Sequence[PoolEffect]) -> list[Kind]:
    """What can be kept, with `effects` on the storage pools."""
    machine = page.machine
    runs = machine.power_state in (PowerState.RUNNING, PowerState.SUSPENDED)
    reasons = {
        "disk": rules.why_not_disk_only(machine),
        "memory": rules.why_not_memory(machine),
        "quiesce": rules.why_not_quiesce(machine),
    }
    meanings = {
        "disk": "The disks as they are at one moment. After a revert the guest starts as if its power had been cut then."
        if runs
        else "The disks as they are now. The machine is off, so they are at rest.",
        "memory": "Also everything in memory. The guest pauses while it is written; after a revert it goes on from "
        "exactly this moment.",
        "quiesce": "The guest is asked to write out its files first, so that the disks are clean. After a revert it starts "
        "as after an orderly stop.",
    }
    found = []
    for value, label in TakeForm.KINDS:
        memory = value == "memory"
        limit = in_the_way(page, page.taking(memory=memory))
        added = page.growth(memory=memory).total_bytes
        stops = reasons[value] or limit.stops or too_full(effects, memory=memory)
        found.append(Kind(value, label, meanings[value], added, reason(stops), limit))
    return found


def _powers(machine: VirtualMachine, snapshot: VMSnapshot) -> list[dict[str, str]]:
    """The choices of power after a revert, in words. After a snapshot without memory "as it was" is the same as stopped,
    so that only one of the two is offered."""
    holds_memory = snapshot.type == SnapshotType.DISK_AND_MEMORY
    words = {
        PowerAfterRevert.AS_SNAPSHOT: (
            ("Running", "It goes on from exactly the moment the VM snapshot was taken.")
            if holds_memory
            else ("Stopped", "The VM snapshot holds no memory: the machine is off afterwards.")
        ),
        PowerAfterRevert.RUNNING: ("Running", "It is started from the disks of the VM snapshot."),
        PowerAfterRevert.STOPPED: (
            "Stopped",
            "The memory in the VM snapshot is not used this time." if holds_memory else "You can start it later.",
        ),
    }
    choices = rules.power_choices(machine, snapshot)
    if not holds_memory and PowerAfterRevert.STOPPED in choices:
        choices = [PowerAfterRevert.STOPPED, PowerAfterRevert.RUNNING]
    return [{"value": choice.value, "label": words[choice][0], "effect": words[choice][1]} for choice in choices]


def _back(page: MachinePage) -> str:
    return reverse("machine", args=[page.machine.uuid])

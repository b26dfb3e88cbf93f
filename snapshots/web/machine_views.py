"""The list of machines, the page of one machine, and what is done with a machine or its volumes."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRefresh

from snapshots.access import looking_only, visible_volumes
from snapshots.choices import PowerState
from snapshots.models import Job
from snapshots.reading.machine_list import machine_list
from snapshots.reading.machine_page import (
    MachinePage,
    events_of,
    loose_volumes_for,
    machine_of,
    machine_page,
    machine_pulse,
)
from snapshots.refusals import NotVisible, Refusal
from snapshots.services import machine_actions
from snapshots.web import offers
from snapshots.web.answers import accepted, actor_of, by_htmx, dialog, refused, signed_in, status_of, wanted_back
from snapshots.web.forms import AttachForm, MachineFilterForm, StopForm, uuid_or_none
from snapshots.web.tree_rows import tree_rows

EVENTS_PER_PAGE = 100


@signed_in
@require_GET
def list_machines(request: HttpRequest) -> HttpResponse:
    """The machines this person sees."""
    query = MachineFilterForm(request.GET).asked()
    found = machine_list(request.user, query)
    context = {
        "query": query,
        "found": found,
        "power_states": PowerState.choices,
        "simulated": "some" if found.any_simulated else "",
    }
    part = by_htmx(request) and request.headers.get("HX-Target") == "machines"
    return render(request, "machines/_list.html" if part else "machines/list.html", context)


@signed_in
@require_GET
def show_machine(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """One machine with its tree; only the details of a snapshot when one was chosen in the tree."""
    selected = uuid_or_none(request.GET.get("snapshot", ""))
    page = machine_page(request.user, machine_uuid, selected)
    if by_htmx(request) and request.headers.get("HX-Target") == "details":
        return render(request, "machines/_details.html", _details(page, selected))
    return render(request, "machines/machine.html", _whole(page, selected))


@signed_in
@require_GET
def pulse(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Asked for again and again by an open page: nothing (204), the progress of the job, or the whole page anew when
    something on it has changed."""
    try:
        beat = machine_pulse(request.user, machine_uuid)
    except NotVisible:
        return HttpResponseClientRefresh()
    if beat.stamp != request.GET.get("stamp"):
        selected = uuid_or_none(request.GET.get("snapshot", ""))
        page = machine_page(request.user, machine_uuid, selected)
        answer = render(request, "machines/_body.html", _whole(page, selected))
        answer["HX-Retarget"] = "#machine"
        return answer
    if beat.busy is None:
        return HttpResponse(status=204)
    return render(request, "machines/_pulse.html", {"machine": beat.machine, "busy": beat.busy, "stamp": beat.stamp})


@signed_in
@require_GET
def machine_history(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Everything that was written about a machine, newest first."""
    machine, _ = machine_of(request.user, machine_uuid)
    before = request.GET.get("before", "")
    events = events_of(machine, int(before) if before.isdecimal() and len(before) < 19 else None, EVENTS_PER_PAGE + 1)
    context = {
        "machine": machine,
        "simulated": machine.hypervisor.simulated,
        "events": events[:EVENTS_PER_PAGE],
        "older": events[EVENTS_PER_PAGE - 1].pk if len(events) > EVENTS_PER_PAGE else None,
        "newest": not before,
    }
    return render(request, "machines/history.html", context)


@signed_in
@require_POST
def start_machine(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Start or resume a machine."""
    machine, _ = machine_of(request.user, machine_uuid)
    return accepted(request, machine_actions.request_start(actor_of(request), machine=machine), _back(machine_uuid))


@signed_in
@require_POST
def sync_machine(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Read a machine from its hypervisor again."""
    machine, _ = machine_of(request.user, machine_uuid)
    job = machine_actions.request_sync(actor_of(request), machine=machine)
    return accepted(request, job, wanted_back(request, _back(machine_uuid)))


@signed_in
@require_http_methods(["GET", "POST"])
def stop_machine(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Stop a machine: by asking its guest, or by cutting the power."""
    page = machine_page(request.user, machine_uuid)
    offer = next((offer for offer in offers.machine_offers(page) if offer.key == "stop"), None)
    form = StopForm(request.POST or None, initial={"way": "ask"})
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            job = machine_actions.request_stop(
                actor_of(request), machine=page.machine, force=form.cleaned_data["way"] == "force"
            )
            return accepted(request, job, _back(machine_uuid))
        except Refusal as refusal:
            return refused(request, refusal)
    elif request.method == "POST":
        status = 422
    title = f"Stop {page.machine.name}"
    address = reverse("stop_machine", args=[machine_uuid])
    context = {"page": page, "form": form, "title": title, "address": address, "back": _back(machine_uuid)}
    context["why_not"] = "" if offer is None else offer.why_not
    return dialog(request, "machines/stop.html", context, status)


@signed_in
@require_http_methods(["GET", "POST"])
def attach_volume(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Attach a loose volume to a machine."""
    page = machine_page(request.user, machine_uuid)
    form = AttachForm(request.POST or None)
    status = 200
    if request.method == "POST":
        status = 422
        if not page.may_operate:
            raise looking_only(page.machine)
        if form.is_valid():
            try:
                return accepted(request, _attach(request, page, form.cleaned_data["volume"]), _back(machine_uuid))
            except Refusal as refusal:
                form.take_refusal(refusal)
                status = status_of(refusal)
    context = {
        "page": page,
        "form": form,
        "volumes": loose_volumes_for(visible_volumes(request.user), page.machine),
        "title": f"Attach a volume to {page.machine.name}",
        "address": reverse("attach_volume", args=[machine_uuid]),
        "back": _back(machine_uuid),
        "why_not": offers.attach_offer(page).why_not,
    }
    return dialog(request, "machines/attach.html", context, status)


def _attach(request: HttpRequest, page: MachinePage, volume_uuid: UUID) -> Job:
    volume = visible_volumes(request.user).filter(uuid=volume_uuid).first()
    if volume is None:
        raise NotVisible("There is no such volume.")
    return machine_actions.request_attach(actor_of(request), volume=volume, machine=page.machine)


@signed_in
@require_http_methods(["GET", "POST"])
def detach_volume(request: HttpRequest, volume_uuid: UUID) -> HttpResponse:
    """Detach a volume from its machine; its data stay."""
    volume = visible_volumes(request.user).select_related("machine", "pool").filter(uuid=volume_uuid).first()
    if volume is None or volume.machine is None:
        raise NotVisible("There is no such volume attached to a machine.")
    page = machine_page(request.user, volume.machine.uuid)
    if request.method == "POST":
        job = machine_actions.request_detach(actor_of(request), volume=volume)
        return accepted(request, job, _back(page.machine.uuid))
    context = {
        "page": page,
        "volume": volume,
        "title": f"Detach {volume.name}",
        "address": reverse("detach_volume", args=[volume_uuid]),
        "back": _back(page.machine.uuid),
        "why_not": offers.detach_reason(page),
    }
    return dialog(request, "machines/detach.html", context)


def _whole(page: MachinePage, selected: UUID | None) -> dict[str, Any]:
    head, head_reasons = offers.explained(page, [offers.take_offer(page), *offers.machine_offers(page)])
    detach_reason = offers.detach_reason(page)
    of_volumes = [offers.attach_offer(page), *(offers.detach_offer(page, row, detach_reason) for row in page.volumes)]
    of_volumes, volume_reasons = offers.explained(page, of_volumes)
    of_drift, drift_reasons = offers.explained(page, offers.drift_offers(page))
    return _details(page, selected) | {
        "simulated": page.machine.hypervisor.simulated,
        "busy": page.busy,
        "stamp": page.stamp,
        "outcome": page.latest_outcome,
        "tree": tree_rows(page),
        "take": head[0],
        "machine_offers": head[1:],
        "head_reasons": head_reasons,
        "attach": of_volumes[0],
        "volumes": list(zip(page.volumes, of_volumes[1:], strict=True)),
        "volume_reasons": volume_reasons,
        "drift": {offer.key.replace("-", "_"): offer for offer in of_drift},
        "drift_reasons": drift_reasons,
    }


def _details(page: MachinePage, selected: UUID | None) -> dict[str, Any]:
    """What the details of the selected snapshot show. Only a choice that was made is kept while the page is open; else
    the details follow the current snapshot."""
    snapshot = page.selected
    common, common_id = offers.common_reason(page)
    context: dict[str, Any] = {
        "page": page,
        "machine": page.machine,
        "selected": snapshot,
        "chosen": selected if snapshot is not None and snapshot.uuid == selected else None,
        "common_reason": common if common_id == offers.COMMON_REASON_ID else "",
    }
    if snapshot is not None:
        context["parent"] = page.parent_of(snapshot)
        context["snapshot_offers"], _ = offers.explained(page, offers.snapshot_offers(page, snapshot))
        context["estimated_bytes"] = page.estimate.freed_bytes[snapshot.pk]
        context["expires_at"] = page.expires_at(snapshot)
        context["estimated_total"] = page.estimate.total_bytes
    return context


def _back(machine_uuid: UUID) -> str:
    return reverse("machine", args=[machine_uuid])

"""Schedules: the list of all, those of one machine, adding, editing, pausing and deleting one, and keeping a VM snapshot
that one would delete."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from hypervisors.capabilities import Ability
from snapshots.access import looking_only
from snapshots.choices import Frequency
from snapshots.limit_levels import room_of
from snapshots.models import Schedule, VirtualMachine
from snapshots.reading.machine_page import MachinePage, machine_of, machine_page, page_of_snapshot
from snapshots.reading.pool_effects import pool_effects
from snapshots.reading.schedules import schedule_list, schedule_of, schedules_of
from snapshots.refusals import Forbidden, NotVisible, Refusal, reason
from snapshots.services import schedule_rules as rules
from snapshots.services import schedules
from snapshots.web.answers import actor_of, by_htmx, dialog, done, gone_to, refused, signed_in, status_of, wanted_back
from snapshots.web.forms import ScheduleFilterForm, TakeForm
from snapshots.web.limit_rows import limit_rows
from snapshots.web.pool_rows import pool_rows
from snapshots.web.schedule_forms import ScheduleForm, offered_zones, suggested_names
from snapshots.web.schedule_rows import schedule_board, why_not_change
from snapshots.web.snapshot_views import WAYS_TO_TAKE
from snapshots.web.template_tools import in_words


@signed_in
@require_GET
def list_schedules(request: HttpRequest) -> HttpResponse:
    """The schedules of all machines this person sees."""
    query = ScheduleFilterForm(request.GET).asked()
    found = schedule_list(request.user, query)
    context = {
        "query": query,
        "found": found,
        "states": ScheduleFilterForm.STATES,
        "simulated": "some" if found.any_simulated else "",
    }
    part = by_htmx(request) and request.headers.get("HX-Target") == "schedules"
    return render(request, "schedules/_list.html" if part else "schedules/list.html", context)


@signed_in
@require_GET
def machine_schedules(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """The schedules of one machine."""
    machine, may_operate = machine_of(request.user, machine_uuid)
    most = room_of(machine.account, request.user).per_machine.value
    context = {
        "machine": machine,
        "simulated": machine.hypervisor.simulated,
        "board": schedule_board(machine, schedules_of(machine), may_operate=may_operate, most=most),
    }
    return render(request, "schedules/machine.html", context)


@signed_in
@require_http_methods(["GET", "POST"])
def add_schedule(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """A new schedule of a machine."""
    page = machine_page(request.user, machine_uuid)
    return _schedule_dialog(request, page, None)


@signed_in
@require_http_methods(["GET", "POST"])
def change_schedule(request: HttpRequest, schedule_uuid: UUID) -> HttpResponse:
    """Another rhythm, content or number for a schedule."""
    schedule = schedule_of(request.user, schedule_uuid)
    return _schedule_dialog(request, machine_page(request.user, schedule.machine.uuid), schedule)


@signed_in
@require_POST
def pause_schedule(request: HttpRequest, schedule_uuid: UUID) -> HttpResponse:
    """Let a schedule rest."""
    schedule = schedules.pause_schedule(actor_of(request), schedule=schedule_of(request.user, schedule_uuid))
    return _told(request, schedule.machine, f"“{schedule.name}” is paused: it takes and deletes nothing.")


@signed_in
@require_POST
def resume_schedule(request: HttpRequest, schedule_uuid: UUID) -> HttpResponse:
    """Let a schedule go on."""
    schedule = schedules.resume_schedule(actor_of(request), schedule=schedule_of(request.user, schedule_uuid))
    return _told(request, schedule.machine, f"“{schedule.name}” goes on. {_next_in_words(schedule)}")


@signed_in
@require_http_methods(["GET", "POST"])
def delete_schedule(request: HttpRequest, schedule_uuid: UUID) -> HttpResponse:
    """Forget a schedule; what it took stays."""
    schedule = schedule_of(request.user, schedule_uuid)
    machine, may_operate = machine_of(request.user, schedule.machine.uuid)
    if request.method == "POST":
        schedules.delete_schedule(actor_of(request), schedule=schedule)
        return _told(request, machine, f"“{schedule.name}” is deleted. The VM snapshots it took stay.")
    context = {
        "schedule": schedule,
        "machine": machine,
        "simulated": machine.hypervisor.simulated,
        "title": "Delete a schedule",
        "address": reverse("delete_schedule", args=[schedule_uuid]),
        "back": _back(machine),
        "why_not": why_not_change(schedule, may_operate=may_operate),
    }
    return dialog(request, "schedules/delete.html", context)


@signed_in
@require_POST
def keep_snapshot(request: HttpRequest, snapshot_uuid: UUID) -> HttpResponse:
    """Keep a VM snapshot that its schedule would delete."""
    page, snapshot = page_of_snapshot(request.user, snapshot_uuid)
    schedules.keep_snapshot(actor_of(request), snapshot=snapshot)
    back = f"{reverse('machine', args=[page.machine.uuid])}?snapshot={snapshot_uuid}"
    return done(
        request,
        f"“{snapshot.name}” is out of its schedule: no schedule deletes it any more.",
        wanted_back(request, back),
    )


def _schedule_dialog(request: HttpRequest, page: MachinePage, schedule: Schedule | None) -> HttpResponse:
    others = [other for other in schedules_of(page.machine) if other != schedule]
    left = rules.most_to_keep(others, page.room.per_machine.value)
    kinds, names, status = _kinds(page.machine), suggested_names(others), 200
    if request.method == "POST":
        form, status = ScheduleForm(request.POST), 422
        if not page.may_operate:
            raise looking_only(page.machine)
        if form.is_valid():
            try:
                return _kept(request, page.machine, schedule, form)
            except (Forbidden, NotVisible) as refusal:
                return refused(request, refusal)
            except Refusal as refusal:
                form.take_refusal(refusal)
                status = status_of(refusal)
    elif schedule is not None:
        form = ScheduleForm(initial=ScheduleForm.values_of(schedule))
    else:
        possible = sorted((kind for kind in kinds if not kind.why_not), key=lambda kind: bool(kind.only))
        natural = possible[0].value if possible else ""
        form = ScheduleForm(initial=ScheduleForm.values_of_new(names, natural, left))
    context = _shown(page, schedule, others) | {
        "form": form,
        "kinds": kinds,
        "frequencies": [(value, label, names[value]) for value, label in Frequency.choices],
        "left": left,
        "beside": rules.kept_by(others),
    }
    return dialog(request, "schedules/schedule.html", context, status)


def _shown(page: MachinePage, schedule: Schedule | None, others: list[Schedule]) -> dict[str, Any]:
    """What the dialog shows beside the form."""
    if schedule is None:
        refusal = rules.why_not_schedule(page.machine) or rules.why_not_another(page.machine, others)
        why_not = reason(refusal) if page.may_operate else looking_only(page.machine).detail
        title, address = (
            f"Schedule VM snapshots of {page.machine.name}",
            reverse("add_schedule", args=[page.machine.uuid]),
        )
    else:
        why_not = why_not_change(schedule, may_operate=page.may_operate)
        title, address = "Edit a schedule", reverse("change_schedule", args=[schedule.uuid])
    return {
        "page": page,
        "schedule": schedule,
        "zones": offered_zones(),
        "keep_most": rules.KEEP_MOST,
        "name_length": rules.NAME_LENGTH,
        "late": timedelta(seconds=settings.SCHEDULE_LATE_SECONDS),
        "limit_rows": limit_rows(page),
        "pool_rows": pool_rows(pool_effects(page), WAYS_TO_TAKE),
        "title": title,
        "address": address,
        "back": _back(page.machine),
        "why_not": why_not,
    }


@dataclass(frozen=True, slots=True)
class Kind:
    """What the VM snapshots of a schedule may hold. `why_not` is why they never can, `only` when they can alone; both are
    empty when nothing stands against it."""

    value: str
    label: str
    effect: str
    why_not: str
    only: str


def _kinds(machine: VirtualMachine) -> list[Kind]:
    meanings = {
        "disk": "The disks as they are at one moment. After a revert the guest starts as if its power had been cut then.",
        "memory": "Also everything in memory while the machine runs. The guest pauses while it is written.",
        "quiesce": "While the machine runs, the guest is asked to write out its files first, so that the disks are clean.",
    }
    found = []
    for value, label in TakeForm.KINDS:
        why_not = rules.why_not_hold(machine, memory=value == "memory", quiesce=value == "quiesce")
        only = "" if value != "disk" or why_not else _only(machine)
        found.append(Kind(value, label, meanings[value], why_not, only))
    return found


def _only(machine: VirtualMachine) -> str:
    """When disks alone can be kept, if not always."""
    abilities = machine.abilities
    ways: tuple[tuple[Ability, str], ...] = (
        (abilities.disk_when_running, "is off"),
        (abilities.disk_when_stopped, "runs"),
    )
    return next((f"Only while the machine {when}. {way.reason}" for way, when in ways if not way.allowed), "")


def _kept(request: HttpRequest, machine: VirtualMachine, schedule: Schedule | None, form: ScheduleForm) -> HttpResponse:
    if schedule is None:
        kept = schedules.add_schedule(actor_of(request), machine=machine, terms=form.terms)
        return _told(request, machine, f"“{kept.name}” is added. {_next_in_words(kept)}")
    kept = schedules.change_schedule(actor_of(request), schedule=schedule, terms=form.terms)
    return _told(request, machine, f"“{kept.name}” is changed. {_next_in_words(kept)}")


def _next_in_words(schedule: Schedule) -> str:
    return "It is paused." if schedule.next_at is None else f"It is due next on {in_words(schedule.next_at)}."


def _told(request: HttpRequest, machine: VirtualMachine, said: str) -> HttpResponse:
    messages.success(request, said)
    return gone_to(request, _back(machine))


def _back(machine: VirtualMachine) -> str:
    return reverse("machine_schedules", args=[machine.uuid])

"""Where this product and the hypervisors differ: adopting what was made elsewhere, acknowledging what is lost, merging what
removed snapshots left behind."""

from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from snapshots.access import visible_hypervisors
from snapshots.limit_levels import Wanted
from snapshots.models import VMSnapshot
from snapshots.reading.drift_report import DriftReport, MachineDrift, drift_report
from snapshots.reading.machine_page import machine_of, page_of_snapshot
from snapshots.refusals import reason
from snapshots.services import drift_actions, endpoints, limit_rules, machine_actions
from snapshots.services import snapshot_rules as rules
from snapshots.web.answers import accepted, actor_of, by_htmx, done, for_admins, for_root_admins, signed_in, wanted_back
from snapshots.web.forms import AdoptForm, DriftFilterForm, uuid_or_none


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """A VM snapshot that differs, with the reason why it cannot be decided about now, empty when it can."""

    snapshot: VMSnapshot
    why_not: str


@dataclass(frozen=True, slots=True)
class MachineRow:
    """A machine that differs. `why_not_all` is why not everything made elsewhere on it can be adopted at once. `full`: a
    limit stands in the way of adopting, and this installation lets admins go beyond it, which the machine's page offers."""

    found: MachineDrift
    made_elsewhere: list[SnapshotRow]
    lost: list[SnapshotRow]
    why_not_all: str
    why_not_sync: str
    full: bool


@for_admins
@require_GET
def show_drift(request: HttpRequest) -> HttpResponse:
    """Where the hypervisors and this product differ, for those who administer the machines."""
    query = DriftFilterForm(request.GET).asked()
    report = drift_report(request.user, query)
    context = {
        "query": query,
        "report": report,
        "rows": [_row(report, found) for found in report.machines],
        "kinds": DriftFilterForm.KINDS,
        "simulated": "some" if report.any_simulated else "",
        "syncable": [hypervisor for hypervisor in report.hypervisors if hypervisor.enabled],
    }
    part = by_htmx(request) and request.headers.get("HX-Target") == "drift"
    return render(request, "drift/_report.html" if part else "drift/report.html", context)


@for_root_admins
@require_POST
def sync_everything(request: HttpRequest) -> HttpResponse:
    """Read all hypervisors that are switched on, or the one that is named."""
    chosen = visible_hypervisors(request.user).filter(enabled=True)
    if named := request.POST.get("hypervisor", ""):
        wanted = uuid_or_none(named)
        chosen = chosen.filter(uuid=wanted) if wanted else chosen.none()
    count = 0
    for hypervisor in chosen:
        endpoints.request_sync(actor_of(request), hypervisor=hypervisor)
        count += 1
    if count:
        found = "its findings appear" if count == 1 else "their findings appear"
        messages.success(request, f"{count} hypervisor{'' if count == 1 else 's'} being read; {found} here.")
    else:
        messages.error(request, "There is no hypervisor that is switched on to be read.")
    return redirect(wanted_back(request, reverse("drift")))


def _row(report: DriftReport, found: MachineDrift) -> MachineRow:
    machine, busy = found.machine, report.busy.get(found.machine.pk)
    waiting = rules.why_not_adopt_all(machine, found.made_elsewhere) if found.made_elsewhere else None
    room = report.room_of(machine)
    # What they hold is not read for this list: a limit of bytes is seen here once it is used up.
    full = limit_rules.why_not_another(machine, room)
    full_for_all = limit_rules.why_not_another(machine, room, Wanted(machine.unadopted_count))
    return MachineRow(
        found=found,
        made_elsewhere=[
            SnapshotRow(row, reason(rules.why_not_adopt(machine, row) or full)) for row in found.made_elsewhere
        ],
        lost=[SnapshotRow(row, reason(rules.why_not_acknowledge(row, busy))) for row in found.lost],
        why_not_all=reason(waiting or full_for_all),
        why_not_sync=reason(rules.why_not_sync(machine, busy)),
        full=bool(found.made_elsewhere and full_for_all) and settings.ADMINS_MAY_EXCEED_LIMITS,
    )


def _goes_beyond(request: HttpRequest) -> bool:
    """Whether the person chose to go beyond a limit."""
    form = AdoptForm(request.POST)
    return form.is_valid() and bool(form.cleaned_data["exceed_limits"])


@signed_in
@require_POST
def adopt_snapshot(request: HttpRequest, snapshot_uuid: UUID) -> HttpResponse:
    """Make a VM snapshot made elsewhere ours."""
    page, snapshot = page_of_snapshot(request.user, snapshot_uuid)
    drift_actions.adopt_snapshot(actor_of(request), snapshot=snapshot, exceed_limits=_goes_beyond(request))
    back = f"{reverse('machine', args=[page.machine.uuid])}?snapshot={snapshot_uuid}"
    return done(request, f"“{snapshot.name}” is adopted: it counts as taken here.", wanted_back(request, back))


@signed_in
@require_POST
def adopt_machine(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Make all VM snapshots of a machine that were made elsewhere ours."""
    machine, _ = machine_of(request.user, machine_uuid)
    exceed = _goes_beyond(request)
    adopted = len(drift_actions.adopt_machine(actor_of(request), machine=machine, exceed_limits=exceed))
    said = f"{adopted} VM snapshot{'' if adopted == 1 else 's'} of {machine.name} adopted."
    return done(request, said, wanted_back(request, reverse("machine", args=[machine_uuid])))


@signed_in
@require_POST
def acknowledge_snapshot(request: HttpRequest, snapshot_uuid: UUID) -> HttpResponse:
    """Take note that a VM snapshot is lost."""
    page, snapshot = page_of_snapshot(request.user, snapshot_uuid)
    drift_actions.acknowledge_lost(actor_of(request), snapshot=snapshot)
    said = f"That “{snapshot.name}” is lost was taken note of."
    return done(request, said, wanted_back(request, reverse("machine", args=[page.machine.uuid])))


@signed_in
@require_POST
def consolidate_machine(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Merge what removed snapshots left behind on a machine's storage."""
    machine, _ = machine_of(request.user, machine_uuid)
    job = machine_actions.request_consolidate(actor_of(request), machine=machine)
    return accepted(request, job, reverse("machine", args=[machine_uuid]))

"""How storage is used: pools, accounts, machines, what is stale. Each chart's numbers come as CSV from the same address,
with `?csv=` and the chart's key."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from snapshots.access import is_root_admin
from snapshots.csv_answer import csv_answer
from snapshots.reading import capacity_report as report
from snapshots.reading import capacity_series as series
from snapshots.reading.chart_shapes import Series, SeriesChart, TreeMap
from snapshots.reading.csv_lines import csv_lines
from snapshots.reading.dashboard import dashboard
from snapshots.reading.largest_machines import MachineHeld
from snapshots.reading.machine_growth import machine_chart
from snapshots.reading.machine_page import machine_of
from snapshots.reading.space_map import space_map
from snapshots.reading.stale import MANY_COLUMNS, OLD_COLUMNS, many_lines, old_lines, stale
from snapshots.web.answers import as_csv, signed_in
from snapshots.web.forms import uuid_or_none

Chart = SeriesChart | TreeMap
BARS_SHOWN = 25


@signed_in
@require_GET
def show_dashboard(request: HttpRequest) -> HttpResponse:
    """What there is to look at now."""
    found = dashboard(request.user)
    return render(request, "capacity/dashboard.html", {"found": found})


@signed_in
@require_GET
def list_pools(request: HttpRequest) -> HttpResponseBase:
    """The storage pools this person sees, and who uses the space."""
    domain = uuid_or_none(request.GET.get("domain", ""))
    chart = space_map(request.user, f"?domain={domain or ''}&csv=space", domain=domain)
    if request.GET.get("csv") == chart.key:
        return as_csv(chart)
    found = report.capacity_report(request.user, request.GET.get("page", "1"))
    context = {"found": found, "chart": chart, "domain": domain, "simulated": "some" if found.any_simulated else ""}
    return render(request, "capacity/pools.html", context)


@signed_in
@require_GET
def show_pool(request: HttpRequest, pool_uuid: UUID) -> HttpResponseBase:
    """One pool: over time, for root admins, and who of what this person sees holds how much there."""
    view = report.pool_view(request.user, pool_uuid)
    wanted = series.range_of(request.GET.get("range", ""))
    charts: dict[str, Callable[[], Chart]] = {
        "by-machine": lambda: _by_machine(report.machines_in_pool(request.user, view.room.pool)),
        "space": lambda: space_map(request.user, "?csv=space", pool=view.room.pool),
    }
    sees_all = is_root_admin(request.user)
    if sees_all:
        over_time = f"?range={wanted.key}&csv=pool-over-time"
        samples = series.pool_samples(view.room.pool, wanted)
        charts = {"pool-over-time": lambda: series.pool_chart(view.room, samples, over_time)} | charts
    context = {"view": view, "ranges": series.RANGES, "range": wanted, "sees_all": sees_all}
    return _charted(request, "capacity/pool.html", context, charts, simulated=view.room.pool.hypervisor.simulated)


@signed_in
@require_GET
def show_account(request: HttpRequest, account_uuid: UUID) -> HttpResponseBase:
    """What one account holds: over time, by machine, and by VM snapshot."""
    account, held = report.account_of(request.user, account_uuid)
    wanted = series.range_of(request.GET.get("range", ""))
    over_time = f"?range={wanted.key}&csv=account-over-time"
    charts: dict[str, Callable[[], Chart]] = {
        "account-over-time": lambda: series.account_chart(series.account_samples(account, wanted), held, over_time),
        "by-machine": lambda: _by_machine(report.machines_of_account(account)),
        "space": lambda: space_map(request.user, "?csv=space", account=account),
    }
    context = {"account": account, "held": held, "ranges": series.RANGES, "range": wanted}
    return _charted(request, "capacity/account.html", context, charts)


@signed_in
@require_GET
def show_machine_growth(request: HttpRequest, machine_uuid: UUID) -> HttpResponseBase:
    """How the VM snapshots of one machine grew."""
    machine, _ = machine_of(request.user, machine_uuid)
    charts: dict[str, Callable[[], Chart]] = {
        "machine-over-time": lambda: machine_chart(request.user, machine, "?csv=machine-over-time")
    }
    context = {"machine": machine, "held": report.held_by(machine)}
    return _charted(request, "capacity/machine.html", context, charts, simulated=machine.hypervisor.simulated)


@signed_in
@require_GET
def list_stale(request: HttpRequest) -> HttpResponse:
    """VM snapshots that were perhaps forgotten."""
    return render(request, "capacity/stale.html", {"found": stale(request.user)})


@signed_in
@require_GET
def stale_csv(request: HttpRequest) -> StreamingHttpResponse:
    """All old VM snapshots, not those alone that the page has room for."""
    return csv_answer("stale-vm-snapshots", csv_lines(OLD_COLUMNS, old_lines(request.user)))


@signed_in
@require_GET
def stale_machines_csv(request: HttpRequest) -> StreamingHttpResponse:
    """All machines with too many VM snapshots."""
    return csv_answer("machines-with-many-vm-snapshots", csv_lines(MANY_COLUMNS, many_lines(request.user)))


def _charted(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    charts: dict[str, Callable[[], Chart]],
    *,
    simulated: bool = False,
) -> HttpResponseBase:
    """The page with all its charts, or the numbers of the one that is asked for."""
    asked = request.GET.get("csv", "")
    if asked in charts:
        return as_csv(charts[asked]())
    drawn = [make() for make in charts.values()]
    return render(request, template, {**context, "charts": drawn, "simulated": "some" if simulated else ""})


def _by_machine(machines: list[MachineHeld]) -> SeriesChart:
    shown = machines[:BARS_SHOWN]
    return SeriesChart(
        key="by-machine",
        title="By machine",
        about="The machines that hold most. Bars: their volumes and the estimate of their VM snapshots. Marks: what is "
        "measured of these, upon the volumes.",
        unit="bytes",
        label_head="Machine",
        labels=[row.machine.name for row in shown],
        addresses=[reverse("machine", args=[row.machine.uuid]) for row in shown],
        series=[
            Series("Volumes", [row.held.volume_bytes for row in shown], "volumes", "bar"),
            Series("VM snapshots, estimated", [row.held.estimated_bytes for row in shown], "estimate", "bar"),
            Series("VM snapshots, measured", [row.held.measured_bytes for row in shown], "measured", "mark", "Volumes"),
        ],
        csv="?csv=by-machine",
    )

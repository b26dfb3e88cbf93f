"""The list of jobs, the page of one job, and cancelling it."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from snapshots.reading.job_list import JobPage, JobQuery, job_list, job_page
from snapshots.refusals import reason
from snapshots.services import jobs
from snapshots.services.snapshot_rules import why_not_cancel
from snapshots.web.answers import accepted, actor_of, by_htmx, signed_in
from snapshots.web.forms import JobFilterForm


@signed_in
@require_GET
def list_jobs(request: HttpRequest) -> HttpResponse:
    """The jobs this person sees."""
    form = JobFilterForm(request.GET)
    form.is_valid()
    values = form.cleaned_data
    query = JobQuery(values.get("state") or "", values.get("action") or "", values.get("before"))
    found = job_list(request.user, query)
    simulated = "some" if any(job.hypervisor.simulated for job in found.jobs) else ""
    context = {"form": form, "query": query, "found": found, "simulated": simulated}
    part = by_htmx(request) and request.headers.get("HX-Target") == "jobs"
    return render(request, "jobs/_list.html" if part else "jobs/list.html", context)


@signed_in
@require_GET
def show_job(request: HttpRequest, job_uuid: UUID) -> HttpResponse:
    """One job; its page asks for the job alone again while it is under way."""
    page = job_page(request.user, job_uuid)
    context = {
        "page": page,
        "job": page.job,
        "simulated": page.job.hypervisor.simulated,
        "why_not": _why_not_cancel(page),
    }
    part = by_htmx(request) and request.headers.get("HX-Target") == "job"
    return render(request, "jobs/_job.html" if part else "jobs/job.html", context)


@signed_in
@require_POST
def cancel_job(request: HttpRequest, job_uuid: UUID) -> HttpResponse:
    """Cancel a job, or ask for it to be stopped."""
    page = job_page(request.user, job_uuid)
    job = jobs.request_cancel(actor_of(request), page.job)
    return accepted(request, job, reverse("job", args=[job_uuid]), said=f"Cancelling: {job}.")


def _why_not_cancel(page: JobPage) -> str:
    refusal = why_not_cancel(page.job)
    if not page.may_operate:
        return "You may look at this job but not cancel it."
    return reason(refusal)

"""`jobs/` and `events/`: what is under way, and what happened."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view

from snapshots.access import Actor
from snapshots.api.base_views import ActionView, ApiView, DetailView, ListView
from snapshots.api.filters import EventFilters, JobFilters
from snapshots.api.openapi import action_schema
from snapshots.api.outputs import EventOutput, JobOutput, Output
from snapshots.models import Job
from snapshots.reading import rest_lists
from snapshots.services import jobs

TAGS = ["jobs"]


class OfJob(ApiView):
    """Below `jobs/`."""

    rows_of = staticmethod(rest_lists.jobs)
    noun = "job"
    output: type[Output] = JobOutput


@extend_schema_view(get=extend_schema(tags=TAGS, summary="List jobs", operation_id="list_jobs"))
class JobList(OfJob, ListView):
    """Jobs on the machines you see."""

    filterset_class = JobFilters
    orderings = ("-created_at",)


@extend_schema_view(get=extend_schema(tags=TAGS, summary="Read a job", operation_id="read_job"))
class JobDetail(OfJob, DetailView):
    """A job."""


@extend_schema_view(post=action_schema("Cancel a job", "cancel_job", tags=TAGS))
class JobCancel(OfJob, ActionView):
    """Cancel a job: one that waits ends at once, one under way is asked to stop where the hypervisor can."""

    def ask(self, actor: Actor, row: Job, values: dict[str, Any]) -> Job:
        return jobs.request_cancel(actor, row)


@extend_schema_view(get=extend_schema(tags=["events"], summary="List events", operation_id="list_events"))
class EventList(ListView):
    """What happened in the accounts you see, newest first."""

    rows_of = staticmethod(rest_lists.events)
    output: type[Output] = EventOutput
    filterset_class = EventFilters
    orderings = ("-at",)

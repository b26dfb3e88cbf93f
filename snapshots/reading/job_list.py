"""Jobs a person sees: the list, newest first, and one job with its trail of events."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q

from snapshots.access import Person, is_root_admin, may_operate, visible_jobs
from snapshots.models import Event, Job
from snapshots.refusals import NotVisible

JOBS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class JobQuery:
    """What is asked for. Empty texts do not narrow. `before` names the last job of the page shown before."""

    state: str = ""
    action: str = ""
    before: UUID | None = None


@dataclass(frozen=True, slots=True)
class JobList:
    """Some jobs, newest first; `older` names the job to go on from, None at the end."""

    jobs: list[Job]
    older: UUID | None


@dataclass(frozen=True, slots=True)
class JobPage:
    """One job and what was written about it, oldest first."""

    job: Job
    may_operate: bool
    events: list[Event]


def job_list(person: Person, query: JobQuery) -> JobList:
    """Jobs before the one named, or the newest. Pages are cut by time, so that they stay right while jobs come in, and
    no page costs more than the first."""
    rows = visible_jobs(person).select_related("machine", "hypervisor", "requested_by")
    if query.state:
        rows = rows.filter(state=query.state)
    if query.action:
        rows = rows.filter(action=query.action)
    if query.before:
        last = visible_jobs(person).filter(uuid=query.before).values_list("created_at", "pk").first()
        if last is not None:
            rows = rows.filter(Q(created_at__lt=last[0]) | Q(created_at=last[0], pk__lt=last[1]))
    jobs = list(rows.order_by("-created_at", "-pk")[: JOBS_PER_PAGE + 1])
    shown = jobs[:JOBS_PER_PAGE]
    return JobList(shown, shown[-1].uuid if len(jobs) > JOBS_PER_PAGE else None)


def job_page(person: Person, job_uuid: UUID) -> JobPage:
    """One job. Raises `NotVisible`."""
    job = (
        visible_jobs(person)
        .select_related("machine__hypervisor", "machine__account", "hypervisor", "requested_by", "volume", "snapshot")
        .filter(uuid=job_uuid)
        .first()
    )
    if job is None:
        raise NotVisible("There is no such job.")
    allowed = is_root_admin(person) if job.machine is None else may_operate(person, job.machine)
    return JobPage(job, allowed, list(Event.objects.filter(job=job).order_by("at", "pk")))

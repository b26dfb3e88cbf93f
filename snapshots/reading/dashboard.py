"""What a person should look at now: pools, limits, stale VM snapshots, running jobs, recent events, drift. Each as far as
the person's rights go; the number of queries is constant."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, Window

from snapshots.access import (
    Person,
    administered_machines,
    is_admin,
    visible_events,
    visible_jobs,
    visible_machines,
)
from snapshots.choices import ACTIVE_JOB_STATES
from snapshots.models import Event, Job
from snapshots.pool_room import PoolRoom
from snapshots.reading.capacity_report import fullest_pools
from snapshots.reading.limit_overview import NearLimit, near_limits
from snapshots.reading.stale import Stale, stale

POOLS_SHOWN = 5
LIMITS_SHOWN = 5
STALE_SHOWN = 5
JOBS_SHOWN = 8
EVENTS_SHOWN = 8


@dataclass(frozen=True, slots=True)
class DriftCounts:
    """How many machines that the person administers differ from their hypervisors, and how many vanished."""

    differing: int
    vanished: int


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`pools` are the fullest, `jobs` the newest of `job_count` under way; `drift` is None for those who administer
    nothing."""

    machine_count: int
    pools: list[PoolRoom]
    pool_count: int
    limits: list[NearLimit]
    stale: Stale
    jobs: list[Job]
    job_count: int
    events: list[Event]
    drift: DriftCounts | None


def dashboard(person: Person) -> Dashboard:
    """The dashboard of one person. Eighteen queries at most, beside those that find out who the person is."""
    pools, pool_count = fullest_pools(person, POOLS_SHOWN)
    jobs, job_count = _under_way(person)
    return Dashboard(
        machine_count=visible_machines(person).count(),
        pools=pools,
        pool_count=pool_count,
        limits=near_limits(person, LIMITS_SHOWN),
        stale=stale(person, STALE_SHOWN),
        jobs=jobs,
        job_count=job_count,
        events=list(visible_events(person).select_related("machine").order_by("-at", "-pk")[:EVENTS_SHOWN]),
        drift=_drift(person) if is_admin(person) else None,
    )


def _under_way(person: Person) -> tuple[list[Job], int]:
    """The newest jobs, and how many there are: all are counted by the same query."""
    rows = visible_jobs(person).filter(state__in=ACTIVE_JOB_STATES).select_related("machine", "requested_by")
    counted: Any = rows.annotate(counted=Window(Count("pk"))).order_by("-created_at", "-pk")
    jobs = list(counted[:JOBS_SHOWN])
    return jobs, jobs[0].counted if jobs else 0


def _drift(person: Person) -> DriftCounts:
    mine = administered_machines(person)
    differing = mine.filter(Q(unadopted_count__gt=0) | Q(lost_count__gt=0))
    return DriftCounts(differing.count(), mine.filter(missing_since__isnull=False).count())

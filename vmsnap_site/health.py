"""For load balancers and monitoring: whether this installation can do its work. Says nothing about tenants."""

from datetime import timedelta

from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from snapshots.choices import ACTIVE_JOB_STATES, JobState
from snapshots.models import Job
from snapshots.tree import damaged_machines

# To look at every tree takes seconds where there are a million VM snapshots, and anybody may ask for this page.
TREES_KEPT_SECONDS = 600


@never_cache
@require_GET
def health(request: HttpRequest) -> JsonResponse:
    """200 when the database answers, no tree was damaged when last looked at and no job waits for a worker that does
    not come; else 503."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        damaged = cache.get_or_set("damaged_trees", lambda: len(damaged_machines()), TREES_KEPT_SECONDS)
        patience = timedelta(seconds=10 * settings.SWEEP_EVERY_SECONDS)
        # Both conditions on the state: the first is that of the partial index over active jobs.
        active = Job.objects.filter(state__in=ACTIVE_JOB_STATES)
        waiting = active.filter(state=JobState.QUEUED, created_at__lt=timezone.now() - patience).count()
    except DatabaseError:
        return JsonResponse({"database": "unreachable"}, status=503)
    well = not damaged and not waiting
    facts = {"database": "ok", "damaged_trees": damaged, "jobs_without_worker": waiting}
    return JsonResponse(facts, status=200 if well else 503)

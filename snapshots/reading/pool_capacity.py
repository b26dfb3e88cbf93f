"""The capacity of one pool as REST shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from snapshots.access import Person, is_root_admin
from snapshots.choices import SampleStep
from snapshots.models import CapacitySample, StoragePool
from snapshots.reading.capacity_report import PoolView, machines_in_pool, views_of
from snapshots.reading.largest_machines import MachineHeld
from snapshots.refusals import Invalid

SAMPLES_MOST = 10_000
SAMPLE_COLUMNS = ("at", "total_bytes", "free_bytes", "volume_bytes", "estimated_bytes", "measured_bytes")
USUALLY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class PoolCapacity:
    """A pool as the person sees it. `series` is None for those who are not told what all hold together."""

    view: PoolView
    step: SampleStep
    series: Sequence[CapacitySample] | None
    virtual_machines: list[MachineHeld]


def pool_capacity(
    person: Person, pool: StoragePool, step: SampleStep, *, after: datetime | None, before: datetime | None
) -> PoolCapacity:
    """The pool now, and its samples of this step from `after` (a week ago) to `before` (now). Eight queries at most. Raises
    `Invalid` when that is too much at once."""
    series = _series(pool, step, after, before) if is_root_admin(person) else None
    return PoolCapacity(views_of(person, [pool])[0], step, series, machines_in_pool(person, pool))


def _series(
    pool: StoragePool, step: SampleStep, after: datetime | None, before: datetime | None
) -> list[CapacitySample]:
    rows = CapacitySample.objects.filter(pool=pool, step=step, at__gte=after or timezone.now() - USUALLY)
    if before is not None:
        rows = rows.filter(at__lt=before)
    found = list(rows.order_by("at")[: SAMPLES_MOST + 1])
    if len(found) > SAMPLES_MOST:
        sentence = f"More than {SAMPLES_MOST} samples lie there: ask for less time, or for a larger step."
        raise Invalid(sentence, fields={"at_after": [sentence]})
    return found

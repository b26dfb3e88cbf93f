"""How pools and accounts were over time, from their samples, as charts read it. The number of points is bounded, whatever
the time."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import QuerySet
from django.utils import timezone

from snapshots.choices import SampleStep
from snapshots.models import Account, CapacitySample, StoragePool
from snapshots.pool_room import Held, PoolRoom
from snapshots.reading.chart_shapes import Series, SeriesChart, Threshold
from snapshots.reading.forecast import DAYS_MOST, Forecast, forecast

POINTS_MOST = 150

Point = TypeVar("Point")


@dataclass(frozen=True, slots=True)
class Range:
    """How much time is shown, and at what step."""

    key: str
    words: str
    length: timedelta
    step: SampleStep


RANGES = (
    Range("day", "24 hours", timedelta(days=1), SampleStep.RAW),
    Range("week", "7 days", timedelta(days=7), SampleStep.HOUR),
    Range("month", "30 days", timedelta(days=30), SampleStep.DAY),
    Range("year", "365 days", timedelta(days=365), SampleStep.DAY),
)


def range_of(key: str) -> Range:
    """The range of this key, a week for one that is not known."""
    return next((one for one in RANGES if one.key == key), RANGES[1])


def pool_samples(pool: StoragePool, wanted: Range) -> list[CapacitySample]:
    """The samples of a pool over this range, oldest first. One query."""
    return thinned(_samples(wanted).filter(pool=pool))


def account_samples(account: Account, wanted: Range) -> list[CapacitySample]:
    """The same of an account."""
    return thinned(_samples(wanted).filter(account=account))


def _samples(wanted: Range) -> QuerySet[CapacitySample]:
    since = timezone.now() - wanted.length
    return CapacitySample.objects.filter(step=wanted.step, at__gte=since).order_by("at")


def thinned(rows: Iterable[Point]) -> list[Point]:
    """So many that a page bears them, evenly taken, the last one always among them."""
    found = list(rows)
    every = -(-len(found) // POINTS_MOST)
    return found if every <= 1 else found[::-1][::every][::-1]


def pool_now(room: PoolRoom) -> CapacitySample:
    """The pool as it is at this moment, in the shape of a sample; not saved."""
    return CapacitySample(
        pool=room.pool,
        at=timezone.now(),
        total_bytes=room.pool.total_bytes,
        free_bytes=room.pool.free_bytes,
        volume_bytes=room.volume_bytes,
        estimated_bytes=room.estimated_bytes,
        measured_bytes=room.measured_bytes,
    )


def pool_chart(room: PoolRoom, samples: Sequence[CapacitySample], csv: str) -> SeriesChart:
    """A pool over time: bands of what is allocated and what is left of its size, lines of what is measured and used."""
    rows = [*samples, pool_now(room)]
    return SeriesChart(
        key="pool-over-time",
        title="Over time",
        about=(
            "Bands: what is allocated, and what is left of the size. Dashed lines: what the hypervisor measures of VM "
            "snapshots, drawn upon the volumes, and what it says is used in all."
        ),
        unit="bytes",
        label_head="Time",
        labels=[row.at for row in rows],
        series=[
            Series(VOLUMES, [row.volume_bytes for row in rows], "volumes"),
            Series("VM snapshots, estimated", [row.estimated_bytes for row in rows], "estimate"),
            Series("Free by allocation", [_left(row) for row in rows], "free"),
            Series("VM snapshots, measured", [row.measured_bytes for row in rows], "measured", "line", VOLUMES),
            Series("Used, says the hypervisor", [used_of(row) for row in rows], "used", "line"),
        ],
        thresholds=_lines(room),
        zoom=True,
        csv=csv,
    )


VOLUMES = "Volumes"


def _left(row: CapacitySample) -> int | None:
    if row.total_bytes is None:
        return None
    return max(row.total_bytes - row.volume_bytes - row.estimated_bytes, 0)


def used_of(row: CapacitySample) -> int | None:
    """What a sample says is used of the pool; None where the hypervisor does not say it."""
    return None if row.total_bytes is None or row.free_bytes is None else row.total_bytes - row.free_bytes


def _lines(room: PoolRoom) -> list[Threshold]:
    if room.allowed_bytes is None or room.warning_bytes is None or room.threshold_bytes is None:
        return []
    lines = [
        Threshold(f"Warning {room.warning_percent} %", room.warning_bytes, "warning"),
        Threshold(f"Threshold {room.threshold_percent} %", room.threshold_bytes, "over"),
    ]
    return [*lines, Threshold("Size", room.pool.total_bytes or 0, "size")]


def account_chart(samples: Sequence[CapacitySample], now: Held, csv: str) -> SeriesChart:
    """An account over time, in all pools together."""
    rows = [*samples, CapacitySample(at=timezone.now(), **now._asdict())]
    return SeriesChart(
        key="account-over-time",
        title="Over time",
        about="Bands: the allocated size of the volumes, and the estimate of the VM snapshots. Dashed line: what is "
        "measured of the VM snapshots, drawn upon the volumes.",
        unit="bytes",
        label_head="Time",
        labels=[row.at for row in rows],
        series=[
            Series(VOLUMES, [row.volume_bytes for row in rows], "volumes"),
            Series("VM snapshots, estimated", [row.estimated_bytes for row in rows], "estimate"),
            Series("VM snapshots, measured", [row.measured_bytes for row in rows], "measured", "line", VOLUMES),
        ],
        zoom=True,
        csv=csv,
    )


def forecasts_of(rooms: Iterable[PoolRoom]) -> dict[int, Forecast]:
    """When each of these pools will be full, by key. One query."""
    wanted = {room.pool.pk: room for room in rooms}
    since = timezone.now() - timedelta(days=DAYS_MOST + 1)
    days = CapacitySample.objects.filter(pool__in=wanted, step=SampleStep.DAY, at__gte=since).order_by("at")
    by_pool: dict[int | None, list[tuple[datetime, int]]] = defaultdict(list)
    for row in days:
        # The row is the last sample of its day, so that it stands at its end.
        if (used := used_of(row)) is not None:
            by_pool[row.pool_id].append((row.at + timedelta(days=1), used))
    found = {}
    for pk, room in wanted.items():
        now = pool_now(room)
        points = [point for point in by_pool[pk] if point[0] < now.at]
        present = used_of(now)
        if present is not None:
            points.append((now.at, present))
        found[pk] = forecast(points, room.pool.total_bytes if present is not None else None)
    return found

"""When a pool will be full, by how it grew: a pure function from daily figures to a day with its uncertainty.

The growth per day is the median of the slopes between all pairs of days (Theil and Sen): a day on which much was added or
removed at once hardly moves it. How sure that is says Sen's interval of those slopes, which assumes no distribution: the
day is likely to lie between those that its two ends lead to, nine times out of ten if the growth goes on as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import combinations
from math import sqrt
from statistics import median
from typing import Literal

DAYS_LEAST = 7
"""With fewer days there is no forecast."""
DAYS_MOST = 30
"""Growth of longer ago says little about that to come."""
FAR = timedelta(days=3650)
NINETY_PERCENT = 1.6449
"""Between minus and plus so many standard deviations lie 90 % of a normal distribution (its 95 % quantile)."""

Kind = Literal["unknown", "too_few", "full", "not_growing", "growing", "far"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of a pool.

    `kind`: "unknown" (its size is not known), "too_few" (days), "full" (now), "not_growing", "growing", "far" (not within
    ten years). `per_day` is the growth in bytes. `likely` is the day it is full; it lies between `earliest` and `latest`,
    each None where there is no such day. `days` is how many days it follows from.
    """

    kind: Kind
    days: int
    per_day: int = 0
    likely: date | None = None
    earliest: date | None = None
    latest: date | None = None


def forecast(points: Sequence[tuple[datetime, int]], size: int | None) -> Forecast:
    """The forecast of a pool of `size` bytes from what was used of it at some times, oldest first, at most one a day. The
    last point is the present."""
    recent = points[-DAYS_MOST:]
    if size is None:
        return Forecast("unknown", len(recent))
    if recent and recent[-1][1] >= size:
        return Forecast("full", len(recent))
    if len(recent) < DAYS_LEAST:
        return Forecast("too_few", len(recent))
    low, middle, high = growth_per_day(recent)
    now, used = recent[-1]

    def day_full(per_day: float) -> date | None:
        if per_day <= 0 or (size - used) / per_day > FAR.days:
            return None
        return (now + timedelta(days=(size - used) / per_day)).date()

    likely, earliest = day_full(middle), day_full(high)
    if middle <= 0:
        return Forecast("not_growing", len(recent), round(middle), earliest=earliest)
    kind: Kind = "far" if likely is None else "growing"
    return Forecast(kind, len(recent), round(middle), likely, earliest, day_full(low))


def growth_per_day(points: Sequence[tuple[datetime, int]]) -> tuple[float, float, float]:
    """The growth in bytes a day: the lower end of the 90 % interval, the median, the upper end. Needs two times."""
    slopes = sorted(
        (later[1] - earlier[1]) / ((later[0] - earlier[0]) / timedelta(days=1))
        for earlier, later in combinations(points, 2)
        if later[0] > earlier[0]
    )
    count = len(points)
    # The standard deviation of Kendall's statistic; Sen's interval leaves out so many slopes at each end.
    spread = NINETY_PERCENT * sqrt(count * (count - 1) * (2 * count + 5) / 18)
    first = max(round((len(slopes) - spread) / 2) - 1, 0)
    last = min(round((len(slopes) + spread) / 2), len(slopes) - 1)
    return slopes[first], median(slopes), slopes[last]

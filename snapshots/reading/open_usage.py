"""Usage that is in no record yet: of the period that is still open, up to this moment."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from django.db.models import Min, Q
from django.utils import timezone

from snapshots.models import UsageEvent, UsagePeriod
from snapshots.models.usage import PLACE
from snapshots.usage_arithmetic import Stay, stays
from snapshots.usage_lines import lines, price_list

ACCOUNT = PLACE.index("account_uuid")


@dataclass(frozen=True, slots=True)
class OpenPeriod:
    """Since when usage is not billed, until when it was looked at, and what was used: by VM snapshot. `start` is None while
    nothing was ever used."""

    start: datetime | None
    until: datetime
    used: list[tuple[UUID, Stay]] = field(default_factory=list)


def open_usage(account: UUID, cuts: Iterable[datetime] = ()) -> OpenPeriod:
    """What an account used since the last closed period, apart before and after each of the `cuts`.

    Corrections that wait for the next closing are not in it.
    """
    now = timezone.now()
    last = UsagePeriod.objects.order_by("number").last()
    carried = UsageEvent.objects.filter(carried=True)
    new = UsageEvent.objects.filter(period=None, at__lt=now)
    start = last.end if last is not None else new.aggregate(first=Min("at"))["first"]
    if start is None or start >= now:
        return OpenPeriod(start, now)
    # Also what left the account since: it is followed to where it went, to know until when it was here.
    ours = Q(snapshot_uuid__in=carried.filter(account_uuid=account).values("snapshot_uuid"))
    ours |= Q(snapshot_uuid__in=new.filter(account_uuid=account).values("snapshot_uuid"))
    prices = price_list()
    edges = [start, *sorted(cut for cut in cuts if start < cut < now), now]
    used = [
        (uuid, stay)
        for uuid, entries, _ in lines(carried.filter(ours), new.filter(ours), start)
        for begin, until in pairwise(edges)
        for place, stay in stays(entries, begin, until, prices).items()
        if place[ACCOUNT] == account
    ]
    return OpenPeriod(start, now, used)

"""Deeds about usage, in the same way as those in `deeds`."""

from datetime import datetime, timedelta

import time_machine
from django.utils import timezone

from snapshots.models import (
    UsageEvent,
    UsagePeriod,
)
from snapshots.reading import usage_proof
from snapshots.services import (
    usage_aggregation,
)
from tests.usage import Line


def use(machines: int) -> datetime:
    """So many VM snapshots are taken half a day after the last closed period, and stay; answers when."""
    last = UsagePeriod.objects.order_by("number").last()
    began = (last.end if last is not None else timezone.now()) + timedelta(hours=12)
    for _ in range(machines):
        Line().taken(began)
    return began


def close_usage(now: datetime) -> list[int]:
    """The regular tick at this time; answers the numbers of the periods that were closed here."""
    with time_machine.travel(now, tick=True):
        return [period.number for period in usage_aggregation.close_due_periods()]


def use_or_close(verb: str, now: datetime) -> None:
    """One of the two."""
    if verb == "use":
        use(5)
    else:
        close_usage(now)


def usage_facts() -> dict[str, object]:
    """What was billed altogether: the numbers of the periods, events that no closing has counted, and what the proof finds
    wrong."""
    return {
        "periods": list(UsagePeriod.objects.order_by("start").values_list("number", flat=True)),
        "waiting": UsageEvent.objects.filter(period=None).count(),
        "wrong": usage_proof.prove().differences,
    }

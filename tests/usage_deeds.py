"""Deeds about usage, in the same way as those in `deeds`."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import time_machine
from django.db import connection, transaction
from django.utils import timezone

from snapshots.access import SYSTEM
from snapshots.choices import PriceUnit, UsageType
from snapshots.models import UsageEvent, UsagePeriod, UsageRecord
from snapshots.reading import usage_proof
from snapshots.refusals import Invalid
from snapshots.services import usage_aggregation, usage_prices
from tests.installation import MEET_SECONDS
from tests.server_processes import wait_until
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
    """What was billed altogether: the numbers of the periods, events that no closing counted, records of type 27 without
    a cost, and what the proof finds wrong."""
    return {
        "periods": list(UsagePeriod.objects.order_by("start").values_list("number", flat=True)),
        "waiting": UsageEvent.objects.filter(period=None).count(),
        "without_cost": UsageRecord.objects.filter(type=UsageType.VM_SNAPSHOT_ON_PRIMARY, cost_whole=None).count(),
        "wrong": usage_proof.prove().differences,
    }


def price(currency: str, valid_from: datetime) -> str:
    """Set one for all pools; answers "set", or which fields of it were refused."""
    terms = usage_prices.PriceTerms(
        UsageType.VM_SNAPSHOT_ON_PRIMARY, PriceUnit.HOUR, Decimal(1), currency, None, valid_from, None
    )
    try:
        usage_prices.set_price(SYSTEM, terms)
    except Invalid as refusal:
        return ", ".join(refusal.extra["fields"])
    return "set"


def act_first(meeting: str, verb: str, *arguments: Any) -> Any:
    """The deed of this name, committed only when `act_second` was answered or waits for this."""
    with transaction.atomic():
        answer = DEEDS[verb](*arguments)
        Path(meeting, "acted").touch()
        wait_until(lambda: Path(meeting, "answered").exists() or _waits(meeting), MEET_SECONDS, "the other has come")
    return answer


def act_second(meeting: str, verb: str, *arguments: Any) -> Any:
    """The deed of this name, while what `act_first` did is not committed."""
    wait_until(Path(meeting, "acted").exists, MEET_SECONDS, "the first has acted")
    Path(meeting, "asked").touch()
    answer = DEEDS[verb](*arguments)
    Path(meeting, "answered").touch()
    return answer


def _waits(meeting: str) -> bool:
    """Whether the second waits for a lock; on SQLite, which does not tell, whether it has begun."""
    if connection.vendor == "sqlite":
        return Path(meeting, "asked").exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


DEEDS: dict[str, Callable[..., Any]] = {"price": price, "close": close_usage}

"""What the tests of usage share: events as the books write them, and the sums of records as a person would add them up."""

import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import time_machine
from django.conf import settings

from snapshots.choices import UsageChange, UsageType
from snapshots.models import Account, UsageEvent, UsageMonth, UsagePeriod, UsageRecord
from snapshots.models.usage import PLACE
from snapshots.reading.usage_proof import prove
from snapshots.services.usage_aggregation import close_due_periods

HOUR = 3_600_000_000
GIB = 2**30


def at(text: str) -> datetime:
    """A time in UTC, as "2026-03-01 12:00"."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Line:
    """The usage events of one VM snapshot, added one by one, as committed transactions would."""

    def __init__(self, **facts: Any) -> None:
        self.facts: dict[str, Any] = {
            "snapshot_uuid": uuid.uuid4(),
            "snapshot_name": "before the upgrade",
            "machine_uuid": uuid.uuid4(),
            "machine_name": "web",
            "account_uuid": uuid.uuid4(),
            "account_name": "acme",
            "domain_uuid": uuid.uuid4(),
            "domain_name": "engineering",
            "pool_uuid": uuid.uuid4(),
            "pool_name": "default",
            "hypervisor_uuid": uuid.uuid4(),
            "hypervisor_name": "host-1",
            "volume_bytes": 10 * GIB,
            "estimated_bytes": 4 * GIB,
            "measured_bytes": GIB,
            **facts,
        }

    @property
    def uuid(self) -> uuid.UUID:
        """The VM snapshot."""
        found: uuid.UUID = self.facts["snapshot_uuid"]
        return found

    def tell(self, when: str | datetime, change: UsageChange, **facts: Any) -> UsageEvent:
        """One more event, with these facts changed."""
        self.facts |= facts
        moment = at(when) if isinstance(when, str) else when
        return UsageEvent.objects.create(at=moment, change=change, alive=change != UsageChange.DELETE, **self.facts)

    def taken(self, when: str | datetime, **facts: Any) -> "Line":
        """It was taken."""
        self.tell(when, UsageChange.CREATE, **facts)
        return self

    def resized(self, when: str | datetime, **facts: Any) -> "Line":
        """Its size is another from then on."""
        self.tell(when, UsageChange.RESIZE, **facts)
        return self

    def moved(self, when: str | datetime, **facts: Any) -> "Line":
        """It is elsewhere from then on."""
        self.tell(when, UsageChange.TRANSFER, **facts)
        return self

    def deleted(self, when: str | datetime) -> "Line":
        """It is gone from then on."""
        self.tell(when, UsageChange.DELETE)
        return self

    def hours(self, kind: UsageType = UsageType.VM_SNAPSHOT_ON_PRIMARY) -> list[float]:
        """How long each record of it says, the oldest record first."""
        rows = UsageRecord.objects.filter(snapshot_uuid=self.uuid, type=kind).order_by("start", "pk")
        return [row.microseconds / HOUR for row in rows]


def line_of(owner: Account, **facts: Any) -> Line:
    """The usage events of one of this account, in the domain where that is now."""
    return Line(
        account_uuid=owner.uuid,
        account_name=owner.name,
        domain_uuid=owner.domain.uuid,
        domain_name=owner.domain.name,
        **facts,
    )


def close(now: str) -> list[UsagePeriod]:
    """What is closed at this time."""
    with time_machine.travel(at(now), tick=False):
        return close_due_periods()


def prove_all() -> None:
    """The other calculation finds the same, from the first period to the last, and months are the sums of their records."""
    proof = prove()
    assert proof.differences == []
    assert proof.periods == UsagePeriod.objects.count()
    assert proof.records == UsageRecord.objects.count()
    assert proof.months == UsageMonth.objects.count()
    assert months_written() == months_of_records()


Sums = tuple[int, int, int, int]


def summed(records: Iterable[UsageRecord]) -> dict[Any, Sums]:
    """By the period it was used in (its start), VM snapshot, type and place: microseconds, byte-microseconds allocated and
    measured, microseconds not measured. What is nothing is left out."""
    found: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in records:
        used_in = row.corrects or row.period
        sums = found[used_in.start, row.snapshot_uuid, row.type, tuple(getattr(row, name) for name in PLACE)]
        sums[0] += row.microseconds
        sums[1] += row.allocated_kib_hours * 1024 * HOUR + row.allocated_rest
        sums[2] += row.measured_kib_hours * 1024 * HOUR + row.measured_rest
        sums[3] += row.unmeasured_microseconds
    return {
        key: (one, two, three, four) for key, (one, two, three, four) in found.items() if any((one, two, three, four))
    }


def all_records() -> dict[Any, Sums]:
    """The same of all records there are."""
    return summed(UsageRecord.objects.select_related("period", "corrects"))


MonthSums = tuple[int, int, int, int, int, int | None, str]
"""Records, and as `Sums`, and the cost in billionths with its currency."""


def months_of_records() -> dict[Any, MonthSums]:
    """By the month in which they began in the zone that is set, account, machine and type: the records, added up."""
    found: dict[Any, list[Any]] = defaultdict(lambda: [0, 0, 0, 0, 0, None, ""])
    for row in UsageRecord.objects.all():
        day = row.start.astimezone(ZoneInfo(settings.USAGE_TIME_ZONE)).date()
        sums = found[day.year, day.month, row.account_uuid, row.machine_uuid, row.type]
        sums[0] += 1
        sums[1] += row.microseconds
        sums[2] += row.allocated_kib_hours * 1024 * HOUR + row.allocated_rest
        sums[3] += row.measured_kib_hours * 1024 * HOUR + row.measured_rest
        sums[4] += row.unmeasured_microseconds
        if row.cost_whole is not None and row.cost_rest is not None:
            sums[5] = (sums[5] or 0) + row.cost_whole * 10**9 + row.cost_rest
            sums[6] = row.currency
    return {
        key: (one, two, three, four, five, six, last) for key, (one, two, three, four, five, six, last) in found.items()
    }


def months_written() -> dict[Any, MonthSums]:
    """The same as it is kept. What goes beyond whole units is less than one."""
    found: dict[Any, MonthSums] = {}
    for row in UsageMonth.objects.all():
        assert 0 <= row.allocated_rest < GIB * HOUR
        assert 0 <= row.measured_rest < GIB * HOUR
        assert 0 <= (row.cost_rest or 0) < 10**9
        found[row.month.year, row.month.month, row.account_uuid, row.machine_uuid, row.type] = (
            row.records,
            row.microseconds,
            row.allocated_gib_hours * GIB * HOUR + row.allocated_rest,
            row.measured_gib_hours * GIB * HOUR + row.measured_rest,
            row.unmeasured_microseconds,
            None if row.cost_whole is None or row.cost_rest is None else row.cost_whole * 10**9 + row.cost_rest,
            row.currency,
        )
    return found


def byte_hours(record: UsageRecord) -> tuple[int, int]:
    """What the record bills, allocated and measured, in whole byte-hours."""
    allocated = record.allocated_kib_hours * 1024 * HOUR + record.allocated_rest
    measured = record.measured_kib_hours * 1024 * HOUR + record.measured_rest
    assert allocated % HOUR == measured % HOUR == 0
    return allocated // HOUR, measured // HOUR

"""A usage record as a line of a table: the same columns in REST, in CSV and in what the administration exports."""

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from snapshots.choices import UsageType
from snapshots.models import UsageRecord
from snapshots.usage_arithmetic import BILLION, HOUR
from snapshots.usage_lines import amounts_of


@dataclass(frozen=True, slots=True)
class UsageLine:
    """The columns. Byte-hours are rounded to whole ones, halves up; what type 25 does not have is None."""

    id: UUID
    type: int
    period_start: datetime
    period_end: datetime
    start: datetime
    end: datetime
    corrects_start: datetime | None
    corrects_end: datetime | None
    snapshot: UUID
    snapshot_name: str
    virtual_machine: UUID
    virtual_machine_name: str
    account: UUID
    account_name: str
    domain: UUID
    domain_name: str
    storage_pool: UUID | None
    storage_pool_name: str
    hypervisor: UUID
    hypervisor_name: str
    hours: float
    allocated_bytes: int
    measured_bytes: int | None
    allocated_byte_hours: int
    measured_byte_hours: int | None
    unmeasured_hours: float | None
    cost: Decimal | None
    currency: str

    @property
    def cells(self) -> list[Any]:
        """The values in the order of `COLUMNS`."""
        return [getattr(self, name) for name in COLUMNS]


COLUMNS = tuple(field.name for field in fields(UsageLine))


def usage_line(record: Any) -> UsageLine:
    """The line of a record of `rest_lists.usage_records`, which brings the bounds of its period along."""
    amounts = amounts_of(record)
    measures = record.type == UsageType.VM_SNAPSHOT_ON_PRIMARY
    return UsageLine(
        id=record.uuid,
        type=record.type,
        period_start=record.period_start,
        period_end=record.period_end,
        start=record.start,
        end=record.end,
        corrects_start=record.corrects_start,
        corrects_end=record.corrects_end,
        **_places(record),
        hours=amounts.microseconds / HOUR,
        allocated_bytes=record.estimated_bytes if measures else record.volume_bytes,
        measured_bytes=record.measured_bytes if measures else None,
        allocated_byte_hours=byte_hours(amounts.allocated),
        measured_byte_hours=byte_hours(amounts.measured) if measures else None,
        unmeasured_hours=amounts.unmeasured / HOUR if measures else None,
        cost=None if amounts.cost is None else money(amounts.cost),
        currency=record.currency,
    )


def _places(record: UsageRecord) -> dict[str, Any]:
    return {
        "snapshot": record.snapshot_uuid,
        "snapshot_name": record.snapshot_name,
        "virtual_machine": record.machine_uuid,
        "virtual_machine_name": record.machine_name,
        "account": record.account_uuid,
        "account_name": record.account_name,
        "domain": record.domain_uuid,
        "domain_name": record.domain_name,
        "storage_pool": record.pool_uuid,
        "storage_pool_name": record.pool_name,
        "hypervisor": record.hypervisor_uuid,
        "hypervisor_name": record.hypervisor_name,
    }


def byte_hours(amount: int) -> int:
    """Byte-microseconds as whole byte-hours, halves up."""
    return (2 * amount + HOUR) // (2 * HOUR)


def money(billionths: int) -> Decimal:
    """Billionths as an amount of the currency."""
    return Decimal(billionths) / BILLION

"""How a usage record goes out, as JSON and as a line of CSV: the same fields under the same names."""

from collections.abc import Iterable, Iterator
from typing import Any

from rest_framework import serializers

from snapshots.api.outputs import Output
from snapshots.choices import UsageType
from snapshots.models import UsageRecord
from snapshots.usage_arithmetic import BILLION, HOUR
from snapshots.usage_lines import amounts_of


class UsageRecordOutput(Output):
    """What one VM snapshot used in one period at one place. Names are those of the day on which the period was closed; ids
    stay when what they name is deleted. Byte-hours are rounded to whole ones, halves up."""

    id = serializers.UUIDField(source="uuid")
    type = serializers.ChoiceField(
        choices=UsageType.choices, help_text="25: allocated by volumes. 27: estimated and measured on primary storage."
    )
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    start = serializers.DateTimeField(help_text="When the use began within the period.")
    end = serializers.DateTimeField(help_text="When it ended there.")
    corrects_start = serializers.DateTimeField(
        allow_null=True, help_text="For a correction: when the period began in which this was used; else null."
    )
    corrects_end = serializers.DateTimeField(allow_null=True, help_text="When that period ended.")
    snapshot = serializers.UUIDField(source="snapshot_uuid")
    snapshot_name = serializers.CharField()
    virtual_machine = serializers.UUIDField(source="machine_uuid")
    virtual_machine_name = serializers.CharField(source="machine_name")
    account = serializers.UUIDField(source="account_uuid")
    account_name = serializers.CharField()
    domain = serializers.UUIDField(source="domain_uuid")
    domain_name = serializers.CharField()
    storage_pool = serializers.UUIDField(source="pool_uuid", allow_null=True)
    storage_pool_name = serializers.CharField(source="pool_name")
    hypervisor = serializers.UUIDField(source="hypervisor_uuid")
    hypervisor_name = serializers.CharField()
    hours = serializers.SerializerMethodField(help_text="How long it was used; less than 0 in a correction.")
    allocated_bytes = serializers.SerializerMethodField(help_text="Type 25: its volumes. 27: the estimate. At the end.")
    measured_bytes = serializers.SerializerMethodField(help_text="Type 27, at the end; null while nothing is measured.")
    allocated_byte_hours = serializers.SerializerMethodField()
    measured_byte_hours = serializers.SerializerMethodField(help_text="Null in type 25.")
    unmeasured_hours = serializers.SerializerMethodField(
        help_text="For how much of it nothing was measured, which counts as 0 bytes. Null in type 25."
    )
    cost = serializers.SerializerMethodField(help_text="Decimal text; null where no price was valid.")
    currency = serializers.CharField(help_text="Empty without a price.")

    def get_hours(self, row: UsageRecord) -> float:
        return row.microseconds / HOUR

    def get_allocated_bytes(self, row: UsageRecord) -> int:
        return row.volume_bytes if row.type == UsageType.VM_SNAPSHOT else row.estimated_bytes

    def get_measured_bytes(self, row: UsageRecord) -> int | None:
        return row.measured_bytes if row.type == UsageType.VM_SNAPSHOT_ON_PRIMARY else None

    def get_allocated_byte_hours(self, row: UsageRecord) -> int:
        return byte_hours(amounts_of(row).allocated)

    def get_measured_byte_hours(self, row: UsageRecord) -> int | None:
        if row.type == UsageType.VM_SNAPSHOT:
            return None
        return byte_hours(amounts_of(row).measured)

    def get_unmeasured_hours(self, row: UsageRecord) -> float | None:
        return row.unmeasured_microseconds / HOUR if row.type == UsageType.VM_SNAPSHOT_ON_PRIMARY else None

    def get_cost(self, row: UsageRecord) -> str | None:
        billionths = amounts_of(row).cost
        return None if billionths is None else money(billionths)


def byte_hours(amount: int) -> int:
    """Byte-microseconds as whole byte-hours, halves up."""
    return (2 * amount + HOUR) // (2 * HOUR)


def money(billionths: int) -> str:
    """Billionths as decimal text: "-0.500000000"."""
    whole, rest = divmod(abs(billionths), BILLION)
    return f"{'-' if billionths < 0 else ''}{whole}.{rest:09d}"


COLUMNS = tuple(UsageRecordOutput().fields)


def csv_rows(records: Iterable[UsageRecord]) -> Iterator[list[Any]]:
    """Each record as the values of `COLUMNS`."""
    fields = UsageRecordOutput()
    for record in records:
        shown = fields.to_representation(record)
        yield [_number(shown[name]) if name == "cost" else shown[name] for name in COLUMNS]


class _Decimal:
    """A decimal text that stands in CSV as the number it is, also below zero."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


def _number(text: str | None) -> _Decimal | None:
    return None if text is None else _Decimal(text)

"""How a usage record goes out: the columns of `reading.usage_table`, described for REST."""

from typing import Any

from rest_framework import serializers

from snapshots.api.outputs import Output
from snapshots.choices import UsageType
from snapshots.reading.usage_table import usage_line


class UsageRecordOutput(Output):
    """What one VM snapshot used in one period at one place. Names are those of the day on which the period was closed; ids
    stay when what they name is deleted. Byte-hours are rounded to whole ones, halves up."""

    id = serializers.UUIDField()
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
    snapshot = serializers.UUIDField()
    snapshot_name = serializers.CharField()
    virtual_machine = serializers.UUIDField()
    virtual_machine_name = serializers.CharField()
    account = serializers.UUIDField()
    account_name = serializers.CharField()
    domain = serializers.UUIDField()
    domain_name = serializers.CharField()
    storage_pool = serializers.UUIDField(allow_null=True)
    storage_pool_name = serializers.CharField()
    hypervisor = serializers.UUIDField()
    hypervisor_name = serializers.CharField()
    hours = serializers.FloatField(help_text="How long it was used; less than 0 in a correction.")
    allocated_bytes = serializers.IntegerField(help_text="Type 25: its volumes. Type 27: the estimate. At the end.")
    measured_bytes = serializers.IntegerField(
        allow_null=True, help_text="Type 27, at the end; null while nothing is measured."
    )
    allocated_byte_hours = serializers.IntegerField()
    measured_byte_hours = serializers.IntegerField(allow_null=True, help_text="Null in type 25.")
    unmeasured_hours = serializers.FloatField(
        allow_null=True,
        help_text="For how much of it nothing was measured, which counts as 0 bytes. Null in type 25.",
    )
    cost = serializers.DecimalField(
        max_digits=40,
        decimal_places=9,
        coerce_to_string=True,
        allow_null=True,
        help_text="As text; null where no price was valid.",
    )
    currency = serializers.CharField(help_text="Empty without a price.")

    def to_representation(self, instance: Any) -> Any:
        return super().to_representation(usage_line(instance))

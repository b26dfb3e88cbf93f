"""What goes out about capacity. Sizes are bytes, times UTC."""

from rest_framework import serializers

from snapshots.api.outputs import AllocationOutput, HeldOutput, Output
from snapshots.choices import SampleStep


class ForecastOutput(Output):
    """When a pool will be full, if it grows on as in the last 30 days. With nine chances in ten the day lies between
    `earliest` and `latest`; each is null where there is no such day."""

    kind = serializers.ChoiceField(choices=["unknown", "too_few", "full", "not_growing", "growing", "far"])
    days = serializers.IntegerField(help_text="How many days it follows from.")
    per_day_bytes = serializers.IntegerField(source="per_day")
    likely = serializers.DateField(allow_null=True)
    earliest = serializers.DateField(allow_null=True)
    latest = serializers.DateField(allow_null=True)


class SampleOutput(HeldOutput):
    """A pool at one time."""

    at = serializers.DateTimeField(help_text="The beginning of the hour or day, except for raw samples.")
    total_bytes = serializers.IntegerField(allow_null=True)
    free_bytes = serializers.IntegerField(allow_null=True)


class MachineHeldOutput(Output):
    """What one machine holds in a pool."""

    id = serializers.UUIDField(source="machine.uuid")
    name = serializers.CharField(source="machine.name")
    held = HeldOutput()


class PoolCapacityOutput(Output):
    """The capacity of a pool: now, to be expected, over time, and by machine."""

    id = serializers.UUIDField(source="view.room.pool.uuid")
    allocation = AllocationOutput(source="view")
    forecast = ForecastOutput(source="view.forecast", allow_null=True, help_text="Null unless you are a root admin.")
    step = serializers.ChoiceField(choices=SampleStep.choices)
    series = SampleOutput(many=True, allow_null=True, help_text="Oldest first; null unless you are a root admin.")
    virtual_machines = MachineHeldOutput(many=True, help_text="Those that you see and that hold most, 100 at most.")

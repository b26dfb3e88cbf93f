"""What goes in and out about schedules. Days of the week are English words here, numbers within."""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from snapshots.api.inputs import Input, OneOf, Text, Truth, Whole
from snapshots.api.outputs import Output
from snapshots.choices import Frequency
from snapshots.models import Schedule
from snapshots.schedule_times import HOURS_APART, LAST_DAY, LATEST_DAY, WEEKDAYS, in_words
from snapshots.services.schedule_rules import KEEP_MOST, NAME_LENGTH

DAYS = tuple(name.lower() for name in WEEKDAYS)

EVERY_HOURS = f"`hourly` only: one of {', '.join(map(str, HOURS_APART))}; of more than one, counted from midnight."
MINUTE = "0 to 59, past the hour."
HOUR = "0 to 23; for all but `hourly`."
OF_THE_WEEK = "`weekly` only: at least one day."
DAY = f"`monthly` only: 1 to {LATEST_DAY}, or {LAST_DAY} for the last day of the month."
ZONE = "By whose clocks these times are: a name of the tz database, for example `Europe/Berlin`."
MEMORY = "Keep the memory too, when the machine runs. Not with `quiesce`."
QUIESCE = "Have the guest settle its file systems first, when the machine runs. Not with `memory`."


class Weekdays(serializers.ListField):
    """Days of the week: words outside, 1 (Monday) to 7 within."""

    child = OneOf(choices=DAYS)

    def to_internal_value(self, data: Any) -> Any:
        return tuple(DAYS.index(word) + 1 for word in super().to_internal_value(data))

    def to_representation(self, value: Iterable[int]) -> list[str]:
        return [DAYS[day - 1] for day in value]


class ScheduleInput(Input):
    """A schedule to be made."""

    name = Text(help_text=f"1 to {NAME_LENGTH} characters of any script, unique among the schedules of the machine.")
    frequency = OneOf(choices=Frequency.choices)
    every_hours = Whole(default=1, help_text=EVERY_HOURS)
    minute = Whole(help_text=MINUTE)
    hour = Whole(default=0, help_text=HOUR)
    weekdays = Weekdays(default=list, help_text=OF_THE_WEEK)
    day = Whole(default=1, help_text=DAY)
    time_zone = Text(help_text=ZONE)
    keep = Whole(
        help_text=f"How many of its VM snapshots are kept, 1 to {KEEP_MOST}. What all schedules of the machine keep, and "
        "one more, has to fit in the maximum of the machine."
    )
    memory = Truth(default=False, help_text=MEMORY)
    quiesce = Truth(default=False, help_text=QUIESCE)


class ScheduleChangeInput(ScheduleInput):
    """What is to change of a schedule; at least one field. What is left out stays as it is."""

    enabled = Truth(help_text="false pauses it, true resumes it.")

    def get_fields(self) -> Any:
        fields = super().get_fields()
        for field in fields.values():
            field.required, field.default = False, empty
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Give at least one field that is to change.")
        return attrs


class ScheduleOutput(Output):
    """When VM snapshots of a machine are taken, what they hold, and how many of them are kept."""

    id = serializers.UUIDField(source="uuid")
    name = serializers.CharField()
    virtual_machine = serializers.UUIDField(source="machine_uuid", help_text="The `id` of the virtual machine.")
    frequency = serializers.ChoiceField(choices=Frequency.choices)
    every_hours = serializers.IntegerField(help_text=EVERY_HOURS)
    minute = serializers.IntegerField(help_text=MINUTE)
    hour = serializers.IntegerField(help_text=HOUR)
    weekdays = Weekdays(help_text=OF_THE_WEEK)
    day = serializers.IntegerField(help_text=DAY)
    time_zone = serializers.CharField(help_text=ZONE)
    when = serializers.SerializerMethodField()
    keep = serializers.IntegerField(help_text="How many of its VM snapshots are kept.")
    kept = serializers.IntegerField(
        help_text="How many it has now: the Ready ones it took, without those kept for good."
    )
    memory = serializers.BooleanField(help_text=MEMORY)
    quiesce = serializers.BooleanField(help_text=QUIESCE)
    enabled = serializers.BooleanField(help_text="false while it is paused.")
    next_at = serializers.DateTimeField(
        allow_null=True, help_text="When the next one is due (UTC); null while it is paused."
    )
    last_due_at = serializers.DateTimeField(
        allow_null=True, help_text="When the last one was due (UTC); null before the first."
    )
    last_job = serializers.UUIDField(
        source="last_job_uuid",
        allow_null=True,
        help_text="The `id` of the job that took the last one; null when it was missed, and before the first.",
    )
    missed = serializers.CharField(help_text="Why the last one was missed; empty when it was not.")
    created_by = serializers.CharField(
        source="created_by_name", allow_null=True, help_text="User name; null when the user is gone."
    )
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.CharField(help_text="When it is due, in words."))
    def get_when(self, schedule: Schedule) -> str:
        """For example “every Monday at 02:30, Europe/Berlin”."""
        return in_words(schedule)

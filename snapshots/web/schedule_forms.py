"""The form of a schedule: what people choose, translated into the terms that services judge, and back."""

from datetime import time as time_of_day
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings

from snapshots.choices import Frequency
from snapshots.models import Schedule
from snapshots.schedule_times import HOURS_APART, LAST_DAY, LATEST_DAY, WEEKDAYS
from snapshots.services.schedule_rules import Terms
from snapshots.web.forms import AnsweringForm, TakeForm

# The fields that count beside those that always do.
FIELDS_OF: dict[str, tuple[str, ...]] = {
    Frequency.HOURLY: ("every_hours", "minute"),
    Frequency.DAILY: ("time",),
    Frequency.WEEKLY: ("weekdays", "time"),
    Frequency.MONTHLY: ("day", "time"),
}
# Where the values of services are entered that have no field of their own.
PLACES = {"hour": "time", "memory": "kind", "quiesce": "kind"}
CONTINENTS = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
EXAMPLE: dict[str, Any] = {
    "frequency": Frequency.DAILY.value,
    "every_hours": 6,
    "minute": 0,
    "time": "02:00",
    "weekdays": ["7"],
    "day": "1",
    "keep": 7,
}
"""What a new schedule proposes: every night, and for each other frequency something as harmless."""


class ScheduleForm(AnsweringForm):
    """When, what, and how many are kept. What belongs to another frequency than the chosen one is passed over."""

    name = forms.CharField(required=False, strip=False)
    frequency = forms.ChoiceField(
        choices=Frequency, error_messages={"required": "Choose how often.", "invalid_choice": "Choose how often."}
    )
    every_hours = forms.TypedChoiceField(
        choices=[(hours, str(hours)) for hours in HOURS_APART],
        coerce=int,
        error_messages={"required": "Choose a number.", "invalid_choice": "Choose a number of the list."},
    )
    minute = forms.IntegerField(error_messages={"required": "Give minutes from 0 to 59.", "invalid": "Give a number."})
    weekdays = forms.TypedMultipleChoiceField(
        choices=[(str(number), day) for number, day in enumerate(WEEKDAYS, 1)],
        coerce=int,
        required=False,
        error_messages={"invalid_choice": "Choose days of the list.", "invalid_list": "Choose days of the list."},
    )
    day = forms.TypedChoiceField(
        choices=[(str(day), str(day)) for day in range(1, LATEST_DAY + 1)] + [(str(LAST_DAY), "last day")],
        coerce=int,
        error_messages={"required": "Choose a day.", "invalid_choice": "Choose a day of the list."},
    )
    time = forms.TimeField(
        input_formats=["%H:%M", "%H:%M:%S"],
        error_messages={"required": "Give a time, like 02:30.", "invalid": "Give a time, like 02:30."},
    )
    time_zone = forms.CharField(error_messages={"required": "Choose a time zone."})
    kind = forms.ChoiceField(
        choices=TakeForm.KINDS,
        error_messages={"required": "Choose what to keep.", "invalid_choice": "Choose what to keep."},
    )
    keep = forms.IntegerField(error_messages={"required": "Give a number.", "invalid": "Give a whole number."})

    def clean_time(self) -> time_of_day:
        """Some browsers send seconds; a schedule has none."""
        given: time_of_day = self.cleaned_data["time"]
        if given.second:
            raise forms.ValidationError("Give a time without seconds, like 02:30.")
        return given

    def clean(self) -> dict[str, Any]:
        """Forget what is wrong with fields of other frequencies."""
        asked = FIELDS_OF.get(self.cleaned_data.get("frequency", ""), ())
        for name in {name for names in FIELDS_OF.values() for name in names}.difference(asked):
            self.errors.pop(name, None)
        return self.cleaned_data

    def place_of(self, name: str) -> str:
        """The time of day is one field for hour and minute; what is held is one choice."""
        if name == "minute" and self.cleaned_data.get("frequency") != Frequency.HOURLY:
            return "time"
        return PLACES.get(name, name)

    @property
    def terms(self) -> Terms:
        """What was filled in."""
        values = self.cleaned_data
        frequency = values["frequency"]
        time = values["time"] if "time" in FIELDS_OF[frequency] else None
        of_frequency: dict[str, Any] = {
            name: tuple(values[name]) if name == "weekdays" else values[name]
            for name in FIELDS_OF[frequency]
            if name != "time"
        }
        if time is not None:
            of_frequency |= {"hour": time.hour, "minute": time.minute}
        return Terms(
            name=values["name"],
            frequency=frequency,
            time_zone=values["time_zone"],
            keep=values["keep"],
            memory=values["kind"] == "memory",
            quiesce=values["kind"] == "quiesce",
            **of_frequency,
        )

    @staticmethod
    def values_of(schedule: Schedule) -> dict[str, Any]:
        """What the form shows of a stored schedule; of other frequencies what a new one would propose."""
        own = {
            "every_hours": schedule.every_hours,
            "minute": schedule.minute,
            "time": f"{schedule.hour:02}:{schedule.minute:02}",
            "weekdays": [str(day) for day in schedule.weekdays],
            "day": str(schedule.day),
        }
        return (
            EXAMPLE
            | {name: own[name] for name in FIELDS_OF[schedule.frequency]}
            | {
                "name": schedule.name,
                "frequency": schedule.frequency,
                "time_zone": schedule.time_zone,
                "kind": "memory" if schedule.memory else "quiesce" if schedule.quiesce else "disk",
                "keep": schedule.keep,
            }
        )

    @staticmethod
    def values_of_new(suggested: dict[str, str], kind: str, left: int | None) -> dict[str, Any]:
        """What it proposes for a new one: `suggested` are names by frequency, `kind` what it is to hold, `left` how many it
        can keep (None: as many as it likes)."""
        return EXAMPLE | {
            "name": suggested[EXAMPLE["frequency"]],
            "time_zone": settings.TIME_ZONE,
            "kind": kind,
            "keep": EXAMPLE["keep"] if left is None else max(min(EXAMPLE["keep"], left), 1),
        }


def suggested_names(schedules: list[Schedule]) -> dict[str, str]:
    """By frequency a name that none of these has: "Daily", or "Daily 2"."""
    taken = {schedule.name for schedule in schedules}
    names = {}
    for value, label in Frequency.choices:
        free = [label, *(f"{label} {number}" for number in range(2, len(taken) + 2))]
        names[value] = next(name for name in free if name not in taken)
    return names


@lru_cache(maxsize=1)
def offered_zones() -> list[str]:
    """Time zones to choose from, without the many names that are kept for old programs alone. Any other is taken too."""
    return [
        "UTC",
        *sorted(zone for zone in available_timezones() if zone.startswith(tuple(f"{c}/" for c in CONTINENTS))),
    ]

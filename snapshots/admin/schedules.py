"""Admin pages of schedules. What they say is changed by those who may act on the machine; here they are looked at, paused,
resumed and deleted."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from snapshots.access import Actor
from snapshots.admin.acting import ActingAdmin
from snapshots.models import Schedule
from snapshots.reading.rest_lists import add_kept
from snapshots.schedule_times import in_words
from snapshots.services import schedules


class LastTime(admin.SimpleListFilter):
    """Whether the last VM snapshot was missed."""

    title = "last time"
    parameter_name = "last_time"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("missed", "Missed"), ("not_missed", "Not missed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> QuerySet[Schedule]:
        match self.value():
            case "missed":
                return queryset.exclude(missed="")
            case "not_missed":
                return queryset.filter(missed="")
            case _:
                return queryset


@admin.register(Schedule)
class ScheduleAdmin(ActingAdmin):
    """The schedules of all machines."""

    may_delete = True
    list_display = ("name", "machine", "account", "when", "kept", "enabled", "last_time", "next_at")
    list_filter = ("frequency", "enabled", LastTime, "machine__hypervisor", "machine__account__domain")
    list_select_related = ("machine__account",)
    search_fields = ("name", "machine__name", "machine__account__name", "created_by__username", "uuid")
    fields = (
        "name",
        "machine",
        "account",
        "when",
        "memory",
        "quiesce",
        "kept",
        "enabled",
        "next_at",
        "last_due_at",
        "last_job",
        "missed",
        "created_by",
        "created_at",
        "uuid",
    )
    actions = ("pause", "resume", "delete_them")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        # Once for the whole page, whose rows these very objects are.
        add_kept(page.result_list)
        return page

    @admin.display(description="account", ordering="machine__account__name")
    def account(self, schedule: Schedule) -> str:
        return str(schedule.machine.account or "none")

    @admin.display(description="when")
    def when(self, schedule: Schedule) -> str:
        return in_words(schedule)

    @admin.display(description="last time", ordering="last_due_at", empty_value="none yet")
    def last_time(self, schedule: Schedule) -> str | None:
        if schedule.last_due_at is None:
            return None
        # The whole reason stands on the schedule's own page: a column of sentences would push all else away.
        return "missed" if schedule.missed else "not missed"

    @admin.display(description="kept", ordering="keep")
    def kept(self, schedule: Any) -> str:
        if not hasattr(schedule, "kept"):
            add_kept([schedule])
        return f"{schedule.kept} of {schedule.keep}"

    def remove(self, actor: Actor, row: Schedule) -> None:
        schedules.delete_schedule(actor, schedule=row)

    @admin.action(description="Pause the chosen schedules", permissions=["act"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self.each_by_service(
            request, queryset, lambda actor, row: schedules.pause_schedule(actor, schedule=row), "Paused: {count}."
        )

    @admin.action(description="Resume the chosen schedules", permissions=["act"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self.each_by_service(
            request, queryset, lambda actor, row: schedules.resume_schedule(actor, schedule=row), "Resumed: {count}."
        )

    @admin.action(description="Delete the chosen schedules, not what they took", permissions=["act"])
    def delete_them(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        self.each_by_service(request, queryset, self.remove, "Deleted: {count}.")

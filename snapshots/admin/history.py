"""Admin pages of jobs and events. Jobs can be cancelled; nothing else here can be changed."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from snapshots.admin.acting import ReadingAdmin
from snapshots.models import Event, Job
from snapshots.services.jobs import request_cancel


@admin.register(Job)
class JobAdmin(ReadingAdmin):
    """All jobs of all tenants."""

    list_display = (
        "action",
        "machine_name",
        "snapshot_name",
        "hypervisor",
        "state",
        "progress",
        "requested_by",
        "created_at",
        "finished_at",
        "error_code",
    )
    list_filter = ("state", "action", "trigger", "hypervisor", "created_at")
    list_select_related = ("hypervisor", "requested_by")
    search_fields = ("machine_name", "snapshot_name", "requested_by__username", "uuid", "error_code")
    fields = (
        "action",
        "state",
        "progress",
        "phase",
        "error_code",
        "error_detail",
        "hypervisor",
        "machine_name",
        "snapshot_name",
        "volume",
        "arguments",
        "requested_by",
        "trigger",
        "created_at",
        "sent_at",
        "started_at",
        "heartbeat_at",
        "settling_since",
        "cancel_requested_at",
        "finished_at",
        "claim",
        "uuid",
    )
    actions = ("cancel",)

    @admin.action(description="Cancel the chosen jobs", permissions=["act"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self.each_by_service(
            request, queryset.select_related("machine", "hypervisor"), request_cancel, "Asked to stop: {count}."
        )


@admin.register(Event)
class EventAdmin(ReadingAdmin):
    """What happened."""

    list_display = ("at", "action", "level", "detail", "machine_name", "user_name", "trigger", "from_address")
    list_filter = ("level", "trigger", "at")
    search_fields = ("action", "detail", "machine_name", "snapshot_name", "user_name")
    list_select_related = ("machine",)
    fields = (
        "at",
        "action",
        "level",
        "detail",
        "user_name",
        "trigger",
        "from_address",
        "account",
        "hypervisor",
        "machine_name",
        "snapshot_name",
        "snapshot_uuid",
        "job",
        "uuid",
    )

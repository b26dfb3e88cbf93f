"""What happened: who did what to what, when, from where, and how it ended. Rows are only ever added."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from hypervisors.models import Hypervisor
from snapshots.choices import Trigger
from snapshots.models.inventory import VirtualMachine
from snapshots.models.job import Job
from snapshots.models.tenancy import Account

CORRECTIONS = (
    "machine.moved",
    "machine.renamed",
    "machine.returned",
    "snapshot.current",
    "snapshot.moved",
    "snapshot.removed_elsewhere",
    "snapshot.renamed",
    "snapshot.returned",
)
"""Actions of events that say how something here was put right because the hypervisor said otherwise."""


class Event(models.Model):
    """One line of history. `action` is a dotted name ("snapshot.create.requested", "snapshot.create.failed",
    "tenancy.account.created"); `detail` is a sentence for people. Names are copied, so that they outlive what they name.
    """

    class Level(models.TextChoices):
        INFO = "info", "Information"
        WARNING = "warning", "Warning"
        ERROR = "error", "Error"

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    at = models.DateTimeField(auto_now_add=True)
    action = models.CharField(max_length=64)
    level = models.CharField(max_length=8, choices=Level, default=Level.INFO)
    detail = models.TextField(blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    user_name = models.CharField(max_length=150, blank=True)
    trigger = models.CharField(max_length=16, choices=Trigger)
    from_address = models.GenericIPAddressField(null=True)
    account = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="events")
    hypervisor = models.ForeignKey(Hypervisor, null=True, on_delete=models.SET_NULL, related_name="events")
    machine = models.ForeignKey(VirtualMachine, null=True, on_delete=models.SET_NULL, related_name="events")
    machine_name = models.CharField(max_length=255, blank=True)
    snapshot_uuid = models.UUIDField(null=True)
    snapshot_name = models.CharField(max_length=255, blank=True)
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="events")

    class Meta:
        ordering = ("-at", "-pk")
        indexes = [
            models.Index(fields=("-at", "-id"), name="event_newest_first"),
            models.Index(fields=("machine", "-at"), name="event_by_machine"),
            # What was put right after somebody else's doing, among all that happened.
            models.Index(
                fields=("-at", "-id"),
                condition=Q(action__in=CORRECTIONS),
                name="event_correction",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.machine_name}"

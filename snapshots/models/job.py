"""Jobs: one asynchronous action each. The row is written before anything happens and is the only truth about it."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from hypervisors.models import Hypervisor
from snapshots.choices import ACTIVE_JOB_STATES, JobAction, JobState, Trigger
from snapshots.models.inventory import VirtualMachine, Volume
from snapshots.models.snapshot import VMSnapshot


class Job(models.Model):
    """One action: queued → running → succeeded, failed or cancelled; queued → cancelled.

    A worker claims it with one conditional update that also writes `claim`, a mark of its own; every later write of that
    worker asks for the same mark, so that a worker which was taken for dead cannot write over what was found out since.
    `settling_since` is set while the outcome is being found out by looking at the hypervisor. The names of what it acted
    on are kept here, since snapshots are gone after their deletion. `progress` is percent. Times are UTC.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    action = models.CharField(max_length=32, choices=JobAction)
    state = models.CharField(max_length=16, choices=JobState, default=JobState.QUEUED)
    hypervisor = models.ForeignKey(Hypervisor, on_delete=models.CASCADE, related_name="jobs")
    machine = models.ForeignKey(VirtualMachine, null=True, on_delete=models.CASCADE, related_name="jobs")
    machine_name = models.CharField(max_length=255, blank=True)
    snapshot = models.ForeignKey(VMSnapshot, null=True, on_delete=models.SET_NULL, related_name="jobs")
    snapshot_uuid = models.UUIDField(null=True)
    snapshot_name = models.CharField(max_length=255, blank=True)
    volume = models.ForeignKey(Volume, null=True, on_delete=models.SET_NULL, related_name="jobs")
    arguments = models.JSONField(default=dict)
    progress = models.PositiveSmallIntegerField(default=0)
    phase = models.CharField(max_length=255, blank=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    trigger = models.CharField(max_length=16, choices=Trigger)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    settling_since = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    claim = models.CharField(max_length=64, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.TextField(blank=True)

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = [
            # One job at a time per machine, whatever the race: the second insert fails.
            models.UniqueConstraint(
                fields=("machine",),
                condition=Q(state__in=ACTIVE_JOB_STATES, machine__isnull=False),
                name="one_active_job_per_machine",
            ),
            models.UniqueConstraint(
                fields=("hypervisor", "action"),
                condition=Q(state__in=ACTIVE_JOB_STATES, machine=None),
                name="one_active_job_per_hypervisor_and_action",
            ),
        ]
        indexes = [
            models.Index(fields=("-created_at", "-id"), name="job_newest_first"),
            models.Index(fields=("machine", "-created_at"), name="job_by_machine"),
            models.Index(fields=("state", "heartbeat_at"), condition=Q(state__in=ACTIVE_JOB_STATES), name="job_active"),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.machine_name or self.hypervisor}"

    @property
    def active(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in ACTIVE_JOB_STATES


class IdempotencyKey(models.Model):
    """A client's key for one request, with the job it led to, so that a repeated request finds that job again."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    # SHA-256 over method, path and body: the same key for another request is refused.
    request_digest = models.CharField(max_length=64)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("user", "key"), name="idempotency_key_unique_per_user")]

    def __str__(self) -> str:
        return self.key

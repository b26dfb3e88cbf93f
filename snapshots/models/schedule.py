"""Schedules: VM snapshots of one machine that are taken again and again, of which the newest are kept."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from snapshots.choices import Frequency
from snapshots.models.inventory import VirtualMachine
from snapshots.models.job import Job


class Schedule(models.Model):
    """When VM snapshots of a machine are taken, what they hold, and how many of them are kept.

    `minute`, `hour`, `weekdays` (1 is Monday, 7 Sunday) and `day` (of the month, -1 its last) are by the clocks of
    `time_zone`; which of them count, and `every_hours`, is a matter of `frequency` (see `schedule_times`). `memory` and
    `quiesce` hold while the machine runs: one that is off has neither memory nor a guest.

    `next_at` (UTC) is when the next one is due, None while the schedule is paused. `last_due_at` is when the last one was.
    Of that there is either `last_job`, or it was missed for the reason in `missed`. It belongs to the machine, not to
    whoever made it.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    machine = models.ForeignKey(VirtualMachine, on_delete=models.CASCADE, related_name="schedules")
    name = models.CharField(max_length=100)
    frequency = models.CharField(max_length=8, choices=Frequency)
    every_hours = models.PositiveSmallIntegerField(default=1)
    minute = models.PositiveSmallIntegerField()
    hour = models.PositiveSmallIntegerField(default=0)
    weekdays = models.JSONField(default=list)
    day = models.SmallIntegerField(default=1)
    time_zone = models.CharField(max_length=64)
    keep = models.PositiveIntegerField()
    memory = models.BooleanField(default=False)
    quiesce = models.BooleanField(default=False)
    enabled = models.BooleanField(default=True)
    next_at = models.DateTimeField(null=True)
    last_due_at = models.DateTimeField(null=True)
    last_job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    missed = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("machine", "name")
        constraints = [
            models.UniqueConstraint(fields=("machine", "name"), name="schedule_name_unique_in_machine"),
            models.CheckConstraint(condition=Q(keep__gte=1), name="schedule_keeps_at_least_one"),
            models.CheckConstraint(
                condition=Q(enabled=True, next_at__isnull=False) | Q(enabled=False, next_at=None),
                name="schedule_is_due_unless_paused",
            ),
            models.CheckConstraint(condition=~Q(memory=True, quiesce=True), name="schedule_keeps_memory_or_quiesces"),
        ]
        indexes = [
            models.Index(fields=("next_at",), condition=Q(enabled=True), name="schedule_due"),
            models.Index(fields=("name", "id"), name="schedule_by_name"),
        ]

    def __str__(self) -> str:
        return self.name

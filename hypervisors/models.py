"""The managed endpoints: libvirt hosts, vCenters, XenServer pools."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from hypervisors.encrypted_text import EncryptedTextField
from hypervisors.registry import KINDS


class Hypervisor(models.Model):
    """One endpoint and what the last contact with it showed. Its password is encrypted at rest and never shown again."""

    class State(models.TextChoices):
        UNTRIED = "untried", "Not tried yet"
        REACHABLE = "reachable", "Reachable"
        UNREACHABLE = "unreachable", "Not reachable"

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=255, unique=True)
    # Not `choices`: a new kind of driver must not need a migration. Forms offer `registry.KINDS`.
    kind = models.CharField(max_length=32)
    address = models.CharField(max_length=1024, help_text="How to reach it; its form depends on the kind.")
    username = models.CharField(max_length=255, blank=True)
    password = EncryptedTextField(blank=True)
    ca_certificate = models.TextField(
        blank=True,
        help_text="Certificates (PEM) to trust besides the system's, for kinds that speak TLS by themselves.",
    )
    insecure = models.BooleanField(
        default=False, help_text="Do not check the server's certificate: anybody in between can read the password."
    )
    redirect_hosts = models.JSONField(
        default=list, blank=True, help_text="Other hosts of the same pool to which it may send the login on."
    )
    adopt_automatically = models.BooleanField(
        default=False, help_text="VM snapshots made elsewhere count as taken here as soon as they are found."
    )
    enabled = models.BooleanField(default=True, help_text="Off: it is neither read nor asked to do anything.")
    native_id = models.CharField(max_length=255, blank=True, editable=False)
    product = models.CharField(max_length=255, blank=True, editable=False)
    version = models.CharField(max_length=64, blank=True, editable=False)
    simulator = models.BooleanField(default=False, editable=False)
    missing_privileges = models.JSONField(default=list, editable=False)
    # Whose process is being told by this endpoint what changes, and when that process last said so: see
    # `snapshots.services.watch_lease`.
    watch_claim = models.CharField(max_length=96, blank=True, editable=False)
    watch_beat_at = models.DateTimeField(null=True, editable=False)
    state = models.CharField(max_length=16, choices=State, default=State.UNTRIED, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    last_seen_at = models.DateTimeField(null=True, editable=False)
    synced_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def kind_label(self) -> str:
        """The kind in words, its bare key when this installation does not know it."""
        return KINDS[self.kind].label if self.kind in KINDS else self.kind

    @property
    def watched(self) -> bool:
        """Whether a process is told by the endpoint what changes there, so that it need not wait for the next sync."""
        lost = timezone.now() - timedelta(seconds=settings.WATCH_LOST_AFTER_SECONDS)
        return self.watch_beat_at is not None and self.watch_beat_at > lost

    @property
    def simulated(self) -> bool:
        """Whether this endpoint is a simulation, which every page has to say."""
        return self.simulator or (self.kind in KINDS and KINDS[self.kind].simulated)

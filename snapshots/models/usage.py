"""What is billed: how each VM snapshot that counts came, changed and went.

Rows here name what they are about by public id and by the name it had, and refer to no other row: a usage record outlives
its account, domain, machine and pool.
"""

import uuid

from django.db import models

from snapshots.choices import UsageChange
from snapshots.models.inventory import VirtualMachine


class UsageFacts(models.Model):
    """One VM snapshot as it is billed: whose it is, where it lies, and how large it is.

    `volume_bytes` is the allocated size of its machine's volumes, `estimated_bytes` its share of the machine's estimate
    (the shares of all make up the whole), `measured_bytes` what the hypervisor says it occupies, None while unknown.
    `pool` is the storage pool of the machine's first volume. What is not known has no id and an empty name.
    """

    snapshot_uuid = models.UUIDField()
    snapshot_name = models.CharField(max_length=255)
    machine_uuid = models.UUIDField()
    machine_name = models.CharField(max_length=255)
    account_uuid = models.UUIDField()
    account_name = models.CharField(max_length=255)
    domain_uuid = models.UUIDField()
    domain_name = models.CharField(max_length=255)
    pool_uuid = models.UUIDField(null=True)
    pool_name = models.CharField(max_length=255, blank=True)
    hypervisor_uuid = models.UUIDField()
    hypervisor_name = models.CharField(max_length=255)
    volume_bytes = models.BigIntegerField()
    estimated_bytes = models.BigIntegerField()
    measured_bytes = models.BigIntegerField(null=True)

    class Meta:
        abstract = True


PLACE = ("machine_uuid", "account_uuid", "domain_uuid", "pool_uuid", "hypervisor_uuid")
NAMES = ("snapshot_name", "machine_name", "account_name", "domain_name", "pool_name", "hypervisor_name")
SIZES = ("volume_bytes", "estimated_bytes", "measured_bytes")
FACTS = ("snapshot_uuid", *PLACE, *NAMES, *SIZES)
"""The columns of `UsageFacts`: where it belongs, how all that was called, how large it was."""


class OpenUsage(UsageFacts):
    """A VM snapshot that is billed at this moment. `since` is when its last usage event was, UTC. Kept by `ledger`."""

    machine = models.ForeignKey(VirtualMachine, on_delete=models.PROTECT, related_name="open_usage")
    since = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("snapshot_uuid",), name="one_open_usage_per_snapshot")]

    def __str__(self) -> str:
        return self.snapshot_name


class UsageEvent(UsageFacts):
    """From `at` (UTC) on, the VM snapshot is billed as the facts say, or is not billed any more (`alive` is false).

    Rows are only ever added, never changed. Those of one VM snapshot never go back in time; of two with the same time the
    one with the larger key came later.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    at = models.DateTimeField()
    change = models.CharField(max_length=16, choices=UsageChange)
    alive = models.BooleanField()

    class Meta:
        ordering = ("-at", "-pk")
        indexes = [
            models.Index(fields=("snapshot_uuid", "at", "id"), name="usage_event_by_snapshot"),
            models.Index(fields=("at",), name="usage_event_by_time"),
            # How one machine grew.
            models.Index(fields=("machine_uuid", "at", "id"), name="usage_event_by_machine"),
        ]

    def __str__(self) -> str:
        return f"{self.get_change_display()}: {self.snapshot_name}"

"""How storage is allocated: what the VM snapshots of each machine are estimated to occupy in each pool, how full a pool may
become, and how it was before."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from snapshots.choices import SampleStep
from snapshots.models.inventory import StoragePool, VirtualMachine
from snapshots.models.tenancy import Account


class MachineAllocation(models.Model):
    """What one machine has in one pool, in bytes. `volume_bytes` is the allocated size of its volumes there, `disk_bytes`
    and `memory_bytes` are the two parts of the estimate of its VM snapshots (memory lies in the pool of its first volume),
    `measured_bytes` is what the hypervisor measures of them, in the same pool, None where it measures nothing. `pool` is
    None for volumes whose pool is not known. Kept by `ledger`."""

    machine = models.ForeignKey(VirtualMachine, on_delete=models.CASCADE, related_name="allocations")
    pool = models.ForeignKey(StoragePool, null=True, on_delete=models.CASCADE, related_name="allocations")
    volume_bytes = models.BigIntegerField(default=0)
    disk_bytes = models.BigIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    measured_bytes = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("machine", "pool"), condition=Q(pool__isnull=False), name="one_allocation_per_machine_and_pool"
            ),
            models.UniqueConstraint(
                fields=("machine",), condition=Q(pool=None), name="one_allocation_per_machine_without_pool"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.machine} in {self.pool}"

    @property
    def estimated_bytes(self) -> int:
        """The estimate of the VM snapshots, both parts."""
        return self.disk_bytes + self.memory_bytes


class PoolPolicy(models.Model):
    """How full one pool may become; None is the default of the installation. The two percentages are of the pool's size
    times `overcommit`: above the first a warning is shown, above the second VM snapshots are refused. The row is also what
    is locked while a VM snapshot is checked against the pool (`services.capacity_rules`), so that a pool may have one that
    says nothing."""

    pool = models.OneToOneField(StoragePool, on_delete=models.CASCADE, related_name="policy")
    warning_percent = models.PositiveSmallIntegerField(null=True, blank=True)
    threshold_percent = models.PositiveSmallIntegerField(null=True, blank=True)
    overcommit = models.DecimalField(max_digits=6, decimal_places=2, null=True, blank=True)
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    set_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="pool_policy_is_in_bounds",
                condition=Q(Q(warning_percent=None) | Q(warning_percent__range=(1, 100)))
                & Q(Q(threshold_percent=None) | Q(threshold_percent__range=(1, 100)))
                & Q(Q(overcommit=None) | Q(overcommit__gt=0)),
            ),
        ]

    def __str__(self) -> str:
        return f"How full {self.pool} may become"


class CapacitySample(models.Model):
    """What a pool, or an account in all pools, had at one time, in bytes; kept by `services.capacity_samples`.

    `at` (UTC) is the moment of a raw sample, the beginning of the hour or the day of a rolled-up one, which is the last of
    that hour or day. `total_bytes` and `free_bytes` are what the hypervisor says of a pool, None while unknown and for
    accounts. `estimated_bytes` is of VM snapshots, and so is `measured_bytes`, None where nothing is measured.
    """

    pool = models.ForeignKey(StoragePool, null=True, on_delete=models.CASCADE, related_name="samples")
    account = models.ForeignKey(Account, null=True, on_delete=models.CASCADE, related_name="samples")
    step = models.CharField(max_length=8, choices=SampleStep)
    at = models.DateTimeField()
    total_bytes = models.BigIntegerField(null=True)
    free_bytes = models.BigIntegerField(null=True)
    volume_bytes = models.BigIntegerField()
    estimated_bytes = models.BigIntegerField()
    measured_bytes = models.BigIntegerField(null=True)

    class Meta:
        ordering = ("at", "pk")
        constraints = [
            models.CheckConstraint(
                name="sample_is_of_one_thing",
                condition=Q(pool__isnull=False, account=None) | Q(pool=None, account__isnull=False),
            ),
            models.UniqueConstraint(
                fields=("pool", "step", "at"), condition=Q(pool__isnull=False), name="one_sample_of_a_pool_at_a_time"
            ),
            models.UniqueConstraint(
                fields=("account", "step", "at"),
                condition=Q(account__isnull=False),
                name="one_sample_of_an_account_at_a_time",
            ),
        ]
        indexes = [models.Index(fields=("step", "at"), name="sample_by_step_and_time")]

    def __str__(self) -> str:
        return f"{self.pool or self.account} at {self.at}"

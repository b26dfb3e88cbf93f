"""What the hypervisors hold, as last read: storage pools, machines, volumes."""

import uuid

from django.db import models
from django.db.models import Q

from hypervisors.capabilities import Capabilities
from hypervisors.models import Hypervisor
from snapshots.choices import PowerState
from snapshots.models.tenancy import Account


class StoragePool(models.Model):
    """A place for volumes. Sizes in bytes, None while unknown."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    hypervisor = models.ForeignKey(Hypervisor, on_delete=models.PROTECT, related_name="pools")
    native_id = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    kind = models.CharField(max_length=64, blank=True)
    total_bytes = models.BigIntegerField(null=True)
    free_bytes = models.BigIntegerField(null=True)
    active = models.BooleanField(default=True)
    missing_since = models.DateTimeField(null=True)
    synced_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("name", "pk")
        constraints = [models.UniqueConstraint(fields=("hypervisor", "native_id"), name="pool_unique_in_hypervisor")]

    def __str__(self) -> str:
        return self.name


class VirtualMachine(models.Model):
    """A machine as last read from its hypervisor. `account` is None until an admin assigns it; then only root admins
    see it. `missing_since` is set while the hypervisor does not know it. `synced_at` is when the reading began that is
    written here: one that began earlier has nothing to say any more. `native_id` is the hypervisor's lasting id of the
    machine, by which it is known again when it returns or moves to another endpoint.

    `assigned_at` is when somebody, or an import rule, last decided whose machine it is: also when that was nobody's.
    `folder`, `resource_pool` and `tags` say where its administrators filed it. `question` is what its hypervisor waits to
    be told before it goes on with the machine."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    hypervisor = models.ForeignKey(Hypervisor, on_delete=models.PROTECT, related_name="machines")
    native_id = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.PROTECT, related_name="machines")
    assigned_at = models.DateTimeField(null=True)
    power_state = models.CharField(max_length=16, choices=PowerState, default=PowerState.UNKNOWN)
    memory_bytes = models.BigIntegerField(default=0)
    capabilities = models.JSONField(default=dict)
    folder = models.CharField(max_length=1024, blank=True)
    resource_pool = models.CharField(max_length=255, blank=True)
    tags = models.JSONField(default=list)
    needs_consolidation = models.BooleanField(default=False)
    question = models.TextField(blank=True)
    # Kept by `tree`, so that lists of thousands of machines need no join over snapshots.
    snapshot_count = models.PositiveIntegerField(default=0)
    # Of those: made elsewhere and not adopted, lost, and never taken because that failed.
    unadopted_count = models.PositiveIntegerField(default=0)
    lost_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    # What of it stands in the use of limits at present, and in whose. Kept by `ledger`.
    booked_account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="+")
    booked_snapshots = models.PositiveIntegerField(default=0)
    booked_bytes = models.BigIntegerField(default=0)
    missing_since = models.DateTimeField(null=True)
    synced_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name", "pk")
        constraints = [
            models.UniqueConstraint(fields=("hypervisor", "native_id"), name="machine_unique_in_hypervisor"),
        ]
        indexes = [
            models.Index(fields=("name", "id"), name="machine_by_name"),
            models.Index(fields=("account", "name", "id"), name="machine_by_account_and_name"),
            # Which rows of other endpoints are the same machine.
            models.Index(fields=("native_id",), name="machine_by_native_id"),
            models.Index(
                fields=("name", "id"),
                condition=Q(unadopted_count__gt=0) | Q(lost_count__gt=0),
                name="machine_with_drift",
            ),
            models.Index(
                fields=("-missing_since", "-id"), condition=Q(missing_since__isnull=False), name="machine_missing"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def counted(self) -> int:
        """How many VM snapshots count in limits: those taken here or adopted, unless they are lost or their taking
        failed."""
        return self.snapshot_count - self.unadopted_count - self.lost_count - self.failed_count

    @property
    def abilities(self) -> Capabilities:
        """What can be done with it, with reasons, as its hypervisor said at the last reading."""
        return Capabilities.from_json(self.capabilities)


class ImportRule(models.Model):
    """Gives machines to an account whose owner nobody has decided yet. Rules are tried in the order of `position`; the
    first that fits a machine decides. Every pattern that is not empty has to fit; `*` and `?` stand for any characters
    and one, and case does not count. `pool` is compared with the machine's resource pool and with the storage pools of
    its volumes."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    position = models.PositiveIntegerField(default=0)
    hypervisor = models.ForeignKey(
        Hypervisor, null=True, blank=True, on_delete=models.CASCADE, related_name="import_rules"
    )
    name_pattern = models.CharField(max_length=255, blank=True)
    folder_pattern = models.CharField(max_length=1024, blank=True)
    pool_pattern = models.CharField(max_length=255, blank=True)
    tag_pattern = models.CharField(max_length=255, blank=True)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="import_rules")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("position", "pk")
        constraints = [
            models.CheckConstraint(
                name="import_rule_asks_for_something",
                condition=~Q(name_pattern="", folder_pattern="", pool_pattern="", tag_pattern=""),
            )
        ]

    def __str__(self) -> str:
        return f"{self.words} → {self.account}"

    @property
    def patterns(self) -> tuple[tuple[str, str], ...]:
        """What it asks for, with what each pattern is compared with."""
        asked = (
            ("name", self.name_pattern),
            ("folder", self.folder_pattern),
            ("pool", self.pool_pattern),
            ("tag", self.tag_pattern),
        )
        return tuple((what, pattern) for what, pattern in asked if pattern)

    @property
    def words(self) -> str:
        """What it asks for, on one line: "name web-*, tag prod"."""
        return ", ".join(f"{what} {pattern}" for what, pattern in self.patterns)


class Volume(models.Model):
    """A disk. Attached to `machine` at `target` ("vda"), or loose. `account` owns a loose volume: that of the machine it
    was last attached to, or None for one that only root admins see. Sizes in bytes."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    hypervisor = models.ForeignKey(Hypervisor, on_delete=models.PROTECT, related_name="volumes")
    pool = models.ForeignKey(StoragePool, null=True, on_delete=models.PROTECT, related_name="volumes")
    machine = models.ForeignKey(VirtualMachine, null=True, on_delete=models.PROTECT, related_name="volumes")
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="volumes")
    native_id = models.CharField(max_length=1024)
    name = models.CharField(max_length=255)
    format = models.CharField(max_length=32)
    target = models.CharField(max_length=64, blank=True)
    capacity_bytes = models.BigIntegerField()
    used_bytes = models.BigIntegerField(null=True)
    missing_since = models.DateTimeField(null=True)

    class Meta:
        ordering = ("target", "name", "pk")
        constraints = [
            models.UniqueConstraint(fields=("hypervisor", "native_id"), name="volume_unique_in_hypervisor"),
            models.CheckConstraint(
                name="loose_volume_has_no_target", condition=Q(machine__isnull=False) | Q(target="")
            ),
        ]
        indexes = [models.Index(fields=("name", "id"), name="volume_by_name")]

    def __str__(self) -> str:
        return self.name

"""The tree of VM snapshots, on django-mptt. Only `snapshots.tree` and its parts (`tree_resync`,
`tree_planting`, `tree_numbers`) write these rows."""

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from mptt.managers import TreeManager
from mptt.models import MPTTModel, TreeForeignKey
from mptt.querysets import TreeQuerySet

from snapshots.choices import GONE, Origin, SnapshotState, SnapshotType
from snapshots.models.inventory import VirtualMachine


class VMSnapshotQuerySet(TreeQuerySet):  # type: ignore[misc]  # mptt carries no types
    """Queries over real VM snapshots."""

    def real(self) -> "VMSnapshotQuerySet":
        """Without the hidden anchors."""
        return self.filter(parent__isnull=False)  # type: ignore[no-any-return]  # mptt carries no types

    def counted(self) -> "VMSnapshotQuerySet":
        """Those that are ours: taken here, or adopted."""
        ours = Q(origin=Origin.VMSNAP) | Q(adopted_at__isnull=False)
        return self.real().filter(ours)  # type: ignore[no-any-return]  # mptt carries no types


class VMSnapshot(MPTTModel):  # type: ignore[misc]  # mptt carries no types
    """One VM snapshot, or the hidden anchor of a machine's tree.

    Each machine has exactly one anchor: the machine as it would be without any snapshot, with no parent, made together
    with the machine, its `tree_id` equal to the machine's primary key. All real snapshots hang below it, so that one lock
    on the machine's row covers its whole tree and no two machines can share a tree. Exactly one node of a tree is
    `current`: where the running machine stems from; the anchor, when it stems from none.

    `token` is our own mark, stored with the snapshot on the hypervisor; `native_id` is the hypervisor's own name, empty
    until it is known. `adopted_at` is when one made elsewhere was made ours: until then limits and usage leave it out.
    `schedule` is the one that took it and will delete it; None too when it is to be kept for good.
    Sizes in bytes.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    machine = models.ForeignKey(VirtualMachine, on_delete=models.PROTECT, related_name="snapshots")
    parent = TreeForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    native_id = models.CharField(max_length=1024, blank=True)
    name = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    state = models.CharField(max_length=16, choices=SnapshotState, default=SnapshotState.ALLOCATED)
    type = models.CharField(max_length=16, choices=SnapshotType, default=SnapshotType.DISK)
    current = models.BooleanField(default=False)
    origin = models.CharField(max_length=16, choices=Origin, default=Origin.VMSNAP)
    adopted_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    # No index over all rows: the few that a schedule took have one of their own.
    schedule = models.ForeignKey(
        "snapshots.Schedule", null=True, on_delete=models.SET_NULL, related_name="snapshots", db_index=False
    )
    memory_bytes = models.BigIntegerField(default=0)
    measured_bytes = models.BigIntegerField(null=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.TextField(blank=True)

    objects: Any = TreeManager.from_queryset(VMSnapshotQuerySet)()

    class Meta:
        verbose_name = "VM snapshot"
        constraints = [
            models.UniqueConstraint(fields=("machine",), condition=Q(parent=None), name="one_anchor_per_machine"),
            models.UniqueConstraint(fields=("tree_id",), condition=Q(parent=None), name="one_anchor_per_tree"),
            models.UniqueConstraint(fields=("machine",), condition=Q(current=True), name="one_current_per_machine"),
            models.UniqueConstraint(
                fields=("machine", "name"), condition=Q(parent__isnull=False), name="snapshot_name_unique_in_machine"
            ),
            models.UniqueConstraint(
                fields=("machine", "native_id"), condition=~Q(native_id=""), name="native_id_unique_in_machine"
            ),
            models.CheckConstraint(condition=Q(lft__lt=F("rght")), name="tree_interval_is_whole"),
            models.CheckConstraint(condition=Q(tree_id=F("machine_id")), name="tree_belongs_to_its_machine"),
        ]
        indexes = [
            models.Index(fields=("machine", "lft"), name="snapshot_in_tree_order"),
            models.Index(fields=("-created_at", "-id"), name="snapshot_newest_first"),
            # The few that somebody looks for among all: an index on the whole column would tempt a planner without
            # statistics to read all the Ready ones of everybody.
            models.Index(
                fields=("-created_at", "-id"),
                condition=Q(parent__isnull=False) & ~Q(state="Ready"),
                name="snapshot_not_ready",
            ),
            models.Index(
                fields=("-created_at", "-id"),
                condition=Q(parent__isnull=False, origin="elsewhere"),
                name="snapshot_made_elsewhere",
            ),
            models.Index(
                fields=("-created_at", "-id"),
                condition=Q(parent__isnull=False, origin="elsewhere", adopted_at=None),
                name="snapshot_not_adopted",
            ),
            models.Index(
                fields=("schedule", "state", "-id"),
                condition=Q(schedule__isnull=False),
                name="snapshot_of_a_schedule",
            ),
        ]

    def __str__(self) -> str:
        return self.name or "(no VM snapshot)"

    @property
    def counts(self) -> bool:
        """Whether it is ours: taken here, or adopted. Usage counts those that are also `present`; limits leave out those
        that `failed` as well."""
        return self.origin == Origin.VMSNAP or self.adopted_at is not None

    @property
    def limited(self) -> bool:
        """Whether it counts in limits: it is ours, and was or may yet be taken, and is not lost."""
        return self.counts and self.present and not self.failed

    @property
    def lost(self) -> bool:
        """Whether it is ours, was on the hypervisor, and is not any more."""
        return self.error_code == GONE and self.state == SnapshotState.ERROR

    @property
    def present(self) -> bool:
        """Whether it is not known to be gone from its hypervisor. One that is lost occupies nothing, and is not billed."""
        return self.error_code != GONE

    @property
    def failed(self) -> bool:
        """Whether its taking failed and, as far as is known, nothing of it is on the hypervisor. Also while its row is
        being deleted."""
        return self.origin == Origin.VMSNAP and self.native_id == "" and self.error_code not in ("", GONE)

    @property
    def is_anchor(self) -> bool:
        """Whether this is the hidden root of a machine's tree."""
        return self.parent_id is None

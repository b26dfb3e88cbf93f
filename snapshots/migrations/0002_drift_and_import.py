"""Adoption of VM snapshots made elsewhere, where a machine is filed, and the rules that give machines to accounts."""

import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("hypervisors", "0002_trust_and_adoption"),
        ("snapshots", "0001_first_tables"),
    ]

    operations = [
        migrations.AddField(
            model_name="virtualmachine",
            name="assigned_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="virtualmachine",
            name="folder",
            field=models.CharField(blank=True, max_length=1024),
        ),
        migrations.AddField(
            model_name="virtualmachine",
            name="needs_consolidation",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="virtualmachine",
            name="question",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="virtualmachine",
            name="resource_pool",
            field=models.CharField(blank=True, max_length=255),
        ),
        migrations.AddField(
            model_name="virtualmachine",
            name="tags",
            field=models.JSONField(default=list),
        ),
        migrations.AddField(
            model_name="vmsnapshot",
            name="adopted_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="virtualmachine",
            name="lost_count",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="virtualmachine",
            name="unadopted_count",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                condition=models.Q(
                    (
                        "action__in",
                        (
                            "machine.moved",
                            "machine.renamed",
                            "machine.returned",
                            "snapshot.current",
                            "snapshot.moved",
                            "snapshot.removed_elsewhere",
                            "snapshot.renamed",
                            "snapshot.returned",
                        ),
                    )
                ),
                fields=["-at", "-id"],
                name="event_correction",
            ),
        ),
        migrations.AddIndex(
            model_name="virtualmachine",
            index=models.Index(fields=["native_id"], name="machine_by_native_id"),
        ),
        migrations.AddIndex(
            model_name="virtualmachine",
            index=models.Index(
                condition=models.Q(("unadopted_count__gt", 0), ("lost_count__gt", 0), _connector="OR"),
                fields=["name", "id"],
                name="machine_with_drift",
            ),
        ),
        migrations.AddIndex(
            model_name="virtualmachine",
            index=models.Index(
                condition=models.Q(("missing_since__isnull", False)),
                fields=["-missing_since", "-id"],
                name="machine_missing",
            ),
        ),
        migrations.AddIndex(
            model_name="vmsnapshot",
            index=models.Index(
                condition=models.Q(("adopted_at", None), ("origin", "elsewhere"), ("parent__isnull", False)),
                fields=["-created_at", "-id"],
                name="snapshot_not_adopted",
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="action",
            field=models.CharField(
                choices=[
                    ("create_snapshot", "Take VM snapshot"),
                    ("revert_snapshot", "Revert to VM snapshot"),
                    ("delete_snapshot", "Delete VM snapshot"),
                    ("delete_snapshot_tree", "Delete VM snapshot and descendants"),
                    ("delete_all_snapshots", "Delete all VM snapshots"),
                    ("rename_snapshot", "Rename VM snapshot"),
                    ("start_machine", "Start machine"),
                    ("stop_machine", "Stop machine"),
                    ("attach_volume", "Attach volume"),
                    ("detach_volume", "Detach volume"),
                    ("consolidate_disks", "Consolidate disks"),
                    ("sync_machine", "Read machine from its hypervisor"),
                    ("sync_hypervisor", "Read everything from the hypervisor"),
                    ("check_connection", "Test connection"),
                ],
                max_length=32,
            ),
        ),
        migrations.CreateModel(
            name="ImportRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("position", models.PositiveIntegerField(default=0)),
                ("name_pattern", models.CharField(blank=True, max_length=255)),
                ("folder_pattern", models.CharField(blank=True, max_length=1024)),
                ("pool_pattern", models.CharField(blank=True, max_length=255)),
                ("tag_pattern", models.CharField(blank=True, max_length=255)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="import_rules", to="snapshots.account"
                    ),
                ),
                (
                    "hypervisor",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="import_rules",
                        to="hypervisors.hypervisor",
                    ),
                ),
            ],
            options={
                "ordering": ("position", "pk"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("folder_pattern", ""),
                            ("name_pattern", ""),
                            ("pool_pattern", ""),
                            ("tag_pattern", ""),
                            _negated=True,
                        ),
                        name="import_rule_asks_for_something",
                    )
                ],
            },
        ),
    ]

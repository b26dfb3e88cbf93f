"""The books: limits and their use, usage events, what is allocated in each pool. Machines that were there before are
booked by the next check of the books."""

import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("snapshots", "0004_counted_drift"),
    ]

    operations = [
        migrations.AddField(
            model_name="virtualmachine",
            name="booked_account",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="snapshots.account"
            ),
        ),
        migrations.AddField(
            model_name="virtualmachine",
            name="booked_bytes",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="virtualmachine",
            name="booked_snapshots",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.CreateModel(
            name="UsageEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("snapshot_uuid", models.UUIDField()),
                ("snapshot_name", models.CharField(max_length=255)),
                ("machine_uuid", models.UUIDField()),
                ("machine_name", models.CharField(max_length=255)),
                ("account_uuid", models.UUIDField()),
                ("account_name", models.CharField(max_length=255)),
                ("domain_uuid", models.UUIDField()),
                ("domain_name", models.CharField(max_length=255)),
                ("pool_uuid", models.UUIDField(null=True)),
                ("pool_name", models.CharField(blank=True, max_length=255)),
                ("hypervisor_uuid", models.UUIDField()),
                ("hypervisor_name", models.CharField(max_length=255)),
                ("volume_bytes", models.BigIntegerField()),
                ("estimated_bytes", models.BigIntegerField()),
                ("measured_bytes", models.BigIntegerField(null=True)),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("at", models.DateTimeField()),
                (
                    "change",
                    models.CharField(
                        choices=[
                            ("create", "Taken"),
                            ("adopt", "Adopted"),
                            ("revert", "Reverted to"),
                            ("resize", "Size changed"),
                            ("transfer", "Moved"),
                            ("delete", "Gone"),
                        ],
                        max_length=16,
                    ),
                ),
                ("alive", models.BooleanField()),
            ],
            options={
                "ordering": ("-at", "-pk"),
                "indexes": [
                    models.Index(fields=["snapshot_uuid", "at", "id"], name="usage_event_by_snapshot"),
                    models.Index(fields=["at"], name="usage_event_by_time"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Limit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("snapshots", "VM snapshots"),
                            ("bytes", "Estimated bytes"),
                            ("per_machine", "VM snapshots per machine"),
                            ("age_days", "Age in days"),
                        ],
                        max_length=16,
                    ),
                ),
                ("value", models.BigIntegerField()),
                ("set_at", models.DateTimeField(auto_now=True)),
                (
                    "account",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="limits",
                        to="snapshots.account",
                    ),
                ),
                (
                    "domain",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="limits",
                        to="snapshots.domain",
                    ),
                ),
                (
                    "set_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("domain", "account", "kind"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("account__isnull", False), ("domain", None)),
                            models.Q(("account", None), ("domain__isnull", False)),
                            _connector="OR",
                        ),
                        name="limit_is_on_one_thing",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("value__gte", -1)), name="limit_is_a_number_or_unlimited"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("account__isnull", False)),
                        fields=("account", "kind"),
                        name="one_limit_per_account_and_kind",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("domain__isnull", False)),
                        fields=("domain", "kind"),
                        name="one_limit_per_domain_and_kind",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="LimitUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("snapshots", models.BigIntegerField(default=0)),
                ("estimated_bytes", models.BigIntegerField(default=0)),
                (
                    "account",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="limit_use",
                        to="snapshots.account",
                    ),
                ),
                (
                    "domain",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="limit_use",
                        to="snapshots.domain",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("account__isnull", False), ("domain", None)),
                            models.Q(("account", None), ("domain__isnull", False)),
                            _connector="OR",
                        ),
                        name="limit_use_is_of_one_thing",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="MachineAllocation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("volume_bytes", models.BigIntegerField(default=0)),
                ("disk_bytes", models.BigIntegerField(default=0)),
                ("memory_bytes", models.BigIntegerField(default=0)),
                ("measured_bytes", models.BigIntegerField(null=True)),
                (
                    "machine",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="allocations",
                        to="snapshots.virtualmachine",
                    ),
                ),
                (
                    "pool",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="allocations",
                        to="snapshots.storagepool",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("pool__isnull", False)),
                        fields=("machine", "pool"),
                        name="one_allocation_per_machine_and_pool",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("pool", None)),
                        fields=("machine",),
                        name="one_allocation_per_machine_without_pool",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="OpenUsage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("snapshot_uuid", models.UUIDField()),
                ("snapshot_name", models.CharField(max_length=255)),
                ("machine_uuid", models.UUIDField()),
                ("machine_name", models.CharField(max_length=255)),
                ("account_uuid", models.UUIDField()),
                ("account_name", models.CharField(max_length=255)),
                ("domain_uuid", models.UUIDField()),
                ("domain_name", models.CharField(max_length=255)),
                ("pool_uuid", models.UUIDField(null=True)),
                ("pool_name", models.CharField(blank=True, max_length=255)),
                ("hypervisor_uuid", models.UUIDField()),
                ("hypervisor_name", models.CharField(max_length=255)),
                ("volume_bytes", models.BigIntegerField()),
                ("estimated_bytes", models.BigIntegerField()),
                ("measured_bytes", models.BigIntegerField(null=True)),
                ("since", models.DateTimeField()),
                (
                    "machine",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="open_usage",
                        to="snapshots.virtualmachine",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("snapshot_uuid",), name="one_open_usage_per_snapshot")],
            },
        ),
    ]

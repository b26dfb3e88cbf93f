"""Usage that is billed: periods, records, prices.

The database itself refuses to change or delete a period that is closed, or a record. SQLite forgets triggers when Django
builds a table anew: a migration that alters one of these two tables has to call `guard` again afterwards.
"""

import uuid
from typing import Any

import django.db.models.deletion
from django.db import migrations, models

GUARDED = {"usageperiod": "usage_period_is_closed", "usagerecord": "usage_record_is_final"}

REFUSE = """
CREATE OR REPLACE FUNCTION usage_never_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Usage that was billed never changes; corrections are new records.';
END $$
"""


def guard(apps: Any, schema_editor: Any) -> None:
    """Have the database refuse to update or delete rows of these tables."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(REFUSE)
    for model, name in GUARDED.items():
        table = apps.get_model("snapshots", model)._meta.db_table
        for verb in ("update", "delete"):
            schema_editor.execute(_trigger(schema_editor.connection.vendor, f"{name}_{verb}", verb, table))


def unguard(apps: Any, schema_editor: Any) -> None:
    """Take the triggers away."""
    for model, name in GUARDED.items():
        table = apps.get_model("snapshots", model)._meta.db_table
        for verb in ("update", "delete"):
            place = f" ON {table}" if schema_editor.connection.vendor == "postgresql" else ""
            schema_editor.execute(f"DROP TRIGGER {name}_{verb}{place}")
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION usage_never_changes()")


def _trigger(vendor: str, name: str, verb: str, table: str) -> str:
    head = f"CREATE TRIGGER {name} BEFORE {verb.upper()} ON {table} FOR EACH ROW"
    if vendor == "postgresql":
        return f"{head} EXECUTE FUNCTION usage_never_changes()"
    refusal = "RAISE(ABORT, 'Usage that was billed never changes; corrections are new records.')"
    return f"{head} BEGIN SELECT {refusal}; END"


class Migration(migrations.Migration):
    dependencies = [
        ("snapshots", "0008_capacity"),
    ]

    operations = [
        migrations.CreateModel(
            name="UsagePrice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                (
                    "type",
                    models.PositiveSmallIntegerField(
                        choices=[(25, "VM snapshot"), (27, "VM snapshot on primary storage")]
                    ),
                ),
                (
                    "unit",
                    models.CharField(
                        choices=[
                            ("hour", "VM snapshot and hour"),
                            ("allocated", "allocated GiB and hour"),
                            ("measured", "measured GiB and hour"),
                        ],
                        max_length=16,
                        verbose_name="per",
                    ),
                ),
                ("pool_uuid", models.UUIDField(blank=True, null=True)),
                ("pool_name", models.CharField(blank=True, max_length=255)),
                ("billionths", models.BigIntegerField()),
                ("currency", models.CharField(max_length=16)),
                ("valid_from", models.DateTimeField()),
                ("valid_until", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("type", "pool_name", "-valid_from"),
            },
        ),
        migrations.CreateModel(
            name="UsageRecord",
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
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False)),
                (
                    "type",
                    models.PositiveSmallIntegerField(
                        choices=[(25, "VM snapshot"), (27, "VM snapshot on primary storage")]
                    ),
                ),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField()),
                ("microseconds", models.BigIntegerField()),
                ("allocated_kib_hours", models.BigIntegerField()),
                ("allocated_rest", models.BigIntegerField()),
                ("measured_kib_hours", models.BigIntegerField()),
                ("measured_rest", models.BigIntegerField()),
                ("unmeasured_microseconds", models.BigIntegerField()),
                ("cost_whole", models.BigIntegerField(null=True)),
                ("cost_rest", models.BigIntegerField(null=True)),
                ("currency", models.CharField(blank=True, max_length=16)),
            ],
            options={
                "ordering": ("-start", "-pk"),
            },
        ),
        migrations.AddField(
            model_name="usageevent",
            name="carried",
            field=models.BooleanField(default=False, editable=False),
        ),
        migrations.CreateModel(
            name="UsagePeriod",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("number", models.BigIntegerField(unique=True)),
                ("start", models.DateTimeField(unique=True)),
                ("end", models.DateTimeField(unique=True)),
                (
                    "length",
                    models.CharField(choices=[("hour", "Hour"), ("day", "Day"), ("month", "Month")], max_length=8),
                ),
                ("closed_at", models.DateTimeField()),
            ],
            options={
                "ordering": ("-start",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("start__lt", models.F("end"))), name="usage_period_takes_time"
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="usageevent",
            name="period",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="events",
                to="snapshots.usageperiod",
            ),
        ),
        migrations.AddIndex(
            model_name="usageevent",
            index=models.Index(
                condition=models.Q(("carried", True)), fields=["snapshot_uuid", "at", "id"], name="usage_event_carried"
            ),
        ),
        migrations.AddIndex(
            model_name="usageevent",
            index=models.Index(
                condition=models.Q(("carried", True)), fields=["account_uuid"], name="usage_event_carried_of"
            ),
        ),
        migrations.AddConstraint(
            model_name="usageprice",
            constraint=models.CheckConstraint(
                condition=models.Q(("billionths__gte", 0)), name="usage_price_is_not_negative"
            ),
        ),
        migrations.AddConstraint(
            model_name="usageprice",
            constraint=models.CheckConstraint(
                condition=models.Q(("valid_until", None), ("valid_until__gt", models.F("valid_from")), _connector="OR"),
                name="usage_price_is_valid_for_a_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="usageprice",
            constraint=models.CheckConstraint(
                condition=models.Q(("type", 25), ("unit", "measured"), _negated=True),
                name="usage_price_of_volumes_is_not_measured",
            ),
        ),
        migrations.AddField(
            model_name="usagerecord",
            name="corrects",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="corrections",
                to="snapshots.usageperiod",
            ),
        ),
        migrations.AddField(
            model_name="usagerecord",
            name="period",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="records", to="snapshots.usageperiod"
            ),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(fields=["start", "id"], name="usage_record_by_time"),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(fields=["account_uuid", "start", "id"], name="usage_record_by_account"),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(fields=["domain_uuid", "start", "id"], name="usage_record_by_domain"),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(fields=["machine_uuid", "start", "id"], name="usage_record_by_machine"),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(fields=["pool_uuid", "start", "id"], name="usage_record_by_pool"),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(fields=["snapshot_uuid", "id"], name="usage_record_by_snapshot"),
        ),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(
                condition=models.Q(("corrects__isnull", False)), fields=["corrects"], name="usage_record_correction"
            ),
        ),
        migrations.AddConstraint(
            model_name="usagerecord",
            constraint=models.CheckConstraint(
                condition=models.Q(("corrects", models.F("period")), _negated=True),
                name="usage_record_corrects_another_period",
            ),
        ),
        migrations.AddConstraint(
            model_name="usagerecord",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("cost_rest", None), ("cost_whole", None)),
                    models.Q(("cost_rest__isnull", False), ("cost_whole__isnull", False)),
                    _connector="OR",
                ),
                name="usage_record_cost_is_whole",
            ),
        ),
        migrations.RunPython(guard, unguard),
    ]

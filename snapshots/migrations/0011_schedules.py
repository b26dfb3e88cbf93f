"""Schedules of machines, and which VM snapshots they took. None there is yet was taken by one."""

import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("snapshots", "0010_usage_months"),
    ]

    operations = [
        migrations.AlterField(
            model_name="event",
            name="trigger",
            field=models.CharField(
                choices=[
                    ("page", "Page"),
                    ("api", "REST"),
                    ("admin", "Admin"),
                    ("schedule", "Schedule"),
                    ("system", "System"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="trigger",
            field=models.CharField(
                choices=[
                    ("page", "Page"),
                    ("api", "REST"),
                    ("admin", "Admin"),
                    ("schedule", "Schedule"),
                    ("system", "System"),
                ],
                max_length=16,
            ),
        ),
        migrations.CreateModel(
            name="Schedule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("uuid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("name", models.CharField(max_length=100)),
                (
                    "frequency",
                    models.CharField(
                        choices=[
                            ("hourly", "Hourly"),
                            ("daily", "Daily"),
                            ("weekly", "Weekly"),
                            ("monthly", "Monthly"),
                        ],
                        max_length=8,
                    ),
                ),
                ("every_hours", models.PositiveSmallIntegerField(default=1)),
                ("minute", models.PositiveSmallIntegerField()),
                ("hour", models.PositiveSmallIntegerField(default=0)),
                ("weekdays", models.JSONField(default=list)),
                ("day", models.SmallIntegerField(default=1)),
                ("time_zone", models.CharField(max_length=64)),
                ("keep", models.PositiveIntegerField()),
                ("memory", models.BooleanField(default=False)),
                ("quiesce", models.BooleanField(default=False)),
                ("enabled", models.BooleanField(default=True)),
                ("next_at", models.DateTimeField(null=True)),
                ("last_due_at", models.DateTimeField(null=True)),
                ("missed", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "last_job",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="snapshots.job"
                    ),
                ),
                (
                    "machine",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="schedules",
                        to="snapshots.virtualmachine",
                    ),
                ),
            ],
            options={
                "ordering": ("machine", "name"),
            },
        ),
        migrations.AddField(
            model_name="vmsnapshot",
            name="schedule",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="snapshots",
                to="snapshots.schedule",
            ),
        ),
        migrations.AddIndex(
            model_name="vmsnapshot",
            index=models.Index(
                condition=models.Q(("schedule__isnull", False)),
                fields=["schedule", "state", "-id"],
                name="snapshot_of_a_schedule",
            ),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(condition=models.Q(("enabled", True)), fields=["next_at"], name="schedule_due"),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(fields=["name", "id"], name="schedule_by_name"),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.UniqueConstraint(fields=("machine", "name"), name="schedule_name_unique_in_machine"),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(condition=models.Q(("keep__gte", 1)), name="schedule_keeps_at_least_one"),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("enabled", True), ("next_at__isnull", False)),
                    models.Q(("enabled", False), ("next_at", None)),
                    _connector="OR",
                ),
                name="schedule_is_due_unless_paused",
            ),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.CheckConstraint(
                condition=models.Q(("memory", True), ("quiesce", True), _negated=True),
                name="schedule_keeps_memory_or_quiesces",
            ),
        ),
    ]

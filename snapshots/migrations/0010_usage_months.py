"""Usage by month: the month of each period, and the sums of the records of each month, from those there are.

Periods that were closed before belong to months of the zone that is set now. Sums are made by the database, so that memory
does not grow with the records.
"""

from datetime import date
from importlib import import_module
from itertools import groupby, islice
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import migrations, models
from django.db.models import BigIntegerField, Count, ExpressionWrapper, F, Max, Sum
from django.db.models.functions import Coalesce

usage_records = import_module("snapshots.migrations.0009_usage_records")

BATCH = 500
HALF = 2**31
BILLION = 10**9
KIB_HOUR = 2**10 * 3_600_000_000
GIB_HOUR = 2**30 * 3_600_000_000
KEY = ("account_uuid", "used_month", "machine_uuid", "type")
SUMMED = (
    "microseconds",
    "allocated_kib_hours",
    "allocated_rest",
    "measured_kib_hours",
    "measured_rest",
    "unmeasured_microseconds",
    "cost_whole",
    "cost_rest",
)


def name_months(apps: Any, schema_editor: Any) -> None:
    """Write into each period in which month it lies."""
    zone = ZoneInfo(settings.USAGE_TIME_ZONE)
    periods = apps.get_model("snapshots", "UsagePeriod").objects
    starts = periods.order_by("start").values_list("start", flat=True)
    for month, found in groupby(starts, key=lambda start: start.astimezone(zone).date().replace(day=1)):
        of_month = list(found)
        periods.filter(start__gte=of_month[0], start__lte=of_month[-1]).update(month=month)


def sum_up(apps: Any, schema_editor: Any) -> None:
    """Write the sums of all records there are."""
    month = apps.get_model("snapshots", "UsageMonth")
    rows = (_row(month, key, list(group)) for key, group in groupby(_sums(apps), key=itemgetter(*KEY)))
    while batch := list(islice(rows, BATCH)):
        month.objects.bulk_create(batch)


def _sums(apps: Any) -> Any:
    """By machine and month, and by the names the machine had meanwhile. In two halves, as SQLite refuses a sum that leaves
    64 bits."""
    columns: dict[str, Any] = {"records": Count("pk"), "money": Max("currency"), "named_until": Max("end")}
    columns["priced"] = Count("cost_whole")
    for name in SUMMED:
        columns[f"{name}_high"] = Sum(ExpressionWrapper(F(name) / HALF, output_field=BigIntegerField()))
        columns[f"{name}_low"] = Sum(ExpressionWrapper(F(name) % HALF, output_field=BigIntegerField()))
    records = apps.get_model("snapshots", "UsageRecord").objects.order_by()
    of_month = records.annotate(used_month=Coalesce("corrects__month", "period__month"))
    return of_month.values(*KEY, "machine_name").annotate(**columns).order_by(*KEY).iterator()


def _row(month: Any, key: tuple[Any, ...], sums: list[dict[str, Any]]) -> Any:
    found = {
        name: sum(int(row[f"{name}_high"] or 0) * HALF + int(row[f"{name}_low"] or 0) for row in sums)
        for name in SUMMED
    }
    allocated = found["allocated_kib_hours"] * KIB_HOUR + found["allocated_rest"]
    measured = found["measured_kib_hours"] * KIB_HOUR + found["measured_rest"]
    whole, rest = divmod(found["cost_whole"] * BILLION + found["cost_rest"], BILLION)
    priced = any(row["priced"] for row in sums)
    return month(
        **dict(zip(("account_uuid", "month", "machine_uuid", "type"), key, strict=True)),
        machine_name=max(sums, key=itemgetter("named_until"))["machine_name"],
        records=sum(row["records"] for row in sums),
        microseconds=found["microseconds"],
        allocated_gib_hours=allocated // GIB_HOUR,
        allocated_rest=allocated % GIB_HOUR,
        measured_gib_hours=measured // GIB_HOUR,
        measured_rest=measured % GIB_HOUR,
        unmeasured_microseconds=found["unmeasured_microseconds"],
        cost_whole=whole if priced else None,
        cost_rest=rest if priced else None,
        currency=max(row["money"] for row in sums),
    )


class Migration(migrations.Migration):
    dependencies = [
        ("snapshots", "0009_usage_records"),
    ]

    operations = [
        migrations.RunPython(usage_records.unguard, usage_records.guard),
        migrations.AddField(
            model_name="usageperiod",
            name="month",
            # Until the next line but one names the months.
            field=models.DateField(db_index=True, default=date(1970, 1, 1)),
            preserve_default=False,
        ),
        migrations.RunPython(name_months, migrations.RunPython.noop),
        migrations.RunPython(usage_records.guard, usage_records.unguard),
        migrations.CreateModel(
            name="UsageMonth",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField()),
                ("account_uuid", models.UUIDField()),
                ("machine_uuid", models.UUIDField()),
                ("machine_name", models.CharField(max_length=255)),
                (
                    "type",
                    models.PositiveSmallIntegerField(
                        choices=[(25, "VM snapshot"), (27, "VM snapshot on primary storage")]
                    ),
                ),
                ("records", models.BigIntegerField()),
                ("microseconds", models.BigIntegerField()),
                ("allocated_gib_hours", models.BigIntegerField()),
                ("allocated_rest", models.BigIntegerField()),
                ("measured_gib_hours", models.BigIntegerField()),
                ("measured_rest", models.BigIntegerField()),
                ("unmeasured_microseconds", models.BigIntegerField()),
                ("cost_whole", models.BigIntegerField(null=True)),
                ("cost_rest", models.BigIntegerField(null=True)),
                ("currency", models.CharField(blank=True, max_length=16)),
            ],
            options={
                "ordering": ("-month", "machine_name", "type"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("machine_uuid", "month", "account_uuid", "type"),
                        name="one_usage_month_of_each_machine",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("cost_rest", None), ("cost_whole", None)),
                            models.Q(("cost_rest__isnull", False), ("cost_whole__isnull", False)),
                            _connector="OR",
                        ),
                        name="usage_month_cost_is_whole",
                    ),
                ],
                "indexes": [models.Index(fields=["account_uuid", "month"], name="usage_month_by_account")],
            },
        ),
        migrations.RunPython(sum_up, migrations.RunPython.noop),
        migrations.RemoveIndex(model_name="usageevent", name="usage_event_carried_of"),
        migrations.AddIndex(
            model_name="usageevent",
            index=models.Index(
                condition=models.Q(("carried", True)),
                fields=["account_uuid", "machine_uuid"],
                name="usage_event_carried_of",
            ),
        ),
    ]

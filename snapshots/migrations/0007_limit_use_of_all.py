"""How many VM snapshots of each machine could not be taken, and a row of use for every account and domain, for rows that
were there before."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, Q


def count_failed(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Fill the new column."""
    machines = apps.get_model("snapshots", "VirtualMachine").objects.using(editor.connection.alias)
    never_taken = Q(snapshots__parent__isnull=False, snapshots__origin="vmsnap", snapshots__native_id="")
    failed = Count("snapshots", filter=never_taken & ~Q(snapshots__error_code__in=("", "gone_on_hypervisor")))
    for pk, count in list(machines.annotate(failed=failed).filter(failed__gt=0).values_list("pk", "failed")):
        machines.filter(pk=pk).update(failed_count=count)


def add_use(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """A row for each account and domain that has none. The figures come with the next check of the books."""
    use = apps.get_model("snapshots", "LimitUse")
    for place in ("account", "domain"):
        rows = apps.get_model("snapshots", place.capitalize()).objects.using(editor.connection.alias)
        missing = rows.filter(limit_use=None).values_list("pk", flat=True)
        use.objects.using(editor.connection.alias).bulk_create(
            [use(**{f"{place}_id": pk}) for pk in list(missing)], batch_size=500
        )


class Migration(migrations.Migration):
    dependencies = [
        ("snapshots", "0006_limits"),
    ]

    operations = [
        migrations.RunPython(count_failed, migrations.RunPython.noop),
        migrations.RunPython(add_use, migrations.RunPython.noop),
    ]

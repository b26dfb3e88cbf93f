"""How many VM snapshots of each machine were made elsewhere, and how many are lost, for rows that were there before these
were counted."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Count, Q


def count_drift(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Fill the new columns."""
    machines = apps.get_model("snapshots", "VirtualMachine").objects.using(editor.connection.alias)
    real = Q(snapshots__parent__isnull=False)
    elsewhere = Count("snapshots", filter=real & Q(snapshots__origin="elsewhere", snapshots__adopted_at=None))
    lost = Count("snapshots", filter=real & Q(snapshots__error_code="gone_on_hypervisor"))
    counted = machines.annotate(elsewhere=elsewhere, lost=lost).filter(Q(elsewhere__gt=0) | Q(lost__gt=0))
    for pk, unadopted_count, lost_count in list(counted.values_list("pk", "elsewhere", "lost")):
        machines.filter(pk=pk).update(unadopted_count=unadopted_count, lost_count=lost_count)


class Migration(migrations.Migration):
    dependencies = [
        ("snapshots", "0003_decided_owners"),
    ]

    operations = [migrations.RunPython(count_drift, migrations.RunPython.noop)]

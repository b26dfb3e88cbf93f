"""Machines that were given away, or taken away, before import rules existed: that was decided, and no rule may undo it."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Max, OuterRef, Subquery


def note_decisions(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Take the time of the last assignment from the history."""
    machines = apps.get_model("snapshots", "VirtualMachine").objects.using(editor.connection.alias)
    events = apps.get_model("snapshots", "Event").objects.using(editor.connection.alias)
    assigned = events.filter(machine=OuterRef("pk"), action="machine.assigned").order_by().values("machine")
    machines.update(assigned_at=Subquery(assigned.annotate(last=Max("at")).values("last")))


class Migration(migrations.Migration):
    dependencies = [("snapshots", "0002_drift_and_import")]

    operations = [migrations.RunPython(note_decisions, migrations.RunPython.noop)]

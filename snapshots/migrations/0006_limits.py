from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("snapshots", "0005_ledger"),
    ]

    operations = [
        migrations.AddField(
            model_name="virtualmachine",
            name="failed_count",
            field=models.PositiveIntegerField(default=0),
        ),
    ]

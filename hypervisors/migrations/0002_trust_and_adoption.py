"""What an endpoint's certificate is checked against, where it may send a login on, what becomes of VM snapshots made
elsewhere, and whose process is told what changes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("hypervisors", "0001_first_tables"),
    ]

    operations = [
        migrations.AddField(
            model_name="hypervisor",
            name="adopt_automatically",
            field=models.BooleanField(
                default=False, help_text="VM snapshots made elsewhere count as taken here as soon as they are found."
            ),
        ),
        migrations.AddField(
            model_name="hypervisor",
            name="ca_certificate",
            field=models.TextField(
                blank=True,
                help_text="Certificates (PEM) to trust besides the system's, for kinds that speak TLS by themselves.",
            ),
        ),
        migrations.AddField(
            model_name="hypervisor",
            name="insecure",
            field=models.BooleanField(
                default=False,
                help_text="Do not check the server's certificate: anybody in between can read the password.",
            ),
        ),
        migrations.AddField(
            model_name="hypervisor",
            name="missing_privileges",
            field=models.JSONField(default=list, editable=False),
        ),
        migrations.AddField(
            model_name="hypervisor",
            name="redirect_hosts",
            field=models.JSONField(
                blank=True, default=list, help_text="Other hosts of the same pool to which it may send the login on."
            ),
        ),
        migrations.AddField(
            model_name="hypervisor",
            name="simulator",
            field=models.BooleanField(default=False, editable=False),
        ),
        migrations.AddField(
            model_name="hypervisor",
            name="watch_beat_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="hypervisor",
            name="watch_claim",
            field=models.CharField(blank=True, editable=False, max_length=96),
        ),
    ]

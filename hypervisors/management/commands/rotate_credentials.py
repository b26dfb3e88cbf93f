"""`manage.py rotate_credentials`: write every stored login anew, with the newest key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from hypervisors.encrypted_text import UnreadableSecret
from hypervisors.models import Hypervisor


class Command(BaseCommand):
    """Re-encrypts the passwords of all endpoints with the first of VMSNAP_CREDENTIAL_KEYS, all of them or none."""

    help = "Re-encrypt all stored hypervisor logins with the first key of VMSNAP_CREDENTIAL_KEYS."

    def handle(self, *_: Any, **__: Any) -> None:
        with transaction.atomic():
            stored = [row for row in Hypervisor.objects.select_for_update().order_by("name") if row.password]
            unreadable = [row.name for row in stored if isinstance(row.password, UnreadableSecret)]
            if unreadable:
                raise CommandError(
                    f"Nothing was changed: no key of VMSNAP_CREDENTIAL_KEYS opens the login of {', '.join(unreadable)}. "
                    "Add the key it was written with after the new one, or enter the login again."
                )
            for row in stored:
                row.save(update_fields=["password"])
        self.stdout.write(f"Encrypted with the newest key: {len(stored)} of {Hypervisor.objects.count()} hypervisors.")
        if stored:
            self.stdout.write("The older keys can be taken out of VMSNAP_CREDENTIAL_KEYS.")

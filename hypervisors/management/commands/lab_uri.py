"""`manage.py lab_uri`: print the lab's libvirt address and nothing else, for `virsh -c "$(...)"`."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hypervisors.lab import Lab, LabError


class Command(BaseCommand):
    """Prints the address of the lab of this data folder, whether it is up or not."""

    help = 'Print the libvirt URI of the lab, for virsh -c "$(manage.py lab_uri)".'
    requires_system_checks = ()

    def handle(self, *_: Any, **__: Any) -> None:
        try:
            self.stdout.write(Lab(settings.DATA_DIR).uri)
        except LabError as error:
            raise CommandError(str(error)) from error

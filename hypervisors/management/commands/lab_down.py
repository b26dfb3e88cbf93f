"""`manage.py lab_down [--delete]`: stop the lab's machines and daemons."""

import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hypervisors.lab import Lab, LabError


class Command(BaseCommand):
    """Stops the lab of this data folder; disks and snapshots stay unless they are to be deleted."""

    help = "Stop the lab's machines and daemons. Disks and snapshots stay."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--delete", action="store_true", help="also delete the lab with all disks and snapshots")

    def handle(self, *_: Any, **options: Any) -> None:
        lab = Lab(settings.DATA_DIR)
        try:
            if options["delete"]:
                lab.reset()
            else:
                lab.down()
        except LabError as error:
            raise CommandError(str(error)) from error
        self.stdout.write("The lab is deleted." if options["delete"] else "The lab is down.")

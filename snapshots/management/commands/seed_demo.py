"""`manage.py seed_demo`: the demo's people and, if wanted, its simulated machines, without starting anything."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from snapshots.management import demo


class Command(BaseCommand):
    """Makes what is missing of the demo; what is there stays as it is."""

    help = "Make the demo's domains, accounts and users. Safe to repeat."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--simulated", action="store_true", help="with the simulated hypervisor and its machines")

    def handle(self, *_: Any, **options: Any) -> None:
        password = demo.demo_password()
        seeded = demo.seed(password)
        if seeded.strangers:
            raise CommandError(
                "This installation has users of its own. The demo's people are made in an empty one only."
            )
        if options["simulated"]:
            demo.import_machines(demo.simulated_endpoint(), self.stdout.write)
        demo.greet(password, seeded, self.stdout.write)

"""`manage.py lab_up [MACHINE...]`: start the lab's daemons and machines."""

import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hypervisors.lab import MACHINES, Lab, LabError


class Command(BaseCommand):
    """Starts the lab of this data folder; quick when it is up already."""

    help = "Start the lab: real machines under a private libvirt daemon. Without names, all machines."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        known = ", ".join(machine.name for machine in MACHINES)
        parser.add_argument("machines", nargs="*", metavar="MACHINE", help=f"only these, of {known}")

    def handle(self, *_: Any, **options: Any) -> None:
        lab = Lab(settings.DATA_DIR)
        try:
            facts = lab.up(options["machines"] or None)
            running = ", ".join(lab.running())
        except LabError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"The lab is up on QEMU with {facts.accelerator}; running: {running or 'no machine'}.")
        if facts.kvm_reason:
            self.stdout.write(f"  KVM is not used: {facts.kvm_reason}.")
        if facts.small_pool_reason:
            self.stdout.write(f"  The pool small is not small: {facts.small_pool_reason}.")
        self.stdout.write(f"  {lab.uri}")

"""`manage.py check_trees [--repair UUID|all]`: whether the numbers of all VM snapshot trees fit their parent links."""

import argparse
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from snapshots import tree
from snapshots.models import VirtualMachine


class Command(BaseCommand):
    """Reports damaged trees and mends those it is told to. Ends with code 1 while any stays damaged."""

    help = "Report machines whose VM snapshot tree is damaged; --repair renumbers it from the parent links."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--repair", metavar="UUID|all", help="mend the tree of this machine, or every damaged one")

    def handle(self, *_: Any, repair: str | None = None, **__: Any) -> None:
        if repair is not None:
            for machine in self._chosen(repair):
                with transaction.atomic():
                    tree.repair(machine.pk)
                self.stdout.write(f"Renumbered: {machine.name} ({machine.uuid})")
        damaged = VirtualMachine.objects.filter(pk__in=tree.damaged_machines()).select_related("hypervisor")
        for machine in damaged:
            self.stdout.write(f"Damaged: {machine.name} ({machine.uuid}) on {machine.hypervisor.name}")
        if damaged:
            raise CommandError(f"Damaged trees: {len(damaged)}. Mend them with --repair UUID or --repair all.")
        self.stdout.write(f"All trees are whole: {VirtualMachine.objects.count()} machines.")

    def _chosen(self, repair: str) -> list[VirtualMachine]:
        if repair == "all":
            return list(VirtualMachine.objects.filter(pk__in=tree.damaged_machines()))
        try:
            return [VirtualMachine.objects.get(uuid=uuid.UUID(repair))]
        except (ValueError, VirtualMachine.DoesNotExist):
            raise CommandError(f"There is no machine {repair}. Give its id as the report shows it, or all.") from None

"""`manage.py check_books [--repair]`: whether what is booked of limits, usage and allocation is what the rows say."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from snapshots.services.book_check import check_books


class Command(BaseCommand):
    """Reports every difference. Ends with code 1 while any stays; with `--repair` none does."""

    help = "Count what is in use, billed and allocated again, and report differences; --repair puts them right."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--repair", action="store_true", help="put right what differs")

    def handle(self, *_: Any, repair: bool = False, **__: Any) -> None:
        found = check_books(repair=repair)
        for difference in found:
            self.stdout.write(difference.words)
        if not found:
            self.stdout.write("The books say what the rows say.")
        elif repair:
            self.stdout.write(f"Put right: {len(found)}.")
        else:
            raise CommandError(f"Differences: {len(found)}. Put them right with --repair.")

"""`manage.py close_usage_periods`: bills the periods of usage that are over, as the regular tick does."""

from typing import Any

from django.core.management.base import BaseCommand

from snapshots.services.usage_aggregation import close_due_periods


class Command(BaseCommand):
    """Closes what is due and says what it closed. Running it twice, or on two computers at once, bills nothing twice."""

    help = "Close the periods of usage that are over, and write their records."

    def handle(self, *_: Any, **__: Any) -> None:
        closed = close_due_periods()
        for period in closed:
            self.stdout.write(f"Closed: {period}, usage records: {period.records.count()}.")
        if not closed:
            self.stdout.write("No period is due.")

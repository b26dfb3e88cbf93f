"""`manage.py prove_usage [--from TIME] [--to TIME]`: whether the usage records say what the usage events say, and the sums
by month what the records say."""

import argparse
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from snapshots.choices import UsageType
from snapshots.reading.usage_proof import HOUR, Proof, Sums, first_moment, from_events, prove


class Command(BaseCommand):
    """Calculates the usage of each VM snapshot in each closed period from the events anew, in another way than the records
    were made, and compares. Ends with code 1 and the differences when there are any."""

    help = "Prove that the usage records of all closed periods, or of those within a range, equal the usage events."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--from", dest="start", type=_moment, metavar="TIME", help="2026-01-31 or 2026-01-31T12:00")
        parser.add_argument("--to", dest="end", type=_moment, metavar="TIME", help="up to this moment, without it")

    def handle(self, *_: Any, start: datetime | None = None, end: datetime | None = None, **__: Any) -> None:
        start, end = start or first_moment(), end or timezone.now()
        if start is None or start >= end:
            self.stdout.write("There is no usage to prove.")
            return
        proof = prove(start, end)
        edges = [(start, end)]
        if proof.start is not None and proof.end is not None:
            self._tell(proof)
            edges = [(start, proof.start), (proof.end, end)]
        for begin, until in edges:
            if begin < until:
                self.stdout.write(f"By the events alone, {_text(begin)} to {_text(until)}:")
                self._tell_sums(from_events(begin, until))
        if proof.wrong:
            for sentence in proof.differences:
                self.stderr.write(sentence)
            raise CommandError(f"Records and events differ: {proof.wrong}.")

    def _tell(self, proof: Proof) -> None:
        assert proof.start is not None and proof.end is not None  # noqa: S101, PT018  # asked before
        verdict = "differ from" if proof.wrong else "equal"
        self.stdout.write(
            f"Closed periods {_text(proof.start)} to {_text(proof.end)}: {proof.periods} periods, "
            f"{proof.records} records {verdict} {proof.events} events."
        )
        self.stdout.write(f"  {proof.months} sums of machines by month were compared with the records.")
        self._tell_sums({kind: (sums[0], sums[1], sums[2], sums[3]) for kind, sums in proof.totals.items()})
        if proof.waiting:
            self.stdout.write(f"  {proof.waiting} events came late; the next closing writes corrections for them.")

    def _tell_sums(self, totals: dict[int, Sums]) -> None:
        for kind, (lasted, allocated, measured, unmeasured) in sorted(totals.items()):
            self.stdout.write(
                f"  {UsageType(kind).label}: {lasted / HOUR:.6f} hours, {allocated // HOUR} byte-hours allocated, "
                f"{measured // HOUR} measured, {unmeasured / HOUR:.6f} hours not measured"
            )


def _moment(text: str) -> datetime:
    """A time or a day in ISO 8601; without a zone it is in that of the periods."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no time like 2026-01-31 or 2026-01-31T12:00") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=ZoneInfo(settings.USAGE_TIME_ZONE))


def _text(at: datetime) -> str:
    return at.astimezone(ZoneInfo(settings.USAGE_TIME_ZONE)).strftime("%Y-%m-%d %H:%M:%S %Z")

"""Closing a period with 1,000,000 usage events, against one with a tenth of them: time by event, and memory.

Each closing is a process of its own, so that its memory is its own, over a database file of its own: as many events of
VM snapshots that were taken, changed their size now and then, were reverted to, and half of them deleted, in one day.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.bench.figures import Report

FEW, MANY = 100_000, 1_000_000
EVENTS_EACH = 8
ACCOUNTS = 100
SNAPSHOTS_OF_A_MACHINE = 10
BAR_MEGABYTES = 300
BAR_TIMES = 1.2
DAY = datetime(2026, 3, 1, tzinfo=UTC)
GIB = 2**30


def measure(report: Report) -> None:
    """Close a day of each size and compare. The small one is closed before and after the large one: on a computer that is
    faster for some seconds than for minutes a single small one would make the large one look slow."""
    report.heading(f"Closing a day with {MANY:,} usage events, against one with {FEW:,}, before and after it")
    before, many, after = (_in_own_process(count) for count in (FEW, MANY, FEW))
    found = {FEW: {name: (before[name] + after[name]) / 2 for name in before}, MANY: many}
    for count, figures in found.items():
        report.add(f"{count:,} events into {figures['records']:,.0f} records, by the clock", figures["seconds"], "s")
        report.add("of it the processor's time", figures["processor_seconds"], "s")
    report.add(f"memory at most, {FEW:,} events", found[FEW]["megabytes"], "MB")
    report.add(f"memory at most, {MANY:,} events", found[MANY]["megabytes"], "MB", under=BAR_MEGABYTES)
    for name in ("seconds", "processor_seconds"):
        times = (found[MANY][name] / MANY) / (found[FEW][name] / FEW)
        words = "by the clock" if name == "seconds" else "of the processor"
        report.add(f"time for one event, {words}", times, "times", under=BAR_TIMES)


def _in_own_process(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="vmsnap-usage-") as folder:
        environment = {key: value for key, value in os.environ.items() if key != "VMSNAP_DATABASE_URL"}
        environment |= {"VMSNAP_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "vmsnap_site.settings"}
        for step in ("fill", "close"):
            done = subprocess.run(
                [sys.executable, "-m", "tests.bench.usage_events", step, str(count)],
                cwd=Path(__file__).resolve().parent.parent.parent,
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
            )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def fill(count: int) -> None:
    """Events of one day, written past the product: through its services a million would take hours."""
    from django.core.management import call_command
    from django.db import connection, transaction

    call_command("migrate", verbosity=0)
    columns = list(next(_events(EVENTS_EACH)))
    places = ", ".join(["%s"] * len(columns))
    statement = f"INSERT INTO snapshots_usageevent ({', '.join(columns)}) VALUES ({places})"  # noqa: S608  # our own names
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(statement, ([*event.values()] for event in _events(count)))


def _events(count: int) -> Iterator[dict[str, Any]]:
    accounts = [(uuid.uuid4().hex, uuid.uuid4().hex) for _ in range(ACCOUNTS)]
    pool, hypervisor = uuid.uuid4().hex, uuid.uuid4().hex
    machine = ""
    for number in range(count // EVENTS_EACH):
        if number % SNAPSHOTS_OF_A_MACHINE == 0:
            machine = uuid.uuid4().hex
        snapshot = uuid.uuid4().hex
        account, domain = accounts[number // SNAPSHOTS_OF_A_MACHINE % ACCOUNTS]
        changes = ["create", *["resize"] * (EVENTS_EACH - 3), "revert", "delete" if number % 2 else "resize"]
        for step, change in enumerate(changes):
            yield {
                "uuid": uuid.uuid4().hex,
                "at": str((DAY + timedelta(seconds=number * 7 % 10_000 + step * 10_000)).replace(tzinfo=None)),
                "change": change,
                "alive": change != "delete",
                "carried": False,
                "snapshot_uuid": snapshot,
                "snapshot_name": f"before upgrade {number}",
                "machine_uuid": machine,
                "machine_name": f"machine {number // SNAPSHOTS_OF_A_MACHINE}",
                "account_uuid": account,
                "account_name": "an account",
                "domain_uuid": domain,
                "domain_name": "a domain",
                "pool_uuid": pool,
                "pool_name": "default",
                "hypervisor_uuid": hypervisor,
                "hypervisor_name": "host-1",
                "volume_bytes": 20 * GIB,
                "estimated_bytes": (number % 50 + step) * GIB,
                "measured_bytes": None if number % 5 == 0 else number % 7 * GIB,
            }


def close() -> None:
    """Close the day and tell what that took, as JSON."""
    import time_machine

    from snapshots.models import UsageEvent, UsageRecord
    from snapshots.services.usage_aggregation import close_due_periods

    clock, processor = time.perf_counter(), time.process_time()
    with time_machine.travel(DAY + timedelta(days=1, hours=1), tick=False):
        closed = close_due_periods()
    seconds, processor_seconds = time.perf_counter() - clock, time.process_time() - processor
    assert len(closed) == 1
    assert not UsageEvent.objects.filter(period=None).exists()
    figures = {
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "records": UsageRecord.objects.count(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    import django

    django.setup()
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]))
    else:
        close()

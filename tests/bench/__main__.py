"""Runs the measurements in a data folder of their own and prints one table.

The folder has to be named before the settings are read, which is why Django is set up here and not at import.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bench.figures import Report


BROKERS = ("redis", "rabbitmq")


def main() -> int:
    """Measure and print. Returns 1 when a bar was missed."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description="Measure the product against its speed bars.")
    parser.add_argument("--large", action="store_true", help="also compare 1,000,000 VM snapshots with 10,000")
    parser.add_argument("--no-lab", action="store_true", help="nothing that needs real machines")
    parser.add_argument(
        "--only",
        choices=("pages", "limits", "capacity", "syncs", "snapshots", "usage", *BROKERS),
        help="one part; a broker: snapshots over that one",
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vmsnap-bench-"))
        Path(folder).chmod(0o755)  # the lab's own user has to reach its part of it
        if options.only in BROKERS and (reason := _start_servers(stack, options.only)):
            print(f"  Snapshots over {options.only} not measured: {reason}")
            return 0
        _set_up(folder)
        from tests.bench.figures import Report

        report = Report()
        load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
        report.note(f"Python {platform.python_version()}, {os.cpu_count()} processors, load at the start {load}")
        missed_elsewhere = _measure(report, options)
    return 1 if report.missed or missed_elsewhere else 0


def _measure(report: "Report", options: argparse.Namespace) -> bool:
    """All that was asked for, printed as it comes. Whether a process of its own missed a bar."""
    from tests.bench import (
        capacity,
        limit_check,
        pages,
        snapshots_of_real_machines,
        syncs,
        usage_events,
        very_many_rows,
    )

    missed = False
    if options.only in (None, "pages"):
        pages.measure(report)
        report.print()
    if options.only in (None, "limits"):
        limit_check.measure(report)
        report.print()
    if options.only == "capacity":
        capacity.measure(report)
        report.print()
    if options.only is None:
        # Over its own rows alone.
        done = subprocess.run([sys.executable, "-m", "tests.bench", "--only", "capacity"], check=False)
        missed = missed or done.returncode != 0
    if options.only in (None, "syncs"):
        syncs.measure_all(report, with_lab=not options.no_lab)
    if options.only in (None, "usage"):
        usage_events.measure(report)
        report.print()
    if options.only in (None, "snapshots", *BROKERS) and not options.no_lab:
        snapshots_of_real_machines.measure(report, options.only if options.only in BROKERS else "embedded")
        report.print()
    if options.only is None and not options.no_lab:
        # Settings are read once in a process.
        for broker in BROKERS:
            done = subprocess.run([sys.executable, "-m", "tests.bench", "--only", broker], check=False)
            missed = missed or done.returncode != 0
    if options.large:
        very_many_rows.measure(report)
        report.print()
    return missed


def _start_servers(stack: ExitStack, broker: str) -> str:
    """A broker of this kind and PostgreSQL, named in the environment; answers why not, when they cannot be had."""
    from tests.server_processes import NotInstalled
    from tests.services_for_tests import PostgreSQL, RabbitMQ, Redis

    try:
        server = stack.enter_context(Redis() if broker == "redis" else RabbitMQ())
        database = stack.enter_context(PostgreSQL())
    except NotInstalled as reason:
        return str(reason)
    os.environ["VMSNAP_BROKER_URL"] = server.url
    os.environ["VMSNAP_DATABASE_URL"] = database.new_database()
    return ""


def _set_up(folder: str) -> None:
    os.environ["VMSNAP_DATA_DIR"] = folder
    os.environ["VMSNAP_LOG_LEVEL"] = "ERROR"
    # Room for what is measured; the product's defaults are rules, not speeds.
    os.environ["VMSNAP_SNAPSHOTS_PER_MACHINE"] = "-1"
    os.environ["VMSNAP_API_RATE"] = "1000000/min"
    os.environ["VMSNAP_HYPERVISOR_TIMEOUT_SECONDS"] = "300"
    os.environ["DJANGO_SETTINGS_MODULE"] = "vmsnap_site.settings"
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


if __name__ == "__main__":
    sys.exit(main())

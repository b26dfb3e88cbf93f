"""A sync of everything an endpoint holds, against the bare bulk read of the same facts through the same client library;
and how long it takes until a single change made elsewhere stands in the database.

Both sides of the comparison keep their connection: connecting is in neither figure. The database has been through a first
sync, which is told by itself, so what is compared is the regular reading of an endpoint on which nothing has changed.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from hypervisors.connections import open_driver
from hypervisors.lab import LabUnavailable
from hypervisors.models import Hypervisor
from snapshots.choices import JobAction
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services import inventory_sync
from snapshots.services.change_watch import REST_SECONDS
from tests.bench.figures import Report, Timing, in_turns

ROUNDS = 5
BAR_TIMES = 1.5
BAR_MEGABYTES = 300
BAR_CHANGE_MS = 2000
CHANGES = 5
WATCHER_ENDS_SECONDS = 30
DEADLINE_SECONDS = 600.0


class NotToBeHad(Exception):
    """An endpoint cannot be had on this computer; the text says why."""


@dataclass(frozen=True)
class Compared:
    """An endpoint to be read by us, and `bare`, which reads the same facts with nothing done to them. `take` takes a VM
    snapshot of one machine, by its native id and a name, as another administrator would."""

    what: str
    hypervisor: Hypervisor
    bare: Callable[[], object] | None = None
    bare_words: str = ""
    take: Callable[[str, str], object] | None = None


class Unwatched:
    """A watch that nobody looks at."""

    deadline_seconds = DEADLINE_SECONDS

    def report(self, percent: int, phase: str) -> None:
        """Nobody listens."""

    def cancel_requested(self) -> bool:
        """Nobody asks."""
        return False


def measure_all(report: Report, *, with_lab: bool) -> None:
    """Every kind of endpoint, one after the other."""
    from tests.bench import many_domains, many_simulated_machines, many_vsphere_machines, many_xen_machines

    scenes = [
        many_simulated_machines.many_simulated_machines,
        many_vsphere_machines.many_vsphere_machines,
        many_xen_machines.many_xen_machines,
        *([many_domains.many_domains] if with_lab else []),
    ]
    for scene in scenes:
        try:
            with scene() as compared:
                measure(report, compared)
        except (LabUnavailable, NotToBeHad) as reason:
            report.note(f"not measured: {reason}")
        report.print()


def measure(report: Report, compared: Compared) -> None:
    """Sync once, then sync and read bare in turns; the memory of a process that syncs; single changes."""
    report.heading(f"Sync of {compared.what}")
    pk = compared.hypervisor.pk
    with open_driver(pk) as driver:

        def ours() -> None:
            inventory_sync.sync_hypervisor(pk, driver, Unwatched())

        began = time.perf_counter()
        ours()
        report.add("first sync, which writes everything", (time.perf_counter() - began) * 1000, "ms")
        _all_there(pk, report)
        if compared.bare is not None:
            compared.bare()
            timings = in_turns({"bare": compared.bare, "read": driver.read_inventory, "ours": ours}, ROUNDS)
            report.timed(compared.bare_words, timings["bare"])
            report.timed("of our sync the reading", timings["read"])
            report.timed("our sync: read, compare, write", timings["ours"])
            report.add("our sync against it, p50", timings["ours"].p50 / timings["bare"].p50, "times", under=BAR_TIMES)
    report.add("peak memory of a process that syncs", _peak_megabytes(pk), "MB", under=BAR_MEGABYTES)
    if compared.take is not None:
        _single_changes(report, pk, compared.take)
    Hypervisor.objects.filter(pk=pk).update(enabled=False)  # nobody is to go on reading it


def _single_changes(report: Report, hypervisor_pk: int, take: Callable[[str, str], object]) -> None:
    """From the moment at which another administrator has taken a snapshot until it stands in the database, with the process
    that watches: after a pause, and right after the change before, when the watcher still rests."""
    machine = VirtualMachine.objects.filter(hypervisor=hypervisor_pk, missing_since=None).order_by("pk")[0]
    watcher = subprocess.Popen(
        [sys.executable, "manage.py", "watch_hypervisors"], cwd=settings.BASE_DIR, start_new_session=True
    )
    try:
        alone, in_a_row = Timing(), Timing()
        _until_it_watches(hypervisor_pk)
        for number in range(CHANGES):
            time.sleep(2 * REST_SECONDS)  # the watcher has rested
            alone.clock.append(_until_seen(machine, f"alone {number}", take))
            in_a_row.clock.append(_until_seen(machine, f"in a row {number}", take))
    finally:
        watcher.terminate()
        watcher.wait(WATCHER_ENDS_SECONDS)
    report.add("a snapshot made elsewhere until it is a row: p50", alone.p50, "ms", under=BAR_CHANGE_MS)
    report.add("  the longest", max(alone.clock), "ms", under=BAR_CHANGE_MS)
    report.add("right after another change: p50", in_a_row.p50, "ms", under=BAR_CHANGE_MS)
    report.add("  the longest", max(in_a_row.clock), "ms", under=BAR_CHANGE_MS)


def _until_it_watches(hypervisor_pk: int) -> None:
    """It orders a sync of everything once it has been told where it begins. No worker is there to carry that out."""
    began = time.perf_counter()
    while not Job.objects.filter(hypervisor=hypervisor_pk, action=JobAction.SYNC_HYPERVISOR).exists():
        assert time.perf_counter() - began < DEADLINE_SECONDS, "the watcher does not begin"
        time.sleep(0.05)  # the pace of looking


def _until_seen(machine: VirtualMachine, name: str, take: Callable[[str, str], object]) -> float:
    """Milliseconds."""
    take(machine.native_id, name)
    began = time.perf_counter()
    while not VMSnapshot.objects.filter(machine=machine, name=name).exists():
        assert time.perf_counter() - began < DEADLINE_SECONDS, "the change does not come"
        time.sleep(0.005)  # the pace of looking
    return (time.perf_counter() - began) * 1000


def _all_there(hypervisor_pk: int, report: Report) -> None:
    machines = VirtualMachine.objects.filter(hypervisor=hypervisor_pk, missing_since=None).count()
    snapshots = VMSnapshot.objects.filter(machine__hypervisor=hypervisor_pk, parent__isnull=False).count()
    report.note(f"{machines:,} machines, {snapshots:,} VM snapshots read")


def _peak_megabytes(hypervisor_pk: int) -> float:
    """Of a process of its own, Django and driver included, that syncs twice: what it held at most."""
    command = [sys.executable, "-m", "tests.bench.one_sync", str(hypervisor_pk)]
    done = subprocess.run(
        command, cwd=Path(settings.BASE_DIR), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    return int(done.stdout) * 1024 / 1e6

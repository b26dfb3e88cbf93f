"""A process that syncs one endpoint twice and prints the most memory it held (KiB), for `tests.bench.syncs`.

`python -m tests.bench.one_sync HYPERVISOR_KEY`, with the environment of the measurement.
"""

import sys
from pathlib import Path

import django


def main() -> None:
    """Sync and print."""
    django.setup()
    from hypervisors.connections import open_driver
    from snapshots.services import inventory_sync
    from tests.bench.syncs import Unwatched

    hypervisor_pk = int(sys.argv[1])
    with open_driver(hypervisor_pk) as driver:
        for _ in range(2):
            inventory_sync.sync_hypervisor(hypervisor_pk, driver, Unwatched())
    print(_peak_kib())


def _peak_kib() -> int:
    """Not `getrusage`, which begins at what the parent process held when it started this one (getrusage(2), execve)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


if __name__ == "__main__":
    main()

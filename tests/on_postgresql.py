"""Runs suites once more with a PostgreSQL of the run's own in place of SQLite: `python -m tests.on_postgresql [ARGUMENTS]`.

Arguments are pytest's. For the suites whose result may depend on the database: tree, jobs, actions, limits, usage and
capacity with their sums, and the paging of REST. The suites in `tests/concurrency` and `tests/system` see to theirs.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.server_processes import NotInstalled
from tests.services_for_tests import PostgreSQL

SUITES = (
    "tests/domain",
    "tests/doors/test_api_pages.py",
    "tests/doors/test_api_capacity.py",
    "tests/doors/test_api_delete_all.py",
    "tests/doors/test_api_limits.py",
    "tests/doors/test_api_usage.py",
    "tests/doors/test_web_capacity.py",
    "tests/doors/test_web_delete_all.py",
    "tests/doors/test_web_growth.py",
    "tests/doors/test_web_limits.py",
    "tests/doors/test_web_usage.py",
    "tests/doors/test_admin_limits.py",
    "tests/doors/test_admin_pool_policy.py",
    "tests/doors/test_admin_usage.py",
    "tests/commands/test_usage_commands.py",
)
NO_TESTS_COLLECTED = 5


def main(arguments: list[str]) -> int:
    """Pytest's exit code; 0 also when the arguments choose no test, or when there is no PostgreSQL, which is said."""
    project = Path(__file__).resolve().parent.parent
    try:
        server = PostgreSQL()
    except NotInstalled as reason:
        print(f"SKIPPED: {', '.join(SUITES)} on PostgreSQL: {reason}", flush=True)
        return 0
    print(f"Once more on PostgreSQL: {', '.join(SUITES)}", flush=True)
    with server:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *SUITES, *arguments],
            cwd=project,
            env={**os.environ, "VMSNAP_DATABASE_URL": server.url("vmsnap")},
            check=False,
        )
    return 0 if done.returncode == NO_TESTS_COLLECTED else done.returncode


if __name__ == "__main__":
    # Asked to end, end as at Ctrl-C: pytest and the server with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))

"""The embedded broker: a folder that holds whole messages only."""

from pathlib import Path

import pytest

from tests import deeds

pytestmark = [
    pytest.mark.system,
    pytest.mark.parametrize("installation", ["embedded"], indirect=True, scope="session"),
]


def test_a_worker_outlives_a_message_that_was_cut_off(installation, cloud, world):
    Path(installation.folder, "broker", "queue", "0_cut-off.vmsnap.msg").touch()
    with installation.worker(processes=2) as worker:
        _, job = installation.ask(deeds.ask_to_create, cloud, "one")
        installation.wait_for(60, "the job is done", deeds.job_in, job, "succeeded")
        assert "was not readable" in worker.logged()
        assert worker.process.poll() is None

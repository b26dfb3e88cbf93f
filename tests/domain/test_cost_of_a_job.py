"""What taking a VM snapshot asks of the database: the same few queries however large the tree. Each of them is a way to
another process and back, and those ways are what most of our share of a VM snapshot's time goes into."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hypervisors.drivers.simulated.world import Machine, Taken
from snapshots import dispatch
from snapshots.choices import JobState
from snapshots.models import Job
from snapshots.services import job_runner, snapshot_actions
from tests.builders import Cloud, acting

TO_ASK = 20
TO_CARRY_OUT = 38


@pytest.mark.parametrize("size", [1, 30])
def test_a_vm_snapshot_costs_its_queries_however_large_the_tree(db, monkeypatch, size):
    chain = tuple(Taken(f"s{n}", parent=None if n == 0 else n - 1) for n in range(size))
    machine = Cloud((Machine("m", snapshots=chain),)).machine("m")
    # A worker that hears of it at once has no part in what is counted.
    monkeypatch.setattr(dispatch, "send", lambda job_pk: True)
    with CaptureQueriesContext(connection) as asking:
        job = snapshot_actions.request_create(acting(None), machine=machine, name="new")
    with CaptureQueriesContext(connection) as carrying_out:
        job_runner.run_job(job.pk)
    assert Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED
    assert (len(asking), len(carrying_out)) == (TO_ASK, TO_CARRY_OUT)

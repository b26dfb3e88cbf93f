"""Many workers get the same job, and many ticks look after the same jobs: everything is done once."""

from pathlib import Path

import pytest

from hypervisors.drivers.simulated.world import World
from tests import broker_deeds, deeds
from tests.installation import PROCESSES


@pytest.fixture
def world(installation, cloud):
    """The hypervisor's own side."""
    return World(Path(installation.ask(deeds.world_path, cloud)))


def test_a_job_delivered_to_eight_workers_is_carried_out_once(installation, cloud, world):
    _, job = installation.ask(deeds.ask_to_create, cloud, "one")
    installation.at_once(deeds.run, *((job,),) * PROCESSES)
    assert installation.ask(deeds.job_facts, job)["state"] == "succeeded"
    assert world.calls()["create_snapshot"] == 1
    assert installation.ask(deeds.events_of, job) == ["snapshot.create.requested", "snapshot.create.succeeded"]
    assert installation.ask(deeds.snapshot_states, cloud) == {"one": "Ready"}
    assert installation.ask(deeds.drift, cloud) == []


def test_a_job_whose_worker_was_lost_is_settled_once_and_not_repeated(installation, cloud, world):
    _, job = installation.ask(deeds.ask_to_create, cloud, "one")
    installation.ask(broker_deeds.lose_worker, job)
    installation.at_once(deeds.run, *((job,),) * PROCESSES)
    facts = installation.ask(deeds.job_facts, job)
    assert (facts["state"], facts["code"]) == ("failed", "worker_lost")
    assert world.calls()["create_snapshot"] == 0
    assert world.calls()["operation_in_flight"] == 1
    assert installation.ask(deeds.events_of, job) == ["snapshot.create.requested", "snapshot.create.failed"]
    assert installation.ask(deeds.snapshot_states, cloud) == {"one": "Error"}


def test_sweepers_at_once_and_every_message_they_send_carry_a_job_out_once(installation, cloud, world):
    _, job = installation.ask(deeds.ask_to_create, cloud, "one")
    installation.ask(broker_deeds.lose_message, job)
    installation.at_once(deeds.sweep, *((),) * PROCESSES)
    installation.at_once(deeds.run, *((job,),) * PROCESSES)
    assert installation.ask(deeds.job_facts, job)["state"] == "succeeded"
    assert world.calls()["create_snapshot"] == 1


def test_a_cancelled_job_that_is_claimed_at_the_same_moment_is_either_done_or_not_begun(installation, cloud, world):
    for number in range(5):
        _, job = installation.ask(deeds.ask_to_create, cloud, f"snap {number}")
        installation.at_once(deeds.run_or_cancel, (job, "run"), (job, "cancel"))
        state = installation.ask(deeds.job_facts, job)["state"]
        assert state in {"succeeded", "cancelled"}
        taken = f"snap {number}" in world.snapshot_names(world.machine_id("m0")).values()
        known = f"snap {number}" in installation.ask(deeds.snapshot_states, cloud)
        assert (taken, known) == (state == "succeeded",) * 2
    assert installation.ask(deeds.damage, cloud) == []
    assert installation.ask(deeds.drift, cloud) == []

"""A broker that is away or does not answer holds nobody up, and what was asked for meanwhile is done afterwards."""

import pytest

from tests import broker_deeds, deeds
from tests.server_processes import wait_until

pytestmark = [
    pytest.mark.system,
    # The embedded broker is a folder, which cannot be away.
    pytest.mark.parametrize("installation", ["redis", "rabbitmq"], indirect=True, scope="session"),
]

SOON = 180
BOUND = 60
"""Seconds after which a request counts as hanging: not a measure of speed."""
FOR_LONG = 600.0
"""Longer than any test: an operation that takes this long ends when the test says so."""


@pytest.fixture
def broker(request, installation):
    """The server of the installation's broker, running again afterwards."""
    kind = "redis" if installation.environment["VMSNAP_BROKER_URL"].startswith("redis") else "rabbitmq"
    server = request.getfixturevalue(f"{kind}_server")
    yield server
    if server.process is None:
        server.start()
    server.thaw()


def test_a_request_while_the_broker_is_away_is_answered_and_carried_out_after_its_return(installation, cloud, broker):
    with installation.worker(processes=2) as worker:
        _, before = installation.ask(deeds.ask_to_create, cloud, "before")
        installation.wait_for(SOON, "the worker works", deeds.job_in, before, "succeeded")
        broker.stop()
        kind, meanwhile = installation.ask(deeds.ask_to_create, cloud, "meanwhile", seconds=BOUND)
        assert kind == "job"
        assert installation.ask(broker_deeds.ring, meanwhile, seconds=BOUND) is False
        broker.start()
        installation.wait_for(SOON, "the request is carried out", deeds.job_in, meanwhile, "succeeded")
        assert worker.process.poll() is None
    assert installation.ask(deeds.snapshot_states, cloud) == {"before": "Ready", "meanwhile": "Ready"}


def test_a_worker_with_messages_waiting_outlives_a_restart_of_the_broker(installation, cloud, world, broker):
    world.delay("create_snapshot", FOR_LONG, times=6)
    with installation.worker(processes=6) as worker:
        jobs = [installation.ask(deeds.ask_to_create, cloud, "one", f"m{number}")[1] for number in range(6)]
        wait_until(lambda: world.calls()["create_snapshot"] == 6, SOON, "every process of the worker is at work")
        jobs.append(installation.ask(deeds.ask_to_create, cloud, "one", "m6")[1])
        wait_until(lambda: messages_held_by(worker) > 6, SOON, "the worker has taken more than it works at")
        broker.stop()
        broker.start()
        world.finish_operations()
        for job in jobs:
            installation.wait_for(SOON, "a request is carried out", deeds.job_in, job, "succeeded")
        assert worker.process.poll() is None
    assert world.calls()["create_snapshot"] == 7


def messages_held_by(worker):
    """How many a worker has taken from the broker and not done with: jobs and ticks."""
    written = worker.logged()
    return written.count("] received") - written.count("] succeeded") - written.count("Discarding revoked task")


def test_a_process_whose_connection_to_the_broker_broke_hands_over_its_next_request(installation, cloud, broker):
    _, job = installation.ask(deeds.ask_to_create, cloud, "one")
    assert installation.ask(broker_deeds.ring, job) is True
    broker.stop()
    broker.start()
    assert installation.ask(broker_deeds.ring, job, seconds=BOUND) is True
    assert installation.ask(broker_deeds.lose_messages) >= 1


def test_a_request_while_the_broker_is_silent_is_answered_and_carried_out_after_it_speaks(installation, cloud, broker):
    with installation.worker(processes=2) as worker:
        _, before = installation.ask(deeds.ask_to_create, cloud, "before")
        installation.wait_for(SOON, "the worker works", deeds.job_in, before, "succeeded")
        broker.freeze()
        kind, meanwhile = installation.ask(deeds.ask_to_create, cloud, "meanwhile", seconds=BOUND)
        assert kind == "job"
        broker.thaw()
        installation.wait_for(SOON, "the request is carried out", deeds.job_in, meanwhile, "succeeded")
        assert worker.process.poll() is None
    assert installation.ask(deeds.snapshot_states, cloud) == {"before": "Ready", "meanwhile": "Ready"}


def test_a_broker_that_refuses_the_login_is_no_error_of_the_request(installation, cloud, broker):
    _, job = installation.ask(deeds.ask_to_create, cloud, "one")
    assert installation.ask(broker_deeds.ring_at, job, broker.url_with_wrong_password, seconds=BOUND) is False

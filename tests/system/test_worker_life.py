"""A worker carries requests out, and whatever happens to it, each job is done once or told why it was not."""

import os
import signal
from pathlib import Path

import pytest

from hypervisors.drivers.simulated.world import World
from tests import broker_deeds, deeds
from tests.server_processes import wait_until

pytestmark = pytest.mark.system

SOON = 180
FOR_LONG = 600.0
"""Longer than any test: an operation that takes this long ends when the test says so."""
SHORTER_THAN_THE_TIMEOUT = 25.0
"""A read that takes longer than the time limit of hypervisor calls would end by itself."""


def test_a_request_whose_message_was_lost_is_carried_out_all_the_same(installation, cloud, world):
    installation.ask(broker_deeds.lose_messages)
    _, job = installation.ask(deeds.ask_to_create, cloud, "one")
    assert installation.ask(broker_deeds.lose_messages) == 1
    with installation.worker(processes=2):
        installation.wait_for(SOON, "the job is done", deeds.job_in, job, "succeeded")
    assert world.calls()["create_snapshot"] == 1
    assert installation.ask(deeds.snapshot_states, cloud) == {"one": "Ready"}


def test_a_worker_that_is_asked_to_end_finishes_the_job_it_is_at(installation, cloud, world):
    world.delay("create_snapshot", FOR_LONG)
    with installation.worker(processes=2) as worker:
        _, job = installation.ask(deeds.ask_to_create, cloud, "one")
        wait_until(lambda: world.calls()["create_snapshot"], SOON, "the hypervisor is at work")
        worker.process.terminate()
        wait_until(lambda: "Warm shutdown" in worker.logged(), SOON, "the worker has heard")
        world.finish_operations()
        assert worker.process.wait(SOON) == 0
    assert installation.ask(deeds.job_facts, job)["state"] == "succeeded"
    assert installation.ask(deeds.snapshot_states, cloud) == {"one": "Ready"}


def test_a_worker_goes_on_when_one_of_its_processes_is_killed_at_work(installation, cloud, world):
    world.delay("create_snapshot", FOR_LONG, times=1)
    with installation.worker(processes=2):
        _, job = installation.ask(deeds.ask_to_create, cloud, "one")
        wait_until(lambda: world.calls()["create_snapshot"], SOON, "the hypervisor is at work")
        os.kill(installation.ask(broker_deeds.process_of, job), signal.SIGKILL)
        installation.wait_for(SOON, "the loss is noticed", deeds.is_settling, job)
        world.finish_operations()
        installation.wait_for(SOON, "the job is settled", deeds.job_in, job, "succeeded")
        _, other = installation.ask(deeds.ask_to_create, cloud, "two")
        installation.wait_for(SOON, "another job is done", deeds.job_in, other, "succeeded")
    assert world.calls()["create_snapshot"] == 2
    assert installation.ask(deeds.snapshot_states, cloud) == {"one": "Ready", "two": "Ready"}


def test_after_a_worker_is_killed_every_job_ends_as_the_hypervisor_shows_and_nothing_is_done_twice(
    installation, cloud, world
):
    unreached = installation.ask(deeds.build, 1)
    unreached_world = World(Path(installation.ask(deeds.world_path, unreached)))
    for machine in ("m1", "m2", "m3", "m4"):
        for name in ("base", "top"):
            installation.ask(deeds.done, "create", cloud, name, machine)
    unreached_world.forget_calls()
    world.forget_calls()

    # Each of the worker's processes gets stuck in another state.
    unreached_world.delay("connect", SHORTER_THAN_THE_TIMEOUT, times=1)
    for operation, machine in (
        ("create_snapshot", "m0"),
        ("revert_to", "m1"),
        ("delete_snapshot", "m2"),
        ("delete_with_descendants", "m3"),
        ("create_snapshot", "m4"),
    ):
        world.delay(operation, FOR_LONG, world.machine_id(machine), times=1)
    world.delay("read_machine", SHORTER_THAN_THE_TIMEOUT, world.machine_id("m5"), times=1)
    with installation.worker(processes=7) as worker:
        jobs = {
            "claimed": installation.ask(deeds.ask_to_create, unreached, "new")[1],
            "creating": installation.ask(deeds.ask_to_create, cloud, "new", "m0")[1],
            "reverting": installation.ask(deeds.ask_to_revert, cloud, "base", "m1")[1],
            "expunging": installation.ask(deeds.ask_to_delete, cloud, "base", "m2")[1],
            "expunging all": installation.ask(deeds.ask_to_delete, cloud, "base", "m3", True)[1],
            "securing": installation.ask(deeds.ask_to_revert, cloud, "base", "m4", True)[1],
            "done, not written": installation.ask(deeds.ask_to_create, cloud, "new", "m5")[1],
        }
        stuck = {
            "create_snapshot": 3,
            "revert_to": 1,
            "delete_snapshot": 1,
            "delete_with_descendants": 1,
            "read_machine": 1,
        }
        wait_until(lambda: stuck.items() <= world.calls().items(), SOON, "every process is stuck in its state")
        wait_until(lambda: unreached_world.calls()["connect"], SOON, "one job is claimed and connects")
        jobs["queued"] = installation.ask(deeds.ask_to_create, cloud, "new", "m6")[1]
        assert installation.ask(deeds.job_facts, jobs["queued"])["state"] == "queued"
        worker.kill()

    in_flight = ("creating", "reverting", "expunging", "expunging all", "securing")
    with installation.worker():
        for name in in_flight:
            installation.wait_for(SOON, f"the loss of {name!r} is noticed", deeds.is_settling, jobs[name])
        world.finish_operations()
        for name, job in jobs.items():
            installation.wait_for(SOON, f"{name!r} has ended", deeds.job_in, job, "succeeded", "failed", "cancelled")

    ended = {name: installation.ask(deeds.job_facts, job) for name, job in jobs.items()}
    lost = {name: facts["code"] for name, facts in ended.items() if facts["state"] != "succeeded"}
    assert lost == {"claimed": "worker_lost", "securing": "worker_lost"}
    assert unreached_world.calls()["create_snapshot"] == 0
    # Three that were stuck, and the one that waited; every other operation once.
    expected = {**stuck, "create_snapshot": 4}
    del expected["read_machine"]
    assert expected.items() <= world.calls().items()
    assert installation.ask(deeds.snapshot_states, unreached) == {}, "nothing had begun, so nothing is left"
    for machine, states in {
        "m0": {"new": "Ready"},
        "m1": {"base": "Ready", "top": "Ready"},
        "m2": {"top": "Ready"},
        "m3": {},
        "m4": {"base": "Ready", "top": "Ready", "Before revert to base": "Ready"},
        "m5": {"new": "Ready"},
        "m6": {"new": "Ready"},
    }.items():
        assert installation.ask(deeds.snapshot_states, cloud, machine) == states, machine
    assert installation.ask(deeds.current_name, cloud, "m1") == "base"
    assert installation.ask(deeds.current_name, cloud, "m4") == "Before revert to base"
    assert installation.ask(deeds.damage, cloud) == []
    assert installation.ask(deeds.drift, cloud) == []

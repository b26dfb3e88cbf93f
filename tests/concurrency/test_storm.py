"""Random actions from eight processes on a few machines: no error of the database, no damaged tree, no difference to the
hypervisor at the end."""

import pytest

from tests import deeds, storm_deeds
from tests.installation import PROCESSES

MACHINES = 3
STEPS = 12


@pytest.fixture
def crowd(installation):
    """The name of a fresh simulated hypervisor with a few running machines."""
    return installation.ask(deeds.build, MACHINES)


def _storm(installation, crowd, *, behind_our_back):
    met = installation.at_once(storm_deeds.storm, *((crowd, seed, STEPS, behind_our_back) for seed in range(PROCESSES)))
    return [one for process in met for one in process]


def _check(installation, crowd):
    assert installation.ask(deeds.damage, crowd) == []
    assert installation.ask(deeds.drift, crowd) == []
    for number in range(MACHINES):
        assert set(installation.ask(deeds.snapshot_states, crowd, f"m{number}").values()) <= {"Ready"}


def test_a_storm_of_actions_and_readings_leaves_whole_trees_equal_to_the_hypervisors(installation, crowd):
    met = _storm(installation, crowd, behind_our_back=False)
    assert "succeeded" in met
    assert set(met) <= {"succeeded", "vm_busy", "not_found", "limit_exceeded", "invalid_state", "running"}
    assert installation.ask(deeds.active_jobs, crowd) == []
    _check(installation, crowd)


def test_a_storm_with_another_administrator_in_it_ends_in_equal_trees_after_the_next_reading(installation, crowd):
    met = _storm(installation, crowd, behind_our_back=True)
    assert "succeeded" in met
    assert installation.ask(deeds.active_jobs, crowd) == []
    _, job = installation.ask(deeds.order_sync, crowd)
    assert installation.ask(deeds.run, job) == "succeeded"
    assert installation.ask(deeds.damage, crowd) == []
    assert installation.ask(deeds.drift, crowd) == []


def test_postgresql_saw_no_deadlock(request, installation):
    if "postgresql" in request.node.callspec.params.values():
        assert request.getfixturevalue("postgresql").logged("deadlock detected") == []

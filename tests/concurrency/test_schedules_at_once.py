"""What schedules are due for is taken once, however many ticks there are at the same moment and whatever people do with the
schedules meanwhile."""

from collections import Counter

import pytest

from tests import deeds, limit_deeds, schedule_deeds
from tests.installation import PROCESSES

MACHINES, ROOM = 12, 7


@pytest.fixture
def scheduled(installation):
    """A cloud whose machines, of one account, have a schedule each that is due."""
    cloud = installation.ask(deeds.build, MACHINES)
    installation.ask(limit_deeds.limit_account_of, cloud, 100)
    installation.ask(schedule_deeds.schedule_all, cloud)
    return cloud


def test_ticks_at_once_take_one_of_each_machine(installation, scheduled):
    taken = installation.at_once(schedule_deeds.tick, *((scheduled,),) * PROCESSES)
    assert Counter(machine for machines in taken for machine in machines) == {f"m{n}": 1 for n in range(MACHINES)}
    assert len(installation.ask(deeds.active_jobs, scheduled)) == MACHINES
    assert installation.ask(schedule_deeds.facts, scheduled) == [(True, False)] * MACHINES
    assert installation.ask(limit_deeds.wrong_books) == []


def test_ticks_at_once_pass_no_limit(installation, scheduled):
    installation.ask(limit_deeds.limit_to, scheduled, ROOM)
    taken = installation.at_once(schedule_deeds.tick, *((scheduled,),) * PROCESSES)
    assert sum(len(machines) for machines in taken) == ROOM
    facts = Counter(installation.ask(schedule_deeds.facts, scheduled))
    assert facts == {(True, False): ROOM, (False, True): MACHINES - ROOM}
    assert installation.ask(limit_deeds.used_of, scheduled) == [ROOM] * 4
    assert installation.ask(limit_deeds.wrong_books) == []


@pytest.mark.parametrize("verb", ["pause", "change", "delete"])
def test_while_people_decide_otherwise_each_machine_is_taken_once_or_not(installation, scheduled, verb):
    ticks, people = [("tick", scheduled)] * 4, [("decide", scheduled, verb)]
    done = installation.at_once(schedule_deeds.do, *ticks, *people)
    taken = Counter(machine for machines in done[:4] for machine in machines)
    assert set(taken.values()) <= {1}
    assert len(installation.ask(deeds.active_jobs, scheduled)) == len(taken)
    assert installation.ask(schedule_deeds.tick, scheduled) == []
    assert installation.ask(limit_deeds.wrong_books) == []


def test_passes_at_once_delete_one_of_each_machine(installation):
    cloud = installation.ask(deeds.build, 4)
    installation.ask(limit_deeds.limit_account_of, cloud, 100)
    installation.ask(schedule_deeds.schedule_all, cloud, 3)
    installation.ask(schedule_deeds.pass_days, cloud, 3)
    installation.ask(schedule_deeds.keep_only, cloud, 1)
    gone = installation.at_once(schedule_deeds.prune, *((cloud,),) * PROCESSES)
    assert Counter(machine for machines in gone for machine in machines) == {f"m{n}": 1 for n in range(4)}
    assert installation.ask(limit_deeds.wrong_books) == []

"""Periods of usage that several processes close at the same moment are closed once, without gap."""

from datetime import timedelta

from tests import usage_deeds
from tests.installation import PROCESSES


def test_of_eight_processes_that_close_the_same_days_each_day_is_closed_by_one(installation):
    began = installation.ask(usage_deeds.use, 40)
    closed = installation.at_once(usage_deeds.close_usage, *((began + timedelta(days=4),),) * PROCESSES)
    numbers = sorted(number for answer in closed for number in answer)
    facts = installation.ask(usage_deeds.usage_facts)
    assert len(numbers) >= 4
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers == facts["periods"][-len(numbers) :]
    assert facts["wrong"] == []


def test_usage_that_begins_while_periods_are_closed_is_billed_exactly_once(installation):
    began = installation.ask(usage_deeds.use, 5)
    now = began + timedelta(days=3)
    installation.at_once(usage_deeds.use_or_close, *(("use", now), ("close", now)) * (PROCESSES // 2))
    # What came late for its day waits for the next closing, and is not missed by the proof before.
    assert installation.ask(usage_deeds.usage_facts)["wrong"] == []
    installation.ask(usage_deeds.close_usage, now + timedelta(days=2))
    facts = installation.ask(usage_deeds.usage_facts)
    assert facts["wrong"] == []
    assert facts["waiting"] == 0
    assert facts["periods"] == list(range(facts["periods"][0], facts["periods"][-1] + 1))

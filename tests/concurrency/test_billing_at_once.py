"""Periods of usage that several processes close at the same moment are closed once, without gap; prices that several set at
the same moment, or while a period is closed, do not contradict each other or what is billed."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import usage_deeds
from tests.installation import ANSWER_SECONDS, PROCESSES, Installation


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


@pytest.fixture
def one_after_the_other(new_installation: Installation, tmp_path: Path) -> Callable[..., list[Any]]:
    """Two deeds, given as their names with arguments: the second comes before the first is committed."""

    def act(first: tuple[Any, ...], second: tuple[Any, ...]) -> list[Any]:
        meeting = str(tmp_path)
        answers = [
            new_installation.begin(deed, meeting, *call)
            for deed, call in ((usage_deeds.act_first, first), (usage_deeds.act_second, second))
        ]
        return [answer.result(ANSWER_SECONDS) for answer in answers]

    return act


# Before the first period there is nothing yet that could be locked.


def test_of_two_prices_for_the_same_the_second_is_refused(new_installation, one_after_the_other):
    began = new_installation.ask(usage_deeds.use, 1)
    assert one_after_the_other(("price", "EUR", began), ("price", "USD", began)) == ["set", "currency"]


def test_a_price_for_a_time_that_is_being_billed_is_refused(new_installation, one_after_the_other):
    began = new_installation.ask(usage_deeds.use, 1)
    closed, priced = one_after_the_other(("close", began + timedelta(days=3)), ("price", "EUR", began))
    assert (len(closed), priced) == (3, "valid_from")


def test_what_is_billed_while_a_price_is_being_set_is_billed_by_it(new_installation, one_after_the_other):
    began = new_installation.ask(usage_deeds.use, 1)
    priced, closed = one_after_the_other(("price", "EUR", began), ("close", began + timedelta(days=3)))
    assert (priced, len(closed)) == ("set", 3)
    assert new_installation.ask(usage_deeds.usage_facts)["without_cost"] == 0

"""Limits are not passed by racing: of many requests at the same moment exactly as many pass as there is room for."""

from collections import Counter

from tests import deeds, limit_deeds
from tests.installation import PROCESSES

WANTED, ROOM = 50, 7


def test_of_fifty_requests_at_once_against_a_limit_of_seven_exactly_seven_pass(installation):
    cloud = installation.ask(deeds.build, WANTED)
    installation.ask(limit_deeds.limit_account_of, cloud, ROOM)
    machines = [f"m{number}" for number in range(WANTED)]
    shares = [machines[start::PROCESSES] for start in range(PROCESSES)]
    answers = installation.at_once(limit_deeds.ask_to_create_on_each, *((cloud, share) for share in shares))
    said = Counter(kind if kind == "job" else code for share in answers for kind, code in share)
    assert said == {"job": ROOM, "limit_exceeded": WANTED - ROOM}
    assert len(installation.ask(deeds.active_jobs, cloud)) == ROOM
    assert installation.ask(limit_deeds.used_of, cloud) == [ROOM] * 4
    assert installation.ask(limit_deeds.wrong_books) == []


def test_a_limit_of_a_domain_is_not_passed_by_two_of_its_accounts_at_once(installation):
    clouds = [installation.ask(deeds.build, 10) for _ in range(2)]
    for cloud in clouds:
        installation.ask(limit_deeds.limit_account_of, cloud, 100)
    installation.ask(limit_deeds.limit_domain_over, clouds, ROOM)
    calls = [(cloud, [f"m{number}" for number in range(start, start + 5)]) for cloud in clouds for start in (0, 5)]
    answers = installation.at_once(limit_deeds.ask_to_create_on_each, *calls)
    said = Counter(kind if kind == "job" else code for share in answers for kind, code in share)
    assert said == {"job": ROOM, "limit_exceeded": 20 - ROOM}
    assert installation.ask(limit_deeds.wrong_books) == []


def test_moving_an_account_while_its_machines_are_snapshotted_leaves_whole_books(installation):
    cloud = installation.ask(deeds.build, 12)
    installation.ask(limit_deeds.limit_account_of, cloud, 100)
    calls = [
        ("ask_to_create_on_each", cloud, [f"m{number}" for number in range(start, start + 3)]) for start in (0, 3, 6, 9)
    ]
    moves = [("move_account_about", cloud, 5), ("move_account_about", cloud, 5)]
    installation.at_once(limit_deeds.do, *calls, *moves)
    assert len(installation.ask(deeds.active_jobs, cloud)) == 12
    assert installation.ask(limit_deeds.wrong_books) == []


def test_moving_an_account_while_machines_are_handed_to_it_and_taken_away_bills_them_where_it_is(installation):
    cloud = installation.ask(deeds.build, 5)
    installation.ask(limit_deeds.limit_account_of, cloud, 100)
    for number in range(5):
        installation.ask(deeds.done, "create", cloud, "one", f"m{number}")
    for times in (8, 9, 8):
        hands = [("hand_about", cloud, f"m{number}", times) for number in range(4)]
        installation.at_once(limit_deeds.do, *hands, *[("move_account_about", cloud, 6)] * 2)
        # What is billed names the domain in which the account is now.
        assert installation.ask(limit_deeds.wrong_books) == []


def test_accounts_that_are_opened_below_a_domain_while_it_moves_are_booked_above_where_it_is(installation):
    cloud = installation.ask(deeds.build, 6)
    installation.ask(limit_deeds.limit_account_of, cloud, 100)
    for number in range(6):
        installation.ask(deeds.done, "create", cloud, "one", f"m{number}")
    opened = [("open_accounts", cloud, [f"m{number}", f"m{number + 1}"]) for number in (0, 2, 4)]
    installation.at_once(limit_deeds.do, *opened, ("move_domain_about", cloud, 12))
    assert installation.ask(limit_deeds.wrong_books) == []


def test_a_domain_that_is_deleted_while_an_account_moves_into_it_ends_one_of_the_two(installation):
    cloud = installation.ask(deeds.build, 1)
    installation.ask(limit_deeds.limit_account_of, cloud, 100)
    for _ in range(10):
        installation.ask(limit_deeds.doom, cloud)
        answers = installation.at_once(limit_deeds.move_or_delete, ("move", cloud), ("delete", cloud))
        assert answers in (["done", "invalid_state"], ["not_found", "done"])
    assert installation.ask(limit_deeds.wrong_books) == []

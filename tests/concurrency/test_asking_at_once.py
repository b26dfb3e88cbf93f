"""Many processes ask for something at the same moment: the database lets exactly one through."""

from collections import Counter

from tests import deeds
from tests.installation import PROCESSES

BUSY = ("refused", "vm_busy")


def test_of_eight_processes_that_want_a_snapshot_of_one_machine_exactly_one_passes(installation, cloud):
    answers = installation.at_once(deeds.ask_to_create, *((cloud, f"wanted {n}") for n in range(PROCESSES)))
    assert Counter(answers)[BUSY] == PROCESSES - 1
    (winner,) = [number for number, answer in enumerate(answers) if answer != BUSY]
    assert installation.ask(deeds.active_jobs, cloud) == [answers[winner][1]]
    assert installation.ask(deeds.snapshot_states, cloud) == {f"wanted {winner}": "Allocated"}
    assert installation.ask(deeds.damage, cloud) == []


def test_of_different_actions_on_one_machine_exactly_one_passes(installation, cloud):
    installation.ask(deeds.done, "create", cloud, "one")
    installation.ask(deeds.done, "create", cloud, "two")
    before = installation.ask(deeds.snapshot_states, cloud)
    answers = installation.at_once(
        deeds.ask,
        ("create", cloud, "three"),
        ("revert", cloud, "two", "m0", True),
        ("delete", cloud, "one"),
        ("delete", cloud, "one", "m0", True),
        ("delete_all", cloud),
        ("rename", cloud, "two", "renamed"),
        ("stop", cloud),
        ("sync", cloud),
    )
    passed = [answer for answer in answers if answer[0] == "job"]
    assert len(passed) == 1
    # A row that another request has just set to Reverting or Expunging may be refused for its state as well.
    assert {code for kind, code in answers if kind == "refused"} <= {"vm_busy", "invalid_state"}
    assert installation.ask(deeds.active_jobs, cloud) == [passed[0][1]]
    installation.ask(deeds.run, passed[0][1])
    after = installation.ask(deeds.snapshot_states, cloud)
    assert set(after.values()) <= {"Ready"}
    assert before.keys() - after.keys() <= {"one", "two"}
    assert installation.ask(deeds.damage, cloud) == []
    assert installation.ask(deeds.drift, cloud) == []


def test_two_processes_delete_the_same_snapshot_once(installation, cloud):
    installation.ask(deeds.done, "create", cloud, "one")
    answers = installation.at_once(deeds.ask_to_delete, (cloud, "one"), (cloud, "one"))
    assert sorted(kind for kind, _ in answers) == ["job", "refused"]


def test_one_name_is_given_to_one_snapshot_only(installation, cloud):
    answers = installation.at_once(deeds.create_until_answered, *((cloud, "the same"),) * 4)
    assert Counter(answers)[("refused", "name_taken")] == 3
    assert [kind for kind, _ in answers].count("job") == 1
    assert installation.ask(deeds.snapshot_states, cloud) == {"the same": "Ready"}


def test_one_idempotency_key_from_eight_processes_leads_to_one_job(installation, cloud):
    username = f"operator-{cloud}"
    installation.ask(deeds.build_operator, cloud, username)
    call = (cloud, username, "the key", "wanted")
    answers = installation.at_once(deeds.ask_with_key, *(call,) * PROCESSES)
    assert len(set(answers)) == 1
    assert answers[0] == ("job", installation.ask(deeds.active_jobs, cloud)[0])
    assert installation.ask(deeds.keys_of, username) == 1


def test_one_idempotency_key_for_two_requests_at_once_serves_one_and_refuses_the_other(installation, cloud):
    username = f"operator-{cloud}"
    installation.ask(deeds.build_operator, cloud, username)
    answers = installation.at_once(
        deeds.ask_with_key, (cloud, username, "the key", "this"), (cloud, username, "the key", "that")
    )
    assert sorted(answers, key=lambda answer: answer[0])[1] == ("refused", "idempotency_key_reused")


def test_the_ticks_of_two_schedulers_at_once_order_one_reading_of_an_endpoint(installation, cloud):
    ordered = installation.at_once(deeds.order_syncs, *((cloud,),) * 4)
    assert {job for jobs in ordered for job in jobs} == set(installation.ask(deeds.active_jobs, cloud))
    assert len(installation.ask(deeds.active_jobs, cloud)) == 1


def test_people_who_ask_at_once_for_a_reading_of_an_endpoint_get_the_same_job(installation, cloud):
    answers = installation.at_once(deeds.order_sync, *((cloud,),) * 4)
    assert len(set(answers)) == 1
    assert answers[0][0] == "job"

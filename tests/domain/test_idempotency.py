"""The same request with the same key is done once, however often it comes."""

import pytest

from snapshots.choices import JobState
from snapshots.models import IdempotencyKey, Job
from snapshots.refusals import Invalid, KeyReused, NameTaken, VMBusy
from snapshots.services import idempotency
from snapshots.services.idempotency import digest_of, once
from snapshots.services.snapshot_actions import request_create
from tests.builders import acting, run


@pytest.fixture
def ask(web, people):
    """Ask for a VM snapshot with a key, as alice unless told."""

    def asking(key, body="body", name="first", person=people.alice, machine=web):
        actor = acting(person)
        digest = digest_of("POST", "/snapshots/", body.encode())
        return once(actor, key, digest, lambda: request_create(actor, machine=machine, name=name))

    return asking


def test_a_repeated_request_finds_the_same_job_while_it_runs_and_after_it_ended(ask):
    job = ask("key")
    assert ask("key").pk == job.pk
    run(job)
    again = ask("key")
    assert (again.pk, again.state) == (job.pk, JobState.SUCCEEDED)
    assert Job.objects.filter(action="create_snapshot").count() == 1


def test_without_a_key_each_request_is_a_new_one(ask):
    run(ask(None))
    with pytest.raises(NameTaken):
        ask(None)


def test_the_same_key_for_another_request_is_refused(ask):
    ask("key")
    with pytest.raises(KeyReused):
        ask("key", body="other")
    assert IdempotencyKey.objects.count() == 1


def test_method_path_and_body_make_a_request(db):
    digests = {
        digest_of("POST", "/a", b"b"),
        digest_of("PUT", "/a", b"b"),
        digest_of("POST", "/ab", b""),
        digest_of("POST", "/a", b""),
        digest_of("POST", "/", b"ab"),
    }
    assert len(digests) == 5


def test_keys_of_different_people_are_different(ask, people, db_machine):
    job = ask("key")
    other = ask("key", person=people.dora, machine=db_machine)
    assert other.pk != job.pk


def test_a_refused_request_keeps_no_key_and_can_be_tried_again(ask):
    job = ask("one")
    with pytest.raises(VMBusy):
        ask("two", name="second")
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["one"]
    run(job)
    assert ask("two", name="second").pk != job.pk


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_length(ask, key):
    with pytest.raises(Invalid):
        ask(key)
    assert Job.objects.filter(action="create_snapshot").count() == 0


def test_the_longest_key_is_told_apart_to_its_end(ask, people, db_machine):
    job = ask("x" * 254 + "a")
    assert ask("x" * 254 + "b", machine=db_machine).pk != job.pk


@pytest.mark.parametrize("ended", [False, True])
def test_one_of_two_at_once_finds_the_job_of_the_other(ask, monkeypatch, ended):
    """The other one's key was not there yet when we looked; now its job holds the machine, or has taken the name."""
    job = ask("key")
    if ended:
        run(job)
    monkeypatch.setattr(idempotency, "_earlier", _blind_once(idempotency._earlier))
    assert ask("key").pk == job.pk
    assert Job.objects.filter(action="create_snapshot").count() == 1


def test_a_key_that_comes_in_between_counts_and_our_own_request_is_undone(ask, monkeypatch, db_machine):
    job = ask("key")
    monkeypatch.setattr(idempotency, "_earlier", _blind_once(idempotency._earlier))
    assert ask("key", machine=db_machine).pk == job.pk
    assert not Job.objects.filter(machine=db_machine).exists()


def _blind_once(real):
    looks: list[int] = []

    def look(*args):
        looks.append(1)
        return None if len(looks) == 1 else real(*args)

    return look

"""The health page says in a few quick queries whether this installation can do its work, and nothing about tenants."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import DatabaseError, transaction
from django.db.models import F
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from snapshots.access import SYSTEM
from snapshots.choices import JobAction
from snapshots.models import Job, VirtualMachine, VMSnapshot
from snapshots.services.jobs import open_job
from tests.builders import take


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    cache.clear()


def asked() -> tuple[int, dict[str, Any]]:
    answer = Client().get("/healthz")
    return answer.status_code, answer.json()


def test_a_well_installation_says_so_to_anybody(web: VirtualMachine) -> None:
    assert asked() == (200, {"database": "ok", "damaged_trees": 0, "jobs_without_worker": 0})


def test_it_is_read_only_and_never_kept_by_anybody(db: None) -> None:
    assert Client().post("/healthz").status_code == 405
    assert "no-cache" in Client().get("/healthz")["Cache-Control"]


def test_a_damaged_tree_is_told(web: VirtualMachine) -> None:
    take(web, "one")
    VMSnapshot.objects.filter(machine=web, name="one").update(lft=F("lft") + 50, rght=F("rght") + 50)
    assert asked() == (503, {"database": "ok", "damaged_trees": 1, "jobs_without_worker": 0})


def test_trees_are_not_looked_at_for_every_caller(
    web: VirtualMachine, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    asked()
    with django_assert_num_queries(2):
        asked()


def test_a_job_that_nobody_takes_is_told(
    web: VirtualMachine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapshots.services.jobs.send_after_commit", lambda job: None)
    with transaction.atomic():
        job = open_job(SYSTEM, JobAction.SYNC_MACHINE, machine=web)
    assert asked()[0] == 200
    long_ago = timezone.now() - timedelta(seconds=11 * settings.SWEEP_EVERY_SECONDS)
    Job.objects.filter(pk=job.pk).update(created_at=long_ago)
    assert asked() == (503, {"database": "ok", "damaged_trees": 0, "jobs_without_worker": 1})


class BrokenConnection:
    """A database that is gone."""

    def cursor(self) -> None:
        raise DatabaseError("the disk is gone, and so is /secret/path")


def test_a_database_that_does_not_answer_is_told(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmsnap_site.health.connection", BrokenConnection())
    assert asked() == (503, {"database": "unreachable"})

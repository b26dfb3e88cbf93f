"""A worker keeps its database connections from task to task, but none that is of no use any more."""

from types import SimpleNamespace

import pytest
from celery.fixups.django import DjangoWorkerFixup
from celery.signals import task_postrun, task_prerun
from django.db import connections

from vmsnap_site.celery import app


@pytest.fixture
def closed(transactional_db, monkeypatch) -> list[bool]:
    """One entry for each time that the database connection was closed, which stays open all the same. As PostgreSQL's, it
    may be kept for some time."""
    held = connections["default"]
    held.ensure_connection()
    times: list[bool] = []
    monkeypatch.setattr(held, "close_at", None)
    monkeypatch.setattr(held, "close", lambda: times.append(True))
    return times


class Task:
    """As much of a task as the signals look at."""

    def __init__(self, *, eager: bool) -> None:
        self.request = SimpleNamespace(is_eager=eager)


def around_a_task(*, eager: bool = False) -> None:
    """What a worker does before and after a task, Celery's own wiring included."""
    task = Task(eager=eager)
    wiring = DjangoWorkerFixup(app)
    for signal, own in ((task_prerun, wiring.on_task_prerun), (task_postrun, wiring.on_task_postrun)):
        own(task)
        signal.send(sender=task)


def test_a_connection_that_works_is_kept_from_task_to_task(closed):
    for _ in range(3):
        around_a_task()
    assert closed == []


def test_a_connection_that_grew_old_is_closed_before_the_next_task(closed, monkeypatch):
    monkeypatch.setattr(connections["default"], "close_at", 0.0)
    around_a_task()
    assert closed


def test_a_connection_that_broke_is_closed_before_the_next_task(closed, monkeypatch):
    monkeypatch.setattr(connections["default"], "errors_occurred", True)
    monkeypatch.setattr(connections["default"], "is_usable", lambda: False)
    around_a_task()
    assert closed


def test_a_task_within_another_leaves_its_connection_alone(closed, monkeypatch):
    monkeypatch.setattr(connections["default"], "close_at", 0.0)
    around_a_task(eager=True)
    assert closed == []

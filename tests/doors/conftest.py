"""What several tests of the admin need: a root admin who is signed in, and jobs that nobody takes."""

import pytest
from django.test import Client
from pytest_django import Settings

from tests.builders import PASSWORD, People


@pytest.fixture
def root(people: People) -> Client:
    client = Client()
    assert client.login(username="root", password=PASSWORD)
    return client


@pytest.fixture
def no_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs stay queued: nobody takes them."""
    monkeypatch.setattr("snapshots.services.jobs.send_after_commit", lambda job: None)

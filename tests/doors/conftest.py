"""What several tests of the admin need: a root admin who is signed in."""

import pytest
from django.test import Client

from tests.builders import PASSWORD, People


@pytest.fixture
def root(people: People) -> Client:
    client = Client()
    assert client.login(username="root", password=PASSWORD)
    return client

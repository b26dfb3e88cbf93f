"""Hypervisor logins are encrypted with the newest key on demand; a missing key is said and changes nothing."""

import hashlib
import io

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from pytest_django import Settings

from hypervisors.connections import login_for, open_driver
from hypervisors.encrypted_text import CredentialKeyMissing, UnreadableSecret
from hypervisors.errors import LoginRefused
from hypervisors.models import Hypervisor
from snapshots.access import SYSTEM
from snapshots.services import endpoints


def keys(*names: str) -> list[bytes]:
    return [hashlib.sha256(name.encode()).digest() for name in names]


def stored() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT password FROM hypervisors_hypervisor ORDER BY name")
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture
def two_endpoints(db: None, settings: Settings) -> None:
    """One with a login and one without, written with the key `old`."""
    settings.CREDENTIAL_KEY_DIGESTS = keys("old")
    endpoints.add_endpoint(SYSTEM, name="a", kind="simulated", address="a", username="u", password="pässword")
    endpoints.add_endpoint(SYSTEM, name="b", kind="simulated", address="b")


def test_after_the_rotation_the_old_key_is_not_needed(two_endpoints: None, settings: Settings) -> None:
    before = stored()
    settings.CREDENTIAL_KEY_DIGESTS = keys("new", "old")
    out = io.StringIO()
    call_command("rotate_credentials", stdout=out)
    assert "1 of 2" in out.getvalue()
    assert stored()[0] != before[0]
    assert stored()[1] == ""
    settings.CREDENTIAL_KEY_DIGESTS = keys("new")
    assert str(Hypervisor.objects.get(name="a").password) == "pässword"


def test_a_missing_key_is_named_and_nothing_is_changed(two_endpoints: None, settings: Settings) -> None:
    endpoints.add_endpoint(SYSTEM, name="c", kind="simulated", address="c", password="kept")
    settings.CREDENTIAL_KEY_DIGESTS = keys("third")
    endpoints.add_endpoint(SYSTEM, name="d", kind="simulated", address="d", password="readable")
    before = stored()
    settings.CREDENTIAL_KEY_DIGESTS = keys("new", "third")
    with pytest.raises(CommandError, match="the login of a, c") as refused:
        call_command("rotate_credentials")
    assert "VMSNAP_CREDENTIAL_KEYS" in str(refused.value)
    assert stored() == before


def test_the_password_does_not_stand_in_the_database_as_it_was_typed(two_endpoints: None) -> None:
    assert "pässword" not in "".join(stored())


def test_a_login_that_no_key_opens_stops_its_use_and_not_its_row(two_endpoints: None, settings: Settings) -> None:
    before = stored()
    settings.CREDENTIAL_KEY_DIGESTS = keys("other")
    row = Hypervisor.objects.get(name="a")
    assert isinstance(row.password, UnreadableSecret)
    assert repr(row.password) == "Secret('…')"
    for use in (str, "{}".format, lambda secret: f"{secret}"):
        with pytest.raises(CredentialKeyMissing):
            use(row.password)
    with pytest.raises(CredentialKeyMissing):
        login_for(row)
    with pytest.raises(LoginRefused, match="VMSNAP_CREDENTIAL_KEYS"), open_driver(row.pk):
        pass
    row.save()
    assert stored() == before, "saving the row must not destroy the login"

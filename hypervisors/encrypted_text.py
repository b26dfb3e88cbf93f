"""A text column that is encrypted at rest (Fernet: AES-128-CBC with HMAC-SHA256, from the `cryptography` package).

Keys come from the setting CREDENTIAL_KEYS: the first one writes, all of them read. The empty text stays empty. A value
that no key opens comes back as `UnreadableSecret`, which raises `CredentialKeyMissing` when it is used and is written
back as it was: a missing key must stop what needs the login, not every page that names the row.
"""

import base64
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class CredentialKeyMissing(Exception):
    """A stored secret cannot be opened with any of the configured keys."""


def _keys() -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in settings.CREDENTIAL_KEY_DIGESTS])


def encrypt(plain: str) -> str:
    """The text as it is stored."""
    return _keys().encrypt(plain.encode()).decode("ascii") if plain else ""


def decrypt(stored: str) -> str:
    """The text as it was given. Raises `CredentialKeyMissing`."""
    if not stored:
        return ""
    try:
        return _keys().decrypt(stored.encode("ascii")).decode()
    except (InvalidToken, UnicodeEncodeError) as error:
        raise CredentialKeyMissing(
            "A stored login cannot be read with the configured keys (VMSNAP_CREDENTIAL_KEYS). "
            "Add the key it was written with, or enter the login again."
        ) from error


class Secret(str):
    """A text that does not show itself in reprs, logs or debug pages."""

    def __repr__(self) -> str:
        return "Secret('…')" if self else "Secret('')"


class UnreadableSecret(Secret):
    """A stored secret that none of the configured keys opens. Raises `CredentialKeyMissing` when used as a text."""

    stored: str

    def __new__(cls, stored: str) -> "UnreadableSecret":
        made = super().__new__(cls)
        made.stored = stored
        return made

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return decrypt(self.stored)

    def __format__(self, format_spec: str) -> str:
        return str(self)


if TYPE_CHECKING:
    _TextField = models.TextField[str, str]
else:
    _TextField = models.TextField


class EncryptedTextField(_TextField):
    """Stores text encrypted; reads it back as `Secret`. Cannot be searched, since equal texts are stored differently."""

    def from_db_value(self, value: str | None, expression: object, connection: object) -> Secret:
        try:
            return Secret(decrypt(value or ""))
        except CredentialKeyMissing:
            return UnreadableSecret(value or "")

    def to_python(self, value: Any) -> Secret:
        return value if isinstance(value, Secret) else Secret(value or "")

    def get_prep_value(self, value: Any) -> str:
        if isinstance(value, UnreadableSecret):
            return value.stored
        return encrypt(str(value or ""))

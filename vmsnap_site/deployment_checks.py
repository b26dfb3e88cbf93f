"""System checks of how this installation is set up. They run with every command; `run_all` does not start past errors.

What cannot be seen from one process is not checked: that exactly one worker carries the ticks (`--beat`), and that all
processes have the same keys.
"""

import os
import stat
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

LOCAL_NAMES = {"localhost", "127.0.0.1", "[::1]", "::1", "testserver"}
SECRET_LENGTH_LEAST = 32
KEY_FILES = ("secret_key", "credential_key", "demo_password")


@register
def check_deployment(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """All of them."""
    return [*_secrets(), *_data_folder(), *_broker(), *_public_hosts()]


def _public_names() -> list[str]:
    return [host for host in settings.ALLOWED_HOSTS if host.lower() not in LOCAL_NAMES]


def _secrets() -> list[CheckMessage]:
    """A short key on one's own computer is worth a warning; where others come in it is an error."""
    serious = Error if _public_names() else Warning
    found: list[CheckMessage] = []
    if len(settings.SECRET_KEY) < SECRET_LENGTH_LEAST:
        found.append(
            serious(
                f"The secret key is shorter than {SECRET_LENGTH_LEAST} characters.",
                hint="Sessions could be forged. Unset VMSNAP_SECRET_KEY to have one made, or give a long random one.",
                id="vmsnap.E001",
            )
        )
    if not settings.CREDENTIAL_KEYS:
        found.append(
            Error(
                "There is no key for hypervisor logins.",
                hint="Unset VMSNAP_CREDENTIAL_KEYS to have one made in the data folder, or give one.",
                id="vmsnap.E002",
            )
        )
    elif min(map(len, settings.CREDENTIAL_KEYS)) < SECRET_LENGTH_LEAST:
        found.append(
            serious(
                f"A key for hypervisor logins is shorter than {SECRET_LENGTH_LEAST} characters.",
                hint="Put a long random key first in VMSNAP_CREDENTIAL_KEYS, run rotate_credentials, drop the short one.",
                id="vmsnap.E003",
            )
        )
    return found


def _data_folder() -> list[CheckMessage]:
    folder = Path(settings.DATA_DIR)
    if not os.access(folder, os.W_OK | os.X_OK):
        return [
            Error(
                f"The data folder {folder} cannot be written.",
                hint="Give it to the user that runs this product, or set VMSNAP_DATA_DIR to another one.",
                id="vmsnap.E004",
            )
        ]
    found: list[CheckMessage] = []
    for name in KEY_FILES:
        path = folder / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            found.append(Error(f"Others may read {path}.", hint=f"chmod 600 {path}", id="vmsnap.E005"))
    return found


def _broker() -> list[CheckMessage]:
    if not settings.CELERY_BROKER_URL.startswith("filesystem"):
        if str(settings.DATABASES["default"]["ENGINE"]).endswith("sqlite3"):
            return [
                Warning(
                    "The broker is a server, the database is an SQLite file.",
                    hint="Workers on other machines cannot reach the file. Set VMSNAP_DATABASE_URL to PostgreSQL.",
                    id="vmsnap.W001",
                )
            ]
        return []
    status = Path(settings.BROKER_DIR).stat()
    if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid not in (os.geteuid(), 0):
        return [
            Error(
                f"Others may write the broker's folder {settings.BROKER_DIR}.",
                hint="Whoever writes it can start tasks. It must belong to the user that runs this product: chmod 700.",
                id="vmsnap.E006",
            )
        ]
    return []


def _public_hosts() -> list[CheckMessage]:
    public = _public_names()
    if not public:
        return []
    if settings.DEBUG:
        return [
            Error(
                f"Debugging is on while others can reach {', '.join(public)}.",
                hint="Error pages would show settings and data. Unset VMSNAP_DEBUG.",
                id="vmsnap.E007",
            )
        ]
    if not settings.SESSION_COOKIE_SECURE:
        return [
            Warning(
                f"Cookies are sent over plain HTTP to {', '.join(public)}.",
                hint="Serve by HTTPS and set VMSNAP_SECURE_COOKIES=yes.",
                id="vmsnap.W002",
            )
        ]
    return []

"""The system checks name what is set up wrongly, with the way out, and are silent on a good installation."""

from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings


def found() -> dict[str, str]:
    from vmsnap_site.deployment_checks import check_deployment

    return {message.id: f"{message.msg} {message.hint}" for message in check_deployment() if message.id}


@pytest.fixture(autouse=True)
def good(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    settings.BROKER_DIR = tmp_path / "broker"
    settings.BROKER_DIR.mkdir(mode=0o700)
    settings.SECRET_KEY = "s" * 64
    settings.CREDENTIAL_KEYS = ["c" * 64]
    settings.ALLOWED_HOSTS = ["localhost"]
    return tmp_path


def test_a_good_installation_is_passed_in_silence() -> None:
    assert found() == {}


def test_the_checks_run_with_djangos_own(settings: Settings) -> None:
    settings.CREDENTIAL_KEYS = []
    assert "vmsnap.E002" in {message.id for message in run_checks()}


@pytest.mark.parametrize(
    ("changed", "id"),
    [
        ({"SECRET_KEY": "short"}, "vmsnap.E001"),
        ({"CREDENTIAL_KEYS": []}, "vmsnap.E002"),
        ({"CREDENTIAL_KEYS": ["c" * 64, "short"]}, "vmsnap.E003"),
        ({"CELERY_BROKER_URL": "redis://localhost"}, "vmsnap.W001"),
        ({"ALLOWED_HOSTS": ["vmsnap.example.org"], "DEBUG": True}, "vmsnap.E007"),
        ({"ALLOWED_HOSTS": ["vmsnap.example.org"]}, "vmsnap.W002"),
    ],
)
def test_a_bad_setting_is_named(changed: dict[str, object], id: str, settings: Settings) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)
    assert set(found()) == {id}
    assert "VMSNAP_" in found()[id]


@pytest.mark.parametrize(
    "changed",
    [
        {"ALLOWED_HOSTS": ["vmsnap.example.org"], "SESSION_COOKIE_SECURE": True},
        {"ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"], "DEBUG": True},
    ],
)
def test_a_good_choice_is_passed(changed: dict[str, object], settings: Settings) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)
    assert found() == {}


def test_a_broker_server_with_a_database_server_is_passed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CELERY_BROKER_URL = "redis://localhost"
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    assert found() == {}


def test_a_short_key_stops_an_installation_that_others_reach(settings: Settings) -> None:
    from vmsnap_site.deployment_checks import check_deployment

    settings.SECRET_KEY = "short"
    (message,) = check_deployment()
    assert not message.is_serious()
    settings.ALLOWED_HOSTS = ["vmsnap.example.org"]
    settings.SESSION_COOKIE_SECURE = True
    (message,) = check_deployment()
    assert message.is_serious()


def test_a_broker_folder_that_others_may_write_is_an_error(good: Path) -> None:
    (good / "broker").chmod(0o770)
    assert set(found()) == {"vmsnap.E006"}


@pytest.mark.parametrize("name", ["secret_key", "credential_key", "demo_password"])
def test_a_key_file_that_others_may_read_is_an_error(name: str, good: Path) -> None:
    (good / name).write_text("x")
    (good / name).chmod(0o644)
    assert f"chmod 600 {good / name}" in found()["vmsnap.E005"]
    (good / name).chmod(0o600)
    assert found() == {}


def test_a_data_folder_that_cannot_be_written_is_an_error(settings: Settings) -> None:
    settings.DATA_DIR = Path("/proc/self")
    assert "vmsnap.E004" in found()

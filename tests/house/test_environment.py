"""Settings from the environment are taken exactly, or refused at the start with the name of the variable."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from vmsnap_site import environment

SETTINGS = Path(environment.__file__).with_name("settings.py")


@pytest.fixture
def settings_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Reads settings.py with these variables set."""
    monkeypatch.setenv("VMSNAP_DATA_DIR", str(tmp_path))

    def read(**variables: str) -> dict[str, Any]:
        for name, value in variables.items():
            monkeypatch.setenv(f"VMSNAP_{name}", value)
        return runpy.run_path(str(SETTINGS))

    return read


@pytest.mark.parametrize("word", ["week", "", "Day"])
def test_a_word_that_is_none_of_those_offered_is_refused_with_the_others(
    monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setenv("VMSNAP_USAGE_PERIOD", word)
    with pytest.raises(ImproperlyConfigured, match="VMSNAP_USAGE_PERIOD must be one of hour, day"):
        environment.choice("USAGE_PERIOD", "day", ("hour", "day"))


@pytest.mark.parametrize("zone", ["Berlin", "", "../etc/passwd", "Europe", "Europe/\0"])
def test_what_names_no_time_zone_is_refused(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(environment, "text", lambda name, default: zone)
        with pytest.raises(ImproperlyConfigured, match="VMSNAP_USAGE_TIME_ZONE must name a time zone"):
            environment.zone("USAGE_TIME_ZONE", "UTC")


def test_words_and_zones_that_are_there_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMSNAP_USAGE_TIME_ZONE", "Europe/Berlin")
    assert environment.zone("USAGE_TIME_ZONE", "UTC") == "Europe/Berlin"
    assert environment.choice("NOT_SET", "day", ("hour", "day")) == "day"


@pytest.mark.parametrize("text", ["0", "-1", "7", "9007199254740993", str(2**63 - 1)])
def test_a_whole_number_is_taken_exactly(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("VMSNAP_LIMIT_ACCOUNT_BYTES", text)
    assert environment.whole("LIMIT_ACCOUNT_BYTES", -1, least=-1, most=environment.MOST_OF_A_LIMIT) == int(text)


@pytest.mark.parametrize(
    "text", ["-2", "1.5", "many", "", "nan", "inf", "-inf", "1e400", "9" * 5000, str(2**63), "1e19"]
)
def test_what_is_no_whole_number_or_out_of_bounds_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("VMSNAP_LIMIT_ACCOUNT_BYTES", text)
    with pytest.raises(ImproperlyConfigured, match="VMSNAP_LIMIT_ACCOUNT_BYTES"):
        environment.whole("LIMIT_ACCOUNT_BYTES", -1, least=-1, most=environment.MOST_OF_A_LIMIT)


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e400", "0.001", "1000.5", "more"])
def test_a_number_out_of_bounds_or_not_finite_is_refused_with_its_bounds(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("VMSNAP_POOL_OVERCOMMIT", text)
    with pytest.raises(ImproperlyConfigured, match=r"VMSNAP_POOL_OVERCOMMIT must be (from 0.01 to 1000|a number), not"):
        environment.number("POOL_OVERCOMMIT", 1.0, least=0.01, most=1000)


BEYOND = {
    "STALE_AFTER_DAYS": ("36501", "99999999", "inf"),
    "STALE_PER_MACHINE": ("1000001",),
    "CAPACITY_RAW_KEEP_HOURS": ("876001",),
    "CAPACITY_HOURLY_KEEP_DAYS": ("36501",),
    "CAPACITY_DAILY_KEEP_DAYS": ("36501", "9999999"),
    "CAPACITY_SAMPLE_SECONDS": ("31536001",),
    "POOL_WARNING_PERCENT": ("101", "0"),
    "POOL_THRESHOLD_PERCENT": ("101", "1000"),
    "POOL_OVERCOMMIT": ("1000.01", "inf"),
    "USAGE_CLOSE_AFTER_SECONDS": ("31536001", "inf"),
    "LIMIT_ACCOUNT_SNAPSHOTS": (str(2**63),),
    "LIMIT_ACCOUNT_BYTES": (str(2**63),),
    "LIMIT_DOMAIN_SNAPSHOTS": (str(2**63),),
    "LIMIT_DOMAIN_BYTES": (str(2**63),),
    "LIMIT_AGE_DAYS": ("36501",),
    "EXPIRE_EVERY_SECONDS": ("inf",),
    "CHECK_BOOKS_EVERY_SECONDS": ("1e10",),
    "RUN_SCHEDULES_EVERY_SECONDS": ("0", "inf"),
    "SCHEDULE_LATE_SECONDS": ("59", "inf"),
    "JOB_DEADLINE_SECONDS": ("inf",),
    "PORT": ("65536",),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BEYOND.items() for text in texts])
def test_a_setting_with_which_nothing_could_be_reckoned_is_refused_at_the_start(
    settings_from: Any, name: str, text: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"VMSNAP_{name} must be from \S+ to \S+, not '{text}'\."):
        settings_from(**{name: text})


def test_the_greatest_of_each_is_taken_exactly(settings_from: Any) -> None:
    read = settings_from(LIMIT_DOMAIN_BYTES=str(2**63 - 1), POOL_OVERCOMMIT="1e3", STALE_AFTER_DAYS="36500")
    assert (read["LIMIT_DOMAIN_BYTES"], read["POOL_OVERCOMMIT"], read["STALE_AFTER_DAYS"]) == (2**63 - 1, 1000, 36500)

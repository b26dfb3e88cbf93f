"""Settings from the environment are taken exactly, or refused at the start with the name of the variable."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from vmsnap_site import environment


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
    assert environment.whole("LIMIT_ACCOUNT_BYTES", -1, least=-1) == int(text)


@pytest.mark.parametrize("text", ["-2", "1.5", "many", "", "nan"])
def test_what_is_no_whole_number_or_too_small_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("VMSNAP_LIMIT_ACCOUNT_BYTES", text)
    with pytest.raises(ImproperlyConfigured, match="VMSNAP_LIMIT_ACCOUNT_BYTES"):
        environment.whole("LIMIT_ACCOUNT_BYTES", -1, least=-1)

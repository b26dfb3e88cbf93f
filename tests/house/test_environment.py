"""Numbers from the environment are taken exactly, or refused with the name of the variable."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from vmsnap_site import environment


@pytest.mark.parametrize("text", ["0", "-1", "7", "9007199254740993", str(2**63 - 1)])
def test_a_whole_number_is_taken_exactly(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("VMSNAP_LIMIT_ACCOUNT_BYTES", text)
    assert environment.whole("LIMIT_ACCOUNT_BYTES", -1, least=-1) == int(text)


@pytest.mark.parametrize("text", ["-2", "1.5", "many", "", "nan"])
def test_what_is_no_whole_number_or_too_small_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("VMSNAP_LIMIT_ACCOUNT_BYTES", text)
    with pytest.raises(ImproperlyConfigured, match="VMSNAP_LIMIT_ACCOUNT_BYTES"):
        environment.whole("LIMIT_ACCOUNT_BYTES", -1, least=-1)

"""`manage.py create_token USER`."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from snapshots.models import ApiToken
from tests.builders import People
from tests.doors.api_client import Caller


def test_it_prints_a_token_that_works_and_nothing_else(people: People, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_token", "alice")
    printed = capsys.readouterr()
    text = printed.out.removesuffix("\n")
    assert text.isalnum()
    assert printed.err == ""
    assert Caller(None).get("tokens/", Authorization=f"Token {text}").status_code == 200
    assert ApiToken.objects.get().scope == "operate"


def test_name_scope_and_days_can_be_chosen(people: People) -> None:
    call_command("create_token", "bob", "--name", "nightly", "--scope", "read", "--days", "3")
    token = ApiToken.objects.get()
    assert (token.user, token.name, token.scope) == (people.bob, "nightly", "read")
    assert timedelta(days=2) < token.expiry - timezone.now() <= timedelta(days=3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "no user named “nobody”"),
        (["alice", "--days", "0"], "between 1 and 3650 days"),
        (["alice", "--name", ""], "name"),
        (["alice", "--scope", "root"], "invalid choice"),
    ],
)
def test_what_cannot_be_made_is_an_error_without_a_token(
    people: People, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        call_command("create_token", *arguments)
    assert capsys.readouterr().out == ""
    assert not ApiToken.objects.exists()


def test_a_user_who_was_switched_off_gets_none(people: People) -> None:
    people.alice.is_active = False
    people.alice.save()
    with pytest.raises(CommandError, match="switched off"):
        call_command("create_token", "alice")

"""What is deleted at the moment at which it is given something is gone, or stays and has that; nobody meets an error."""

import pytest

from tests import deeds, limit_deeds


@pytest.fixture
def owned(installation):
    """A simulated hypervisor whose machine has an account, with an operator; answers its name."""
    name = installation.ask(deeds.build, 1)
    installation.ask(limit_deeds.limit_account_of, name, 100)
    installation.ask(limit_deeds.add_operator, name)
    return name


@pytest.mark.parametrize(("verb", "kept"), [("give machine", "invalid_state"), ("give role", "done")])
def test_an_account(installation, owned, verb, kept):
    for _ in range(10):
        installation.ask(limit_deeds.doom_account, owned)
        answers = installation.at_once(limit_deeds.give_or_delete, (verb, owned), ("delete", owned))
        assert answers in (["done", kept], ["not_found", "done"])
    assert installation.ask(limit_deeds.wrong_books) == []


def test_a_domain_that_is_given_an_admin(installation, owned):
    for _ in range(10):
        installation.ask(limit_deeds.doom, owned)
        answers = installation.at_once(limit_deeds.give_or_delete, ("give role", owned), ("delete", owned))
        assert answers in (["done", "done"], ["not_found", "done"])

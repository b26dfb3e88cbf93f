"""What the history of an account tells of limits is for all its members: of domains they see only that of the account is
named, and of those above only that there is one."""

import pytest

from snapshots.access import SYSTEM, visible_domains, visible_events
from snapshots.choices import LimitKind
from snapshots.models import Event
from snapshots.services import moving, tenancy
from snapshots.services.expiry import expire_snapshots
from snapshots.services.snapshot_actions import request_create
from tests.builders import acting, limit, run, take
from tests.domain.scenes import DAY_SECONDS, later

ABOVE = "A domain above the domain engineering has used up a limit of its own."


@pytest.fixture(autouse=True)
def organisation_is_above(people):
    """Alice sees her account's domain, and none above it."""
    assert {row.name for row in visible_domains(people.alice)} == {"engineering"}


def told(person, action: str) -> str:
    """The one event of this kind that the person reads, which says nothing of the domain above."""
    detail = visible_events(person).get(action=action).detail
    assert "organisation" not in detail
    return detail


def test_a_machine_that_comes_though_a_domain_above_is_full(people, web, cloud):
    take(web, "one", memory=True)
    limit(people.organisation, 0)
    limit(people.organisation, 0, LimitKind.BYTES)
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("unassigned"), account=people.acme)
    assert told(people.alice, "limits.passed") == f"{ABOVE} Nothing new is taken until there is room."


def test_the_accounts_own_domain_is_told_of_with_its_figures(people, web, cloud):
    take(web, "one", memory=False)
    limit(people.engineering, 0)
    limit(people.organisation, 0)
    tenancy.assign_machine(SYSTEM, machine=cloud.machine("unassigned"), account=people.acme)
    assert told(people.alice, "limits.passed") == (
        f"The domain engineering has 1 VM snapshot and may have 0. {ABOVE} Nothing new is taken until there is room."
    )


def test_an_account_that_moves_to_where_a_domain_above_is_full(people, web):
    take(web, "one", memory=False)
    moving.move_account(SYSTEM, account=people.acme, domain=people.elsewhere)
    limit(people.organisation, 0)
    moving.move_account(SYSTEM, account=people.acme, domain=people.engineering)
    assert told(people.alice, "limits.passed") == f"{ABOVE} Nothing new is taken until there is room."


def test_an_admin_who_goes_beyond_the_limit_of_a_domain_above(people, web, settings):
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    limit(people.acme, 0)
    limit(people.organisation, 0)
    limit(people.organisation, 0, LimitKind.BYTES)
    run(request_create(acting(people.root), machine=web, name="beyond", memory=True, exceed_limits=True))
    assert told(people.alice, "limits.exceeded") == (
        f"By choice of an admin. The account acme has 0 VM snapshots and may have 0. {ABOVE}"
    )


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("acme", "the limit of the account acme"),
        ("engineering", "the limit of the domain engineering"),
        ("organisation", "the limit of a domain above"),
    ],
)
def test_a_vm_snapshot_that_expires_by_the_limit_of_a_place(people, web, place, words):
    take(web, "old", memory=False)
    limit(getattr(people, place), 1, LimitKind.AGE_DAYS)
    with later(2 * DAY_SECONDS):
        expire_snapshots()
    assert told(people.alice, "snapshot.expired") == f"It is older than 1 day, the most by {words}."


@pytest.mark.parametrize(
    ("place", "words"), [("engineering", "the domain engineering"), ("organisation", "a domain above")]
)
def test_a_limit_that_is_lowered_with_one_above(people, place, words):
    limit(people.acme, 50)
    limit(getattr(people, place), 40)
    assert told(people.alice, "limits.lowered") == (
        f"VM snapshots of the account acme: 40, was 50, since no more holds for {words}."
    )


def test_root_admins_read_of_every_domain_that_was_lowered_or_passed(people, web):
    take(web, "one", memory=False)
    limit(people.engineering, 50)
    limit(people.organisation, 0)
    lowered = Event.objects.get(action="limits.lowered")
    assert (lowered.account, "since no more holds for the domain organisation" in lowered.detail) == (None, True)
    limit(people.elsewhere, 0)
    moving.move_domain(SYSTEM, domain=people.engineering, parent=people.elsewhere)
    passed = Event.objects.get(action="limits.passed")
    assert (passed.account, "The domain elsewhere has 1 VM snapshot and may have 0." in passed.detail) == (None, True)
    assert not visible_events(people.alice).filter(action="limits.passed").exists()

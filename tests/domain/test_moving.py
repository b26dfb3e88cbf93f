"""Accounts and domains are moved with what they use and what was set for them; too much at the new place is told and stops
what is new."""

import pytest

from hypervisors.drivers.simulated.world import World
from snapshots.access import SYSTEM
from snapshots.choices import LimitKind, Role, UsageChange
from snapshots.models import Domain, Event, Limit, UsageEvent
from snapshots.services import moving, tenancy
from snapshots.services.book_check import check_books
from snapshots.services.limit_setting import set_limit
from snapshots.services.snapshot_actions import request_create
from tests.builders import account, acting, domain, take, use_of
from tests.domain.refusing import assert_refused

NO_WORLD: World | None = None


def test_an_account_moves_with_what_it_uses(people, web, root):
    take(web, "one", memory=True)
    moving.move_account(root, account=people.acme, domain=people.elsewhere)
    people.acme.refresh_from_db()
    assert people.acme.domain == people.elsewhere
    wanted = (1, web.memory_bytes)
    assert [use_of(place) for place in (people.acme, people.elsewhere)] == [wanted, wanted]
    assert [use_of(place) for place in (people.engineering, people.organisation)] == [(0, 0), (0, 0)]
    assert check_books(repair=False) == []
    event = Event.objects.get(action="tenancy.account.moved")
    assert event.detail == "Account acme: from engineering to elsewhere."
    transfer = UsageEvent.objects.get(change=UsageChange.TRANSFER)
    assert (transfer.domain_name, transfer.snapshot_name) == ("elsewhere", "one")


def test_within_a_tree_only_the_domains_in_between_change(people, web, root):
    take(web, "one", memory=False)
    sibling = domain("sibling", people.organisation)
    moving.move_account(root, account=people.acme, domain=sibling)
    assert use_of(people.organisation) == use_of(sibling) == (1, 0)
    assert use_of(people.engineering) == (0, 0)


def test_a_domain_moves_with_what_is_used_below_it(people, web, root):
    take(web, "one", memory=True)
    moving.move_domain(root, domain=people.engineering, parent=people.elsewhere)
    wanted = (1, web.memory_bytes)
    assert [use_of(place) for place in (people.engineering, people.elsewhere)] == [wanted, wanted]
    assert use_of(people.organisation) == (0, 0)
    moving.move_domain(root, domain=people.engineering, parent=None)
    assert (use_of(people.engineering), use_of(people.elsewhere)) == (wanted, (0, 0))
    assert check_books(repair=False) == []


@pytest.mark.parametrize("what", ["account", "domain"])
def test_more_than_the_new_place_allows_may_come_is_told_and_stops_what_is_new(people, web, cloud, root, what):
    take(web, "one", memory=False)
    set_limit(SYSTEM, on=people.elsewhere, kind=LimitKind.SNAPSHOTS, value=0)
    if what == "account":
        moving.move_account(root, account=people.acme, domain=people.elsewhere)
    else:
        moving.move_domain(root, domain=people.engineering, parent=people.elsewhere)
    warning = Event.objects.get(action="limits.passed")
    assert warning.level == "warning"
    assert warning.detail == (
        "The domain elsewhere has 1 VM snapshot and may have 0. Nothing new is taken until there is room."
    )
    assert_refused(cloud.world, "limit_exceeded", lambda: request_create(root, machine=web, name="two"))


@pytest.mark.parametrize("kind", LimitKind)
@pytest.mark.parametrize("what", ["account", "domain"])
def test_limits_that_are_higher_than_what_holds_there_are_lowered(people, root, what, kind, settings):
    settings.SNAPSHOTS_PER_MACHINE = -1
    for place, value in ((people.acme, 9), (people.engineering, -1)):
        set_limit(SYSTEM, on=place, kind=kind, value=value)
    set_limit(SYSTEM, on=people.elsewhere, kind=kind, value=5)
    if what == "account":
        moving.move_account(root, account=people.acme, domain=people.elsewhere)
    else:
        moving.move_domain(root, domain=people.engineering, parent=people.elsewhere)
    assert Limit.objects.get(account=people.acme).value == 5
    assert Limit.objects.get(domain=people.engineering).value == (5 if what == "domain" else -1)
    assert Event.objects.filter(action="limits.lowered").count() == (2 if what == "domain" else 1)


def test_admins_of_both_domains_move_an_account_and_nobody_else(people):
    below = domain("below", people.engineering)
    dora = acting(people.dora)
    moving.move_account(dora, account=people.acme, domain=below)
    assert_refused(
        NO_WORLD, "not_found", lambda: moving.move_account(dora, account=people.acme, domain=people.elsewhere)
    )
    assert_refused(NO_WORLD, "not_found", lambda: moving.move_account(dora, account=people.other, domain=below))
    for person in (people.alice, people.bob):
        assert_refused(
            NO_WORLD,
            "forbidden",
            lambda who=person: moving.move_account(acting(who), account=people.acme, domain=below),
        )
    assert_refused(
        NO_WORLD,
        "not_found",
        lambda: moving.move_account(acting(people.charlie), account=people.acme, domain=people.elsewhere),
    )


def test_nothing_is_moved_into_or_made_in_a_domain_that_was_deleted_meanwhile(people, root):
    gone = domain("gone", people.organisation)
    tenancy.delete_domain(SYSTEM, domain=Domain.objects.get(pk=gone.pk))
    for ask in (
        lambda: moving.move_account(root, account=people.acme, domain=gone),
        lambda: moving.move_domain(root, domain=people.elsewhere, parent=gone),
        lambda: moving.move_domain(root, domain=gone, parent=None),
        lambda: tenancy.create_account(root, name="late", domain=gone),
        lambda: tenancy.create_domain(root, name="late", parent=gone),
        lambda: tenancy.delete_domain(root, domain=gone),
    ):
        assert_refused(NO_WORLD, "not_found", ask)


def test_an_account_is_not_moved_beside_its_namesake(people, web, root):
    take(web, "one", memory=False)
    account("acme", people.elsewhere)
    assert_refused(
        NO_WORLD, "name_taken", lambda: moving.move_account(root, account=people.acme, domain=people.elsewhere)
    )
    assert use_of(people.engineering) == (1, 0)


def test_moving_to_where_it_is_changes_nothing(people, root):
    moving.move_account(root, account=people.acme, domain=people.engineering)
    assert not Event.objects.filter(action="tenancy.account.moved").exists()


def test_who_may_see_the_account_changes_with_the_domain(people, root):
    tenancy.grant_role(SYSTEM, user=people.nora, role=Role.DOMAIN_ADMIN, domain=people.elsewhere)
    moving.move_account(root, account=people.acme, domain=people.elsewhere)
    assert_refused(
        NO_WORLD,
        "not_found",
        lambda: set_limit(acting(people.dora), on=people.acme, kind=LimitKind.BYTES, value=1),
    )
    set_limit(acting(people.nora), on=people.acme, kind=LimitKind.BYTES, value=1)

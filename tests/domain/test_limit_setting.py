"""Limits are set from above, never beyond what holds above, and by nobody for themselves."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hypervisors.drivers.simulated.world import World
from snapshots.access import SYSTEM
from snapshots.choices import LimitKind, Role
from snapshots.models import Account, Domain, Event, Limit
from snapshots.refusals import Forbidden, Invalid
from snapshots.services import tenancy
from snapshots.services.limit_setting import lower_below, set_limit
from tests.builders import account, acting, domain, user
from tests.domain.refusing import assert_refused

NO_WORLD: World | None = None
SNAPSHOTS, BYTES, PER_MACHINE, AGE = LimitKind


@pytest.fixture(autouse=True)
def no_defaults(settings):
    """What is not set is not limited."""
    settings.SNAPSHOTS_PER_MACHINE = -1


def put(on: Account | Domain, value: object, kind: LimitKind = SNAPSHOTS, person=None):
    return set_limit(acting(person), on=on, kind=kind, value=value)  # type: ignore[arg-type]  # also what is no number


def value_of(on: Account | Domain, kind: LimitKind = SNAPSHOTS) -> int | None:
    place = "account" if isinstance(on, Account) else "domain"
    return Limit.objects.filter(**{place: on}, kind=kind).values_list("value", flat=True).first()


# Values


@pytest.mark.parametrize(
    "value", [-2, -(2**63), 2**63, 2**100, 1.0, 7.5, float("nan"), "7", "", b"7", True, False, [7], {}]
)
@pytest.mark.parametrize("kind", LimitKind)
def test_a_limit_is_a_whole_number_from_minus_one_to_the_largest_of_64_bits(people, value, kind):
    refusal = assert_refused(NO_WORLD, "invalid", lambda: put(people.acme, value, kind, people.root))
    assert list(refusal.extra["fields"]) == ["value"]
    assert not Limit.objects.exists()


@pytest.mark.parametrize("value", [-1, 0, 1, 2**31, 2**53 + 1, 2**63 - 1])
def test_every_such_number_is_kept_exactly(people, value):
    put(people.acme, value, BYTES)
    assert value_of(people.acme, BYTES) == value


def test_a_limit_is_changed_and_taken_away_and_each_leaves_an_event(people):
    put(people.acme, 5, person=people.root)
    put(people.acme, 3 * 1024**3, BYTES, people.root)
    put(people.acme, -1, person=people.root)
    assert put(people.acme, None, person=people.root).limit is None
    assert value_of(people.acme) is None
    told = Event.objects.filter(action="limits.set", account=people.acme, user=people.root).order_by("pk")
    assert list(told.values_list("detail", flat=True)) == [
        "VM snapshots of the account acme: 5, was not set.",
        "Estimated bytes of the account acme: 3 GiB, was not set.",
        "VM snapshots of the account acme: no limit, was 5.",
        "VM snapshots of the account acme: not set, was no limit.",
    ]
    assert Limit.objects.get().set_by == people.root


# Who


def test_admins_set_limits_below_their_own_domain(people):
    below = domain("below", people.engineering)
    for place in (people.acme, below, account("deep", below)):
        put(place, 5, person=people.dora)
        assert value_of(place) == 5


def test_a_domain_admin_does_not_set_the_limits_of_their_own_domain_nor_of_those_above(people):
    refusal = assert_refused(NO_WORLD, "forbidden", lambda: put(people.engineering, 5, person=people.dora))
    assert "set by admins of the domain above it" in refusal.detail
    assert_refused(NO_WORLD, "not_found", lambda: put(people.organisation, 5, person=people.dora))
    assert_refused(NO_WORLD, "not_found", lambda: put(people.elsewhere, 5, person=people.dora))
    admin_above = user("above", Role.DOMAIN_ADMIN, domain=people.organisation)
    put(people.engineering, 5, person=admin_above)
    assert_refused(NO_WORLD, "forbidden", lambda: put(people.organisation, 5, person=admin_above))
    put(people.organisation, 5, person=people.root)


@pytest.mark.parametrize("role", [Role.READER, Role.OPERATOR])
def test_a_domain_admin_does_not_set_the_limits_of_an_account_they_are_a_member_of(people, role):
    tenancy.grant_role(SYSTEM, user=people.dora, role=role, account=people.acme)
    for value in (0, 5, -1, None):
        assert_refused(NO_WORLD, "forbidden", lambda wanted=value: put(people.acme, wanted, person=people.dora))
    tenancy.grant_role(SYSTEM, user=people.root, role=role, account=people.acme)
    put(people.acme, 5, person=people.root)


def test_members_set_nothing_and_strangers_learn_nothing(people):
    for person in (people.alice, people.bob):
        assert_refused(NO_WORLD, "forbidden", lambda who=person: put(people.acme, 5, person=who))
        assert_refused(NO_WORLD, "forbidden", lambda who=person: put(people.engineering, 5, person=who))
    for person in (people.charlie, people.nora):
        assert_refused(NO_WORLD, "not_found", lambda who=person: put(people.acme, 5, person=who))
        assert_refused(NO_WORLD, "not_found", lambda who=person: put(people.engineering, 5, person=who))


def test_an_account_in_ones_domain_that_one_is_no_member_of_is_not_there(people):
    sibling = account("sibling", people.engineering)
    assert_refused(NO_WORLD, "not_found", lambda: put(sibling, 5, person=people.alice))


def test_what_went_meanwhile_is_not_there(people):
    stale = Account.objects.get(pk=people.other.pk)
    tenancy.delete_account(SYSTEM, account=people.other)
    assert_refused(NO_WORLD, "not_found", lambda: put(stale, 5, person=people.root))


# Not beyond what holds above


@pytest.mark.parametrize("kind", LimitKind)
@pytest.mark.parametrize("value", [8, -1])
def test_a_limit_does_not_exceed_what_holds_above_whatever_is_in_between(people, kind, value):
    put(people.organisation, 7, kind)
    refusal = assert_refused(NO_WORLD, "invalid", lambda: put(people.acme, value, kind, people.root))
    assert "what holds for the domain engineering" in refusal.detail
    assert_refused(NO_WORLD, "invalid", lambda: put(people.engineering, value, kind, people.root))
    put(people.engineering, 7, kind)
    put(people.acme, 7, kind)


@pytest.mark.parametrize("kind", LimitKind)
def test_a_domain_admin_learns_no_figure_of_a_domain_above_theirs(people, kind):
    put(people.organisation, 7, kind)
    refusal = assert_refused(NO_WORLD, "invalid", lambda: put(people.acme, 8, kind, people.dora))
    assert "7" not in refusal.detail
    assert "organisation" not in refusal.detail
    put(people.engineering, 6, kind)
    refusal = assert_refused(NO_WORLD, "invalid", lambda: put(people.acme, 8, kind, people.dora))
    assert "At most 6" in refusal.detail


def test_a_default_holds_above_too(people, settings):
    settings.LIMIT_DOMAIN_SNAPSHOTS = 7
    settings.SNAPSHOTS_PER_MACHINE = 10
    for kind, most in ((SNAPSHOTS, 7), (PER_MACHINE, 10)):
        with pytest.raises(Invalid):
            put(people.acme, most + 1, kind)
        put(people.acme, most, kind)
    put(people.organisation, 20, PER_MACHINE)
    put(people.acme, 20, PER_MACHINE)


@pytest.mark.parametrize("kind", LimitKind)
def test_lowering_a_domain_lowers_what_was_set_below_it_and_tells_each(people, kind):
    below = domain("below", people.engineering)
    deep = account("deep", below)
    for place, value in ((people.acme, 9), (below, -1), (deep, 3), (people.other, 9)):
        put(place, value, kind)
    done = put(people.organisation, 5, kind, people.root)
    assert {str(row.account or row.domain): row.value for row in done.lowered} == {"acme": 5, "below": 5}
    assert [value_of(place, kind) for place in (people.acme, below, deep, people.other)] == [5, 5, 3, 9]
    told = Event.objects.filter(action="limits.lowered", user=people.root)
    assert told.count() == 2
    assert "since no more holds for the domain organisation" in told.get(account=None).detail
    assert "since no more holds for a domain above" in told.get(account=people.acme).detail


def test_all_kinds_are_lowered_together_at_the_cost_of_one(people):
    for kind in LimitKind:
        put(people.organisation, 50, kind)
        put(people.acme, 40, kind)
    domain = Domain.objects.get(pk=people.engineering.pk)
    for kinds in ([SNAPSHOTS], list(LimitKind)):
        with CaptureQueriesContext(connection) as captured:
            assert lower_below(SYSTEM, domain, kinds) == []
        assert len(captured) == 2  # what holds here, and what is higher below
    Limit.objects.filter(domain=people.organisation).update(value=30)
    lowered = lower_below(SYSTEM, domain, [BYTES, AGE])
    assert {(row.kind, row.value) for row in lowered} == {(BYTES, 30), (AGE, 30)}
    assert [value_of(people.acme, kind) for kind in LimitKind] == [40, 30, 40, 30]


def test_raising_a_domain_leaves_what_was_set_below_it(people):
    put(people.organisation, 5)
    put(people.acme, 5)
    assert put(people.organisation, 50).lowered == []
    assert value_of(people.acme) == 5


def test_taking_away_a_limit_lowers_what_the_default_does_not_allow(people, settings):
    settings.LIMIT_DOMAIN_SNAPSHOTS = 4
    put(people.organisation, 50)
    put(people.engineering, 50)
    put(people.acme, 50)
    put(people.engineering, None)
    assert value_of(people.acme) == 4


def test_limits_go_with_what_they_were_on(people):
    empty = domain("empty", people.organisation)
    put(empty, 5)
    put(people.other, 5)
    tenancy.delete_domain(SYSTEM, domain=empty)
    tenancy.delete_account(SYSTEM, account=people.other)
    assert not Limit.objects.exists()
    assert Event.objects.filter(action="limits.set").count() == 2


def test_the_person_who_may_not_is_told_before_the_value_is_compared(people):
    put(people.organisation, 7)
    with pytest.raises(Forbidden):
        put(people.engineering, 100, person=people.dora)

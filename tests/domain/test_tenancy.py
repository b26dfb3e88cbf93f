"""Who there is and who owns what: only admins change it, each below their own domain; a refusal changes nothing."""

import pytest

from hypervisors.drivers.simulated.world import World
from snapshots.choices import Role, TokenScope
from snapshots.models import Account, ApiToken, Domain, Membership, User, VirtualMachine, Volume
from snapshots.refusals import Forbidden, NotVisible
from snapshots.services import moving, tenancy
from snapshots.services.snapshot_actions import request_create
from tests.builders import PASSWORD, acting, domain, user
from tests.domain.refusing import assert_refused

NO_WORLD: World | None = None


@pytest.fixture
def dora(people):
    """Dora at a page: domain admin of engineering."""
    return acting(people.dora)


def test_a_domain_knows_its_way_to_the_root(people):
    below = domain("below", people.engineering)
    assert below.ancestor_ids == [people.organisation.pk, people.engineering.pk, below.pk]


def test_admins_make_domains_and_accounts_below_their_own_and_nowhere_else(people, dora):
    place = tenancy.create_domain(dora, name="team", parent=people.engineering)
    tenancy.create_account(dora, name="of the team", domain=place)
    assert_refused(NO_WORLD, "forbidden", lambda: tenancy.create_domain(dora, name="new root"))
    for parent in (people.organisation, people.elsewhere):
        assert_refused(NO_WORLD, "not_found", lambda where=parent: tenancy.create_domain(dora, name="x", parent=where))
        assert_refused(NO_WORLD, "not_found", lambda where=parent: tenancy.create_account(dora, name="x", domain=where))


@pytest.mark.parametrize("person", ["alice", "bob", "charlie", "nora"])
def test_others_change_nothing(people, web, cloud, person):
    actor = acting(getattr(people, person))
    for request in (
        lambda: tenancy.create_domain(actor, name="x", parent=people.engineering),
        lambda: tenancy.create_account(actor, name="x", domain=people.engineering),
        lambda: tenancy.rename(actor, thing=people.acme, name="x"),
        lambda: tenancy.delete_account(actor, account=people.acme),
        lambda: tenancy.delete_domain(actor, domain=people.engineering),
        lambda: tenancy.create_user(actor, username="x", password=PASSWORD, domain=people.engineering),
        lambda: tenancy.grant_role(actor, user=people.nora, role=Role.READER, account=people.acme),
        lambda: moving.move_domain(actor, domain=people.engineering, parent=None),
        lambda: tenancy.assign_machine(actor, machine=web, account=people.other),
        lambda: tenancy.set_password(actor, user=people.root, password=PASSWORD),
        lambda: tenancy.set_active(actor, user=people.root, active=False),
    ):
        with pytest.raises((Forbidden, NotVisible)):  # by what the person sees
            request()


def test_names_are_unique_where_they_stand_and_not_beyond(people, root):
    refusal = assert_refused(
        NO_WORLD, "name_taken", lambda: tenancy.create_account(root, name="acme", domain=people.engineering)
    )
    assert "engineering" in refusal.detail
    tenancy.create_account(root, name="acme", domain=people.elsewhere)
    assert_refused(NO_WORLD, "name_taken", lambda: tenancy.create_domain(root, name="elsewhere"))
    assert_refused(
        NO_WORLD,
        "name_taken",
        lambda: tenancy.create_domain(root, name="engineering", parent=people.organisation),
    )
    tenancy.create_domain(root, name="elsewhere", parent=people.organisation)


def test_a_rename_obeys_the_same_rules(people, dora):
    tenancy.create_account(dora, name="second", domain=people.engineering)
    assert_refused(NO_WORLD, "name_taken", lambda: tenancy.rename(dora, thing=people.acme, name="second"))
    assert_refused(NO_WORLD, "invalid", lambda: tenancy.rename(dora, thing=people.acme, name=" "))
    assert_refused(NO_WORLD, "not_found", lambda: tenancy.rename(dora, thing=people.other, name="x"))
    people.acme.refresh_from_db()
    tenancy.rename(dora, thing=people.acme, name="acme & <sons>")
    people.acme.refresh_from_db()
    assert people.acme.name == "acme & <sons>"


def test_a_moved_domain_takes_everything_below_along(people, root):
    below = domain("below", people.engineering)
    moving.move_domain(root, domain=people.engineering, parent=people.elsewhere)
    below.refresh_from_db()
    assert below.ancestor_ids == [people.elsewhere.pk, people.engineering.pk, below.pk]
    moving.move_domain(root, domain=people.engineering, parent=None)
    below.refresh_from_db()
    assert below.path == f"/{people.engineering.pk}/{below.pk}/"


def test_a_domain_cannot_be_put_into_itself_or_beside_its_namesake(people, root):
    below = domain("below", people.engineering)
    for inside in (people.engineering, below):
        assert_refused(
            NO_WORLD,
            "invalid",
            lambda where=inside: moving.move_domain(root, domain=people.engineering, parent=where),
        )
    domain("engineering", people.elsewhere)
    assert_refused(
        NO_WORLD,
        "name_taken",
        lambda: moving.move_domain(root, domain=people.engineering, parent=people.elsewhere),
    )
    stale = Domain.objects.get(pk=below.pk)
    stale.path = "/somewhere/else/"
    moving.move_domain(root, domain=people.elsewhere, parent=stale)
    people.elsewhere.refresh_from_db()
    assert people.elsewhere.path == f"{below.path}{people.elsewhere.pk}/"


def test_what_still_holds_something_is_not_deleted_and_the_refusal_says_what(people, web, root):
    refusal = assert_refused(NO_WORLD, "invalid_state", lambda: tenancy.delete_account(root, account=people.acme))
    assert "web" in refusal.detail
    refusal = assert_refused(NO_WORLD, "invalid_state", lambda: tenancy.delete_domain(root, domain=people.organisation))
    assert "engineering" in refusal.detail


def test_what_is_empty_is_deleted_with_the_roles_on_it(people, dora):
    place = tenancy.create_domain(dora, name="team", parent=people.engineering)
    owner = tenancy.create_account(dora, name="of the team", domain=place)
    tenancy.grant_role(dora, user=people.nora, role=Role.READER, account=owner)
    tenancy.delete_account(dora, account=owner)
    tenancy.delete_domain(dora, domain=place)
    assert not Membership.objects.filter(user=people.nora).exists()
    assert not Account.objects.filter(name="of the team").exists()


# Users and roles


def test_a_weak_password_or_a_taken_name_makes_no_user(people, root):
    assert_refused(NO_WORLD, "invalid", lambda: tenancy.create_user(root, username="new", password="password"))
    assert_refused(NO_WORLD, "invalid", lambda: tenancy.create_user(root, username="alice", password=PASSWORD))
    assert_refused(NO_WORLD, "invalid", lambda: tenancy.create_user(root, username="a b", password=PASSWORD))
    assert not User.objects.filter(username__in=("new", "a b")).exists()


def test_passwords_are_kept_hashed(people):
    assert PASSWORD not in people.alice.password
    assert people.alice.check_password(PASSWORD)


def test_a_domain_admin_gives_roles_below_and_never_root(people, dora):
    tenancy.grant_role(dora, user=people.nora, role=Role.OPERATOR, account=people.acme)
    tenancy.grant_role(dora, user=people.nora, role=Role.DOMAIN_ADMIN, domain=people.engineering)
    assert_refused(NO_WORLD, "forbidden", lambda: tenancy.grant_role(dora, user=people.nora, role=Role.ROOT_ADMIN))
    assert_refused(
        NO_WORLD,
        "not_found",
        lambda: tenancy.grant_role(dora, user=people.nora, role=Role.OPERATOR, account=people.other),
    )
    for place in (people.organisation, people.elsewhere):
        assert_refused(
            NO_WORLD,
            "not_found",
            lambda where=place: tenancy.grant_role(dora, user=people.nora, role=Role.DOMAIN_ADMIN, domain=where),
        )


@pytest.mark.parametrize("person", ["dora", "root"])
def test_nobody_changes_their_own_roles(people, person):
    me = getattr(people, person)
    assert_refused(
        NO_WORLD,
        "forbidden",
        lambda: tenancy.grant_role(acting(me), user=me, role=Role.OPERATOR, account=people.acme),
    )
    mine = Membership.objects.get(user=me)
    assert_refused(NO_WORLD, "forbidden", lambda: tenancy.revoke_role(acting(me), membership=mine))


def test_a_role_replaces_the_one_held_there_before(people, dora):
    tenancy.grant_role(dora, user=people.bob, role=Role.OPERATOR, account=people.acme)
    assert [row.role for row in Membership.objects.filter(user=people.bob)] == [Role.OPERATOR]


@pytest.mark.parametrize("role", list(Role))
def test_a_role_is_given_only_where_it_has_a_meaning(people, root, role):
    fitting = {Role.READER: "account", Role.OPERATOR: "account", Role.DOMAIN_ADMIN: "domain", Role.ROOT_ADMIN: ""}[role]
    for places in (
        {},
        {"account": people.acme},
        {"domain": people.engineering},
        {"account": people.acme, "domain": people.elsewhere},
    ):
        if set(places) == ({fitting} if fitting else set()):
            tenancy.grant_role(root, user=people.nora, role=role, **places)
        else:
            assert_refused(
                NO_WORLD, "invalid", lambda where=places: tenancy.grant_role(root, user=people.nora, role=role, **where)
            )


def test_a_revoked_role_is_gone_at_once(people, dora, web, cloud):
    tenancy.revoke_role(dora, membership=Membership.objects.get(user=people.alice))
    assert_refused(cloud.world, "not_found", lambda: request_create(acting(people.alice), machine=web, name="first"))


def test_an_admin_of_another_domain_cannot_take_a_role_away(people):
    eve = user("eve", Role.DOMAIN_ADMIN, domain=people.elsewhere)
    membership = Membership.objects.get(user=people.alice)
    assert_refused(NO_WORLD, "not_found", lambda: tenancy.revoke_role(acting(eve), membership=membership))


# Owning


def test_a_machine_is_given_away_with_its_volumes(people, web, root):
    tenancy.assign_machine(root, machine=web, account=people.other)
    assert VirtualMachine.objects.get(pk=web.pk).account == people.other
    assert set(Volume.objects.filter(machine=web).values_list("account__name", flat=True)) == {"other"}
    tenancy.assign_machine(root, machine=web, account=None)
    assert VirtualMachine.objects.get(pk=web.pk).account is None


def test_a_busy_machine_is_not_given_away(people, web, root, cloud):
    request_create(acting(people.alice), machine=web, name="first")
    refusal = assert_refused(
        cloud.world, "vm_busy", lambda: tenancy.assign_machine(root, machine=web, account=people.other)
    )
    assert "alice" in refusal.detail


def test_a_domain_admin_does_not_give_machines_away(people, web, dora, cloud):
    assert_refused(cloud.world, "forbidden", lambda: tenancy.assign_machine(dora, machine=web, account=people.acme))


def test_an_attached_volume_belongs_to_its_machine(people, web, root, cloud):
    volume = Volume.objects.get(machine=web, name="web-data")
    assert_refused(
        cloud.world, "invalid_state", lambda: tenancy.assign_volume(root, volume=volume, account=people.other)
    )


# Tokens


def test_a_token_is_kept_hashed_and_shown_once(people):
    token, text = tenancy.create_token(acting(people.alice), user=people.alice, name="ci", scope=TokenScope.OPERATE)
    assert text not in str(ApiToken.objects.values().get(pk=token.pk))
    assert (token.scope, token.user) == (TokenScope.OPERATE, people.alice)


def test_nobody_makes_tokens_for_others_not_even_root(people, root):
    assert_refused(NO_WORLD, "forbidden", lambda: tenancy.create_token(root, user=people.alice, name="ci"))
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_a_token_ends_some_day(people, days):
    alice = acting(people.alice)
    assert_refused(NO_WORLD, "invalid", lambda: tenancy.create_token(alice, user=people.alice, name="ci", days=days))


def test_a_token_is_ended_by_its_owner_or_root_and_unknown_to_all_others(people, dora, root):
    token, _ = tenancy.create_token(acting(people.alice), user=people.alice, name="ci")
    for person in (people.charlie, people.dora, people.nora):
        assert_refused(NO_WORLD, "not_found", lambda who=person: tenancy.revoke_token(acting(who), token=token))
    tenancy.revoke_token(root, token=token)
    second, _ = tenancy.create_token(acting(people.alice), user=people.alice, name="ci")
    tenancy.revoke_token(acting(people.alice), token=second)
    assert not ApiToken.objects.exists()

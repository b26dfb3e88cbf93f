"""Who sees what: for each person, exactly what is theirs, and nothing of anybody else."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

from snapshots import access
from snapshots.choices import Role
from snapshots.models import (
    Account,
    ApiToken,
    Domain,
    Event,
    Job,
    Membership,
    StoragePool,
    User,
    VirtualMachine,
    VMSnapshot,
    Volume,
)
from snapshots.refusals import Forbidden, NotVisible
from snapshots.services import moving, tenancy
from snapshots.services.machine_actions import request_start
from snapshots.services.usage_aggregation import close_due_periods
from tests.builders import Cloud, account, acting, domain, take, user
from tests.usage import Line

EVERYBODY = ["alice", "bob", "charlie", "dora", "root", "nora"]


@pytest.fixture
def everything(web, people, cloud):
    """Something of each kind, of acme, of the other account and of nobody."""
    for name in ("web", "foreign", "unassigned"):
        take(cloud.machine(name), f"of {name}")
    for name, owner in (("spare-1.qcow2", people.acme), ("spare-2.qcow2", people.other)):
        volume = Volume.objects.get(hypervisor=cloud.hypervisor, name=name)
        tenancy.assign_volume(acting(people.root), volume=volume, account=owner)
    for name in EVERYBODY:
        person = getattr(people, name)
        tenancy.create_token(acting(person), user=person, name=f"of {name}")
    return people


def names(rows, column: str = "name") -> set[str]:
    return set(rows.values_list(column, flat=True))


def expected(person: str, of_acme: set[str], of_other: set[str], of_nobody: set[str]) -> set[str]:
    return {
        "alice": of_acme,
        "bob": of_acme,
        "dora": of_acme,
        "charlie": of_other,
        "root": of_acme | of_other | of_nobody,
        "nora": set(),
    }[person]


@pytest.mark.parametrize("name", EVERYBODY)
def test_machines_and_their_snapshots_are_seen_by_their_account_and_its_admins(everything, name):
    person = getattr(everything, name)
    assert names(access.visible_machines(person)) == expected(name, {"web", "db"}, {"foreign"}, {"unassigned"})
    assert names(access.visible_snapshots(person)) == expected(name, {"of web"}, {"of foreign"}, {"of unassigned"})


def test_the_hidden_anchors_are_seen_by_nobody(everything):
    for name in EVERYBODY:
        assert not access.visible_snapshots(getattr(everything, name)).filter(parent=None).exists()
    assert VMSnapshot.objects.filter(parent=None).count() == 4


@pytest.mark.parametrize("name", EVERYBODY)
def test_volumes_and_pools(everything, name):
    person = getattr(everything, name)
    seen = names(access.visible_volumes(person))
    of_acme = {"web-root", "web-data", "db-vda.qcow2", "spare-1.qcow2"}
    assert seen == expected(name, of_acme, {"foreign-vda.qcow2", "spare-2.qcow2"}, {"unassigned-vda.qcow2"})
    assert access.visible_pools(person).exists() == (name != "nora")


@pytest.mark.parametrize("name", EVERYBODY)
def test_jobs_and_events(everything, name):
    person = getattr(everything, name)
    jobs = names(access.visible_jobs(person), "snapshot_name")
    assert jobs == expected(name, {"of web"}, {"of foreign"}, {"of unassigned", ""})
    machines = names(access.visible_events(person).exclude(machine=None), "machine_name")
    assert machines == expected(name, {"web", "db"}, {"foreign"}, {"unassigned"})
    owners = names(access.visible_events(person), "account__name")
    assert owners == expected(name, {"acme"}, {"other"}, {None})


@pytest.mark.parametrize("name", EVERYBODY)
def test_accounts_domains_and_endpoints(everything, name, cloud):
    person = getattr(everything, name)
    assert names(access.visible_accounts(person)) == expected(name, {"acme"}, {"other"}, set())
    assert names(access.visible_domains(person)) == expected(name, {"engineering"}, {"elsewhere"}, {"organisation"})
    assert names(access.visible_hypervisors(person)) == ({cloud.name} if name != "nora" else set())


@pytest.mark.parametrize("name", EVERYBODY)
def test_tokens_are_seen_by_their_owner_alone_whatever_the_role(everything, name):
    assert names(access.visible_tokens(getattr(everything, name))) == {f"of {name}"}


@pytest.mark.parametrize("name", EVERYBODY)
def test_usage_by_month_is_seen_by_the_account_and_its_admins_that_of_a_deleted_account_by_root_admins(
    everything, name
):
    Line(machine_name="of a deleted account").taken(timezone.now())
    with time_machine.travel(timezone.now() + timedelta(days=2), tick=False):
        close_due_periods()
    person = getattr(everything, name)
    seen = names(access.visible_usage_months(person), "machine_name")
    assert seen == expected(name, {"web"}, {"foreign"}, {"of a deleted account"})
    assert not access.visible_usage_months(AnonymousUser()).exists()
    tenancy.set_active(acting(None), user=person, active=False)
    assert not access.visible_usage_months(User.objects.get(username=name)).exists()


def test_an_endpoint_without_a_machine_of_ones_own_is_not_seen(everything):
    other = Cloud()
    assert other.name not in names(access.visible_hypervisors(everything.alice))
    assert other.hypervisor.pools.first() not in access.visible_pools(everything.alice)
    assert other.name in names(access.visible_hypervisors(everything.root))


@pytest.mark.parametrize("name", EVERYBODY)
def test_only_operators_and_admins_act(everything, cloud, name):
    person = getattr(everything, name)
    acts = {machine.name for machine in VirtualMachine.objects.all() if access.may_operate(person, machine)}
    of_acme = set() if name == "bob" else {"web", "db"}
    assert acts == expected(name, of_acme, {"foreign"}, {"unassigned"})
    accounts = names(access.operable_accounts(person))
    assert accounts == expected(name, set() if name == "bob" else {"acme"}, {"other"}, set())


def _all_visible(person) -> list[object]:
    sees = [
        access.visible_machines,
        access.visible_snapshots,
        access.visible_volumes,
        access.visible_pools,
        access.visible_jobs,
        access.visible_events,
        access.visible_accounts,
        access.visible_domains,
        access.visible_hypervisors,
        access.visible_tokens,
        access.operable_accounts,
    ]
    return [row for see in sees for row in see(person)]


def test_a_guest_sees_nothing(everything):
    assert _all_visible(AnonymousUser()) == []


@pytest.mark.parametrize("name", EVERYBODY)
def test_who_was_switched_off_sees_nothing_and_may_nothing(everything, cloud, name):
    tenancy.set_active(acting(None), user=getattr(everything, name), active=False)
    person = User.objects.get(username=name)
    assert _all_visible(person) == []
    for machine in VirtualMachine.objects.all():
        assert not access.may_operate(person, machine)
        with pytest.raises(NotVisible):
            request_start(acting(person), machine=machine)
    for place in Domain.objects.all():
        with pytest.raises((NotVisible, Forbidden)):
            access.require_administer(acting(person), place)


def test_a_superuser_counts_as_root_admin_until_switched_off(db, cloud):
    first = User.objects.create_superuser("first", password="x")
    assert access.visible_machines(first).count() == 4
    first.is_active = False
    assert access.visible_machines(first).count() == 0


def test_somebody_with_roles_in_two_places_sees_both_and_acts_where_they_may(everything, cloud):
    tenancy.grant_role(acting(None), user=everything.bob, role=Role.OPERATOR, account=everything.other)
    assert names(access.visible_machines(everything.bob)) == {"web", "db", "foreign"}
    assert not access.may_operate(everything.bob, cloud.machine("web"))
    assert access.may_operate(everything.bob, cloud.machine("foreign"))


# Domains


@pytest.fixture
def tree_of_domains(db):
    """So many domains that the path of one begins with the digits of another's."""
    root = domain("root")
    children = [domain(f"child {number}", root) for number in range(12)]
    below = {child.pk: domain("below", child) for child in children}
    accounts = {place.pk: account(f"in {place.pk}", place) for place in [root, *children, *below.values()]}
    return root, children, below, accounts


def test_a_domain_admin_sees_all_below_nothing_above_and_nothing_beside(tree_of_domains):
    root, children, below, accounts = tree_of_domains
    alike = [
        (one, other) for one in children for other in children if one != other and str(other.pk).startswith(str(one.pk))
    ]
    for place in [root, children[0], below[children[1].pk], *(one for one, _ in alike)]:
        admin = user(f"admin-of-{place.pk}", Role.DOMAIN_ADMIN, domain=place)
        inside = [found for found in Domain.objects.all() if place.pk in found.ancestor_ids]
        assert set(access.visible_domains(admin)) == set(inside)
        assert set(access.visible_accounts(admin)) == {accounts[found.pk] for found in inside}
        for found in Domain.objects.all():
            if found in inside:
                access.require_administer(acting(admin), found)
            else:
                with pytest.raises(NotVisible):
                    access.require_administer(acting(admin), found)


def test_paths_that_begin_alike_are_told_apart(db):
    """/1/ administers nothing of /11/, whatever the keys happen to be."""
    one, other = domain("one"), domain("other")
    Domain.objects.filter(pk=other.pk).update(path=f"/{one.pk}1/")
    admin = user("admin", Role.DOMAIN_ADMIN, domain=one)
    assert names(access.visible_domains(admin)) == {"one"}


def test_an_account_member_sees_its_domain_but_does_not_administer_it(people):
    with pytest.raises(Forbidden):
        access.require_administer(acting(people.alice), people.engineering)
    with pytest.raises(NotVisible):
        access.require_administer(acting(people.alice), people.organisation)


def test_moving_a_domain_moves_what_its_admins_see(people):
    moving.move_domain(acting(people.root), domain=people.engineering, parent=people.elsewhere)
    eve = user("eve", Role.DOMAIN_ADMIN, domain=people.elsewhere)
    above = user("above", Role.DOMAIN_ADMIN, domain=people.organisation)
    assert names(access.visible_accounts(eve)) == {"acme", "other"}
    assert names(access.visible_accounts(above)) == set()
    assert names(access.visible_accounts(people.dora)) == {"acme"}


def test_what_was_written_down_stays_with_the_owner_of_that_time(everything, web):
    """A machine that is given away takes its tree along, not the history of those who had it."""
    tenancy.assign_machine(acting(everything.root), machine=web, account=everything.other)
    assert names(access.visible_machines(everything.alice)) == {"db"}
    assert "web" in names(access.visible_machines(everything.charlie))
    before = Event.objects.filter(machine=web, action="snapshot.create.succeeded")
    assert set(before) <= set(access.visible_events(everything.alice))
    assert not set(before) & set(access.visible_events(everything.charlie))


def test_remembering_the_role_asks_once(people, django_assert_num_queries):
    person = User.objects.get(pk=people.root.pk)
    access.remember_role(person)
    with django_assert_num_queries(0):
        assert access.is_root_admin(person)


def test_there_is_something_of_each_kind_to_be_hidden(everything):
    for model in (Account, ApiToken, Domain, Event, Job, Membership, StoragePool, VirtualMachine, VMSnapshot, Volume):
        assert model._default_manager.count() > 0

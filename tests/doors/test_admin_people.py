"""Domains, accounts, users, roles and tokens in the admin: what root admins do goes through services, leaves
an event, and refusals are shown."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from snapshots.access import SYSTEM, is_root_admin
from snapshots.choices import Role
from snapshots.models import Account, ApiToken, Domain, Event, Membership, User, VirtualMachine
from snapshots.services import tenancy
from tests.builders import PASSWORD, People
from tests.doors.admin_forms import NO_ROLES, act, add, change, delete, errors, last_event, messages

# Domains and accounts


def test_a_domain_is_added_below_another_with_its_path_and_an_event(root: Client, people: People) -> None:
    assert add(root, Domain, name="Sales", parent=people.organisation.pk).status_code == 302
    made = Domain.objects.get(name="Sales")
    assert made.path == f"{people.organisation.path}{made.pk}/"
    event = last_event()
    assert (event.action, event.user, event.trigger) == ("tenancy.domain.created", people.root, "admin")
    assert event.from_address == "127.0.0.1"


def test_a_domain_name_in_use_is_shown_at_the_field(root: Client, people: People) -> None:
    before = Domain.objects.count()
    assert "already" in errors(add(root, Domain, name="engineering", parent=people.organisation.pk))
    assert "already" in errors(add(root, Domain, name="organisation", parent=""))
    assert Domain.objects.count() == before


def test_a_domain_is_renamed_and_moved_with_all_below(root: Client, people: People) -> None:
    inner = tenancy.create_domain(SYSTEM, name="inner", parent=people.engineering)
    answer = change(root, people.engineering, name="Engineering & Co", parent=people.elsewhere.pk)
    assert answer.status_code == 302
    people.engineering.refresh_from_db()
    inner.refresh_from_db()
    assert people.engineering.name == "Engineering & Co"
    assert people.engineering.path == f"{people.elsewhere.path}{people.engineering.pk}/"
    assert inner.path == f"{people.engineering.path}{inner.pk}/"
    assert set(Event.objects.values_list("action", flat=True)) >= {"tenancy.domain.moved", "tenancy.domain.renamed"}


def test_a_domain_is_not_put_below_itself_and_nothing_of_the_form_is_kept(root: Client, people: People) -> None:
    answer = change(root, people.organisation, name="changed", parent=people.engineering.pk)
    assert "Inside the domain itself" in errors(answer)
    people.organisation.refresh_from_db()
    assert (people.organisation.name, people.organisation.parent) == ("organisation", None)


def test_a_full_domain_is_not_deleted_and_an_empty_one_is(root: Client, people: People) -> None:
    assert "still holds engineering" in messages(delete(root, people.organisation))
    assert Domain.objects.filter(pk=people.organisation.pk).exists()
    empty = tenancy.create_domain(SYSTEM, name="empty", parent=people.organisation)
    assert delete(root, empty).status_code == 200
    assert not Domain.objects.filter(pk=empty.pk).exists()
    assert last_event().action == "tenancy.domain.deleted"


def test_an_account_is_added_and_renamed(root: Client, people: People) -> None:
    assert add(root, Account, name="<b>shop</b>", domain=people.engineering.pk).status_code == 302
    made = Account.objects.get(name="<b>shop</b>")
    assert "<b>shop</b>" not in root.get(reverse("admin:snapshots_account_changelist")).content.decode()
    assert change(root, made, name="shop", domain=people.engineering.pk).status_code == 302
    made.refresh_from_db()
    assert made.name == "shop"


def test_an_account_is_moved_to_another_domain(root: Client, people: People) -> None:
    assert change(root, people.acme, name="acme", domain=people.elsewhere.pk).status_code == 302
    people.acme.refresh_from_db()
    assert people.acme.domain == people.elsewhere
    assert last_event().action == "tenancy.account.moved"


def test_an_account_name_in_use_is_shown_at_the_field(root: Client, people: People) -> None:
    assert "already" in errors(add(root, Account, name="acme", domain=people.engineering.pk))
    assert Account.objects.filter(name="acme").count() == 1


def test_an_account_with_machines_is_not_deleted_and_names_them(
    root: Client, people: People, web: VirtualMachine
) -> None:
    assert "still holds db, web" in messages(delete(root, people.acme))
    assert Account.objects.filter(pk=people.acme.pk).exists()


def test_an_empty_account_is_deleted_with_its_roles(root: Client, people: People) -> None:
    delete(root, people.other)
    assert not Account.objects.filter(pk=people.other.pk).exists()
    assert not people.charlie.memberships.exists()


# Users and roles


def add_erin(root: Client, role: str, account: Account) -> Any:
    """Fill in the form of a new user who gets this role on the account at once."""
    return add(
        root,
        User,
        username="erin",
        password=PASSWORD,
        repeated=PASSWORD,
        **{
            "memberships-TOTAL_FORMS": "1",
            "memberships-INITIAL_FORMS": "0",
            "memberships-0-role": role,
            "memberships-0-account": account.pk,
            "memberships-0-domain": "",
        },
    )


def test_a_user_is_added_with_a_role_at_once(root: Client, people: People) -> None:
    answer = add_erin(root, "operator", people.acme)
    assert answer.status_code == 302, errors(answer)
    erin = User.objects.get(username="erin")
    assert erin.check_password(PASSWORD)
    assert [(role.role, role.account) for role in erin.memberships.all()] == [("operator", people.acme)]
    assert set(Event.objects.values_list("action", flat=True)) >= {"tenancy.user.created", "tenancy.role.granted"}


@pytest.mark.parametrize(
    ("username", "password", "repeated", "said"),
    [
        ("alice", PASSWORD, PASSWORD, "already exists"),
        ("new", "12345678", "12345678", "too common"),
        ("new", PASSWORD, "something else", "differ"),
        ("no spaces", PASSWORD, PASSWORD, "valid username"),
        ("", PASSWORD, PASSWORD, "required"),
    ],
)
def test_a_bad_new_user_is_refused_at_the_field(
    username: str, password: str, repeated: str, said: str, root: Client
) -> None:
    before = User.objects.count()
    answer = add(root, User, username=username, password=password, repeated=repeated, **NO_ROLES)
    assert said in errors(answer)
    assert User.objects.count() == before
    assert password not in answer.content.decode(), "a password is never sent back"


def test_a_role_that_does_not_fit_its_place_is_refused_and_the_user_not_made(root: Client, people: People) -> None:
    answer = add_erin(root, "domain_admin", people.acme)
    assert "does not fit" in errors(answer)
    assert not User.objects.filter(username="erin").exists()


def test_a_user_is_switched_off_and_gets_a_new_password(root: Client, people: People) -> None:
    there = Client()
    assert there.login(username="alice", password=PASSWORD)
    role = people.alice.memberships.get()
    roles = {
        "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "1",
        "memberships-0-id": role.pk,
        "memberships-0-user": people.alice.pk,
    }
    assert change(root, people.alice, new_password="another horse 9", **roles).status_code == 302
    people.alice.refresh_from_db()
    assert not people.alice.is_active
    assert people.alice.check_password("another horse 9")
    assert people.alice.memberships.get() == role
    assert {"tenancy.user.deactivated", "tenancy.user.password_set"} <= set(
        Event.objects.values_list("action", flat=True)
    )
    assert "another horse 9" not in " ".join(Event.objects.values_list("detail", flat=True))


def test_a_role_is_taken_away_on_the_users_page(root: Client, people: People) -> None:
    role = people.alice.memberships.get()
    roles = {
        "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "1",
        "memberships-0-id": role.pk,
        "memberships-0-user": people.alice.pk,
        "memberships-0-DELETE": "on",
    }
    assert change(root, people.alice, is_active="on", new_password="", **roles).status_code == 302
    assert not people.alice.memberships.exists()
    assert last_event().action == "tenancy.role.revoked"


def test_a_weak_new_password_is_refused_and_the_old_one_stays(root: Client, people: People) -> None:
    answer = change(root, people.nora, is_active="on", new_password="123", **NO_ROLES)
    assert "too short" in errors(answer)
    people.nora.refresh_from_db()
    assert people.nora.check_password(PASSWORD)


def test_nobody_switches_themselves_off_or_changes_their_own_roles(root: Client, people: People) -> None:
    role = people.root.memberships.get()
    roles = {
        "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "1",
        "memberships-0-id": role.pk,
        "memberships-0-user": people.root.pk,
    }
    assert "themselves" in errors(change(root, people.root, new_password="", **roles))
    answer = change(root, people.root, is_active="on", new_password="", **roles, **{"memberships-0-DELETE": "on"})
    assert "their own roles" in errors(answer)
    people.root.refresh_from_db()
    assert is_root_admin(people.root)


def test_a_role_is_given_and_taken_on_the_page_of_roles(root: Client, people: People) -> None:
    answer = add(root, Membership, user=people.nora.pk, role="reader", account=people.other.pk, domain="")
    assert answer.status_code == 302
    given = people.nora.memberships.get()
    assert (given.role, given.account) == (Role.READER, people.other)
    delete(root, given)
    assert not people.nora.memberships.exists()


def test_a_role_given_twice_replaces_the_first(root: Client, people: People) -> None:
    answer = add(root, Membership, user=people.alice.pk, role="reader", account=people.acme.pk, domain="")
    assert answer.status_code == 302
    assert people.alice.memberships.get().role == Role.READER


def test_ones_own_role_cannot_be_taken(root: Client, people: People) -> None:
    answer = delete(root, people.root.memberships.get())
    assert "their own roles" in messages(answer)
    assert is_root_admin(people.root)


def test_a_token_is_ended_and_never_shown(root: Client, people: People) -> None:
    token, text = tenancy.create_token(SYSTEM, user=people.alice, name="backup")
    page = root.get(reverse("admin:snapshots_apitoken_change", args=[token.pk])).content.decode()
    assert text not in page
    assert token.digest not in page.replace(f"/{token.pk}/", "")
    answer = act(root, "revoke", [token])
    assert "Ended: 1." in messages(answer)
    assert not ApiToken.objects.exists()
    assert last_event().action == "token.revoked"

"""The demo's people and machines: made once, left as people changed them, and never in somebody else's installation."""

import io
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from snapshots.access import SYSTEM, is_root_admin, operable_accounts, visible_machines
from snapshots.choices import LimitKind
from snapshots.models import Account, Domain, Event, Limit, Schedule, UsagePrice, User, VirtualMachine
from snapshots.services import demo_seed, limit_setting, schedules, tenancy


@pytest.fixture(autouse=True)
def own_folder(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    settings.DEMO_PASSWORD = ""
    return tmp_path


def seed(**options: Any) -> str:
    out = io.StringIO()
    call_command("seed_demo", stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
def test_the_people_of_the_demo_have_their_roles_and_machines() -> None:
    seed(simulated=True)
    people = {user.username: user for user in User.objects.all()}
    assert set(people) == {"admin", "dora", "alice", "bob"}
    assert is_root_admin(people["admin"])
    assert not people["admin"].is_superuser

    def accounts(name: str) -> set[str]:
        return set(operable_accounts(people[name]).values_list("name", flat=True))

    assert accounts("dora") == {"Web shop", "Build farm"}
    assert accounts("alice") == {"Web shop"}
    assert accounts("bob") == {"Accounting"}
    seen = {name: set(visible_machines(people[name])) for name in people}
    assert seen["alice"]
    assert seen["bob"]
    assert seen["alice"] < seen["dora"]
    assert not seen["alice"] & seen["bob"]
    assert seen["admin"] == set(VirtualMachine.objects.all())
    assert not VirtualMachine.objects.filter(account=None).exists()


@pytest.mark.django_db
def test_the_accounts_begin_with_limits_and_usage_with_a_price_and_both_stay_as_people_set_them() -> None:
    seed()
    limits = Limit.objects.filter(kind=LimitKind.SNAPSHOTS)
    of_accounts = limits.filter(domain=None).values_list("account__name", "value")
    assert dict(of_accounts) == demo_seed.LIMITS_OF_ACCOUNTS
    of_domains = limits.filter(account=None).values_list("domain__name", "value")
    assert dict(of_domains) == demo_seed.LIMITS_OF_DOMAINS
    assert UsagePrice.objects.get().currency == "EUR"
    shop = Account.objects.get(name="Web shop")
    limit_setting.set_limit(SYSTEM, on=shop, kind=LimitKind.SNAPSHOTS, value=None)
    seed()
    assert not limits.filter(account=shop).exists()
    assert UsagePrice.objects.count() == 1


@pytest.mark.django_db
def test_one_machine_of_the_shop_has_a_schedule_and_stays_without_when_people_delete_it() -> None:
    seed(simulated=True)
    made = Schedule.objects.get()
    assert (made.name, made.machine.account.name) == ("Nightly", "Web shop")
    schedules.delete_schedule(SYSTEM, schedule=made)
    seed(simulated=True)
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_the_password_is_made_once_told_again_and_kept_closed_and_hashed(own_folder: Path) -> None:
    first = seed()
    kept = own_folder / "demo_password"
    password = kept.read_text().strip()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert password in first
    assert password in seed()
    assert User.objects.get(username="alice").check_password(password)
    assert password not in User.objects.get(username="alice").password
    assert password not in " ".join(Event.objects.values_list("detail", flat=True))


@pytest.mark.django_db
def test_a_given_password_is_used_at_every_start_and_not_written_down(own_folder: Path, settings: Settings) -> None:
    settings.DEMO_PASSWORD = "demo"
    seed()
    assert not (own_folder / "demo_password").exists()
    settings.DEMO_PASSWORD = "other"
    seed()
    assert {user.check_password("other") for user in User.objects.all()} == {True}


@pytest.mark.django_db
def test_a_second_start_changes_nothing_that_people_changed() -> None:
    seed(simulated=True)
    web = VirtualMachine.objects.filter(account__name="Web shop").first()
    assert web is not None
    tenancy.assign_machine(SYSTEM, machine=web, account=None)
    alice = User.objects.get(username="alice")
    tenancy.set_password(SYSTEM, user=alice, password="my own words 1")
    tenancy.revoke_role(SYSTEM, membership=User.objects.get(username="bob").memberships.get())
    before = (Domain.objects.count(), Account.objects.count(), User.objects.count())
    told = seed(simulated=True)
    web.refresh_from_db()
    alice.refresh_from_db()
    assert web.account is None
    assert alice.check_password("my own words 1")
    assert "alice changed theirs since" in told
    assert not User.objects.get(username="bob").memberships.exists()
    assert (Domain.objects.count(), Account.objects.count(), User.objects.count()) == before


@pytest.mark.django_db
def test_an_installation_with_users_of_its_own_gets_no_demo_people(own_folder: Path) -> None:
    tenancy.create_user(SYSTEM, username="admin", password="somebody else's 1")
    with pytest.raises(CommandError, match="users of its own"):
        seed()
    assert User.objects.get().check_password("somebody else's 1")
    assert not Domain.objects.exists()


@pytest.mark.django_db
def test_a_lost_password_file_is_said_and_no_password_is_changed(own_folder: Path) -> None:
    seed()
    before = set(User.objects.values_list("password", flat=True))
    (own_folder / "demo_password").unlink()
    assert "VMSNAP_DEMO_PASSWORD" in seed()
    assert set(User.objects.values_list("password", flat=True)) == before
    assert not (own_folder / "demo_password").exists()

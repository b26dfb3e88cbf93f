"""What the demo starts with: a tree of domains, accounts with limits, people, a price of usage, and the machines of one
hypervisor shared out, one of them with a schedule.

Everything goes through the services that admins use. All of it may be repeated: what is there is left alone, so that
what people changed since stays changed.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from hypervisors.models import Hypervisor
from snapshots.access import SYSTEM
from snapshots.choices import FINAL_JOB_STATES, Frequency, LimitKind, PriceUnit, Role, UsageType
from snapshots.models import Account, Domain, Event, Job, User, VirtualMachine, Volume
from snapshots.services import endpoints, limit_setting, schedules, tenancy
from snapshots.services.job_runner import run_job
from snapshots.services.schedule_rules import Terms
from snapshots.services.usage_prices import PriceTerms, set_price

ROOT = "Example"
# Account: the domain it is in.
ACCOUNTS = {"Web shop": "Engineering", "Build farm": "Engineering", "Accounting": "Sales"}
# Whose a machine is, by the beginning of its name; the last account has what nobody else takes.
OWNERS = {"web": "Web shop", "jump": "Web shop", "build": "Build farm", "batch": "Build farm"}
ANYBODY_ELSE = "Accounting"
# Machines that nobody is given, so that there is something to import.
NOT_YET_GIVEN = "new-"
PEOPLE = {
    "admin": "root admin: everything, and the administration",
    "dora": "domain admin of Engineering: its accounts Web shop and Build farm",
    "alice": "operator of the account Web shop",
    "bob": "operator of the account Accounting",
}
# How many VM snapshots they may have, so that there is something to see of limits. Far more than a demo takes.
LIMITS_OF_DOMAINS = {ROOT: 150, "Engineering": 100}
LIMITS_OF_ACCOUNTS = {"Web shop": 60, "Build farm": 60}
PRICE = PriceTerms(
    type=UsageType.VM_SNAPSHOT_ON_PRIMARY,
    unit=PriceUnit.ALLOCATED,
    amount=Decimal("0.0002"),
    currency="EUR",
    pool=None,
    valid_from=datetime(2026, 1, 1, tzinfo=UTC),
    valid_until=None,
)
# What is scheduled of the first machine, by name, of that account on each endpoint.
SCHEDULED_FOR = "Web shop"
SCHEDULE = Terms(name="Nightly", frequency=Frequency.DAILY, hour=2, minute=0, time_zone="UTC", keep=5, memory=True)
READ_WITHIN_SECONDS = 60.0


@dataclass(frozen=True)
class Seeded:
    """What `seed_people` found or made. `strangers` says that others use this installation, so nothing was made."""

    made: tuple[str, ...] = ()
    strangers: bool = False


def is_seeded() -> bool:
    """Whether the demo's people live here."""
    return Domain.objects.filter(name=ROOT, parent=None).exists()


def seed_people(password: str, *, reset: bool) -> Seeded:
    """Make the domains, accounts and users that are missing, users with this password. With `reset` those that are
    there get it too. Nothing is made in an installation that others have begun to use."""
    if not is_seeded() and User.objects.exists():
        return Seeded(strangers=True)
    is_new = not is_seeded()
    root = _domain(ROOT, None)
    domains = {name: _domain(name, root) for name in dict.fromkeys(ACCOUNTS.values())}
    accounts = {name: _account(name, domains[place]) for name, place in ACCOUNTS.items()}
    made = tuple(name for name in PEOPLE if _user(name, password, reset))
    for name in made:
        user = User.objects.get(username=name)
        match name:
            case "admin":
                tenancy.grant_role(SYSTEM, user=user, role=Role.ROOT_ADMIN)
            case "dora":
                tenancy.grant_role(SYSTEM, user=user, role=Role.DOMAIN_ADMIN, domain=domains["Engineering"])
            case "alice":
                tenancy.grant_role(SYSTEM, user=user, role=Role.OPERATOR, account=accounts["Web shop"])
            case "bob":
                tenancy.grant_role(SYSTEM, user=user, role=Role.OPERATOR, account=accounts["Accounting"])
    if is_new:
        _set_limits({ROOT: root, **domains}, LIMITS_OF_DOMAINS)
        _set_limits(accounts, LIMITS_OF_ACCOUNTS)
        set_price(SYSTEM, PRICE)
    return Seeded(made=made)


def _set_limits(places: Mapping[str, Account | Domain], limits: Mapping[str, int]) -> None:
    for name, most in limits.items():
        limit_setting.set_limit(SYSTEM, on=places[name], kind=LimitKind.SNAPSHOTS, value=most)


def _domain(name: str, parent: Domain | None) -> Domain:
    found = Domain.objects.filter(name=name, parent=parent).first()
    return found or tenancy.create_domain(SYSTEM, name=name, parent=parent)


def _account(name: str, domain: Domain) -> Account:
    found = Account.objects.filter(name=name, domain=domain).first()
    return found or tenancy.create_account(SYSTEM, name=name, domain=domain)


def _user(name: str, password: str, reset: bool) -> bool:
    """Make the user if there is none; returns whether it was made."""
    user = User.objects.filter(username=name).first()
    if user is None:
        tenancy.create_user(SYSTEM, username=name, password=password, any_password=True)
        return True
    if reset and not user.check_password(password):
        tenancy.set_password(SYSTEM, user=user, password=password, any_password=True)
    return False


def passwords_changed(password: str) -> list[str]:
    """Those of the demo's people who have another password by now."""
    users = User.objects.filter(username__in=PEOPLE)
    return [user.username for user in users if not user.check_password(password)]


def endpoint_for(
    *, name: str, kind: str, address: str, username: str = "", password: str = "", ca_certificate: str = ""
) -> Hypervisor:
    """The endpoint at this address, added under this name when there is none."""
    found = Hypervisor.objects.filter(kind=kind, address=address).first()
    if found is not None:
        return found
    named = Hypervisor.objects.filter(name=name, kind=kind).first()
    if named is None:
        return endpoints.add_endpoint(
            SYSTEM,
            name=name,
            kind=kind,
            address=address,
            username=username,
            password=password,
            ca_certificate=ca_certificate,
        )
    # The data folder was moved, or the port was taken: it is the same hypervisor at another address.
    return endpoints.change_endpoint(
        SYSTEM,
        hypervisor=named,
        name=named.name,
        address=address,
        username=username or named.username,
        password=password or None,
        enabled=named.enabled,
        ca_certificate=ca_certificate or named.ca_certificate,
    )


def read_now(hypervisor: Hypervisor) -> Job:
    """Read everything the endpoint holds, here, and return the ended job. Where a worker was quicker, wait for it, a
    minute at most."""
    job = endpoints.request_sync(SYSTEM, hypervisor=hypervisor)
    run_job(job.pk)
    deadline = time.monotonic() + READ_WITHIN_SECONDS
    while (ended := Job.objects.get(pk=job.pk)).state not in FINAL_JOB_STATES and time.monotonic() < deadline:
        time.sleep(0.2)  # another process writes the row; there is nothing to wait on but the row
    return ended


def share_out(hypervisor: Hypervisor) -> int:
    """Give the endpoint's machines and loose volumes to the demo's accounts: those that nobody has ever given away.
    Returns how many machines."""
    accounts = {account.name: account for account in Account.objects.filter(domain__parent__name=ROOT)}
    if not accounts.keys() >= ACCOUNTS.keys():
        return 0  # somebody has renamed or deleted them: this installation is no demo any more
    given = set(Event.objects.filter(action="machine.assigned").values_list("machine_id", flat=True))
    machines = VirtualMachine.objects.filter(hypervisor=hypervisor, account=None).exclude(pk__in=given)
    machines = machines.exclude(name__startswith=NOT_YET_GIVEN)
    for machine in machines:
        owner = next((OWNERS[start] for start in OWNERS if machine.name.startswith(start)), ANYBODY_ELSE)
        tenancy.assign_machine(SYSTEM, machine=machine, account=accounts[owner])
    if VirtualMachine.objects.filter(hypervisor=hypervisor, pk__in=given).exists():
        return len(machines)
    for volume in Volume.objects.filter(hypervisor=hypervisor, machine=None, account=None):
        tenancy.assign_volume(SYSTEM, volume=volume, account=accounts["Web shop"])
    _schedule_one(hypervisor)
    return len(machines)


def _schedule_one(hypervisor: Hypervisor) -> None:
    """A schedule to look at."""
    machines = VirtualMachine.objects.filter(hypervisor=hypervisor, account__name=SCHEDULED_FOR, missing_since=None)
    machine = machines.order_by("name", "pk").first()
    if machine is not None:
        schedules.add_schedule(SYSTEM, machine=machine, terms=SCHEDULE)

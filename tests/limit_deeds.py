"""Deeds about limits, in the same way as those in `deeds`."""

from concurrent.futures import ThreadPoolExecutor

from django.db import connection
from django.db.models import Q

from snapshots.access import SYSTEM
from snapshots.choices import LimitKind, Role
from snapshots.models import Account, Domain, LimitUse, User, VirtualMachine
from snapshots.refusals import Refusal
from snapshots.services import book_check, limit_setting, moving, tenancy
from tests.builders import account, domain, user
from tests.deeds import Outcome, ask_to_create, machine_of


def ask_to_create_on_each(cloud: str, machines: list[str]) -> list[Outcome]:
    """Ask for a VM snapshot of each of these machines, all at once."""

    def ask_for(machine: str) -> Outcome:
        try:
            return ask_to_create(cloud, "wanted", machine)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(machines)) as threads:
        return list(threads.map(ask_for, machines))


def limit_account_of(cloud: str, value: int) -> None:
    """Give all machines of the cloud to an account three domains deep that may have so many VM snapshots."""
    place = domain(f"third of {cloud}", domain(f"second of {cloud}", domain(f"first of {cloud}")))
    owner = account(cloud, place)
    for machine in VirtualMachine.objects.filter(hypervisor__name=cloud):
        tenancy.assign_machine(SYSTEM, machine=machine, account=owner)
    limit_setting.set_limit(SYSTEM, on=owner, kind=LimitKind.SNAPSHOTS, value=value)


def limit_to(cloud: str, value: int) -> None:
    """Let the cloud's account have so many VM snapshots from now on."""
    owner = Account.objects.select_related("domain").get(name=cloud)
    limit_setting.set_limit(SYSTEM, on=owner, kind=LimitKind.SNAPSHOTS, value=value)


def limit_domain_over(clouds: list[str], value: int) -> None:
    """Put the domains of these clouds' accounts below one that may have so many VM snapshots."""
    top = domain(f"over {clouds[0]}")
    for cloud in clouds:
        moving.move_domain(SYSTEM, domain=Domain.objects.get(name=f"first of {cloud}"), parent=top)
    limit_setting.set_limit(SYSTEM, on=top, kind=LimitKind.SNAPSHOTS, value=value)


def move_account_about(cloud: str, times: int) -> None:
    """Move the cloud's account between two domains, so many times."""
    for number in range(times):
        place = Domain.objects.get(name=f"{'second' if number % 2 else 'first'} of {cloud}")
        moving.move_account(SYSTEM, account=Account.objects.select_related("domain").get(name=cloud), domain=place)


def hand_about(cloud: str, machine: str, times: int) -> None:
    """Give a machine to nobody and back to the cloud's account, so many times."""
    owner = Account.objects.get(name=cloud)
    for number in range(times):
        row = machine_of(cloud, machine)
        tenancy.assign_machine(SYSTEM, machine=row, account=owner if number % 2 else None)


def open_accounts(cloud: str, machines: list[str]) -> None:
    """Below the cloud's middle domain, an account for each of these machines, which gets it."""
    for name in machines:
        # Read in the middle of everything, as a form is.
        owner = account(f"{name} of {cloud}", Domain.objects.get(name=f"second of {cloud}"))
        tenancy.assign_machine(SYSTEM, machine=machine_of(cloud, name), account=owner)


def move_domain_about(cloud: str, times: int) -> None:
    """Move the cloud's middle domain to the top and back below the first, so many times."""
    for number in range(times):
        above = Domain.objects.get(name=f"first of {cloud}") if number % 2 else None
        moving.move_domain(SYSTEM, domain=Domain.objects.get(name=f"second of {cloud}"), parent=above)


def move_or_delete(verb: str, cloud: str) -> str:
    """Move the cloud's account into the domain "doomed of" it, or delete that; "done" or why not."""
    place = Domain.objects.filter(name=f"doomed of {cloud}").first()
    if place is None:
        return "not_found"
    try:
        if verb == "delete":
            tenancy.delete_domain(SYSTEM, domain=place)
        else:
            owner = Account.objects.select_related("domain").get(name=cloud)
            moving.move_account(SYSTEM, account=owner, domain=place)
    except Refusal as refusal:
        return refusal.code
    return "done"


def give_or_delete(verb: str, cloud: str) -> str:
    """Give the cloud's first machine, or a role, to what is "doomed of" it, or delete that; "done" or why not."""
    place = Domain.objects.filter(name=f"doomed of {cloud}").first()
    owner = Account.objects.select_related("domain").filter(name=f"doomed of {cloud}").first()
    if place is None and owner is None:
        return "not_found"
    person = User.objects.get(username=f"operator-{cloud}")
    try:
        if verb == "delete" and owner is not None:
            tenancy.delete_account(SYSTEM, account=owner)
        elif verb == "delete" and place is not None:
            tenancy.delete_domain(SYSTEM, domain=place)
        elif verb == "give machine":
            tenancy.assign_machine(SYSTEM, machine=machine_of(cloud), account=owner)
        else:
            role = Role.READER if owner is not None else Role.DOMAIN_ADMIN
            tenancy.grant_role(SYSTEM, user=person, role=role, account=owner, domain=place)
    except Refusal as refusal:
        return refusal.code
    return "done"


def doom_account(cloud: str) -> None:
    """Make the account "doomed of" the cloud, which owns nothing."""
    tenancy.assign_machine(SYSTEM, machine=machine_of(cloud), account=None)
    if not Account.objects.filter(name=f"doomed of {cloud}").exists():
        account(f"doomed of {cloud}", Account.objects.select_related("domain").get(name=cloud).domain)


def add_operator(cloud: str) -> None:
    """A user for the cloud, of its account."""
    user(f"operator-{cloud}", Role.OPERATOR, account=Account.objects.get(name=cloud))


def doom(cloud: str) -> None:
    """Make the empty domain "doomed of" the cloud, with the cloud's account outside of it."""
    place = Domain.objects.filter(name=f"doomed of {cloud}").first() or domain(f"doomed of {cloud}")
    owner = Account.objects.select_related("domain").get(name=cloud)
    if owner.domain == place:
        moving.move_account(SYSTEM, account=owner, domain=Domain.objects.get(name=f"first of {cloud}"))


def do(name: str, *arguments: object) -> object:
    """Any deed by its name."""
    return globals()[name](*arguments)


def used_of(cloud: str) -> list[int]:
    """How many VM snapshots are in use by the cloud's account and each domain above it, as booked."""
    owner = Account.objects.select_related("domain").get(name=cloud)
    rows = LimitUse.objects.filter(Q(account=owner) | Q(domain__in=owner.domain.ancestor_ids)).order_by("pk")
    return list(rows.values_list("snapshots", flat=True))


def wrong_books() -> list[str]:
    """Where the books differ from the rows."""
    return [difference.words for difference in book_check.check_books(repair=False)]

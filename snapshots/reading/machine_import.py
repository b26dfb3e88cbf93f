"""What hypervisors hold and whose it is: the page from which machines are given to accounts. For root admins only.

The number of queries is constant, however many machines and accounts there are.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Exists, OuterRef, Q, QuerySet

from hypervisors.models import Hypervisor
from snapshots.access import Person, visible_accounts, visible_hypervisors, visible_machines
from snapshots.models import Account, Domain, ImportRule, Job, VirtualMachine, Volume
from snapshots.reading.machine_page import active_jobs_of

MACHINES_PER_PAGE = 100
# A menu of more helps nobody: who has more accounts than this narrows them by typing.
ACCOUNTS_OFFERED = 500

NOBODY, ALL = "nobody", "all"


@dataclass(frozen=True, slots=True)
class ImportQuery:
    """What is asked for. `owner` is `NOBODY` or `ALL`; empty texts and None do not narrow. `accounts` narrows the
    accounts that are offered."""

    text: str = ""
    hypervisor: UUID | None = None
    owner: str = NOBODY
    accounts: str = ""
    page: int = 1

    @property
    def narrowed(self) -> bool:
        """Whether anything is left out besides the machines that somebody owns."""
        return bool(self.text or self.hypervisor)


@dataclass(frozen=True, slots=True)
class AccountMenu:
    """Accounts to choose from: (the full name of a domain, its accounts). `more`: there are others, found by typing."""

    groups: list[tuple[str, list[Account]]]
    more: bool

    @property
    def empty(self) -> bool:
        """Whether there is nothing to choose."""
        return not self.groups


@dataclass(frozen=True, slots=True)
class ImportList:
    """One page of machines. `pools` are the storage pools of their volumes, `busy` the jobs under way on them;
    `unowned` counts all machines that nobody owns, `rules` the import rules."""

    page: Page[VirtualMachine]
    pools: dict[int, list[str]]
    busy: dict[int, Job]
    hypervisors: list[Hypervisor]
    accounts: AccountMenu
    unowned: int
    rules: int

    @property
    def any_simulated(self) -> bool:
        """Whether some machine shown is on a simulated hypervisor."""
        return any(machine.hypervisor.simulated for machine in self.page.object_list)


def import_list(person: Person, query: ImportQuery) -> ImportList:
    """One page. Nine queries, whatever there is."""
    everything = visible_machines(person)
    rows = _narrowed(everything, query).select_related("hypervisor", "account__domain").defer("capabilities")
    page = Paginator(rows.order_by("name", "pk"), MACHINES_PER_PAGE).get_page(query.page)
    machines = list(page.object_list)
    page.object_list = machines
    return ImportList(
        page=page,
        pools=_storage_pools(machines),
        busy=active_jobs_of([machine.pk for machine in machines]),
        hypervisors=list(visible_hypervisors(person).order_by("name")),
        accounts=account_menu(person, query.accounts),
        unowned=everything.filter(account=None).count(),
        rules=ImportRule.objects.count(),
    )


def account_menu(person: Person, text: str = "") -> AccountMenu:
    """The accounts a person sees, under the full names of their domains. Two queries."""
    rows = visible_accounts(person).select_related("domain").order_by("domain__path", "name", "pk")
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(domain__name__icontains=text))
    found = list(rows[: ACCOUNTS_OFFERED + 1])
    wanted = {pk for account in found for pk in account.domain.ancestor_ids}
    names = dict(Domain.objects.filter(pk__in=wanted).values_list("pk", "name"))
    groups: dict[str, list[Account]] = defaultdict(list)
    for account in found[:ACCOUNTS_OFFERED]:
        groups[" / ".join(names[pk] for pk in account.domain.ancestor_ids)].append(account)
    return AccountMenu(list(groups.items()), len(found) > ACCOUNTS_OFFERED)


def import_rules() -> list[ImportRule]:
    """All rules, in the order in which they are tried. One query."""
    return list(ImportRule.objects.select_related("account__domain", "hypervisor").order_by("position", "pk"))


def _narrowed(rows: QuerySet[VirtualMachine], query: ImportQuery) -> QuerySet[VirtualMachine]:
    if query.owner != ALL:
        rows = rows.filter(account=None)
    if query.hypervisor:
        rows = rows.filter(hypervisor__uuid=query.hypervisor)
    if query.text:
        text = query.text
        # SQLite keeps JSON with everything but ASCII escaped.
        escaped = json.dumps(text)[1:-1]
        in_pool = Volume.objects.filter(machine=OuterRef("pk"), pool__name__icontains=text)
        rows = rows.filter(
            Q(name__icontains=text)
            | Q(folder__icontains=text)
            | Q(resource_pool__icontains=text)
            | Q(tags__icontains=text)
            | Q(tags__icontains=escaped)
            | Exists(in_pool)
        )
    return rows


def _storage_pools(machines: list[VirtualMachine]) -> dict[int, list[str]]:
    names: dict[int, list[str]] = defaultdict(list)
    held = Volume.objects.filter(machine__in=machines, pool__isnull=False)
    for machine_pk, name in held.values_list("machine_id", "pool__name").distinct().order_by("pool__name"):
        names[machine_pk].append(name)
    return dict(names)

"""The list of machines a person sees: search, filters, sorting, pages. The number of queries is constant."""

from dataclasses import dataclass
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import F, Q, QuerySet

from hypervisors.models import Hypervisor
from snapshots.access import Person, visible_accounts, visible_hypervisors, visible_machines
from snapshots.models import Account, Job, VirtualMachine
from snapshots.reading.machine_page import active_jobs_of

MACHINES_PER_PAGE = 50
# An installation with more has to find its account by typing; a menu of thousands helps nobody.
ACCOUNTS_OFFERED = 200

SORTS = {
    "name": ("name", "pk"),
    "power_state": ("power_state", "name", "pk"),
    "snapshot_count": ("snapshot_count", "name", "pk"),
    "account": (F("account__name").asc(nulls_last=True), "name", "pk"),
    "hypervisor": ("hypervisor__name", "name", "pk"),
    "synced_at": (F("synced_at").asc(nulls_first=True), "name", "pk"),
}
DESCENDING = {
    "name": ("-name", "-pk"),
    "power_state": ("-power_state", "name", "pk"),
    "snapshot_count": ("-snapshot_count", "name", "pk"),
    "account": (F("account__name").desc(nulls_last=True), "name", "pk"),
    "hypervisor": ("-hypervisor__name", "name", "pk"),
    "synced_at": (F("synced_at").desc(nulls_last=True), "name", "pk"),
}


@dataclass(frozen=True, slots=True)
class MachineQuery:
    """What is asked for. Empty texts and None do not narrow; `sort` is a key of `SORTS`, "-" in front turns it."""

    text: str = ""
    power_state: str = ""
    hypervisor: UUID | None = None
    account: UUID | None = None
    sort: str = "name"
    page: int = 1

    @property
    def narrowed(self) -> bool:
        """Whether anything is left out."""
        return bool(self.text or self.power_state or self.hypervisor or self.account)


@dataclass(frozen=True, slots=True)
class MachineList:
    """One page of machines, with the jobs under way on them and what can be filtered by."""

    page: Page[VirtualMachine]
    busy: dict[int, Job]
    hypervisors: list[Hypervisor]
    accounts: list[Account]

    @property
    def any_simulated(self) -> bool:
        """Whether some machine shown is on a simulated hypervisor."""
        return any(machine.hypervisor.simulated for machine in self.page.object_list)


def machine_list(person: Person, query: MachineQuery) -> MachineList:
    """One page. Five queries beside those that find out who the person is."""
    rows = _narrowed(visible_machines(person), query)
    descending, key = query.sort.startswith("-"), query.sort.removeprefix("-")
    ordering = (DESCENDING if descending else SORTS).get(key, SORTS["name"])
    listed = rows.select_related("hypervisor", "account__domain").defer("capabilities").order_by(*ordering)
    page = Paginator(listed, MACHINES_PER_PAGE).get_page(query.page)
    machines = list(page.object_list)
    page.object_list = machines
    return MachineList(
        page=page,
        busy=active_jobs_of([machine.pk for machine in machines]),
        hypervisors=list(visible_hypervisors(person).order_by("name")),
        accounts=list(visible_accounts(person).select_related("domain").order_by("name", "pk")[:ACCOUNTS_OFFERED]),
    )


def _narrowed(rows: QuerySet[VirtualMachine], query: MachineQuery) -> QuerySet[VirtualMachine]:
    if query.text:
        rows = rows.filter(Q(name__icontains=query.text) | Q(account__name__icontains=query.text))
    if query.power_state:
        rows = rows.filter(power_state=query.power_state)
    if query.hypervisor:
        rows = rows.filter(hypervisor__uuid=query.hypervisor)
    if query.account:
        rows = rows.filter(account__uuid=query.account)
    return rows

"""How full the storage pools are that a person sees, who of what they see holds how much, and when pools will be full.

How full a pool is, in whole percent, everybody is told whose volumes lie in it: it decides whether their VM snapshots are
taken. How many bytes are allocated in it altogether only root admins are told: it is what others hold. Everybody sees the
bytes of their own machines. The number of queries is constant.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from hypervisors.models import Hypervisor
from snapshots.access import Person, is_root_admin, visible_accounts, visible_machines, visible_pools
from snapshots.models import Account, MachineAllocation, StoragePool, VirtualMachine
from snapshots.pool_room import Held, PoolRoom, rooms_of, sums_by
from snapshots.reading.capacity_series import forecasts_of
from snapshots.reading.forecast import Forecast
from snapshots.reading.largest_machines import MachineHeld, largest_machines
from snapshots.refusals import NotVisible

POOLS_PER_PAGE = 25
MACHINES_SHOWN = 100
ACCOUNTS_SHOWN = 25
ENDPOINTS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool as a person sees it: how full it is, what their machines hold there (`own`), and, for root admins, when it
    will be full."""

    room: PoolRoom
    own: Held
    forecast: Forecast | None
    sees_all: bool

    @property
    def all(self) -> Held | None:
        """What all hold there together; None for those who are not told."""
        if not self.sees_all:
            return None
        return Held(self.room.volume_bytes, self.room.estimated_bytes, self.room.measured_bytes)


@dataclass(frozen=True, slots=True)
class CapacityReport:
    """One page of pools by name; `sees_all`: the person is told what all hold together. `endpoints` and `accounts` are
    those with the most, with what the person sees of them."""

    page: Page[StoragePool]
    pools: list[PoolView]
    endpoints: list[tuple[Hypervisor, Held]]
    accounts: list[tuple[Account, Held]]
    sees_all: bool

    @property
    def any_simulated(self) -> bool:
        """Whether some pool shown is on a simulated hypervisor."""
        return any(view.room.pool.hypervisor.simulated for view in self.pools)


def capacity_report(person: Person, number: int | str = 1) -> CapacityReport:
    """One page. Ten queries at most, beside those that find out who the person is."""
    rows = visible_pools(person).filter(missing_since=None).select_related("hypervisor").order_by("name", "pk")
    page = Paginator(rows, POOLS_PER_PAGE).get_page(number)
    pools = list(page.object_list)
    page.object_list = pools
    return CapacityReport(page, views_of(person, pools), *_places(person), is_root_admin(person))


def fullest_pools(person: Person, most: int) -> tuple[list[PoolRoom], int]:
    """The fullest of all pools that the person sees, and how many these are. Four queries."""
    pools = list(visible_pools(person).filter(missing_since=None).order_by("name", "pk"))
    fullest = sorted(rooms_of(pools).values(), key=lambda room: -(room.percent or 0))
    return fullest[:most], len(pools)


def views_of(person: Person, pools: list[StoragePool]) -> list[PoolView]:
    """These pools as the person sees them, in their order. Five queries at most."""
    rooms = rooms_of(pools)
    own = sums_by(allocations(person).filter(pool__in=[pool.pk for pool in pools]), "pool_id")
    sees_all = is_root_admin(person)
    forecasts = forecasts_of(rooms.values()) if sees_all else {}
    return [PoolView(rooms[pool.pk], own[pool.pk], forecasts.get(pool.pk), sees_all) for pool in pools]


def add_allocation(person: Person, pools: Sequence[StoragePool]) -> None:
    """Give each of these rows its view `as_seen`, without a forecast. Four queries for any number of rows."""
    rooms = rooms_of(pools)
    own = sums_by(allocations(person).filter(pool__in=[pool.pk for pool in pools]), "pool_id")
    for pool in pools:
        view = PoolView(rooms[pool.pk], own[pool.pk], None, is_root_admin(person))
        pool.as_seen = view  # type: ignore[attr-defined]  # an annotation, not a column


def pool_view(person: Person, pool_uuid: UUID) -> PoolView:
    """One pool. Raises `NotVisible`."""
    pool = visible_pools(person).filter(uuid=pool_uuid).select_related("hypervisor").first()
    if pool is None:
        raise NotVisible("There is no such storage pool.")
    return views_of(person, [pool])[0]


def account_of(person: Person, account_uuid: UUID) -> tuple[Account, Held]:
    """An account with what it holds in all pools. Two queries. Raises `NotVisible`."""
    account = visible_accounts(person).filter(uuid=account_uuid).select_related("domain").first()
    if account is None:
        raise NotVisible("There is no such account.")
    held = sums_by(MachineAllocation.objects.filter(machine__account=account), "machine__account_id")
    return account, held[account.pk]


def held_by(machine: VirtualMachine) -> Held:
    """What a machine holds in all pools. One query."""
    return sums_by(MachineAllocation.objects.filter(machine=machine), "machine_id")[machine.pk]


def allocations(person: Person) -> QuerySet[MachineAllocation]:
    """What the machines that the person sees hold."""
    if is_root_admin(person):
        return MachineAllocation.objects.all()
    return MachineAllocation.objects.filter(machine__in=visible_machines(person).values("pk"))


def machines_in_pool(person: Person, pool: StoragePool) -> list[MachineHeld]:
    """The machines the person sees that hold most there. Two queries."""
    return largest_machines(allocations(person).filter(pool=pool), MACHINES_SHOWN)


def machines_of_account(account: Account) -> list[MachineHeld]:
    """The machines of an account that hold most. Two queries."""
    return largest_machines(MachineAllocation.objects.filter(machine__account=account), MACHINES_SHOWN)


def _places(person: Person) -> tuple[list[tuple[Hypervisor, Held]], list[tuple[Account, Held]]]:
    """What the person sees of each endpoint, by name, and of the accounts that hold most. Three queries."""
    by_both = sums_by(allocations(person), "machine__hypervisor_id", "machine__account_id")
    endpoints: dict[int, Held] = defaultdict(Held)
    accounts: dict[int, Held] = defaultdict(Held)
    for (endpoint, account), held in by_both.items():
        endpoints[endpoint] = endpoints[endpoint].with_more(held)
        if account is not None:
            accounts[account] = accounts[account].with_more(held)
    hypervisors = Hypervisor.objects.defer("password").filter(pk__in=endpoints).order_by("name")
    largest = sorted(accounts, key=lambda pk: -accounts[pk].allocated_bytes)
    rows = Account.objects.select_related("domain").in_bulk(largest[:ACCOUNTS_SHOWN])
    return (
        [(row, endpoints[row.pk]) for row in hypervisors[:ENDPOINTS_SHOWN]],
        [(rows[pk], accounts[pk]) for pk in largest[:ACCOUNTS_SHOWN]],
    )

"""The page on which people see what their account used: by month, and in one month by machine and by VM snapshot.

Usage belongs to the month in which it began, also where a later period corrects it: a record is in one month, even if its
period lies across the edge of two. Months are those of the zone in which usage is billed. What no period has billed yet
stands beside what is billed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Case, DateField, QuerySet, Value, When
from django.utils import timezone

from snapshots.access import Person, visible_accounts, visible_machines, visible_snapshots, visible_usage_records
from snapshots.choices import PeriodLength, UsageType
from snapshots.models import Account, UsageRecord
from snapshots.reading.open_usage import OpenPeriod, open_usage
from snapshots.reading.usage_totals import UsageSum, usage_sums
from snapshots.refusals import NotVisible
from snapshots.usage_arithmetic import NO_USE, Amounts, Stay, period_end, period_start

MONTHS_SHOWN = 12
ROWS_SHOWN = 100
ACCOUNTS_OFFERED = 200
VOLUMES, PRIMARY = UsageType.VM_SNAPSHOT, UsageType.VM_SNAPSHOT_ON_PRIMARY


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked for: an account, a month (its first day) and a machine in it. None: the page chooses, or all."""

    account: UUID | None = None
    month: date | None = None
    machine: UUID | None = None


@dataclass(slots=True)
class Use:
    """What was used: billed and not billed yet, of each type. In microseconds, byte-microseconds and billionths."""

    volumes: Amounts = NO_USE
    primary: Amounts = NO_USE
    open_volumes: Amounts = NO_USE
    open_primary: Amounts = NO_USE

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was used."""
        return all(amounts.is_nothing for amounts in (self.volumes, self.primary, self.open_volumes, self.open_primary))

    @property
    def all_primary(self) -> Amounts:
        """Type 27, billed or not."""
        return self.primary.plus(self.open_primary)

    @property
    def all_volumes(self) -> Amounts:
        """Type 25, billed or not."""
        return self.volumes.plus(self.open_volumes)

    @property
    def cost(self) -> int | None:
        """Of both types, billed or not; None without any price."""
        return self.all_primary.plus(self.all_volumes).cost

    def add_sum(self, kind: int, found: UsageSum) -> None:
        """Take the sum of some records in."""
        amounts = Amounts(found.microseconds, found.allocated, found.measured, found.unmeasured, found.cost)
        if kind == VOLUMES:
            self.volumes = self.volumes.plus(amounts)
        else:
            self.primary = self.primary.plus(amounts)

    def add_open(self, stay: Stay) -> None:
        """Take in what is not billed yet."""
        self.open_volumes = self.open_volumes.plus(stay.amounts(VOLUMES))
        self.open_primary = self.open_primary.plus(stay.amounts(PRIMARY))


@dataclass(slots=True)
class UsedThing:
    """A machine or a VM snapshot that was used, by the name it had last. `there`: it still is, and has a page."""

    uuid: UUID
    name: str
    use: Use
    there: bool = False
    machine_name: str = ""


@dataclass(slots=True)
class UsagePage:
    """All the page shows. `months` are the last ones, oldest first, each with what was used in it."""

    account: Account | None
    accounts: list[Account]
    months: dict[date, Use] = field(default_factory=dict)
    month: date | None = None
    machine: UsedThing | None = None
    machines: list[UsedThing] = field(default_factory=list)
    snapshots: list[UsedThing] = field(default_factory=list)
    more_machines: int = 0
    more_snapshots: int = 0
    open_since: datetime | None = None
    open_until: datetime | None = None
    currency: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether the account used nothing in all the months shown."""
        return all(use.is_nothing for use in self.months.values())


def usage_page(person: Person, query: UsageQuery) -> UsagePage:
    """The page for this person. Raises `NotVisible` for an account that is not theirs to see."""
    accounts = list(visible_accounts(person).select_related("domain").order_by("name", "pk")[:ACCOUNTS_OFFERED])
    account = _chosen(person, query, accounts)
    page = UsagePage(account, accounts)
    if account is None:
        return page
    found = open_usage(account.uuid, [_bounds(month)[0] for month in _last_months()])
    page.open_since, page.open_until = found.start, found.until
    page.months = _months(_of(person, account), found)
    page.month = query.month if query.month in page.months else max(page.months)
    _fill_month(person, account, page, found, query)
    return page


def month_records(person: Person, query: UsageQuery) -> QuerySet[UsageRecord]:
    """The records of the account (and month, and machine) that are asked for. Raises `NotVisible`."""
    account = _chosen(person, query, list(visible_accounts(person).order_by("name", "pk")[:1]))
    if account is None:
        return UsageRecord.objects.none()
    rows = _of(person, account)
    if query.month is not None:
        rows = _in_month(rows, query.month)
    return rows if query.machine is None else rows.filter(machine_uuid=query.machine)


def _chosen(person: Person, query: UsageQuery, accounts: list[Account]) -> Account | None:
    if query.account is None:
        return accounts[0] if accounts else None
    found = visible_accounts(person).filter(uuid=query.account).select_related("domain").first()
    if found is None:
        raise NotVisible("There is no such account.")
    return found


def _of(person: Person, account: Account) -> QuerySet[UsageRecord]:
    return visible_usage_records(person).filter(account_uuid=account.uuid)


def _zone() -> ZoneInfo:
    return ZoneInfo(settings.USAGE_TIME_ZONE)


def _month_of(at: datetime) -> date:
    return at.astimezone(_zone()).date().replace(day=1)


def _bounds(month: date) -> tuple[datetime, datetime]:
    within = datetime(month.year, month.month, 15, tzinfo=_zone())
    return period_start(within, PeriodLength.MONTH, _zone()), period_end(within, PeriodLength.MONTH, _zone())


def _in_month(rows: QuerySet[UsageRecord], month: date) -> QuerySet[UsageRecord]:
    start, end = _bounds(month)
    return rows.filter(start__gte=start, start__lt=end)


def _last_months() -> list[date]:
    newest = _month_of(timezone.now())
    numbers = range(newest.year * 12 + newest.month - MONTHS_SHOWN, newest.year * 12 + newest.month)
    return [date(number // 12, number % 12 + 1, 1) for number in numbers]


def _months(rows: QuerySet[UsageRecord], found: OpenPeriod) -> dict[date, Use]:
    months = {month: Use() for month in _last_months()}
    ends = [When(start__lt=_bounds(month)[1], then=Value(month)) for month in months]
    shown = rows.filter(start__gte=_bounds(min(months))[0], start__lt=_bounds(max(months))[1])
    of_month = shown.annotate(month=Case(*ends, output_field=DateField()))
    for (month, kind), total in usage_sums(of_month, "month", "type").items():
        months[month].add_sum(kind, total)
    for _, stay in found.used:
        use = months.get(_month_of(stay.start))
        if use is not None:
            use.add_open(stay)
    return months


def _fill_month(person: Person, account: Account, page: UsagePage, found: OpenPeriod, query: UsageQuery) -> None:
    assert page.month is not None  # noqa: S101  # it was just chosen
    month = page.month
    rows = _in_month(_of(person, account), month)
    used = [(uuid, stay) for uuid, stay in found.used if _month_of(stay.start) == month]
    machines = _by(rows, used, "machine", lambda _, stay: (stay.place[0], stay.names[1]))
    page.machine = next((thing for thing in machines if thing.uuid == query.machine), None)
    if page.machine is not None:
        chosen = page.machine.uuid
        rows = rows.filter(machine_uuid=chosen)
        used = [(uuid, stay) for uuid, stay in used if stay.place[0] == chosen]
    snapshots = _by(rows, used, "snapshot", lambda uuid, stay: (uuid, stay.names[0]))
    page.more_machines, page.machines = max(len(machines) - ROWS_SHOWN, 0), machines[:ROWS_SHOWN]
    page.more_snapshots, page.snapshots = max(len(snapshots) - ROWS_SHOWN, 0), snapshots[:ROWS_SHOWN]
    _mark_there(page.machines, visible_machines(person))
    _mark_there(page.snapshots, visible_snapshots(person))
    page.currency = next((stay.currency(kind) for _, stay in used for kind in UsageType if stay.currency(kind)), "")
    page.currency = page.currency or rows.exclude(currency="").values_list("currency", flat=True).first() or ""


def _by(
    rows: QuerySet[UsageRecord],
    used: Iterable[tuple[UUID, Stay]],
    what: str,
    of_open: Callable[[UUID, Stay], tuple[Any, str]],
) -> list[UsedThing]:
    """What was used of each machine or VM snapshot, the largest first."""
    uses: dict[UUID, Use] = defaultdict(Use)
    names: dict[UUID, tuple[str, str]] = {}
    sums = usage_sums(rows, f"{what}_uuid", f"{what}_name", "machine_name", "type")
    for (uuid, name, machine, kind), total in sums.items():
        uses[uuid].add_sum(kind, total)
        names[uuid] = (name, machine)
    for snapshot, stay in used:
        uuid, name = of_open(snapshot, stay)
        uses[uuid].add_open(stay)
        names.setdefault(uuid, (name, stay.names[1]))
    things = [UsedThing(uuid, names[uuid][0], use, machine_name=names[uuid][1]) for uuid, use in uses.items()]
    return sorted(
        things, key=lambda thing: (-thing.use.all_primary.allocated, -thing.use.all_volumes.allocated, thing.name)
    )


def _mark_there(things: list[UsedThing], rows: Any) -> None:
    there = dict(rows.filter(uuid__in=[thing.uuid for thing in things]).order_by().values_list("uuid", "name"))
    for thing in things:
        thing.there, thing.name = thing.uuid in there, there.get(thing.uuid, thing.name)

"""The page on which people see what their account used: by month, in one month by machine, and of one machine by VM
snapshot.

Months and machines are read from the sums that are kept by month, and records only of one machine in one month, so that the
page costs the same however many records there are. Usage belongs to the month of the period in which it was used, also
where a later one corrects it. Months are those of the zone in which the period was closed. What no period has billed yet
stands beside what is billed, in the months of the zone that is set.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import Max, Min, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from snapshots.access import (
    Person,
    visible_accounts,
    visible_machines,
    visible_snapshots,
    visible_usage_months,
    visible_usage_records,
)
from snapshots.choices import PeriodLength, UsageType
from snapshots.models import Account, UsageMonth, UsagePeriod, UsageRecord
from snapshots.models.usage import NAMES
from snapshots.reading.open_usage import MACHINE, OpenPeriod, open_usage, open_usage_of_machine
from snapshots.reading.usage_totals import month_sums, usage_sums
from snapshots.refusals import NotVisible
from snapshots.usage_arithmetic import NO_USE, Amounts, Stay, month_of, period_start
from snapshots.usage_lines import amounts_of_month

MONTHS_SHOWN = 12
ROWS_SHOWN = 100
ACCOUNTS_OFFERED = 200
VOLUMES, PRIMARY = UsageType.VM_SNAPSHOT, UsageType.VM_SNAPSHOT_ON_PRIMARY
MACHINE_NAME, SNAPSHOT_NAME = NAMES.index("machine_name"), NAMES.index("snapshot_name")


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked for: an account, a month (its first day) and a machine in it. None: the page chooses, and its CSV of
    records holds all."""

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

    def add_billed(self, kind: int, amounts: Amounts) -> None:
        """Take in what is billed of this type."""
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


@dataclass(slots=True)
class UsagePage:
    """All the page shows. `months` are the last ones, oldest first, each with what was used in it. `machine` is the one
    whose VM snapshots are shown: that which was chosen, or the one that used most; None where none used anything."""

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

    @property
    def closed_ahead(self) -> bool:
        """Whether periods are closed until a moment that is still to come, because a clock was ahead."""
        return self.open_since is not None and self.open_until is not None and self.open_since > self.open_until


def usage_page(person: Person, query: UsageQuery) -> UsagePage:
    """The page for this person. Raises `NotVisible` for an account that is not theirs to see."""
    accounts = list(visible_accounts(person).select_related("domain").order_by("name", "pk")[:ACCOUNTS_OFFERED])
    account = _chosen(person, query, accounts)
    page = UsagePage(account, accounts)
    if account is None:
        return page
    found = open_usage(account.uuid, [_start_of(month) for month in _last_months()])
    page.open_since, page.open_until = found.start, found.until
    sums = visible_usage_months(person).filter(account_uuid=account.uuid)
    _fill_months(page, sums, found)
    page.month = query.month if query.month in page.months else max(page.months)
    _fill_month(person, page, sums.filter(month=page.month), found, query)
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


def _in_month(rows: QuerySet[UsageRecord], month: date) -> QuerySet[UsageRecord]:
    periods = UsagePeriod.objects.filter(month=month)
    bounds = periods.aggregate(start=Min("start"), end=Max("end"))
    if bounds["start"] is None:
        return rows.none()
    # The bounds let an index find the few. They alone are not enough where another zone was set: a period of the month
    # before may then lie among those of this one.
    within = rows.filter(start__gte=bounds["start"], start__lt=bounds["end"])
    return within.alias(used_in=Coalesce("corrects", "period")).filter(used_in__in=periods.order_by().values("pk"))


def _zone() -> ZoneInfo:
    return ZoneInfo(settings.USAGE_TIME_ZONE)


def _start_of(month: date) -> datetime:
    return period_start(datetime(month.year, month.month, 15, tzinfo=_zone()), PeriodLength.MONTH, _zone())


def _last_months() -> list[date]:
    newest = month_of(timezone.now(), _zone())
    numbers = range(newest.year * 12 + newest.month - MONTHS_SHOWN, newest.year * 12 + newest.month)
    return [date(number // 12, number % 12 + 1, 1) for number in numbers]


def _fill_months(page: UsagePage, sums: QuerySet[UsageMonth], found: OpenPeriod) -> None:
    page.months = {month: Use() for month in _last_months()}
    shown = sums.filter(month__gte=min(page.months), month__lte=max(page.months))
    for (month, kind), total in month_sums(shown, "month", "type").items():
        page.months[month].add_billed(kind, total.amounts)
        page.currency = page.currency or total.currency
    for stay in found.used:
        use = page.months.get(month_of(stay.start, _zone()))
        if use is not None:
            use.add_open(stay)
        page.currency = page.currency or next(filter(None, map(stay.currency, UsageType)), "")


def _fill_month(
    person: Person, page: UsagePage, sums: QuerySet[UsageMonth], found: OpenPeriod, query: UsageQuery
) -> None:
    assert page.month is not None and page.account is not None  # noqa: S101, PT018  # they were just chosen
    zone = _zone()
    machines = _machines(sums, (stay for stay in found.used if month_of(stay.start, zone) == page.month))
    page.more_machines, page.machines = max(len(machines) - ROWS_SHOWN, 0), machines[:ROWS_SHOWN]
    if not machines:
        return
    page.machine = next((thing for thing in machines if thing.uuid == query.machine), machines[0])
    _mark_there([page.machine, *page.machines], visible_machines(person))
    chosen = page.machine.uuid
    records = _in_month(_of(person, page.account), page.month).filter(machine_uuid=chosen)
    used = open_usage_of_machine(found, chosen)
    snapshots = _snapshots(records, ((uuid, stay) for uuid, stay in used if month_of(stay.start, zone) == page.month))
    page.more_snapshots, page.snapshots = max(len(snapshots) - ROWS_SHOWN, 0), snapshots[:ROWS_SHOWN]
    _mark_there(page.snapshots, visible_snapshots(person))


def _machines(sums: QuerySet[UsageMonth], used: Iterable[Stay]) -> list[UsedThing]:
    uses: dict[UUID, Use] = defaultdict(Use)
    names: dict[UUID, str] = {}
    for row in sums.order_by():
        uses[row.machine_uuid].add_billed(row.type, amounts_of_month(row))
        names[row.machine_uuid] = row.machine_name
    for stay in used:
        uuid: Any = stay.place[MACHINE]
        uses[uuid].add_open(stay)
        names.setdefault(uuid, stay.names[MACHINE_NAME])
    return _largest_first(uses, names)


def _snapshots(records: QuerySet[UsageRecord], used: Iterable[tuple[UUID, Stay]]) -> list[UsedThing]:
    uses: dict[UUID, Use] = defaultdict(Use)
    names: dict[UUID, str] = {}
    for (uuid, name, kind), total in usage_sums(records, "snapshot_uuid", "snapshot_name", "type").items():
        uses[uuid].add_billed(kind, total.amounts)
        names[uuid] = name
    for uuid, stay in used:
        uses[uuid].add_open(stay)
        names.setdefault(uuid, stay.names[SNAPSHOT_NAME])
    return _largest_first(uses, names)


def _largest_first(uses: Mapping[UUID, Use], names: Mapping[UUID, str]) -> list[UsedThing]:
    return sorted(
        (UsedThing(uuid, names[uuid], use) for uuid, use in uses.items()),
        key=lambda thing: (-thing.use.all_primary.allocated, -thing.use.all_volumes.allocated, thing.name),
    )


def _mark_there(things: list[UsedThing], rows: Any) -> None:
    there = dict(rows.filter(uuid__in=[thing.uuid for thing in things]).order_by().values_list("uuid", "name"))
    for thing in things:
        thing.there, thing.name = thing.uuid in there, there.get(thing.uuid, thing.name)

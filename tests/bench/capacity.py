"""The dashboard and the pages on capacity and usage with 5,000 machines and 100,000 VM snapshots, in process.

All of these are owned, count in limits and are billed. Of one account a month is billed, of one of its machines a year in
which its VM snapshots grew each day, of all others a day.
"""

from datetime import datetime, timedelta

import time_machine
from django.db import transaction
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from snapshots import ledger
from snapshots.access import SYSTEM
from snapshots.choices import LimitKind, Role, SampleStep
from snapshots.models import (
    Account,
    CapacitySample,
    Domain,
    Limit,
    LimitUse,
    OpenUsage,
    StoragePool,
    UsageEvent,
    UsagePeriod,
    UsageRecord,
    User,
    VirtualMachine,
    VMSnapshot,
)
from snapshots.services import capacity_samples, limit_setting, tenancy, usage_aggregation
from tests.bench import rows
from tests.bench.figures import Report, in_turns
from tests.bench.pages import opened, queries_of, signed_in

ROUNDS = 20
ENDPOINTS = 5
MACHINES_EACH = 1000
SNAPSHOTS_EACH = 20
ACCOUNTS = 50
GROWTH_DAYS = 360
MONTH_DAYS = 30
BAR_MILLISECONDS = 80


def measure(report: Report) -> None:
    """Each page for a root admin, who sees everything, and for an operator of one account of fifty."""
    domain = tenancy.create_domain(SYSTEM, name="capacity")
    accounts = [tenancy.create_account(SYSTEM, name=f"capacity-{n:02}", domain=domain) for n in range(ACCOUNTS)]
    for number in range(ENDPOINTS):
        trees = {f"c{number}-{machine:04}": SNAPSHOTS_EACH for machine in range(MACHINES_EACH)}
        rows.read_in(f"capacity-{number}", trees)
    _own(accounts)
    _limit(domain, accounts)
    _remember()
    usage_aggregation.close_due_periods()
    root = tenancy.create_user(SYSTEM, username="capacity-root", password="only-for-this-measurement")
    tenancy.grant_role(SYSTEM, user=root, role=Role.ROOT_ADMIN)
    _contents(report)
    people = {"root admin": root, "operator of one account": rows.operator("capacity-operator", accounts[0])}
    for whose, person in people.items():
        _pages(report, whose, person, accounts[0])


def _pages(report: Report, whose: str, person: User, account: Account) -> None:
    client = signed_in(person)
    pool = StoragePool.objects.get(hypervisor__name="capacity-0").uuid
    machine = VirtualMachine.objects.filter(account=account).order_by("name")[0].uuid
    paths = {
        "dashboard": reverse("dashboard"),
        "capacity": reverse("capacity"),
        "pool over 24 hours": f"{reverse('pool_capacity', args=[pool])}?range=day",
        "pool over a year": f"{reverse('pool_capacity', args=[pool])}?range=year",
        "account": reverse("account_capacity", args=[account.uuid]),
        "growth of a machine": reverse("machine_capacity", args=[machine]),
        "stale VM snapshots": reverse("stale"),
        "take dialog": reverse("take_snapshot", args=[machine]),
        "usage": f"{reverse('usage')}?account={account.uuid}",
    }
    timings = in_turns({what: opened(client, path) for what, path in paths.items()}, ROUNDS)
    count = ENDPOINTS * MACHINES_EACH
    report.heading(f"Capacity with {count:,} machines and {count * SNAPSHOTS_EACH:,} VM snapshots: {whose}")
    for what, path in paths.items():
        report.timed(what, timings[what], under=BAR_MILLISECONDS)
        report.add("  queries", queries_of(client, path), "")


def _own(accounts: list[Account]) -> None:
    """One machine a year ago, the others of its account a month ago, all others a day ago."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    first = VirtualMachine.objects.filter(name__regex=_names(0)).order_by("name")[0]
    _grow(first, accounts[0], midnight)
    rows.own(accounts[0], midnight - timedelta(days=MONTH_DAYS), name__regex=_names(0), account__isnull=True)
    for number, account in enumerate(accounts[1:], start=1):
        rows.own(account, midnight - timedelta(days=1), name__regex=_names(number))


def _names(account: int) -> str:
    """What the machines of an account are called: two of each hundred."""
    return rf"^c\d-\d*({account:02}|{account + ACCOUNTS:02})$"


def _grow(machine: VirtualMachine, account: Account, midnight: datetime) -> None:
    """Each day something more is measured of each of its VM snapshots."""
    rows.own(account, midnight - timedelta(days=GROWTH_DAYS), pk=machine.pk)
    for days in range(GROWTH_DAYS - 1, 0, -1):
        with time_machine.travel(midnight - timedelta(days=days), tick=False), transaction.atomic():
            more = F("measured_bytes") + 2**20
            VMSnapshot.objects.filter(machine=machine, parent__isnull=False).update(measured_bytes=more)
            ledger.settle([machine.pk])


def _limit(domain: Domain, accounts: list[Account]) -> None:
    """Limits of the domain, and of each account, that are nearly reached."""
    for on, times in ((domain, len(accounts)), *((account, 1) for account in accounts)):
        used = LimitUse.objects.get(account=on) if isinstance(on, Account) else LimitUse.objects.get(domain=on)
        limit_setting.set_limit(SYSTEM, on=on, kind=LimitKind.SNAPSHOTS, value=used.snapshots + 10 * times)
        limit_setting.set_limit(SYSTEM, on=on, kind=LimitKind.BYTES, value=used.estimated_bytes + 2**40 * times)


def _contents(report: Report) -> None:
    """What the pages are measured over, and that it is what it is said to be."""
    report.heading("What the pages on capacity are measured over")
    tables = (VirtualMachine, OpenUsage, UsageEvent, UsagePeriod, UsageRecord, CapacitySample, Limit)
    for table in tables:
        report.add(str(table._meta.verbose_name_plural), table._default_manager.count(), "")
    report.same(
        "VM snapshots, and those billed",
        VMSnapshot.objects.filter(parent__isnull=False).count(),
        OpenUsage.objects.count(),
    )


def _remember() -> None:
    """Samples as a year of ticks leaves them behind."""
    capacity_samples.sample()
    spans = (
        (SampleStep.RAW, timedelta(minutes=5), 576),
        (SampleStep.HOUR, timedelta(hours=1), 720),
        (SampleStep.DAY, timedelta(days=1), 365),
    )
    newest = list(CapacitySample.objects.filter(step=SampleStep.RAW))
    for step, apart, count in spans:
        CapacitySample.objects.bulk_create(
            [
                CapacitySample(
                    step=step,
                    at=capacity_samples.begin_of(SampleStep.HOUR, row.at) - apart * number,
                    **{name: getattr(row, name) for name in capacity_samples.COPIED},
                )
                for row in newest
                for number in range(1, count)
            ],
            5000,
            ignore_conflicts=True,
        )

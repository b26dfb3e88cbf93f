"""The dashboard and the pages on capacity with 5,000 machines and 100,000 VM snapshots, in process."""

from datetime import timedelta

from django.urls import reverse

from snapshots.access import SYSTEM
from snapshots.choices import Role, SampleStep
from snapshots.models import Account, CapacitySample, StoragePool, User, VirtualMachine
from snapshots.services import capacity_samples, tenancy
from tests.bench import rows
from tests.bench.figures import Report, in_turns
from tests.bench.pages import opened, queries_of, signed_in

ROUNDS = 20
ENDPOINTS = 5
MACHINES_EACH = 1000
SNAPSHOTS_EACH = 20
ACCOUNTS = 50
BAR_MILLISECONDS = 80


def measure(report: Report) -> None:
    """Each page for a root admin, who sees everything, and for an operator of one account of fifty."""
    domain = tenancy.create_domain(SYSTEM, name="capacity")
    accounts = [tenancy.create_account(SYSTEM, name=f"capacity-{n:02}", domain=domain) for n in range(ACCOUNTS)]
    for number in range(ENDPOINTS):
        trees = {f"c{number}-{machine:04}": SNAPSHOTS_EACH for machine in range(MACHINES_EACH)}
        rows.read_in(f"capacity-{number}", trees)
    for number, account in enumerate(accounts):
        rows.give(account, name__regex=rf"^c\d-\d*{number:02}$")
    _remember()
    root = tenancy.create_user(SYSTEM, username="capacity-root", password="only-for-this-measurement")
    tenancy.grant_role(SYSTEM, user=root, role=Role.ROOT_ADMIN)
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
    }
    timings = in_turns({what: opened(client, path) for what, path in paths.items()}, ROUNDS)
    count = ENDPOINTS * MACHINES_EACH
    report.heading(f"Capacity with {count:,} machines and {count * SNAPSHOTS_EACH:,} VM snapshots: {whose}")
    for what, path in paths.items():
        report.timed(what, timings[what], under=BAR_MILLISECONDS)
        report.add("  queries", queries_of(client, path), "")


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

"""Pages and REST lists over many rows, in process: what the product itself takes, without network or browser."""

from collections.abc import Callable
from functools import partial

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from snapshots.access import SYSTEM
from snapshots.models import User, VirtualMachine
from snapshots.services import tenancy
from tests.bench import rows
from tests.bench.figures import Report, in_turns

ROUNDS = 30
TREES = (0, 10, 100, 1000)
MACHINES = 5000
OWNED = 50


def measure(report: Report) -> None:
    """Machine pages and REST trees at several tree sizes; lists at 5,000 machines, for people who own more and less."""
    domain = tenancy.create_domain(SYSTEM, name="bench")
    accounts = {name: tenancy.create_account(SYSTEM, name=name, domain=domain) for name in ("rest", "fifty", "one")}
    trees = {f"tree-{count}": count for count in TREES}
    plain = [f"plain-{number:05d}" for number in range(MACHINES - len(trees))]
    hypervisor = rows.read_in("bench", {**trees, **dict.fromkeys(plain, 0)})
    rows.give(accounts["rest"], hypervisor=hypervisor)
    rows.give(accounts["fifty"], name__in=plain[:OWNED])
    rows.give(accounts["one"], name=plain[OWNED])
    people = {name: rows.operator(name, account) for name, account in accounts.items()}
    _machine_pages(report, people["rest"])
    _lists(report, people)


def signed_in(user: User) -> Client:
    """A client of this user."""
    client = Client(headers={"host": "localhost"})
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def opened(client: Client, path: str) -> Callable[[], object]:
    """What gets the page. It has been got once, as everything is slower at first."""
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return partial(client.get, path)


def queries_of(client: Client, path: str) -> int:
    """How many queries the page takes."""
    with CaptureQueriesContext(connection) as captured:
        client.get(path)
    return len(captured)


def _machine_pages(report: Report, person: User) -> None:
    client = signed_in(person)
    machines = {count: VirtualMachine.objects.get(name=f"tree-{count}") for count in TREES}
    pages = {count: reverse("machine", args=[machine.uuid]) for count, machine in machines.items()}
    trees = {count: f"/api/v1/virtual-machines/{machine.uuid}/tree/" for count, machine in machines.items()}
    for what, paths in (("Machine page", pages), ("REST tree", trees)):
        timings = in_turns({str(count): opened(client, path) for count, path in paths.items()}, ROUNDS)
        is_page = paths is pages
        report.heading(f"{what}, by the number of VM snapshots of the machine")
        for count, path in paths.items():
            barred = is_page and count == 100
            report.timed(f"{count} VM snapshots", timings[str(count)], under=30 if barred else None)
            report.add("  queries", queries_of(client, path), "", under=10 if is_page else None)
            report.add("  size", len(client.get(path).content) / 1000, "kB", under=80 if barred else None)
        for count in TREES[1:]:
            report.add(f"{count} against 0, p50", timings[str(count)].p50 / timings["0"].p50, "times")


def _lists(report: Report, people: dict[str, User]) -> None:
    clients = {name: signed_in(person) for name, person in people.items()}
    owned = {"rest": MACHINES - OWNED - 1, "fifty": OWNED, "one": 1}
    for what, path in (("Machine list", reverse("machine_list")), ("REST machine list", "/api/v1/virtual-machines/")):
        barred = path == reverse("machine_list")
        timings = in_turns({name: opened(client, path) for name, client in clients.items()}, ROUNDS)
        report.heading(f"{what} of an installation with {MACHINES:,} machines")
        queries = {name: queries_of(client, path) for name, client in clients.items()}
        for name, timing in timings.items():
            report.timed(f"for a user who owns {owned[name]:,}", timing, under=50 if barred else None)
        report.same(f"queries for {OWNED} and for 1", queries["fifty"], queries["one"])
        report.same(f"queries for {owned['rest']:,} and for 1", queries["rest"], queries["one"])
    others = ("/api/v1/snapshots/", "/api/v1/volumes/", "/api/v1/events/", "/api/v1/jobs/", reverse("job_list"))
    timings = in_turns({path: opened(clients["rest"], path) for path in others}, ROUNDS)
    report.heading("Other lists")
    for path, timing in timings.items():
        report.timed(path, timing)
        report.add("  queries", queries_of(clients["rest"], path), "")

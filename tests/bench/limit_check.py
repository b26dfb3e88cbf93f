"""What the check of limits costs a request for a VM snapshot: in an account of a root domain, and twelve domains deep."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from snapshots.access import SYSTEM
from snapshots.choices import LimitKind
from snapshots.models import Account, Domain, VirtualMachine
from snapshots.services import limits, snapshot_actions, tenancy
from snapshots.services.limit_setting import set_limit
from tests.bench import rows
from tests.bench.figures import Report, in_turns

DEPTHS = (1, 12)
ROUNDS = 20
QUERIES_MOST = 3
PLENTY = 2**50


def measure(report: Report) -> None:
    """With a limit of every kind on each level, so that there is something to check. The queries are counted in the request
    itself; the check alone is timed."""
    report.heading("The check of limits when a VM snapshot is asked for")
    machines = {depth: _machine(depth) for depth in DEPTHS}
    # One query more is one too many.
    for depth, machine in machines.items():
        report.add(f"{depth:>2} domains deep: queries added", _queries_added(machine), "", under=QUERIES_MOST + 1)
    timings = in_turns({str(depth): _checked(machine) for depth, machine in machines.items()}, ROUNDS)
    for depth, timing in timings.items():
        report.timed(f"{depth:>2} domains deep", timing)


def _machine(depth: int) -> VirtualMachine:
    place: Domain | None = None
    for number in range(depth):
        place = tenancy.create_domain(SYSTEM, name=f"limits-{depth}-{number}", parent=place)
        _limit(place)
    assert place is not None, "no domain is no place"
    account = tenancy.create_account(SYSTEM, name=f"limits-{depth}", domain=place)
    _limit(account)
    rows.read_in(f"limits-{depth}", {f"limited-{depth}": 0})
    machine = VirtualMachine.objects.get(name=f"limited-{depth}")
    tenancy.assign_machine(SYSTEM, machine=machine, account=account)
    return VirtualMachine.objects.select_related("account__domain").get(pk=machine.pk)


def _limit(place: Domain | Account) -> None:
    for kind in LimitKind:
        set_limit(SYSTEM, on=place, kind=kind, value=PLENTY)


def _queries_added(machine: VirtualMachine) -> int:
    """What the check asks of the database while a VM snapshot is asked for. Nothing is kept of the request."""
    counted: list[int] = []
    check = limits.require_room

    def count(*arguments: Any, **options: Any) -> None:
        with CaptureQueriesContext(connection) as captured:
            check(*arguments, **options)
        counted.append(len(captured))

    with patch.object(limits, "require_room", count), transaction.atomic():
        snapshot_actions.request_create(SYSTEM, machine=machine, name="wanted")
        transaction.set_rollback(True)
    (queries,) = counted
    return queries


def _checked(machine: VirtualMachine) -> Callable[[], None]:
    def check() -> None:
        limits.require_room(SYSTEM, machine, machine)

    return check

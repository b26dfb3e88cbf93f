"""What is not billed yet is the same whether it is added up by machine or followed VM snapshot by VM snapshot, and is what
the next closing bills."""

import random
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine

from snapshots.access import SYSTEM
from snapshots.choices import PriceUnit, UsageChange, UsageType
from snapshots.models import UsageRecord
from snapshots.reading.open_usage import MACHINE, OpenPeriod, open_usage, open_usage_of_machine
from snapshots.services.usage_prices import PriceTerms, set_price
from snapshots.usage_arithmetic import NO_USE, Amounts, Stay
from snapshots.usage_lines import amounts_of
from tests.usage import GIB, Line, at, close

pytestmark = pytest.mark.django_db

CUT = at("2026-03-02 07:30")
MACHINES = [UUID(int=number) for number in range(4)]
ACCOUNT, OTHER = uuid4(), uuid4()
SILENT, TOLD = 40, 20
Sums = dict[Any, Amounts]


def price(kind: UsageType, per: PriceUnit, amount: str, since: str, until: str | None = None) -> None:
    with time_machine.travel(at("2026-02-01"), tick=False):
        set_price(SYSTEM, PriceTerms(kind, per, Decimal(amount), "EUR", None, at(since), at(until) if until else None))


@pytest.fixture
def lines() -> list[Line]:
    """VM snapshots of four machines since the first of March, of some of which something was heard on the second. Sizes are
    such that no sum of them fits into 64 bits, and prices such that nothing has to be rounded."""
    chance = random.Random(7)
    price(UsageType.VM_SNAPSHOT, PriceUnit.HOUR, "0.0000036", "2026-03-01")
    price(UsageType.VM_SNAPSHOT_ON_PRIMARY, PriceUnit.ALLOCATED, "0.0000036", "2026-03-01", "2026-03-02 09:00")
    price(UsageType.VM_SNAPSHOT_ON_PRIMARY, PriceUnit.MEASURED, "0.0000072", "2026-03-02 09:00")
    pools = [uuid4(), uuid4(), None]
    made = [
        Line(
            machine_uuid=chance.choice(MACHINES),
            account_uuid=ACCOUNT,
            pool_uuid=chance.choice(pools),
            volume_bytes=2**62,
            estimated_bytes=chance.randrange(2**33) * GIB,
            measured_bytes=chance.choice([None, chance.randrange(2**33) * GIB]),
        ).taken("2026-03-01 06:00")
        for _ in range(SILENT + TOLD)
    ]
    close("2026-03-02 00:10")
    for line in made[SILENT:]:
        match chance.randrange(5):
            case 0:
                line.deleted("2026-03-02 05:00")
            case 1:
                line.moved("2026-03-02 06:00", account_uuid=OTHER)
            case 2:
                line.moved("2026-03-02 07:00", machine_uuid=chance.choice(MACHINES))
            case 3:
                line.resized("2026-03-02 08:00", estimated_bytes=7 * GIB)
            case _:
                line.tell("2026-03-02 09:30", UsageChange.REVERT)
    made.append(Line(machine_uuid=MACHINES[0], account_uuid=ACCOUNT).taken("2026-03-02 10:00"))
    return made


def look(until: str) -> OpenPeriod:
    with time_machine.travel(at(until), tick=False):
        return open_usage(ACCOUNT, [CUT])


def added(stays: Iterable[tuple[UUID, Stay]]) -> Sums:
    """By machine, type, and whether it was after the cut."""
    sums: Sums = defaultdict(lambda: NO_USE)
    for machine, stay in stays:
        for kind in UsageType:
            key = (machine, kind, stay.start >= CUT)
            sums[key] = sums[key].plus(stay.amounts(kind))
    return dict(sums)


def test_the_sums_by_machine_are_those_of_their_vm_snapshots(lines: list[Line]) -> None:
    found = look("2026-03-02 12:00")
    by_machine = added((machine, stay) for stay in found.used if (machine := stay.place[MACHINE]) is not None)
    each = {machine: list(open_usage_of_machine(found, machine)) for machine in MACHINES}
    assert by_machine == added((machine, stay) for machine, stays in each.items() for _, stay in stays)
    assert len({uuid for stays in each.values() for uuid, _ in stays}) == len(lines)
    # What nothing was heard of is not followed one by one.
    assert len(found.unheard) < SILENT
    assert len(found.heard) == TOLD + 1


def test_the_next_closing_bills_what_was_open(lines: list[Line]) -> None:
    found = look("2026-03-03 00:00")
    close("2026-03-03 00:10")
    billed: Sums = defaultdict(lambda: NO_USE)
    for row in UsageRecord.objects.filter(account_uuid=ACCOUNT, period__start=at("2026-03-02")):
        billed[row.machine_uuid, row.type] = billed[row.machine_uuid, row.type].plus(amounts_of(row))
    open_then: Sums = defaultdict(lambda: NO_USE)
    for stay in found.used:
        for kind in UsageType:
            key = (stay.place[MACHINE], kind)
            open_then[key] = open_then[key].plus(stay.amounts(kind))
    assert open_then == billed
    assert all(amounts.cost for amounts in billed.values())


def test_what_left_is_seen_by_neither_after_it_left(lines: list[Line]) -> None:
    with time_machine.travel(at("2026-03-02 12:00"), tick=False):
        theirs = open_usage(OTHER, [CUT])
    moved = [line for line in lines if line.facts["account_uuid"] == OTHER]
    assert moved
    assert {stay.start for stay in theirs.used} == {at("2026-03-02 06:00"), CUT}
    assert sum(stay.microseconds for stay in theirs.used) == len(moved) * 6 * 3_600_000_000


def test_before_anything_was_used_nothing_is_open() -> None:
    found = look("2026-03-02 12:00")
    assert (found.start, list(found.used)) == (None, [])
    assert list(open_usage_of_machine(found, MACHINES[0])) == []

"""Prices: set by root admins, for time that is not billed yet, one at a time for the same thing."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.transaction import TransactionManagementError

from snapshots.choices import PriceUnit, UsageType
from snapshots.models import Event, StoragePool, UsagePrice, UsageRecord
from snapshots.refusals import Forbidden, Invalid, NotVisible
from snapshots.services import billing_lock
from snapshots.services.billing_lock import lock_billing
from snapshots.services.usage_prices import PriceTerms, change_price, delete_price, set_price
from snapshots.usage_arithmetic import BILLION
from tests.builders import SYSTEM, Cloud, People, acting, empty_pool
from tests.usage import GIB, Line, at, close

pytestmark = pytest.mark.django_db


def terms(amount: str = "0.25", since: str = "2026-03-01", until: str | None = None, **more: Any) -> PriceTerms:
    values = {"type": UsageType.VM_SNAPSHOT_ON_PRIMARY, "unit": PriceUnit.ALLOCATED, "currency": "EUR", "pool": None}
    return PriceTerms(
        amount=Decimal(amount), valid_from=at(since), valid_until=at(until) if until else None, **(values | more)
    )


def costs(line: Line, kind: UsageType = UsageType.VM_SNAPSHOT_ON_PRIMARY) -> list[Decimal | None]:
    rows = UsageRecord.objects.filter(snapshot_uuid=line.uuid, type=kind).order_by("period__start", "pk")
    return [
        None if row.cost_whole is None else Decimal(row.cost_whole * BILLION + (row.cost_rest or 0)) / BILLION
        for row in rows
    ]


def test_a_record_costs_what_its_gib_hours_cost() -> None:
    set_price(SYSTEM, terms("0.25"))
    line = Line(estimated_bytes=3 * GIB).taken("2026-03-01 12:00")
    close("2026-03-02 01:00")
    assert costs(line) == [Decimal("9")]
    assert UsageRecord.objects.get(type=27).currency == "EUR"
    assert costs(line, UsageType.VM_SNAPSHOT) == [None]


def test_a_vm_snapshot_can_be_priced_by_its_hours_whatever_its_size() -> None:
    set_price(SYSTEM, terms("0.1", type=UsageType.VM_SNAPSHOT, unit=PriceUnit.HOUR))
    line = Line().taken("2026-03-01 12:00")
    close("2026-03-02 01:00")
    assert costs(line, UsageType.VM_SNAPSHOT) == [Decimal("1.2")]


def test_what_is_measured_can_be_priced_and_what_is_not_measured_costs_nothing() -> None:
    set_price(SYSTEM, terms("1", unit=PriceUnit.MEASURED))
    line = Line(measured_bytes=None).taken("2026-03-01 12:00").resized("2026-03-01 22:00", measured_bytes=GIB)
    close("2026-03-02 01:00")
    assert costs(line) == [Decimal("2")]


def test_the_price_of_a_pool_comes_before_that_of_all(cloud: Cloud) -> None:
    pool = StoragePool.objects.first()
    assert pool is not None
    set_price(SYSTEM, terms("1"))
    set_price(SYSTEM, terms("7", pool=pool))
    inside, outside = (
        Line(estimated_bytes=GIB, **facts).taken("2026-03-01 23:00") for facts in ({"pool_uuid": pool.uuid}, {})
    )
    close("2026-03-02 01:00")
    assert (costs(inside), costs(outside)) == ([Decimal("7")], [Decimal("1")])


def test_a_correction_costs_the_difference_at_the_prices_of_that_time() -> None:
    set_price(SYSTEM, terms("1", until="2026-03-02"))
    set_price(SYSTEM, terms("5", since="2026-03-02"))
    line = Line(estimated_bytes=GIB).taken("2026-03-01 12:00")
    close("2026-03-02 01:00")
    line.deleted("2026-03-01 18:00")
    close("2026-03-03 01:00")
    assert costs(line) == [Decimal("12"), Decimal("-6")]
    assert set(UsageRecord.objects.filter(type=27).values_list("currency", flat=True)) == {"EUR"}


def test_what_is_set_leaves_an_event_with_all_terms(people: People) -> None:
    set_price(acting(people.root), terms("0.000000001", until="2026-04-01"))
    event = Event.objects.latest("pk")
    assert (event.action, event.user) == ("usage_price.set", people.root)
    assert event.detail == (
        "VM snapshot on primary storage per allocated GiB and hour, all pools: 0.000000001 EUR "
        "from 2026-03-01 00:00 UTC until 2026-04-01 00:00 UTC."
    )


@pytest.mark.parametrize("who", ["alice", "dora"])
def test_only_root_admins_set_change_and_delete_prices(people: People, who: str) -> None:
    actor, price = acting(getattr(people, who)), set_price(SYSTEM, terms())
    with pytest.raises(Forbidden):
        set_price(actor, terms(since="2027-01-01"))
    with pytest.raises(Forbidden):
        change_price(actor, price, terms("9"))
    with pytest.raises(Forbidden):
        delete_price(actor, price)
    assert UsagePrice.objects.get().billionths == BILLION // 4


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"amount": "-0.01"}, "amount"),
        ({"amount": "1000000.1"}, "amount"),
        ({"amount": "0.0000000001"}, "amount"),
        ({"currency": " "}, "currency"),
        ({"currency": "E" * 17}, "currency"),
        ({"currency": "E\nR"}, "currency"),
        ({"until": "2026-03-01"}, "valid_until"),
        ({"type": UsageType.VM_SNAPSHOT, "unit": PriceUnit.MEASURED}, "unit"),
    ],
)
def test_values_that_cannot_be_are_refused_and_named(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        set_price(SYSTEM, terms(**wrong))
    assert list(refused.value.extra["fields"]) == [field]
    assert not UsagePrice.objects.exists()


@pytest.mark.parametrize(
    ("since", "until"),
    [("2026-03-10", None), ("2026-02-01", None), ("2026-03-10", "2026-03-11"), ("2026-02-01", "2026-03-02")],
)
def test_two_prices_for_the_same_at_the_same_time_are_refused(since: str, until: str | None) -> None:
    set_price(SYSTEM, terms(since="2026-03-01", until="2026-04-01"))
    with pytest.raises(Invalid, match="in that time"):
        set_price(SYSTEM, terms("9", since=since, until=until, unit=PriceUnit.HOUR))


def test_prices_that_follow_each_other_and_prices_of_something_else_are_no_overlap(cloud: Cloud) -> None:
    set_price(SYSTEM, terms(since="2026-03-01", until="2026-04-01"))
    set_price(SYSTEM, terms(since="2026-04-01"))
    set_price(SYSTEM, terms(since="2026-02-01", until="2026-03-01"))
    set_price(SYSTEM, terms(type=UsageType.VM_SNAPSHOT))
    set_price(SYSTEM, terms(pool=StoragePool.objects.first()))
    assert UsagePrice.objects.count() == 5


def test_all_prices_are_in_one_currency() -> None:
    price = set_price(SYSTEM, terms())
    with pytest.raises(Invalid, match="prices in EUR"):
        set_price(SYSTEM, terms(type=UsageType.VM_SNAPSHOT, currency="CHF"))
    change_price(SYSTEM, price, terms(currency="CHF"))
    assert UsagePrice.objects.get().currency == "CHF"


@pytest.fixture
def billed() -> UsagePrice:
    """A price by which the first and second of March were billed."""
    price = set_price(SYSTEM, terms("1"))
    Line().taken("2026-03-01 12:00")
    close("2026-03-03 01:00")
    return price


def test_no_price_is_set_for_time_that_is_billed(billed: UsagePrice) -> None:
    with pytest.raises(Invalid, match="billed until 2026-03-03 00:00 UTC"):
        set_price(SYSTEM, terms(type=UsageType.VM_SNAPSHOT, since="2026-03-02"))
    set_price(SYSTEM, terms(type=UsageType.VM_SNAPSHOT, since="2026-03-03"))


@pytest.mark.parametrize(
    "other", [{"amount": "2"}, {"unit": PriceUnit.HOUR}, {"since": "2026-03-03"}, {"currency": "CHF"}]
)
def test_of_a_price_that_was_billed_by_only_the_end_changes(billed: UsagePrice, other: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="only its end"):
        change_price(SYSTEM, billed, terms(**({"amount": "1"} | other)))


def test_a_price_that_was_billed_by_ends_at_a_moment_that_is_not_billed(billed: UsagePrice) -> None:
    with pytest.raises(Invalid, match="billed until"):
        change_price(SYSTEM, billed, terms("1", until="2026-03-02"))
    change_price(SYSTEM, billed, terms("1", until="2026-03-03"))
    set_price(SYSTEM, terms("3", since="2026-03-03"))
    assert UsagePrice.objects.count() == 2


def test_a_price_whose_end_is_billed_does_not_come_to_life_again(billed: UsagePrice) -> None:
    change_price(SYSTEM, billed, terms("1", until="2026-03-04"))
    close("2026-03-06 01:00")
    with pytest.raises(Invalid, match="billed until"):
        change_price(SYSTEM, billed, terms("1"))


def test_a_price_that_was_billed_by_stays(billed: UsagePrice) -> None:
    with pytest.raises(Invalid, match="so it stays"):
        delete_price(SYSTEM, billed)
    later = set_price(SYSTEM, terms(type=UsageType.VM_SNAPSHOT, since="2026-03-03"))
    delete_price(SYSTEM, later)
    assert list(UsagePrice.objects.all()) == [billed]


def test_a_price_stays_with_its_pool_when_it_is_changed_also_once_the_pool_is_gone(people: People) -> None:
    pool = empty_pool()
    price = set_price(SYSTEM, terms("1", pool=pool))
    named = (pool.uuid, pool.name)
    change_price(SYSTEM, price, terms("2"))
    pool.delete()
    change_price(SYSTEM, price, terms("3"))
    price.refresh_from_db()
    assert (price.pool_uuid, price.pool_name, price.billionths) == (*named, 3 * BILLION)
    set_price(SYSTEM, terms("9"))


def test_whether_something_was_billed_by_a_price_is_asked_of_the_price_as_it_is_stored() -> None:
    stale = set_price(SYSTEM, terms("1", since="2026-03-10"))
    change_price(SYSTEM, stale, terms("1", since="2026-03-01"))
    Line().taken("2026-03-01 12:00")
    close("2026-03-03 01:00")
    with pytest.raises(Invalid, match="so it stays"):
        delete_price(SYSTEM, stale)
    assert UsagePrice.objects.count() == 1


def test_a_price_that_was_deleted_meanwhile_is_neither_changed_nor_deleted_again() -> None:
    price = set_price(SYSTEM, terms("1"))
    stale = UsagePrice.objects.get()
    delete_price(SYSTEM, price)
    for act in (lambda: delete_price(SYSTEM, stale), lambda: change_price(SYSTEM, stale, terms("2"))):
        with pytest.raises(NotVisible):
            act()
    assert Event.objects.filter(action__startswith="usage_price").count() == 2


def test_billing_is_locked_inside_a_transaction_only(monkeypatch: pytest.MonkeyPatch) -> None:
    lock_billing()
    monkeypatch.setattr(billing_lock, "connection", SimpleNamespace(in_atomic_block=False, vendor="sqlite"))
    with pytest.raises(TransactionManagementError):
        lock_billing()

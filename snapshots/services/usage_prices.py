"""What usage costs. A price is set for time that is not billed yet: for closed periods prices never change, so that their
cost can always be calculated again. Root admins only; raises `Forbidden`, and `Invalid` for what cannot be.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from snapshots.access import Actor, require_root_admin
from snapshots.choices import PriceUnit, UsageType
from snapshots.models import StoragePool, UsagePeriod, UsagePrice
from snapshots.refusals import Invalid, NotVisible
from snapshots.services import events
from snapshots.services.billing_lock import lock_billing
from snapshots.usage_arithmetic import BILLION

MOST = 1_000_000
"""Of the currency, for one unit: a month of the largest VM snapshot there can be then still fits into its columns."""
CURRENCY_LENGTH = 16


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """What a price says. `pool` None: for all pools without a price of their own; it is chosen for a new price alone.
    `valid_until` None: for good."""

    type: UsageType
    unit: PriceUnit
    amount: Decimal
    currency: str
    pool: StoragePool | None
    valid_from: datetime
    valid_until: datetime | None


@transaction.atomic
def set_price(actor: Actor, terms: PriceTerms) -> UsagePrice:
    """A new price."""
    require_root_admin(actor)
    billed = _lock_billed_until()
    _require_not_billed(terms.valid_from, billed, "valid_from")
    price = UsagePrice()
    if terms.pool is not None:
        price.pool_uuid, price.pool_name = terms.pool.uuid, terms.pool.name
    _write(price, terms)
    price.save(force_insert=True)
    events.record(actor, "usage_price.set", detail=f"{_words(price)}.")
    return price


@transaction.atomic
def change_price(actor: Actor, price: UsagePrice, terms: PriceTerms) -> None:
    """Other terms, for the pool it is for, which may be gone by now. Of a price by which something was billed already only
    the end can be changed, to a moment that is not billed yet. Raises `NotVisible` when it was deleted meanwhile."""
    require_root_admin(actor)
    billed = _lock_billed_until()
    price = _stored(price)
    old, ended = _words(price), price.valid_until
    if billed is None or price.valid_from >= billed:
        _require_not_billed(terms.valid_from, billed, "valid_from")
    elif _without_end(price) != _without_end(_written(UsagePrice(), terms)):
        raise Invalid("Usage was billed by this price: only its end can be changed. Set another price from then on.")
    elif terms.valid_until != ended:
        for end in (ended, terms.valid_until):
            if end is not None:
                _require_not_billed(end, billed, "valid_until")
    _write(price, terms)
    price.save()
    events.record(actor, "usage_price.changed", detail=f"{old} is now: {_words(price)}.")


@transaction.atomic
def delete_price(actor: Actor, price: UsagePrice) -> None:
    """Take a price away by which nothing was billed yet. Raises `NotVisible` when it is gone already."""
    require_root_admin(actor)
    billed = _lock_billed_until()
    price = _stored(price)
    if billed is not None and price.valid_from < billed:
        raise Invalid("Usage was billed by this price, so it stays. Give it an end.")
    events.record(actor, "usage_price.deleted", detail=f"{_words(price)}.")
    price.delete()


def _lock_billed_until() -> datetime | None:
    """Until when usage is billed, None while nothing is. No period is closed until this transaction ends, and nobody else
    sets prices."""
    lock_billing()
    newest = UsagePeriod.objects.order_by("number").last()
    return None if newest is None else newest.end


def _stored(price: UsagePrice) -> UsagePrice:
    """The price as it is now that billing is locked."""
    found = UsagePrice.objects.filter(pk=price.pk).first()
    if found is None:
        raise NotVisible("There is no such price.")
    return found


def _require_not_billed(moment: datetime, billed: datetime | None, field: str) -> None:
    if billed is not None and moment < billed:
        sentence = f"Usage is billed until {_time(billed)}. Choose that moment or a later one."
        raise Invalid(sentence, fields={field: [sentence]})


def _write(price: UsagePrice, terms: PriceTerms) -> None:
    _check_values(terms)
    _written(price, terms)
    _require_one_currency(price)
    _require_no_overlap(price)


def _written(price: UsagePrice, terms: PriceTerms) -> UsagePrice:
    price.type, price.unit = terms.type, terms.unit
    price.billionths = int(terms.amount * BILLION)
    price.currency = terms.currency.strip()
    price.valid_from, price.valid_until = terms.valid_from, terms.valid_until
    return price


def _check_values(terms: PriceTerms) -> None:
    fields: dict[str, list[str]] = {}
    if not 0 <= terms.amount <= MOST or terms.amount * BILLION != int(terms.amount * BILLION):
        fields["amount"] = [f"A number from 0 to {MOST}, with at most 9 decimal places."]
    if not 0 < len(terms.currency.strip()) <= CURRENCY_LENGTH or not terms.currency.isprintable():
        fields["currency"] = [f"1 to {CURRENCY_LENGTH} characters, such as EUR."]
    if terms.type == UsageType.VM_SNAPSHOT and terms.unit == PriceUnit.MEASURED:
        fields["unit"] = ["Nothing is measured in type 25. Choose type 27, or another unit."]
    if terms.valid_until is not None and terms.valid_until <= terms.valid_from:
        fields["valid_until"] = ["After the price begins to be valid, or nothing."]
    if fields:
        sentences = " ".join(sentence for found in fields.values() for sentence in found)
        raise Invalid(f"The price cannot be set: {sentences}", fields=fields)


def _require_one_currency(price: UsagePrice) -> None:
    other = UsagePrice.objects.exclude(pk=price.pk).exclude(currency=price.currency).first()
    if other is not None:
        sentence = f"All prices are in one currency, and there are prices in {other.currency}."
        raise Invalid(sentence, fields={"currency": [sentence]})


def _require_no_overlap(price: UsagePrice) -> None:
    same = UsagePrice.objects.filter(type=price.type, pool_uuid=price.pool_uuid).exclude(pk=price.pk)
    same = same.filter(Q(valid_until=None) | Q(valid_until__gt=price.valid_from))
    if price.valid_until is not None:
        same = same.filter(valid_from__lt=price.valid_until)
    other = same.first()
    if other is not None:
        sentence = f"There is a price for the same in that time: {_words(other)}. Give that an end first."
        raise Invalid(sentence, fields={"valid_from": [sentence]})


def _without_end(price: UsagePrice) -> tuple[object, ...]:
    return (price.type, price.unit, price.billionths, price.currency, price.valid_from)


def _words(price: UsagePrice) -> str:
    amount = f"{Decimal(price.billionths) / BILLION:f}"
    until = f" until {_time(price.valid_until)}" if price.valid_until else ""
    return f"{price}: {amount} {price.currency} from {_time(price.valid_from)}{until}"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

"""Exact sums over usage records, or over what they come to by month, made by the database in one query.

SQLite refuses a sum that leaves 64 bits, so each column is summed in two halves, which are put together here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import BigIntegerField, Count, ExpressionWrapper, F, Max, QuerySet, Sum

from snapshots.models import UsageMonth, UsageRecord
from snapshots.usage_arithmetic import BILLION, GIB_HOUR, KIB_HOUR, Amounts, whole_of

HALF = 2**31
"""With 64-bit columns, up to four thousand million rows can be summed."""


@dataclass(frozen=True, slots=True)
class UsageSum:
    """The sum over some records: how many, microseconds, byte-microseconds, billionths of the currency (None: no price)."""

    records: int
    microseconds: int
    allocated: int
    measured: int
    unmeasured: int
    cost: int | None
    currency: str

    @property
    def amounts(self) -> Amounts:
        """Without how many there are."""
        return Amounts(self.microseconds, self.allocated, self.measured, self.unmeasured, self.cost)


def usage_sums(rows: QuerySet[UsageRecord], *by: str) -> dict[tuple[Any, ...], UsageSum]:
    """The sum over the records, apart by the values of these columns."""
    return dict(usage_sums_in_order(rows.order_by(), *by))


def usage_sums_in_order(rows: QuerySet[UsageRecord], *by: str) -> Iterator[tuple[tuple[Any, ...], UsageSum]]:
    """The same one after the other, in the order the records are in, which has to be one of these columns."""
    return _sums(rows, by, "kib_hours", KIB_HOUR, Count("pk"))


def month_sums(rows: QuerySet[UsageMonth], *by: str) -> dict[tuple[Any, ...], UsageSum]:
    """The sum over the records that are summed up in these rows, apart by the values of these columns."""
    return dict(_sums(rows.order_by(), by, "gib_hours", GIB_HOUR, Sum("records")))


def _sums(
    rows: QuerySet[Any], by: tuple[str, ...], size: str, unit: int, records: Any
) -> Iterator[tuple[tuple[Any, ...], UsageSum]]:
    """`size` is how the columns of size times time end that count whole ones of this unit."""
    sizes = (f"allocated_{size}", "allocated_rest", f"measured_{size}", "measured_rest")
    summed = ("microseconds", *sizes, "unmeasured_microseconds", "cost_whole", "cost_rest")
    # The number is not called as the column that is summed.
    columns = {**halved(summed), "counted": records, "priced": Count("cost_whole"), "money": Max("currency")}
    for row in rows.values(*by).annotate(**columns).iterator():
        found = {name: put_together(row, name) for name in summed}
        yield (
            tuple(row[name] for name in by),
            UsageSum(
                records=int(row["counted"]),
                microseconds=found["microseconds"],
                allocated=whole_of(found[f"allocated_{size}"], found["allocated_rest"], unit),
                measured=whole_of(found[f"measured_{size}"], found["measured_rest"], unit),
                unmeasured=found["unmeasured_microseconds"],
                cost=whole_of(found["cost_whole"], found["cost_rest"], BILLION) if row["priced"] else None,
                currency=row["money"],
            ),
        )


def halved(names: Iterable[str]) -> dict[str, Any]:
    """What to ask the database for to have the sums of these columns."""
    halves: dict[str, Any] = {}
    for name in names:
        halves[f"{name}_high"] = Sum(_whole(F(name) / HALF))
        halves[f"{name}_low"] = Sum(_whole(F(name) % HALF))
    return halves


def put_together(row: Mapping[str, Any], name: str) -> int:
    """The sum of this column from an answer to `halved`. What has no value counts as 0."""
    return int(row[f"{name}_high"] or 0) * HALF + int(row[f"{name}_low"] or 0)


def _whole(expression: Any) -> Any:
    # Both databases round a quotient of whole numbers towards zero, and let the remainder have the sign of the dividend.
    return ExpressionWrapper(expression, output_field=BigIntegerField())

"""Exact sums over usage records, made by the database in one query.

SQLite refuses a sum that leaves 64 bits, so each column is summed in two halves, which are put together here.
"""

from dataclasses import dataclass
from typing import Any

from django.db.models import BigIntegerField, Count, ExpressionWrapper, F, Max, QuerySet, Sum

from snapshots.models import UsageRecord
from snapshots.usage_arithmetic import BILLION, KIB_HOUR, whole_of

HALF = 2**31
"""With 64-bit columns, up to four thousand million records can be summed."""
SUMMED = (
    "microseconds",
    "allocated_kib_hours",
    "allocated_rest",
    "measured_kib_hours",
    "measured_rest",
    "unmeasured_microseconds",
    "cost_whole",
    "cost_rest",
)


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


def usage_sums(rows: QuerySet[UsageRecord], *by: str) -> dict[tuple[Any, ...], UsageSum]:
    """The sum over the records, apart by the values of these columns."""
    columns: dict[str, Any] = {}
    for name in SUMMED:
        columns[f"{name}_high"] = Sum(_whole(F(name) / HALF))
        columns[f"{name}_low"] = Sum(_whole(F(name) % HALF))
    columns |= {"records": Count("pk"), "priced": Count("cost_whole"), "money": Max("currency")}
    return {tuple(row[name] for name in by): _sum(row) for row in rows.order_by().values(*by).annotate(**columns)}


def _whole(expression: Any) -> Any:
    # Both databases round a quotient of whole numbers towards zero, and let the remainder have the sign of the dividend.
    return ExpressionWrapper(expression, output_field=BigIntegerField())


def _sum(row: dict[str, Any]) -> UsageSum:
    found = {name: int(row[f"{name}_high"] or 0) * HALF + int(row[f"{name}_low"] or 0) for name in SUMMED}
    return UsageSum(
        records=row["records"],
        microseconds=found["microseconds"],
        allocated=whole_of(found["allocated_kib_hours"], found["allocated_rest"], KIB_HOUR),
        measured=whole_of(found["measured_kib_hours"], found["measured_rest"], KIB_HOUR),
        unmeasured=found["unmeasured_microseconds"],
        cost=whole_of(found["cost_whole"], found["cost_rest"], BILLION) if row["priced"] else None,
        currency=row["money"],
    )

"""Admin pages of usage: records and periods to look at, to sum up and to export; prices to set."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from import_export.admin import ExportMixin
from import_export.fields import Field
from import_export.forms import ExportForm
from import_export.resources import ModelResource

from snapshots.access import Actor
from snapshots.admin.acting import ActingAdmin, ActingForm, ReadingAdmin
from snapshots.admin.by_name import by_name
from snapshots.admin.export_formats import FORMATS
from snapshots.choices import PriceUnit, UsageType
from snapshots.models import StoragePool, UsagePeriod, UsagePrice, UsageRecord
from snapshots.reading import rest_lists
from snapshots.reading.csv_lines import cell
from snapshots.reading.usage_table import COLUMNS, money, usage_line
from snapshots.reading.usage_totals import UsageSum, usage_sums
from snapshots.services import usage_prices
from snapshots.services.usage_prices import PriceTerms
from snapshots.usage_arithmetic import BILLION, GIB, HOUR


def gib_hours(amount: int) -> str:
    """Byte-microseconds as GiB-hours, to a thousandth."""
    return f"{amount / (GIB * HOUR):,.3f}"


class UsageRecordResource(ModelResource):
    """Usage records as the lines of `reading.usage_table`."""

    class Meta:
        model = UsageRecord
        fields = COLUMNS
        export_order = COLUMNS

    def export_resource(self, instance: UsageRecord, *_: Any, **__: Any) -> list[Any]:
        line = usage_line(instance)
        return [_exported(value) for value in line.cells]


UsageRecordResource.fields = {name: Field(column_name=name, readonly=True) for name in COLUMNS}


def _exported(value: Any) -> Any:
    """Workbooks know neither zones nor ids, JSON no times."""
    if isinstance(value, datetime):
        return cell(value)
    return value if value is None or isinstance(value, int | float | str | Decimal) else str(value)


@admin.register(UsageRecord)
class UsageRecordAdmin(ExportMixin, ReadingAdmin):
    """What was billed. The list ends with the sum of all that match, not of the page alone."""

    resource_classes = [UsageRecordResource]
    export_form_class = ExportForm
    change_list_template = "admin/snapshots/usagerecord/change_list.html"
    list_display = (
        "start",
        "kind",
        "snapshot_name",
        "machine_name",
        "account_name",
        "pool_name",
        "hours",
        "allocated_gib_hours",
        "measured_gib_hours",
        "cost",
    )
    list_filter = (
        by_name("account"),
        by_name("domain"),
        by_name("machine"),
        by_name("pool"),
        "type",
        ("start", admin.DateFieldListFilter),
        ("corrects", admin.EmptyFieldListFilter),
        "currency",
    )
    list_select_related = ("period",)
    search_fields = ("snapshot_name", "machine_name", "account_name", "domain_name", "pool_name", "hypervisor_name")
    search_help_text = "Names of VM snapshots, machines, accounts, domains, pools or hypervisors."
    ordering = ("-start", "-pk")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [field.name for field in UsageRecord._meta.fields if field.name != "id"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return rest_lists.with_periods(super().get_queryset(request))

    def get_export_formats(self) -> list[Any]:
        return list(FORMATS)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        answer: Any = super().changelist_view(request, extra_context)
        changelist = getattr(answer, "context_data", {}).get("cl")
        if changelist is not None:
            answer.context_data["totals"] = list(_totals(changelist.queryset))
        return answer  # type: ignore[no-any-return]  # the stock page

    @admin.display(description="type", ordering="type")
    def kind(self, record: UsageRecord) -> str:
        return str(record.type)

    @admin.display(description="hours", ordering="microseconds")
    def hours(self, record: UsageRecord) -> str:
        return f"{record.microseconds / HOUR:,.3f}"

    @admin.display(description="allocated GiB-hours", ordering="allocated_kib_hours")
    def allocated_gib_hours(self, record: UsageRecord) -> str:
        return f"{usage_line(record).allocated_byte_hours / GIB:,.3f}"

    @admin.display(description="measured GiB-hours", ordering="measured_kib_hours")
    def measured_gib_hours(self, record: UsageRecord) -> str:
        measured = usage_line(record).measured_byte_hours
        return "-" if measured is None else f"{measured / GIB:,.3f}"

    @admin.display(description="cost", ordering="cost_whole")
    def cost(self, record: UsageRecord) -> str:
        cost = usage_line(record).cost
        return "-" if cost is None else f"{cost:f} {record.currency}"


def _totals(rows: QuerySet[UsageRecord]) -> Iterable[dict[str, Any]]:
    """A line for each type."""
    for (kind,), found in sorted(usage_sums(rows, "type").items()):
        yield {
            "type": UsageType(kind).label,
            "records": found.records,
            "hours": f"{found.microseconds / HOUR:,.3f}",
            "allocated": gib_hours(found.allocated),
            "measured": gib_hours(found.measured) if kind == UsageType.VM_SNAPSHOT_ON_PRIMARY else "-",
            "cost": _cost(found),
        }


def _cost(found: UsageSum) -> str:
    return "-" if found.cost is None else f"{money(found.cost):,.2f} {found.currency}"


@admin.register(UsagePeriod)
class UsagePeriodAdmin(ReadingAdmin):
    """Closed periods."""

    list_display = ("start", "end", "length", "closed_at")
    list_filter = ("length",)
    fields = ("start", "end", "length", "closed_at", "number", "uuid")


class PriceForm(ActingForm):
    """A price in the currency, not in its billionths; the pool, which is chosen once and for all, by its name."""

    pool = forms.ModelChoiceField(
        StoragePool.objects.select_related("hypervisor"),
        required=False,
        empty_label="All pools without a price of their own",
    )
    amount = forms.DecimalField(label="Price", min_value=0, max_digits=16, decimal_places=9)

    class Meta:
        model = UsagePrice
        fields = ("type", "unit", "currency", "valid_from", "valid_until")
        help_texts = {
            "valid_from": "Not before the end of the last closed period.",
            "valid_until": "Empty: for good.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        price = self.instance
        if price.pk is None:
            pool: Any = self.fields["pool"]
            pool.label_from_instance = lambda row: f"{row.hypervisor.name} / {row.name}"
            self.fields["valid_from"].initial = timezone.now().replace(minute=0, second=0, microsecond=0)
        else:
            self.fields["amount"].initial = f"{Decimal(price.billionths) / BILLION:f}"


@admin.register(UsagePrice)
class UsagePriceAdmin(ActingAdmin):
    """What usage costs."""

    form = PriceForm
    may_add = may_change = may_delete = True
    list_display = ("type", "unit", "pool", "price", "currency", "valid_from", "valid_until")
    list_filter = ("type", "unit")
    fields = ("type", "unit", "pool", "amount", "currency", "valid_from", "valid_until")

    def get_readonly_fields(self, request: HttpRequest, obj: UsagePrice | None = None) -> tuple[str, ...]:
        return () if obj is None else ("pool",)

    @admin.display(description="pool", ordering="pool_name")
    def pool(self, price: UsagePrice) -> str:
        return price.pool_name or "all pools"

    @admin.display(description="price", ordering="billionths")
    def price(self, price: UsagePrice) -> str:
        return f"{Decimal(price.billionths) / BILLION:f}"

    def create(self, actor: Actor, values: dict[str, Any]) -> UsagePrice:
        return usage_prices.set_price(actor, _terms(values))

    def change(self, actor: Actor, row: UsagePrice, values: dict[str, Any]) -> None:
        usage_prices.change_price(actor, row, _terms(values))

    def remove(self, actor: Actor, row: UsagePrice) -> None:
        usage_prices.delete_price(actor, row)


def _terms(values: dict[str, Any]) -> PriceTerms:
    return PriceTerms(
        type=UsageType(values["type"]),
        unit=PriceUnit(values["unit"]),
        amount=values["amount"],
        currency=values["currency"],
        pool=values.get("pool"),
        valid_from=values["valid_from"],
        valid_until=values["valid_until"],
    )

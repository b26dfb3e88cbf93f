"""By what the lists can be filtered. A parameter that is not known, given twice or of the wrong form is refused, never
ignored: a script that asks for `?stat=Error` must not take every row for an answer.
"""

from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime
from django_filters.rest_framework import DjangoFilterBackend, FilterSet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework.request import Request
from rest_framework.views import APIView

from hypervisors.models import Hypervisor
from hypervisors.registry import KINDS
from snapshots.choices import (
    GONE,
    Frequency,
    JobAction,
    JobState,
    LimitKind,
    Origin,
    PowerState,
    SnapshotState,
    SnapshotType,
    TokenScope,
    UsageType,
)
from snapshots.models import Event, LimitUse, Schedule, UsagePeriod, UsageRecord, VirtualMachine, VMSnapshot
from snapshots.refusals import Invalid


class Filters(DjangoFilterBackend):
    """Applies the `filterset_class` of a list view."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        listing: Any = view  # only list views come here
        known = {*listing.filterset_class.base_filters, *listing.paginator.parameters, *listing.more_parameters}
        refuse_unknown_parameters(request, known)
        rows: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return rows


def refuse_unknown_parameters(request: Request, known: set[str]) -> None:
    """Raise `Invalid` for query parameters that are not known here or given twice."""
    fields: dict[str, list[str]] = {}
    for name in request.query_params:
        if name not in known:
            names = f" Known here: {', '.join(sorted(known))}." if known else ""
            fields[name] = [f"Not a parameter of this address.{names}"]
        elif len(request.query_params.getlist(name)) > 1:
            fields[name] = ["Given more than once."]
    if fields:
        raise Invalid("The query of the address is not valid: " + ", ".join(fields) + ".", fields=fields)


class _MomentField(forms.Field):
    """A time in ISO 8601; without a zone it is UTC."""

    def to_python(self, value: Any) -> datetime | None:
        if value in self.empty_values:
            return None
        # A “+” that was not percent-encoded arrives as a space, and only a zone can follow one at this place.
        text = str(value).strip().replace(" ", "+") if "T" in str(value) else str(value)
        try:
            moment = parse_datetime(text)
            if moment is not None:
                return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # no such day, or outside the years that can be kept: refused below like any other text
        raise forms.ValidationError("A time in ISO 8601, for example 2026-01-31T12:00:00Z.")


def moment_of(name: str, text: str) -> datetime | None:
    """The time that a parameter names, None for an empty one. Raises `Invalid`."""
    try:
        return _MomentField().to_python(text)
    except forms.ValidationError as error:
        raise Invalid(f"The query of the address is not valid: {name}.", fields={name: error.messages}) from None


@extend_schema_field(OpenApiTypes.DATETIME)
class Moment(django_filters.Filter):
    """Compares with a time."""

    field_class = _MomentField


@extend_schema_field(OpenApiTypes.BOOL)
class YesNo(django_filters.TypedChoiceFilter):
    """`true` or `false`, nothing else."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            choices=(("true", "true"), ("false", "false")),
            coerce=lambda text: text == "true",
            empty_value=None,
            **options,
        )


# In the words of the indexes of the few that differ, which lead the database to them.
WITH_DRIFT = Q(unadopted_count__gt=0) | Q(lost_count__gt=0)
DRIFT_OF_SNAPSHOTS = {
    "made_elsewhere": Q(parent__isnull=False, origin=Origin.ELSEWHERE, adopted_at=None),
    "lost": Q(parent__isnull=False, error_code=GONE) & ~Q(state="Ready"),
}


class MachineFilters(FilterSet):
    """Filters of `virtual-machines/`."""

    name = django_filters.CharFilter(lookup_expr="icontains", help_text="Part of the name.")
    power_state = django_filters.ChoiceFilter(choices=PowerState.choices)
    hypervisor = django_filters.UUIDFilter(field_name="hypervisor__uuid")
    account = django_filters.UUIDFilter(field_name="account__uuid")
    domain = django_filters.UUIDFilter(field_name="account__domain__uuid", help_text="The account's own domain.")
    drift = YesNo(
        method="with_drift",
        help_text="`true`: those with VM snapshots made elsewhere that nobody adopted, or with lost ones.",
    )
    missing = YesNo(
        field_name="missing_since",
        lookup_expr="isnull",
        exclude=True,
        help_text="`true`: those that their hypervisor does not have any more.",
    )

    def with_drift(self, rows: QuerySet[VirtualMachine], _: str, value: bool) -> QuerySet[VirtualMachine]:
        """Those that have it, or have it not."""
        return rows.filter(WITH_DRIFT) if value else rows.exclude(WITH_DRIFT)


class SnapshotFilters(FilterSet):
    """Filters of VM snapshots of one machine. The name is the whole name: part of one cannot be found by an index."""

    name = django_filters.CharFilter(help_text="The whole name.", strip=False)
    state = django_filters.ChoiceFilter(choices=SnapshotState.choices, method="in_state")
    type = django_filters.ChoiceFilter(choices=SnapshotType.choices)
    origin = django_filters.ChoiceFilter(choices=Origin.choices)
    current = YesNo()
    drift = django_filters.ChoiceFilter(
        choices=(("made_elsewhere", "Made elsewhere, not adopted"), ("lost", "Lost")),
        method="with_drift",
        help_text="Where the hypervisor and this product differ: made elsewhere and not adopted, or lost.",
    )
    schedule = django_filters.UUIDFilter(field_name="schedule__uuid", help_text="Taken by it, and not kept for good.")
    created_after = Moment(field_name="created_at", lookup_expr="gte")
    created_before = Moment(field_name="created_at", lookup_expr="lt")

    def with_drift(self, rows: QuerySet[VMSnapshot], _: str, value: str) -> QuerySet[VMSnapshot]:
        """Those that differ in this way."""
        return rows.filter(DRIFT_OF_SNAPSHOTS[value])

    def in_state(self, rows: QuerySet[VMSnapshot], _: str, value: str) -> QuerySet[VMSnapshot]:
        """In this state. The words of the index of those few that are not Ready lead the database to it."""
        return (
            rows.filter(state=value)
            if value == SnapshotState.READY
            else rows.exclude(state="Ready").filter(state=value)
        )


class AllSnapshotFilters(SnapshotFilters):
    """Filters of `snapshots/`."""

    virtual_machine = django_filters.UUIDFilter(field_name="machine__uuid")


class ScheduleFilters(FilterSet):
    """Filters of the schedules of one machine."""

    frequency = django_filters.ChoiceFilter(choices=Frequency.choices)
    enabled = YesNo(help_text="`false`: those that are paused.")
    missed = YesNo(method="by_last_time", help_text="`true`: those whose last VM snapshot was missed.")

    def by_last_time(self, rows: QuerySet[Schedule], _: str, value: bool) -> QuerySet[Schedule]:
        """Those whose last time was missed, or was not."""
        return rows.exclude(missed="") if value else rows.filter(missed="")


class AllScheduleFilters(ScheduleFilters):
    """Filters of `schedules/`."""

    virtual_machine = django_filters.UUIDFilter(field_name="machine__uuid")
    account = django_filters.UUIDFilter(field_name="machine__account__uuid")


class JobFilters(FilterSet):
    """Filters of `jobs/`."""

    state = django_filters.ChoiceFilter(choices=JobState.choices)
    action = django_filters.ChoiceFilter(choices=JobAction.choices)
    virtual_machine = django_filters.UUIDFilter(field_name="machine__uuid")
    snapshot = django_filters.UUIDFilter(field_name="snapshot_uuid")
    created_after = Moment(field_name="created_at", lookup_expr="gte")
    created_before = Moment(field_name="created_at", lookup_expr="lt")


class EventFilters(FilterSet):
    """Filters of `events/`."""

    action = django_filters.CharFilter(
        method="named", help_text="A name or its beginning up to a dot: `snapshot.create` finds all about creating."
    )
    virtual_machine = django_filters.UUIDFilter(field_name="machine__uuid")
    level = django_filters.ChoiceFilter(choices=Event.Level.choices)
    at_after = Moment(field_name="at", lookup_expr="gte")
    at_before = Moment(field_name="at", lookup_expr="lt")

    def named(self, rows: QuerySet[Event], _: str, value: str) -> QuerySet[Event]:
        """Events with this name or one below it."""
        return rows.filter(Q(action=value) | Q(action__startswith=f"{value}."))


class UsageRecordFilters(FilterSet):
    """Filters of `usage-records/`. Also what is deleted can be asked for."""

    account = django_filters.UUIDFilter(field_name="account_uuid")
    domain = django_filters.UUIDFilter(field_name="domain_uuid", help_text="The account's own domain.")
    virtual_machine = django_filters.UUIDFilter(field_name="machine_uuid")
    snapshot = django_filters.UUIDFilter(field_name="snapshot_uuid")
    usageid = django_filters.UUIDFilter(field_name="snapshot_uuid", help_text="Another name of `snapshot`.")
    storage_pool = django_filters.UUIDFilter(field_name="pool_uuid")
    hypervisor = django_filters.UUIDFilter(field_name="hypervisor_uuid")
    type = django_filters.TypedChoiceFilter(choices=UsageType.choices, coerce=int)
    correction = YesNo(
        field_name="corrects", lookup_expr="isnull", exclude=True, help_text="`true`: corrections of earlier periods."
    )
    start_after = Moment(field_name="start", lookup_expr="gte", help_text="Used from this moment on, or later.")
    start_before = Moment(field_name="start", lookup_expr="lt")
    period_after = Moment(method="in_periods", help_text="In periods that begin at this moment or later.")
    period_before = Moment(method="in_periods", help_text="In periods that end at this moment or earlier.")

    def in_periods(self, rows: QuerySet[UsageRecord], name: str, value: datetime) -> QuerySet[UsageRecord]:
        """In periods that lie on one side of a moment."""
        side = {"start__gte": value} if name == "period_after" else {"end__lte": value}
        return rows.filter(period__in=UsagePeriod.objects.filter(**side).values("pk"))


class VolumeFilters(FilterSet):
    """Filters of `volumes/`."""

    name = django_filters.CharFilter(lookup_expr="icontains", help_text="Part of the name.")
    virtual_machine = django_filters.UUIDFilter(field_name="machine__uuid")
    storage_pool = django_filters.UUIDFilter(field_name="pool__uuid")
    loose = YesNo(field_name="machine", lookup_expr="isnull", help_text="Attached to no machine.")


class HypervisorFilters(FilterSet):
    """Filters of `hypervisors/`."""

    name = django_filters.CharFilter(lookup_expr="icontains", help_text="Part of the name.")
    kind = django_filters.ChoiceFilter(choices=[(key, kind.label) for key, kind in KINDS.items()])
    state = django_filters.ChoiceFilter(choices=Hypervisor.State.choices)


class PoolFilters(FilterSet):
    """Filters of `storage-pools/`."""

    name = django_filters.CharFilter(lookup_expr="icontains", help_text="Part of the name.")
    hypervisor = django_filters.UUIDFilter(field_name="hypervisor__uuid")


class AccountFilters(FilterSet):
    """Filters of `accounts/`."""

    name = django_filters.CharFilter(lookup_expr="icontains", help_text="Part of the name.")
    domain = django_filters.UUIDFilter(field_name="domain__uuid")


class DomainFilters(FilterSet):
    """Filters of `domains/`."""

    name = django_filters.CharFilter(lookup_expr="icontains", help_text="Part of the name.")


class LimitFilters(FilterSet):
    """Filters of `limits/`."""

    account = django_filters.UUIDFilter(field_name="account__uuid")
    domain = django_filters.UUIDFilter(field_name="domain__uuid", help_text="The domain itself, not what is in it.")
    kind = django_filters.ChoiceFilter(
        choices=LimitKind.choices, method="of_kind", help_text="Show the limits of this kind only."
    )

    def of_kind(self, rows: QuerySet[LimitUse], _: str, value: str) -> QuerySet[LimitUse]:
        """Every place has limits of every kind: which are shown is the view's to say."""
        return rows


class TokenFilters(FilterSet):
    """Filters of `tokens/`."""

    scope = django_filters.ChoiceFilter(choices=TokenScope.choices)

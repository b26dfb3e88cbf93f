"""Schedules a person sees: those of one machine, one of them, and the list of all. The number of queries is constant."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from snapshots.access import Person, visible_schedules
from snapshots.choices import JobState, SnapshotState
from snapshots.models import Schedule, VirtualMachine, VMSnapshot
from snapshots.refusals import NotVisible

SCHEDULES_PER_PAGE = 50

ACTIVE, PAUSED, WRONG = "active", "paused", "wrong"
"""The states that can be asked for. `WRONG`: the last time was missed, or its job failed."""
IN_STATE = {
    ACTIVE: Q(enabled=True),
    PAUSED: Q(enabled=False),
    WRONG: Q(missed__gt="") | Q(last_job__state=JobState.FAILED),
}


@dataclass(frozen=True, slots=True)
class ScheduleQuery:
    """What is asked for. An empty text and an empty state do not narrow; `state` is a key of `IN_STATE`."""

    text: str = ""
    state: str = ""
    page: int = 1

    @property
    def narrowed(self) -> bool:
        """Whether anything is left out."""
        return bool(self.text or self.state)


@dataclass(frozen=True, slots=True)
class ScheduleList:
    """One page of schedules, by machine."""

    page: Page[Schedule]

    @property
    def any_simulated(self) -> bool:
        """Whether some machine shown is on a simulated hypervisor."""
        return any(schedule.machine.hypervisor.simulated for schedule in self.page.object_list)


def schedule_list(person: Person, query: ScheduleQuery) -> ScheduleList:
    """One page. Two queries beside those that find out who the person is."""
    rows = visible_schedules(person).select_related("machine__hypervisor", "last_job")
    if query.text:
        rows = rows.filter(Q(name__icontains=query.text) | Q(machine__name__icontains=query.text))
    if query.state in IN_STATE:
        rows = rows.filter(IN_STATE[query.state])
    # The machine's own order, by name and key, is an index of its table, and the rest one of this table: with no other
    # order of the same sense can a database read both in order instead of sorting all rows.
    ordered = rows.order_by("machine", "name")
    page = Paginator(ordered, SCHEDULES_PER_PAGE).get_page(query.page)
    page.object_list = list(page.object_list)
    return ScheduleList(page)


def schedules_of(machine: VirtualMachine) -> list[Schedule]:
    """The schedules of a machine by name, each with its last job and how many VM snapshots it has (`kept`). One query."""
    rows = list(_with_kept(Schedule.objects.filter(machine=machine)).select_related("last_job").order_by("name", "pk"))
    for row in rows:
        row.machine = machine
    return rows


def schedule_of(person: Person, schedule_uuid: UUID) -> Schedule:
    """One schedule with its machine, and how many VM snapshots it has (`kept`). One query. Raises `NotVisible`."""
    rows = _with_kept(visible_schedules(person).select_related("machine__hypervisor"))
    schedule = rows.filter(uuid=schedule_uuid).first()
    if schedule is None:
        raise NotVisible("There is no such schedule.")
    return schedule


def count_kept() -> QuerySet[VMSnapshot, dict[str, Any]]:
    """By `schedule` how many VM snapshots it has (`kept`): those that are Ready, which are the ones it counts."""
    rows = VMSnapshot.objects.filter(schedule__isnull=False, state=SnapshotState.READY).order_by()
    counted: QuerySet[VMSnapshot, dict[str, Any]] = rows.values("schedule").annotate(kept=Count("pk"))
    return counted


def _with_kept(rows: QuerySet[Schedule]) -> QuerySet[Schedule]:
    kept = count_kept().filter(schedule=OuterRef("pk")).values("kept")
    return rows.annotate(kept=Coalesce(Subquery(kept, output_field=IntegerField()), Value(0)))

"""Schedules a person sees: those of one machine, one of them, and the list of all. The number of queries is constant."""

from dataclasses import dataclass
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from snapshots.access import Person, visible_schedules
from snapshots.choices import JobState
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
    ordered = rows.order_by("machine__name", "machine", "name", "pk")
    page = Paginator(ordered, SCHEDULES_PER_PAGE).get_page(query.page)
    page.object_list = list(page.object_list)
    return ScheduleList(page)


def schedules_of(machine: VirtualMachine) -> list[Schedule]:
    """The schedules of a machine by name, each with its last job and how many VM snapshots of it are there (`held`). One
    query."""
    rows = list(_with_held(Schedule.objects.filter(machine=machine)).select_related("last_job").order_by("name", "pk"))
    for row in rows:
        row.machine = machine
    return rows


def schedule_of(person: Person, schedule_uuid: UUID) -> Schedule:
    """One schedule with its machine, and how many VM snapshots of it are there (`held`). One query. Raises `NotVisible`."""
    rows = _with_held(visible_schedules(person).select_related("machine__hypervisor"))
    schedule = rows.filter(uuid=schedule_uuid).first()
    if schedule is None:
        raise NotVisible("There is no such schedule.")
    return schedule


def _with_held(rows: QuerySet[Schedule]) -> QuerySet[Schedule]:
    held = VMSnapshot.objects.filter(schedule=OuterRef("pk")).order_by().values("schedule").annotate(count=Count("pk"))
    return rows.annotate(held=Coalesce(Subquery(held.values("count"), output_field=IntegerField()), Value(0)))

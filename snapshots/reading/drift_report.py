"""Where hypervisors and this product differ, for admins: what was made elsewhere, what is lost, which machines vanished,
and what was put right of late. The number of queries is constant."""

from collections import defaultdict
from dataclasses import dataclass
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Case, CharField, Exists, F, OuterRef, Q, QuerySet, Value, When, Window
from django.db.models.functions import RowNumber

from hypervisors.models import Hypervisor
from snapshots.access import Person, administered_events, administered_machines
from snapshots.choices import GONE, Origin
from snapshots.limit_levels import Room, room_of_nobody, rooms_of
from snapshots.models import Event, Job, VirtualMachine, VMSnapshot
from snapshots.models.event import CORRECTIONS
from snapshots.reading.machine_page import active_jobs_of

MACHINES_PER_PAGE = 25
SNAPSHOTS_SHOWN = 10
VANISHED_SHOWN = 50
CORRECTIONS_SHOWN = 50


ELSEWHERE, LOST, VANISHED, CORRECTED = "elsewhere", "lost", "vanished", "corrected"


@dataclass(frozen=True, slots=True)
class DriftQuery:
    """What is asked for. Empty texts and None do not narrow; `what` is one of `ELSEWHERE`, `LOST`, `VANISHED` and
    `CORRECTED`, `text` a part of a machine's name."""

    text: str = ""
    hypervisor: UUID | None = None
    what: str = ""
    page: int = 1

    @property
    def narrowed(self) -> bool:
        """Whether anything is left out."""
        return bool(self.text or self.hypervisor or self.what)

    def wants(self, *kinds: str) -> bool:
        """Whether one of these kinds of difference is asked for."""
        return not self.what or self.what in kinds


@dataclass(frozen=True, slots=True)
class MachineDrift:
    """One machine that differs. The lists hold the first `SNAPSHOTS_SHOWN`, oldest first; how many there are stands in
    `machine.unadopted_count` and `machine.lost_count`."""

    machine: VirtualMachine
    made_elsewhere: list[VMSnapshot]
    lost: list[VMSnapshot]

    @property
    def elsewhere_not_shown(self) -> int:
        """How many more were made elsewhere."""
        return max(0, self.machine.unadopted_count - len(self.made_elsewhere))

    @property
    def lost_not_shown(self) -> int:
        """How many more are lost."""
        return max(0, self.machine.lost_count - len(self.lost))


@dataclass(frozen=True, slots=True)
class DriftReport:
    """One page of machines that differ, by name; the machines that vanished last, and the last corrections. One more of the
    latter two than is shown is told by `more_vanished` and `more_corrections`. `busy` are the jobs under way on
    the machines that differ, `rooms` the limits that hold for them, by account, `hypervisors` what can be filtered by."""

    page: Page[VirtualMachine]
    machines: list[MachineDrift]
    vanished: list[VirtualMachine]
    more_vanished: bool
    corrections: list[Event]
    more_corrections: bool
    busy: dict[int, Job]
    hypervisors: list[Hypervisor]
    rooms: dict[int, Room]

    def room_of(self, machine: VirtualMachine) -> Room:
        """The limits that hold for one of the machines that differ."""
        return room_of_nobody() if machine.account_id is None else self.rooms[machine.account_id]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to decide."""
        return not self.machines and not self.vanished

    @property
    def any_simulated(self) -> bool:
        """Whether some machine shown is on a simulated hypervisor."""
        return any(machine.hypervisor.simulated for machine in (*self.page.object_list, *self.vanished))


def drift_report(person: Person, query: DriftQuery) -> DriftReport:
    """What the person administers. Eight queries at most beside those that find out who the person is."""
    listed = _differing(person, query).select_related("hypervisor", "account__domain").defer("capabilities")
    shown = Paginator(listed.order_by("name", "id"), MACHINES_PER_PAGE).get_page(query.page)
    machines = list(shown.object_list)
    shown.object_list = machines
    rows = _snapshots_of([machine.pk for machine in machines], query)
    gone = list(_vanished(person, query)[: VANISHED_SHOWN + 1])
    put_right = list(_corrections(person, query)[: CORRECTIONS_SHOWN + 1])
    holding = administered_machines(person).filter(hypervisor=OuterRef("pk"))
    return DriftReport(
        page=shown,
        machines=[
            MachineDrift(machine, rows[machine.pk, "made_elsewhere"], rows[machine.pk, "lost"]) for machine in machines
        ],
        vanished=gone[:VANISHED_SHOWN],
        more_vanished=len(gone) > VANISHED_SHOWN,
        corrections=put_right[:CORRECTIONS_SHOWN],
        more_corrections=len(put_right) > CORRECTIONS_SHOWN,
        busy=active_jobs_of([machine.pk for machine in machines]),
        rooms=rooms_of([machine.account for machine in machines if machine.account is not None], person),
        hypervisors=list(Hypervisor.objects.filter(Exists(holding)).order_by("name")),
    )


def _differing(person: Person, query: DriftQuery) -> QuerySet[VirtualMachine]:
    rows = _named(administered_machines(person), query)
    if not query.wants(ELSEWHERE, LOST):
        return rows.none()
    kinds = {ELSEWHERE: Q(unadopted_count__gt=0), LOST: Q(lost_count__gt=0)}
    return rows.filter(kinds.get(query.what, kinds[ELSEWHERE] | kinds[LOST]))


def _vanished(person: Person, query: DriftQuery) -> QuerySet[VirtualMachine]:
    rows = _named(administered_machines(person), query)
    if not query.wants(VANISHED):
        return rows.none()
    gone = rows.filter(missing_since__isnull=False).select_related("hypervisor", "account__domain")
    return gone.defer("capabilities").order_by("-missing_since", "-id")


def _corrections(person: Person, query: DriftQuery) -> QuerySet[Event]:
    rows = administered_events(person)
    if not query.wants(CORRECTED):
        return rows.none()
    if query.text:
        rows = rows.filter(machine_name__icontains=query.text)
    if query.hypervisor:
        rows = rows.filter(hypervisor__uuid=query.hypervisor)
    found = rows.filter(action__in=CORRECTIONS).select_related("machine__hypervisor")
    return found.order_by("-at", "-id")


def _named(rows: QuerySet[VirtualMachine], query: DriftQuery) -> QuerySet[VirtualMachine]:
    if query.text:
        rows = rows.filter(name__icontains=query.text)
    if query.hypervisor:
        rows = rows.filter(hypervisor__uuid=query.hypervisor)
    return rows


def _snapshots_of(machine_pks: list[int], query: DriftQuery) -> dict[tuple[int, str], list[VMSnapshot]]:
    """The first few of each kind that is asked for, of these machines. One query."""
    lost, elsewhere = Q(error_code=GONE), Q(origin=Origin.ELSEWHERE, adopted_at=None)
    wanted = {ELSEWHERE: elsewhere, LOST: lost}.get(query.what, lost | elsewhere)
    differing = (
        VMSnapshot.objects.real()
        .filter(wanted, machine__in=machine_pks)
        .annotate(
            difference=Case(
                When(elsewhere, then=Value("made_elsewhere")), default=Value("lost"), output_field=CharField()
            ),
        )
        .annotate(
            place=Window(
                RowNumber(),
                partition_by=[F("machine"), F("difference")],
                order_by=[F("created_at").asc(), F("pk").asc()],
            )
        )
        .filter(place__lte=SNAPSHOTS_SHOWN)
    )
    found: dict[tuple[int, str], list[VMSnapshot]] = defaultdict(list)
    for row in differing.order_by("machine_id", "created_at", "pk"):
        found[row.machine_id, row.difference].append(row)
    return found

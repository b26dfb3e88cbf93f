"""What the page of one machine shows, in a fixed number of queries, whatever the number of VM snapshots.

Also the much smaller reading that a page in somebody's browser repeats to see whether anything has changed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.utils import timezone

from snapshots.access import Person, is_root_admin, operable_accounts, visible_machines
from snapshots.choices import ACTIVE_JOB_STATES, JobAction, JobState, SnapshotState
from snapshots.estimates import NEW, Growth, MachineEstimate, estimate_machine, growth_by_take, share_of
from snapshots.limit_levels import OLDEST_DAYS, Room, Wanted, room_of
from snapshots.models import Event, Job, Schedule, VirtualMachine, VMSnapshot, Volume
from snapshots.reading.tree_layout import Row, lay_out
from snapshots.refusals import NotVisible

EVENTS_SHOWN = 8
JOBS_LOOKED_AT = 6
# How long the page goes on showing that an action went well. A failure stays until the next action.
SUCCESS_SHOWN_FOR = timedelta(minutes=2)

QUIET_ACTIONS = (JobAction.SYNC_MACHINE, JobAction.SYNC_HYPERVISOR)


@dataclass(frozen=True)
class MachinePage:
    """One machine with everything its page shows.

    `snapshots` are the real ones in tree order, `current` is the one the machine stems from (None: from none),
    `selected` the one whose details are shown. `room` are the limits that hold for the machine, as far as `person` may see
    where they come from. `recent_jobs` and `events` have the newest first. `may_operate`: whether
    this person may act on the machine at all.
    """

    machine: VirtualMachine
    may_operate: bool
    person: Person
    room: Room
    snapshots: list[VMSnapshot]
    current: VMSnapshot | None
    selected: VMSnapshot | None
    volumes: list[Volume]
    recent_jobs: list[Job]
    events: list[Event]

    @cached_property
    def by_pk(self) -> dict[int, VMSnapshot]:
        """The snapshots by primary key."""
        return {row.pk: row for row in self.snapshots}

    @cached_property
    def rows(self) -> list[Row[int]]:
        """The drawing of the tree: each row's key is a snapshot's primary key."""
        return lay_out(
            ((row.pk, row.parent_id) for row in self.snapshots), None if self.current is None else self.current.pk
        )

    @cached_property
    def estimate(self) -> MachineEstimate:
        """What the snapshots are estimated to occupy."""
        return estimate_machine(
            self.snapshots,
            volume_bytes=sum(volume.capacity_bytes for volume in self.volumes),
            machine_memory_bytes=self.machine.memory_bytes,
        )

    def taking(self, *, memory: bool) -> Wanted:
        """What one more VM snapshot, taken now, takes of the limits."""
        return Wanted(1, self.growth(memory=memory).counted_bytes)

    @property
    def measured_bytes(self) -> int | None:
        """What the hypervisor measures of all of them together; None where it measures nothing."""
        known = [row.measured_bytes for row in self.snapshots if row.present and row.measured_bytes is not None]
        return sum(known) if known else None

    def growth(self, *, memory: bool) -> Growth:
        """What one more VM snapshot, taken now, would add to the estimate."""
        return growth_by_take(
            self.snapshots,
            below=NEW if self.current is None else self.current.pk,
            counted=[row.pk for row in self.snapshots if row.limited],
            memory=memory,
            volume_bytes=sum(volume.capacity_bytes for volume in self.volumes),
            machine_memory_bytes=self.machine.memory_bytes,
            before=self.estimate,
        )

    def adoption_of(self, rows: Sequence[VMSnapshot]) -> Wanted:
        """What adopting these takes of the limits."""
        return Wanted(len(rows), share_of(self.estimate, [row.pk for row in rows]))

    @property
    def oldest_days(self) -> int | None:
        """At how many days of age VM snapshots are deleted, whoever took them; None where no limit of age holds."""
        days = self.room.age_days.value
        return days if 0 <= days <= OLDEST_DAYS else None

    def expires_at(self, snapshot: VMSnapshot) -> datetime | None:
        """When this VM snapshot will be too old and be deleted; None when it will not, or not as things are: the machine is
        missing, or its endpoint is switched off."""
        days = self.oldest_days
        if days is None or not snapshot.limited or snapshot.state != SnapshotState.READY:
            return None
        if self.machine.missing_since is not None or not self.machine.hypervisor.enabled:
            return None
        return max(snapshot.created_at, snapshot.adopted_at or snapshot.created_at) + timedelta(days=days)

    @property
    def waiting(self) -> list[VMSnapshot]:
        """Those made elsewhere that can be adopted."""
        return [row for row in self.snapshots if not row.counts and row.state == SnapshotState.READY]

    @property
    def busy(self) -> Job | None:
        """The job under way on the machine."""
        newest = self.recent_jobs[0] if self.recent_jobs else None
        return newest if newest is not None and newest.active else None

    @property
    def latest_outcome(self) -> Job | None:
        """The job whose end the page still tells of, None when there is nothing to tell."""
        return outcome_to_tell(self.recent_jobs)

    def parent_of(self, snapshot: VMSnapshot) -> VMSnapshot | None:
        """The snapshot above, None for one that stems from none."""
        return self.by_pk.get(snapshot.parent_id)

    def children_of(self, snapshot: VMSnapshot) -> list[VMSnapshot]:
        """The snapshots directly below."""
        return [row for row in self.snapshots if row.parent_id == snapshot.pk]

    def with_descendants(self, snapshot: VMSnapshot) -> list[VMSnapshot]:
        """The snapshot and everything below it, parents before children."""
        return [row for row in self.snapshots if snapshot.lft <= row.lft <= snapshot.rght]

    @property
    def stamp(self) -> str:
        """Changes whenever something the page shows has changed; see `stamp_of`."""
        newest_event = self.events[0].pk if self.events else None
        newest_job = self.recent_jobs[0] if self.recent_jobs else None
        return stamp_of(self.machine, newest_job, newest_event)


@dataclass(frozen=True, slots=True)
class MachinePulse:
    """The little that tells whether a page shown before is still true, and how far the job under way has got."""

    machine: VirtualMachine
    busy: Job | None
    stamp: str


def outcome_to_tell(recent_jobs: list[Job]) -> Job | None:
    """Of the newest jobs, newest first, the ended one that is still news: the latest action, or a reading that failed
    and has not succeeded since."""
    read_since = False
    for job in recent_jobs:
        if job.active:
            return None
        if job.action in QUIET_ACTIONS:
            if job.state == JobState.FAILED and not read_since:
                return job
            read_since = True
            continue
        if job.state == JobState.SUCCEEDED:
            recent = job.finished_at is not None and timezone.now() - job.finished_at < SUCCESS_SHOWN_FOR
            return job if recent else None
        return job
    return None


def stamp_of(machine: VirtualMachine, newest_job: Job | None, newest_event_pk: int | None) -> str:
    """A short text that differs when the machine's page differs.

    Everything that changes a tree or a volume here writes an event or ends a job; what others did to the machine itself
    shows in its row.
    """
    facts = (
        machine.name,
        machine.power_state,
        machine.memory_bytes,
        machine.account_id,
        machine.missing_since,
        machine.snapshot_count,
        machine.unadopted_count,
        machine.lost_count,
        (machine.folder, machine.resource_pool, machine.tags),
        (machine.needs_consolidation, machine.question),
        machine.hypervisor.enabled,
        machine.hypervisor.state,
        newest_job and (newest_job.pk, newest_job.state),
        newest_event_pk,
        # A time that is missed for the same reason as the one before writes no event.
        machine.next_scheduled_at,  # type: ignore[attr-defined]  # by _machines
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def machine_of(person: Person, machine_uuid: UUID) -> tuple[VirtualMachine, bool]:
    """The machine with its hypervisor and owner, and whether the person may act on it. One query. Raises `NotVisible`."""
    machine = _machines(person).filter(uuid=machine_uuid).first()
    if machine is None:
        raise NotVisible("There is no such virtual machine.")
    return machine, _may_operate(person, machine)


def machine_page(person: Person, machine_uuid: UUID, selected: UUID | None = None) -> MachinePage:
    """Everything about one machine, with the current snapshot's details unless another one is named. Six queries.

    A snapshot that is not there (any more) counts as not named. Raises `NotVisible`.
    """
    machine, may_operate = machine_of(person, machine_uuid)
    return _page(person, machine, may_operate, selected)


def page_of_snapshot(person: Person, snapshot_uuid: UUID) -> tuple[MachinePage, VMSnapshot]:
    """The page of the machine that has this snapshot, with it selected. Six queries. Raises `NotVisible`."""
    with_it = VMSnapshot.objects.filter(machine=OuterRef("pk"), uuid=snapshot_uuid, parent__isnull=False)
    machine = _machines(person).filter(Exists(with_it)).first()
    if machine is None:
        raise NotVisible("There is no such VM snapshot.")
    page = _page(person, machine, _may_operate(person, machine), snapshot_uuid)
    if page.selected is None or page.selected.uuid != snapshot_uuid:
        raise NotVisible("There is no such VM snapshot.")
    return page, page.selected


def machine_pulse(person: Person, machine_uuid: UUID) -> MachinePulse:
    """Whether anything has changed on the machine, and its job under way. Two queries. Raises `NotVisible`."""
    newest_event = Event.objects.filter(machine=OuterRef("pk")).order_by("-at", "-pk").values("pk")[:1]
    machine = _machines(person).filter(uuid=machine_uuid).annotate(newest_event_pk=Subquery(newest_event)).first()
    if machine is None:
        raise NotVisible("There is no such virtual machine.")
    newest_job = _jobs(machine).first()
    busy = newest_job if newest_job is not None and newest_job.active else None
    return MachinePulse(machine, busy, stamp_of(machine, newest_job, machine.newest_event_pk))


def loose_volumes_for(person_volumes: QuerySet[Volume], machine: VirtualMachine) -> list[Volume]:
    """Of the volumes a person sees, those that could be attached to the machine."""
    rows = person_volumes.filter(machine=None, hypervisor_id=machine.hypervisor_id, missing_since=None)
    return list(rows.select_related("pool").order_by("name", "pk"))


def events_of(machine: VirtualMachine, before: int | None, count: int) -> list[Event]:
    """The machine's history, newest first, from the event before the one with this key."""
    rows = Event.objects.filter(machine=machine)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    return list(rows.order_by("-pk")[:count])


def active_jobs_of(machine_pks: list[int]) -> dict[int, Job]:
    """The jobs under way, by machine. One query."""
    rows = Job.objects.filter(machine__in=machine_pks, state__in=ACTIVE_JOB_STATES).select_related("requested_by")
    return {job.machine_id: job for job in rows if job.machine_id is not None}


def _machines(person: Person) -> QuerySet[VirtualMachine]:
    due = Schedule.objects.filter(machine=OuterRef("pk"), enabled=True)
    return (
        visible_machines(person)
        .select_related("hypervisor", "account__domain")
        .annotate(
            in_operable_account=Exists(operable_accounts(person).filter(pk=OuterRef("account"))),
            next_scheduled_at=Subquery(due.order_by("next_at").values("next_at")[:1]),
        )
    )


def _may_operate(person: Person, machine: VirtualMachine) -> bool:
    # Root admins may also act on machines that belong to no account.
    return is_root_admin(person) or bool(machine.in_operable_account)  # type: ignore[attr-defined]  # by _machines


def _jobs(machine: VirtualMachine) -> QuerySet[Job]:
    return Job.objects.filter(machine=machine).select_related("requested_by").order_by("-created_at", "-pk")


def _page(person: Person, machine: VirtualMachine, may_operate: bool, selected_uuid: UUID | None) -> MachinePage:
    snapshots: list[VMSnapshot] = list(
        VMSnapshot.objects.filter(machine=machine, parent__isnull=False)
        .select_related("created_by", "schedule")
        .order_by("lft")
    )
    for row in snapshots:
        row.machine = machine
    current = next((row for row in snapshots if row.current), None)
    selected = next((row for row in snapshots if row.uuid == selected_uuid), None) or current
    recent_jobs = list(_jobs(machine)[:JOBS_LOOKED_AT])
    for job in recent_jobs:
        job.machine = machine
    return MachinePage(
        machine=machine,
        may_operate=may_operate,
        person=person,
        room=room_of(machine.account, person),
        snapshots=snapshots,
        current=current,
        selected=selected or (snapshots[-1] if snapshots else None),
        volumes=list(Volume.objects.filter(machine=machine).select_related("pool")),
        recent_jobs=recent_jobs,
        events=list(Event.objects.filter(machine=machine).order_by("-at", "-pk")[:EVENTS_SHOWN]),
    )

"""The rows REST shows, as one query each, with the public ids of what they point to.

Each function narrows one of the `visible_…` querysets of `access` to what its output needs: foreign things come as the
annotated `…_uuid` of their row, so no related row is built, and lists cost the same however long they are. What needs
more than one row is added afterwards for a whole page at once: by `add_estimates`, by `add_kept`.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, F, OuterRef, QuerySet, Subquery, Sum

from hypervisors.models import Hypervisor
from snapshots import access
from snapshots.estimates import ends_a_path, estimate_machine, freed_by_delete, memory_held
from snapshots.models import (
    Account,
    ApiToken,
    Domain,
    Event,
    Job,
    Schedule,
    StoragePool,
    UsageRecord,
    VirtualMachine,
    VMSnapshot,
    Volume,
)
from snapshots.reading.schedules import count_kept


def machines(person: access.Person) -> QuerySet[VirtualMachine]:
    """Virtual machines."""
    return access.visible_machines(person).annotate(
        hypervisor_uuid=F("hypervisor__uuid"),
        account_uuid=F("account__uuid"),
        domain_uuid=F("account__domain__uuid"),
    )


def snapshots(person: access.Person) -> Any:
    """VM snapshots. A root's parent is the hidden anchor, which `parent_above` (None for an anchor) gives away."""
    return (
        access.visible_snapshots(person)
        .annotate(
            machine_uuid=F("machine__uuid"),
            machine_memory_bytes=F("machine__memory_bytes"),
            machine_lost_count=F("machine__lost_count"),
            parent_uuid=F("parent__uuid"),
            parent_above=F("parent__parent_id"),
            parent_lft=F("parent__lft"),
            parent_rght=F("parent__rght"),
            created_by_name=F("created_by__username"),
            schedule_uuid=F("schedule__uuid"),
        )
        .order_by()
    )


def add_estimates(rows: Sequence[VMSnapshot]) -> None:
    """Give each of these rows of `snapshots` its `estimated_bytes`. Two queries for any number of rows, and one more when
    there are machines with lost ones among them.

    The tree's numbers tell without the rest of the tree whether a row is a leaf (nothing between its two numbers) and
    whether it is its parent's only descendant (nothing else between the parent's). Not where some are lost, which count for
    nothing: the trees of those machines are read whole.
    """
    wanted = {row.machine_id for row in rows}
    paths = dict(
        VMSnapshot.objects.filter(machine_id__in=wanted, parent__isnull=False, rght=F("lft") + 1)
        .order_by()
        .values_list("machine_id")
        .annotate(paths=Count("pk"))
    )
    volume_bytes = volume_bytes_of(wanted)
    freed = _freed_with_lost({row.machine_id for row in rows if row.machine_lost_count}, volume_bytes)
    for row in rows:
        if row.pk in freed:
            row.estimated_bytes = freed[row.pk]
            continue
        only_child = row.parent_rght - row.parent_lft == 3
        row.estimated_bytes = freed_by_delete(
            volume_bytes=volume_bytes.get(row.machine_id, 0),
            paths=paths.get(row.machine_id, 0),
            ends_a_path=ends_a_path(row.rght == row.lft + 1, row.parent_above is None, 0 if only_child else 1),
            memory_bytes=memory_held(row.type, row.memory_bytes, row.machine_memory_bytes),
        )


def _freed_with_lost(machine_pks: set[int], volume_bytes: dict[int, int]) -> dict[int, int]:
    """What deleting each VM snapshot of these machines would free, by its primary key. One query, none without machines."""
    if not machine_pks:
        return {}
    trees: dict[int, list[VMSnapshot]] = defaultdict(list)
    memory: dict[int, int] = {}
    whole = VMSnapshot.objects.filter(machine__in=machine_pks, parent__isnull=False)
    for row in whole.annotate(machine_memory_bytes=F("machine__memory_bytes")):
        trees[row.machine_id].append(row)
        memory[row.machine_id] = row.machine_memory_bytes
    freed: dict[int, int] = {}
    for pk, tree in trees.items():
        freed |= estimate_machine(
            tree, volume_bytes=volume_bytes.get(pk, 0), machine_memory_bytes=memory[pk]
        ).freed_bytes
    return freed


def volume_bytes_of(machine_pks: set[int]) -> dict[int, int]:
    """The allocated size of the volumes of each machine, by the machine's primary key. One query."""
    return dict(
        Volume.objects.filter(machine_id__in=machine_pks)
        .order_by()
        .values_list("machine_id")
        .annotate(total=Sum("capacity_bytes"))
    )


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree of one machine: every VM snapshot with its depth (from 1), parents before children, and the sums.

    `current` is the public id of the current VM snapshot, None when the machine stems from none.
    """

    virtual_machine: UUID
    synced_at: datetime | None
    current: UUID | None
    snapshot_count: int
    estimated_bytes: int
    measured_bytes: int | None
    rows: list[tuple[int, VMSnapshot]]


def tree_of(person: access.Person, machine: VirtualMachine) -> Tree:
    """The tree of a machine, oldest branch first, each row with its `estimated_bytes`. Two queries."""
    rows = list(snapshots(person).filter(machine_id=machine.pk).order_by("lft"))
    estimate = estimate_machine(
        rows,
        volume_bytes=volume_bytes_of({machine.pk}).get(machine.pk, 0),
        machine_memory_bytes=machine.memory_bytes,
    )
    depths: dict[int, int] = {}
    for row in rows:
        depths[row.pk] = depths.get(row.parent_id, 0) + 1
        row.estimated_bytes = estimate.freed_bytes[row.pk]
    measured = [row.measured_bytes for row in rows if row.measured_bytes is not None]
    return Tree(
        virtual_machine=machine.uuid,
        synced_at=machine.synced_at,
        current=next((row.uuid for row in rows if row.current), None),
        snapshot_count=len(rows),
        estimated_bytes=estimate.total_bytes,
        measured_bytes=sum(measured) if measured else None,
        rows=[(depths[row.pk], row) for row in rows],
    )


def jobs(person: access.Person) -> QuerySet[Job]:
    """Jobs."""
    return access.visible_jobs(person).annotate(
        machine_uuid=F("machine__uuid"), requested_by_name=F("requested_by__username")
    )


def schedules(person: access.Person) -> QuerySet[Schedule]:
    """Schedules, each to get its `kept` by `add_kept`."""
    return access.visible_schedules(person).annotate(
        machine_uuid=F("machine__uuid"),
        last_job_uuid=F("last_job__uuid"),
        created_by_name=F("created_by__username"),
    )


def add_kept(rows: Iterable[Any]) -> None:
    """Give each of these rows of `schedules` in `kept` how many VM snapshots it has. One query."""
    wanted = list(rows)
    kept = dict(count_kept().filter(schedule__in=[row.pk for row in wanted]).values_list("schedule", "kept"))
    for row in wanted:
        row.kept = kept.get(row.pk, 0)


def volumes(person: access.Person) -> QuerySet[Volume]:
    """Volumes, attached and loose."""
    return access.visible_volumes(person).annotate(
        hypervisor_uuid=F("hypervisor__uuid"),
        pool_uuid=F("pool__uuid"),
        machine_uuid=F("machine__uuid"),
        account_uuid=F("account__uuid"),
    )


def hypervisors(person: access.Person) -> QuerySet[Hypervisor]:
    """Managed endpoints, without their addresses and logins."""
    return access.visible_hypervisors(person).defer("password", "username", "address")


def pools(person: access.Person) -> QuerySet[StoragePool]:
    """Storage pools."""
    return access.visible_pools(person).annotate(hypervisor_uuid=F("hypervisor__uuid"))


def events(person: access.Person) -> QuerySet[Event]:
    """History."""
    return access.visible_events(person).annotate(
        account_uuid=F("account__uuid"),
        hypervisor_uuid=F("hypervisor__uuid"),
        machine_uuid=F("machine__uuid"),
        job_uuid=F("job__uuid"),
    )


def usage_records(person: access.Person) -> Any:
    """Usage records."""
    return with_periods(access.visible_usage_records(person))


def with_periods(records: QuerySet[UsageRecord]) -> Any:
    """Usage records with the bounds of their period and of the one they correct."""
    return records.annotate(
        period_start=F("period__start"),
        period_end=F("period__end"),
        corrects_start=F("corrects__start"),
        corrects_end=F("corrects__end"),
    )


def accounts(person: access.Person) -> QuerySet[Account]:
    """Accounts."""
    return access.visible_accounts(person).annotate(domain_uuid=F("domain__uuid"))


def domains(person: access.Person) -> QuerySet[Domain]:
    """Domains. The parent is named only where the person sees it too."""
    seen_parent = access.visible_domains(person).filter(pk=OuterRef("parent_id")).order_by()
    return access.visible_domains(person).annotate(parent_uuid=Subquery(seen_parent.values("uuid")[:1]))


def tokens(person: access.Person) -> QuerySet[ApiToken]:
    """The person's own API tokens."""
    return access.visible_tokens(person)

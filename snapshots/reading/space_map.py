"""Who uses the space: domains, their accounts, their machines, and the VM snapshots of these, each with the bytes that are
allocated to it. Only the largest of each are shown by name; the others stand together, so that the sums are whole.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.db.models import F, QuerySet, Sum
from django.urls import reverse

from snapshots.access import Person, visible_machines
from snapshots.choices import GONE
from snapshots.estimates import estimate_machine, memory_held
from snapshots.models import Account, Domain, MachineAllocation, StoragePool, VirtualMachine, VMSnapshot
from snapshots.pool_room import Held, sums_by
from snapshots.reading.chart_shapes import Node, TreeMap

ACCOUNTS_SHOWN = 20
MACHINES_SHOWN = 30
SNAPSHOTS_SHOWN = 6
SNAPSHOTS_READ = 200
"""Of a machine with more VM snapshots only the sum is shown."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """`with_memory`: the memory of its VM snapshots lies in what is looked at."""

    row: VirtualMachine
    held: Held
    with_memory: bool


def space_map(
    person: Person,
    csv: str,
    *,
    domain: UUID | None = None,
    account: Account | None = None,
    pool: StoragePool | None = None,
) -> TreeMap:
    """What the person sees of who uses the space, in one domain, account or pool or all. Five queries at most."""
    rows = MachineAllocation.objects.filter(machine__in=visible_machines(person).values("pk"))
    if domain is not None:
        rows = rows.filter(machine__account__domain__uuid=domain)
    if account is not None:
        rows = rows.filter(machine__account=account)
    if pool is not None:
        rows = rows.filter(pool=pool)
    return TreeMap(
        key="space",
        title="Who uses the space",
        about=(
            "Allocated bytes: the volumes of each machine, and the estimate of its VM snapshots. A click leads to the "
            "account, the machine or the VM snapshot."
        ),
        unit="bytes",
        nodes=_nodes(rows),
        csv=csv,
    )


def _nodes(rows: QuerySet[MachineAllocation]) -> list[Node]:
    by_account = sums_by(rows, "machine__account_id")
    largest = sorted(by_account, key=lambda pk: -_size(by_account[pk]))[:ACCOUNTS_SHOWN]
    accounts = {row.pk: row for row in Account.objects.filter(pk__in=largest).select_related("domain")}
    machines = _largest_machines(rows)
    parts = _snapshot_parts([machine for of in machines.values() for machine in of])
    domains: dict[Domain | None, list[Node]] = defaultdict(list)
    for pk in largest:
        held = by_account[pk]
        shown = [_machine_node(machine, parts.get(machine.row.pk, [])) for machine in machines[pk]]
        nodes = [*shown, *_others(_size(held), shown, "machines")]
        if pk is None:
            domains[None].append(Node("no account", _size(held), "machines of nobody", "", nodes))
        else:
            address = reverse("account_capacity", args=[accounts[pk].uuid])
            domains[accounts[pk].domain].append(Node(accounts[pk].name, _size(held), "account", address, nodes))
    found = [
        Node(
            "no domain" if domain is None else domain.name,
            sum(node.value for node in nodes),
            "domain",
            "" if domain is None else f"{reverse('capacity')}?domain={domain.uuid}",
            nodes,
        )
        for domain, nodes in domains.items()
    ]
    whole = sum(_size(held) for held in by_account.values())
    return [*found, *_others(whole, found, "accounts")]


def _largest_machines(rows: QuerySet[MachineAllocation]) -> dict[int | None, list[_Machine]]:
    sums = (
        rows.order_by()
        .values_list("machine_id")
        .annotate(
            volumes=Sum("volume_bytes"),
            estimated=Sum(F("disk_bytes") + F("memory_bytes")),
            measured=Sum("measured_bytes"),
            memory=Sum("memory_bytes"),
            size=Sum(F("volume_bytes") + F("disk_bytes") + F("memory_bytes")),
        )
        .order_by("-size", "machine_id")[:MACHINES_SHOWN]
    )
    held = {pk: (Held(*of_machine), memory > 0) for pk, *of_machine, memory, _ in sums}
    found: dict[int | None, list[_Machine]] = defaultdict(list)
    machines = VirtualMachine.objects.filter(pk__in=held).defer("capabilities")
    for row in sorted(machines, key=lambda row: -_size(held[row.pk][0])):
        found[row.account_id].append(_Machine(row, *held[row.pk]))
    return found


class _Snapshot(NamedTuple):
    """As much of a VM snapshot's row as is read for this: building the whole rows would take most of the time."""

    pk: int
    parent_id: int | None
    machine_id: int
    type: str
    memory_bytes: int
    error_code: str
    name: str
    uuid: UUID

    @property
    def present(self) -> bool:
        """Whether it is not lost."""
        return self.error_code != GONE


def _snapshot_parts(machines: list[_Machine]) -> dict[int, list[Node]]:
    """The largest VM snapshots of these machines, by machine. One query."""
    wanted = {machine.row.pk: machine for machine in machines if 0 < machine.row.snapshot_count <= SNAPSHOTS_READ}
    trees: dict[int, list[_Snapshot]] = defaultdict(list)
    rows = VMSnapshot.objects.filter(machine__in=wanted, parent__isnull=False).order_by("pk")
    for row in map(_Snapshot._make, rows.values_list(*_Snapshot._fields)):
        trees[row.machine_id].append(row)
    parts = {}
    for pk, tree in trees.items():
        shares = _shares(wanted[pk], tree)
        largest = sorted(tree, key=lambda row: -shares[row.pk])[:SNAPSHOTS_SHOWN]
        parts[pk] = [
            Node(row.name, shares[row.pk], "VM snapshot", reverse("snapshot", args=[row.uuid]))
            for row in largest
            if shares[row.pk]
        ]
    return parts


def _shares(machine: _Machine, tree: list[_Snapshot]) -> dict[int, int]:
    """What each VM snapshot accounts for of what is looked at."""
    memory_bytes = machine.row.memory_bytes
    whole = estimate_machine(tree, volume_bytes=machine.held.volume_bytes, machine_memory_bytes=memory_bytes).shares
    if machine.with_memory:
        return dict(whole)
    held = {row.pk: memory_held(row.type, row.memory_bytes, memory_bytes) for row in tree if row.present}
    return {pk: share - held.get(pk, 0) for pk, share in whole.items()}


def _machine_node(machine: _Machine, snapshots: list[Node]) -> Node:
    parts = [Node("volumes", machine.held.volume_bytes, "volumes"), *snapshots]
    parts += _others(_size(machine.held), parts, "VM snapshots")
    return Node(machine.row.name, _size(machine.held), "machine", reverse("machine", args=[machine.row.uuid]), parts)


def _others(whole: int, shown: list[Node], kind: str) -> list[Node]:
    rest = whole - sum(node.value for node in shown)
    return [Node("others", rest, kind)] if rest > 0 else []


def _size(held: Held) -> int:
    return held.volume_bytes + held.estimated_bytes

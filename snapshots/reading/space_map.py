"""Who uses the space: domains, their accounts, their machines, and the VM snapshots of these, each with the bytes that are
allocated to it. Only the largest of each are shown by name; the others stand together, so that the sums are whole.
"""

from collections import defaultdict
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet
from django.urls import reverse

from snapshots.access import Person, visible_machines
from snapshots.choices import GONE
from snapshots.estimates import estimate_machine, memory_held
from snapshots.models import Account, Domain, MachineAllocation, StoragePool, VMSnapshot
from snapshots.pool_room import sums_by
from snapshots.reading.chart_shapes import Node, TreeMap
from snapshots.reading.largest_machines import MachineHeld, largest_machines

ACCOUNTS_SHOWN = 20
MACHINES_SHOWN = 30
SNAPSHOTS_SHOWN = 6
SNAPSHOTS_READ = 200
"""Of a machine with more VM snapshots only the sum is shown."""


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
    largest = sorted(by_account, key=lambda pk: -by_account[pk].allocated_bytes)[:ACCOUNTS_SHOWN]
    accounts = {row.pk: row for row in Account.objects.filter(pk__in=largest).select_related("domain")}
    machines = _machines(rows, largest)
    parts = _snapshot_parts([row for rows in machines.values() for row in rows])
    domains: dict[Domain | None, list[Node]] = defaultdict(list)
    for pk in largest:
        size = by_account[pk].allocated_bytes
        shown = [_machine_node(row, parts.get(row.machine.pk, [])) for row in machines[pk]]
        nodes = [*shown, *_others(size, shown, "machines")]
        if pk is None:
            domains[None].append(Node("no account", size, "machines of nobody", "", nodes))
        else:
            address = reverse("account_capacity", args=[accounts[pk].uuid])
            domains[accounts[pk].domain].append(Node(accounts[pk].name, size, "account", address, nodes))
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
    whole = sum(held.allocated_bytes for held in by_account.values())
    return [*found, *_others(whole, found, "accounts")]


def _machines(rows: QuerySet[MachineAllocation], accounts: list[int | None]) -> dict[int | None, list[MachineHeld]]:
    """The machines that are shown by name, by account: of each account the largest, and the largest of all beside them."""
    shown = Q(machine__account__in=[pk for pk in accounts if pk is not None])
    if None in accounts:
        shown |= Q(machine__account=None)
    found: dict[int | None, list[MachineHeld]] = defaultdict(list)
    for row in largest_machines(rows.filter(shown), MACHINES_SHOWN, some_of_each_account=True):
        found[row.machine.account_id].append(row)
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


def _snapshot_parts(machines: list[MachineHeld]) -> dict[int, list[Node]]:
    """The largest VM snapshots of these machines, by machine. One query."""
    wanted = {row.machine.pk: row for row in machines if 0 < row.machine.snapshot_count <= SNAPSHOTS_READ}
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


def _shares(of: MachineHeld, tree: list[_Snapshot]) -> dict[int, int]:
    """What each VM snapshot accounts for of what is looked at."""
    memory_bytes = of.machine.memory_bytes
    whole = estimate_machine(tree, volume_bytes=of.held.volume_bytes, machine_memory_bytes=memory_bytes).shares
    if of.memory_bytes:
        # The memory of its VM snapshots lies in what is looked at.
        return dict(whole)
    held = {row.pk: memory_held(row.type, row.memory_bytes, memory_bytes) for row in tree if row.present}
    return {pk: share - held.get(pk, 0) for pk, share in whole.items()}


def _machine_node(of: MachineHeld, snapshots: list[Node]) -> Node:
    parts = [Node("volumes", of.held.volume_bytes, "volumes"), *snapshots]
    parts += _others(of.allocated_bytes, parts, "VM snapshots")
    address = reverse("machine", args=[of.machine.uuid])
    return Node(of.machine.name, of.allocated_bytes, "machine", address, parts)


def _others(whole: int, shown: list[Node], kind: str) -> list[Node]:
    rest = whole - sum(node.value for node in shown)
    return [Node("others", rest, kind)] if rest > 0 else []

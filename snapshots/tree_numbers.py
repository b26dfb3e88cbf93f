"""The numbers of a machine's tree (mptt's) and its counts, made from the parent links, which are the truth. Only `tree` and
`tree_planting` enter, with the machine's lock held."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from django.db.models import Count, Exists, F, OuterRef, Q

from snapshots import ledger
from snapshots.choices import GONE, Origin
from snapshots.models import VirtualMachine, VMSnapshot

Key = TypeVar("Key")

COUNTS = {
    "snapshot_count": Count("pk"),
    "unadopted_count": Count("pk", filter=Q(origin=Origin.ELSEWHERE, adopted_at=None)),
    "lost_count": Count("pk", filter=Q(error_code=GONE)),
    "failed_count": Count("pk", filter=Q(origin=Origin.VMSNAP, native_id="") & ~Q(error_code__in=("", GONE))),
}
"""What is counted of each machine's real VM snapshots, by the column that holds it."""


class Numbers(NamedTuple):
    """Where a row stands in its tree, as mptt counts."""

    lft: int
    rght: int
    level: int


def numbered(children: Mapping[Key, Sequence[Key]], tops: Sequence[Key]) -> Iterator[tuple[Key, Numbers]]:
    """The numbers of these tops and of everything that hangs below them, each after its children. No recursion: trees can
    be thousands deep."""
    number = 1
    waiting: list[tuple[Key, int, int]] = [(top, 0, 0) for top in reversed(tops)]
    while waiting:
        key, level, entered = waiting.pop()
        if entered:
            yield key, Numbers(entered, number, level)
        else:
            waiting.append((key, level, number))
            waiting += [(child, level + 1, 0) for child in reversed(children.get(key, ()))]
        number += 1


def renumber(machine_pk: int) -> None:
    """Number the machine's tree by its parent links, siblings in the order they had, and write what changed.

    Not mptt's `partial_rebuild`, which calls itself for every level and so ends at Python's limit of about a thousand,
    and which writes every row each time.
    """
    columns = ("pk", "parent_id", "tree_id", "lft", "rght", "level")
    rows = list(VMSnapshot.objects.filter(machine_id=machine_pk).order_by("lft", "pk").values_list(*columns))
    children: dict[int | None, list[int]] = defaultdict(list)
    for pk, parent_pk, *_ in rows:
        children[parent_pk].append(pk)
    wanted = dict(numbered(children, children[None]))
    changed = [
        VMSnapshot(pk=pk, tree_id=machine_pk, **wanted[pk]._asdict())
        for pk, _, *numbers in rows
        if pk in wanted and numbers != [machine_pk, *wanted[pk]]
    ]
    VMSnapshot.objects.bulk_update(changed, ("tree_id", "lft", "rght", "level"), batch_size=200)
    recount(machine_pk)


def recount(machine_pk: int) -> None:
    """Write the machine's counts, and settle the books, which follow from the same rows."""
    count(machine_pk)
    ledger.settle([machine_pk])


def count(machine_pk: int) -> None:
    """Write how many VM snapshots the machine has, how many of them were made elsewhere and are not adopted, how many are
    lost, and of how many the taking failed."""
    counts = VMSnapshot.objects.filter(machine_id=machine_pk, parent__isnull=False).aggregate(**COUNTS)
    VirtualMachine.objects.filter(pk=machine_pk).exclude(**counts).update(**counts)


def damaged_machines() -> list[int]:
    """Primary keys of machines whose tree numbers contradict the parent links. One query."""
    wrong = (
        ~Q(tree_id=F("parent__tree_id"))
        | ~Q(machine_id=F("parent__machine_id"))
        | Q(lft__lte=F("parent__lft"))
        | Q(rght__gte=F("parent__rght"))
        | ~Q(level=F("parent__level") + 1)
    )
    overlapping = VMSnapshot.objects.filter(
        ~Q(pk=OuterRef("pk")), parent=OuterRef("parent"), lft__gte=OuterRef("lft"), lft__lte=OuterRef("rght")
    )
    rows = VMSnapshot.objects.filter(parent__isnull=False).filter(wrong | Exists(overlapping))
    return sorted(set(rows.values_list("machine_id", flat=True)))

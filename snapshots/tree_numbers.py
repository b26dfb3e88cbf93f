"""The numbers of a machine's tree (mptt's), made from the parent links, which are the truth. Only `tree`,
`tree_resync` and `tree_planting` enter, with the machine's lock held."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from django.db.models import Case, Exists, F, OuterRef, PositiveIntegerField, Q, When

from snapshots import ledger
from snapshots.models import VMSnapshot

Key = TypeVar("Key")


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
    ledger.settle([machine_pk])


def insert_leaf(leaf: VMSnapshot) -> None:
    """Write a new row as the last child of its parent, which has just been read.

    Not mptt's `save`, which reads the parent once more.
    """
    parent, at = leaf.parent, leaf.parent.rght
    shifted = Case(When(lft__gt=at, then=F("lft") + 2), default=F("lft"), output_field=PositiveIntegerField())
    VMSnapshot.objects.filter(machine_id=leaf.machine_id, rght__gte=at).update(rght=F("rght") + 2, lft=shifted)
    parent.rght += 2
    leaf.tree_id, leaf.lft, leaf.rght, leaf.level = parent.tree_id, at, at + 1, parent.level + 1
    VMSnapshot.objects.bulk_create([leaf])


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

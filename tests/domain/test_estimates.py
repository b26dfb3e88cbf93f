"""The estimated allocation: the design's formula, and what one VM snapshot accounts for."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from snapshots.choices import SnapshotType
from snapshots.estimates import estimate_machine, growth_by_take, memory_held, share_of

GIB = 1024**3
DISK, MEMORY = SnapshotType.DISK, SnapshotType.DISK_AND_MEMORY


@dataclass
class Row:
    """As much of a VM snapshot's row as the estimate reads."""

    pk: int
    parent_id: int | None
    type: str = DISK
    memory_bytes: int = 0
    present: bool = True
    is_anchor: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_anchor = self.parent_id is None


def total(rows: list[Row], volume_bytes: int = 10 * GIB) -> int:
    return estimate_machine(rows, volume_bytes=volume_bytes, machine_memory_bytes=GIB).total_bytes  # type: ignore[arg-type]  # stand-ins for rows


ANCHOR = Row(0, None)


def test_without_snapshots_nothing_is_allocated() -> None:
    assert total([ANCHOR]) == 0
    assert total([]) == 0


def test_a_single_path_costs_no_disk_however_long_it_is() -> None:
    assert total([ANCHOR, Row(1, 0), Row(2, 1), Row(3, 2)]) == 0


def test_each_further_path_costs_the_volumes_once_more() -> None:
    assert total([ANCHOR, Row(1, 0), Row(2, 1), Row(3, 1)]) == 10 * GIB
    assert total([ANCHOR, Row(1, 0), Row(2, 1), Row(3, 1), Row(4, 0)]) == 20 * GIB


def test_memory_is_counted_once_for_each_snapshot_that_holds_it() -> None:
    assert total([ANCHOR, Row(1, 0, MEMORY, GIB), Row(2, 1), Row(3, 2, MEMORY, 2 * GIB)]) == 3 * GIB


def test_memory_of_unknown_size_counts_as_the_machines() -> None:
    assert memory_held(MEMORY, 0, GIB) == GIB
    assert memory_held(MEMORY, 2 * GIB, GIB) == 2 * GIB
    assert memory_held(DISK, 0, GIB) == 0


@st.composite
def trees(draw: st.DrawFn) -> list[Row]:
    """An anchor and up to twenty snapshots, some of them lost, each below one that came before it."""
    rows = [ANCHOR]
    for pk in range(1, draw(st.integers(0, 20)) + 1):
        kind = draw(st.sampled_from([DISK, MEMORY]))
        memory_bytes = draw(st.integers(0, 3)) * GIB if kind == MEMORY else 0
        there = draw(st.sampled_from([True, True, False]))
        rows.append(Row(pk, draw(st.integers(0, pk - 1)), kind, memory_bytes, there))
    return rows


@given(rows=trees(), volume_bytes=st.integers(0, 100 * GIB), with_anchor=st.booleans())
def test_what_one_accounts_for_is_what_the_total_falls_by_when_it_is_deleted(
    rows: list[Row], volume_bytes: int, with_anchor: bool
) -> None:
    given_rows = rows if with_anchor else rows[1:]
    before = estimate_machine(given_rows, volume_bytes=volume_bytes, machine_memory_bytes=GIB)  # type: ignore[arg-type]  # stand-ins for rows
    for gone in rows[1:]:
        left = [
            replace(row, parent_id=gone.parent_id if row.parent_id == gone.pk else row.parent_id)
            for row in rows
            if row.pk != gone.pk
        ]
        assert before.freed_bytes[gone.pk] == before.total_bytes - total(left, volume_bytes)


def test_a_lost_one_counts_for_nothing_and_what_hangs_below_it_for_what_is_above():
    rows = [ANCHOR, Row(1, 0), Row(2, 1, present=False), Row(3, 2), Row(4, 2), Row(5, 1, MEMORY, GIB, present=False)]
    assert total(rows) == total([ANCHOR, Row(1, 0), Row(3, 1), Row(4, 1)]) == 10 * GIB


@given(rows=trees(), volume_bytes=st.integers(0, 100 * GIB))
def test_the_shares_make_up_the_whole(rows: list[Row], volume_bytes: int) -> None:
    estimate = estimate_machine(rows, volume_bytes=volume_bytes, machine_memory_bytes=GIB)  # type: ignore[arg-type]  # stand-ins for rows
    assert sum(estimate.shares.values()) == estimate.total_bytes
    assert all(share >= 0 for share in estimate.shares.values())


@given(rows=trees(), data=st.data(), memory=st.booleans(), volume_bytes=st.integers(0, 100 * GIB))
def test_what_another_one_adds_is_what_the_total_rises_by_when_it_is_taken(
    rows: list[Row], data: st.DataObject, memory: bool, volume_bytes: int
) -> None:
    below = data.draw(st.sampled_from([row.pk for row in rows if row.present]))
    counted = data.draw(st.sets(st.sampled_from([row.pk for row in rows])))
    sizes = {"volume_bytes": volume_bytes, "machine_memory_bytes": GIB}
    growth = growth_by_take(rows, below=below, counted=counted, memory=memory, **sizes)  # type: ignore[arg-type]  # stand-ins for rows
    new = Row(len(rows), below, MEMORY if memory else DISK, GIB if memory else 0)
    before = estimate_machine(rows, **sizes)  # type: ignore[arg-type]  # stand-ins for rows
    after = estimate_machine([*rows, new], **sizes)  # type: ignore[arg-type]  # stand-ins for rows
    assert growth.total_bytes == after.total_bytes - before.total_bytes
    assert growth.memory_bytes == (GIB if memory else 0)
    assert growth.counted_bytes == share_of(after, {*counted, new.pk}) - share_of(before, counted)

"""The drawing of a tree: every snapshot in one row, the way to the present in lane 0, chains straight, few lanes."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from snapshots.reading.tree_layout import Row, RowKind, lay_out

Tree = list[tuple[int, int | None]]


def trees(most: int = 60) -> st.SearchStrategy[tuple[Tree, int | None]]:
    """Any forest with up to `most` snapshots, and any place in it to stand at."""

    @st.composite
    def made(draw: st.DrawFn) -> tuple[Tree, int | None]:
        count = draw(st.integers(0, most))
        tree: Tree = [(key, draw(st.sampled_from([None, *range(1, key)]))) for key in range(1, count + 1)]
        current = draw(st.sampled_from([None, *range(1, count + 1)]))
        return tree, current

    return made()


def sketch(rows: list[Row[int]]) -> list[str]:
    """The drawing in letters: the lane as dots, then the key, "start" or "here"."""
    return ["." * row.lane + (row.kind.value if row.key is None else str(row.key)) for row in rows]


def test_a_machine_without_snapshots_is_here_and_nothing_else() -> None:
    rows = lay_out([], None)
    assert sketch(rows) == ["here"]
    assert not rows[0].from_above


def test_a_chain_stays_in_one_lane_however_long_it_is() -> None:
    chain: Tree = [(key, key - 1 or None) for key in range(1, 5001)]
    rows = lay_out(chain, 5000)
    assert {row.lane for row in rows} == {0}
    assert [row.level for row in rows] == list(range(1, 5002))


def test_the_way_to_the_present_stays_left_and_side_branches_stand_below_their_fork() -> None:
    #  1 - 2 - 3 - 4
    #      └ 5 - 6 (here)
    rows = lay_out([(1, None), (2, 1), (3, 2), (4, 3), (5, 2), (6, 5)], 6)
    assert sketch(rows) == ["1", "2", ".3", ".4", "5", "6", "here"]
    assert [row.on_main_line for row in rows] == [True, True, False, False, True, True, True]


def test_after_a_revert_here_is_a_branch_of_its_own_below_the_current_snapshot() -> None:
    rows = lay_out([(1, None), (2, 1), (3, 2)], 1)
    assert sketch(rows) == ["1", ".2", ".3", "here"]
    assert rows[0].after_here
    assert rows[0].goes_on
    assert rows[1].turns_in
    assert not rows[2].goes_on


def test_a_machine_that_stems_from_no_snapshot_starts_beside_its_snapshots() -> None:
    rows = lay_out([(1, None), (2, 1)], None)
    assert sketch(rows) == ["start", ".1", ".2", "here"]
    assert all(row.after_here for row in rows)


def test_several_roots_begin_at_one_start() -> None:
    assert sketch(lay_out([(1, None), (2, None), (3, None)], 2)) == ["start", ".1", ".3", "2", "here"]


def test_a_single_root_needs_no_start() -> None:
    assert sketch(lay_out([(1, None)], 1)) == ["1", "here"]


def test_a_parent_that_is_not_listed_makes_a_root_and_an_unknown_current_means_none() -> None:
    assert sketch(lay_out([(7, 99)], 98)) == ["start", ".7", "here"]


@settings(deadline=None)  # how long it takes says nothing about it being right
@given(trees())
def test_every_snapshot_has_one_row_below_its_parent_and_here_comes_last(given_tree: tuple[Tree, int | None]) -> None:
    tree, current = given_tree
    rows = lay_out(tree, current)
    place = {row.key: index for index, row in enumerate(rows) if row.key is not None}
    assert sorted(place) == [key for key, _ in tree]
    assert all(place[parent] < place[key] for key, parent in tree if parent is not None)
    assert rows[-1].kind is RowKind.HERE
    assert [row.kind for row in rows].count(RowKind.HERE) == 1


@settings(deadline=None)  # how long it takes says nothing about it being right
@given(trees())
def test_lines_fit_together(given_tree: tuple[Tree, int | None]) -> None:
    """Each line that leaves a row downwards arrives: in the lane itself, or at branches turning out of it first."""
    tree, current = given_tree
    open_lanes: set[int] = set()
    for row in lay_out(tree, current):
        # Exactly the lanes to the left are passed, and a line in the own lane arrives from above.
        assert set(range(row.lane)) <= open_lanes
        assert row.from_above == (row.lane in open_lanes)
        assert not any(lane > row.lane for lane in open_lanes)
        assert not (row.from_above and row.turns_in)
        assert not row.turns_in or row.lane > 0
        open_lanes.discard(row.lane)
        if row.goes_on:
            open_lanes.add(row.lane)
    assert not open_lanes


@settings(deadline=None)  # how long it takes says nothing about it being right
@given(trees())
def test_the_ancestors_of_the_present_are_exactly_lane_0(given_tree: tuple[Tree, int | None]) -> None:
    tree, current = given_tree
    parents = dict(tree)
    line, key = set(), current
    while key is not None:
        line.add(key)
        key = parents[key]
    assert {row.key for row in lay_out(tree, current) if row.lane == 0 and row.key is not None} == line


@settings(deadline=None)  # how long it takes says nothing about it being right
@given(trees(most=200))
def test_few_lanes_are_needed(given_tree: tuple[Tree, int | None]) -> None:
    tree, current = given_tree
    most = max(row.lane for row in lay_out(tree, current))
    assert most <= math.log2(len(tree) + 1) + 1


@settings(deadline=None)  # how long it takes says nothing about it being right
@given(trees())
def test_the_level_is_the_depth_in_the_tree(given_tree: tuple[Tree, int | None]) -> None:
    tree, current = given_tree
    depth: dict[int | None, int] = {None: 0}
    for key, parent in tree:
        depth[key] = depth[parent] + 1
    for row in lay_out(tree, current):
        if row.kind is RowKind.SNAPSHOT:
            assert row.level == depth[row.key]
        if row.kind is RowKind.HERE:
            assert row.level == depth[current] + 1

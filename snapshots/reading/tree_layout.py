"""Where each VM snapshot of a machine is drawn: a pure function from parent links to rows and lanes.

One row per snapshot, parents above children. A chain stays in one lane, however long it is. At a fork one child goes on
in its parent's lane, below all the others; each of the others begins a branch one lane further right, directly under the
fork. The line towards the machine's present position always stays in lane 0 and ends in a row of its own ("you are
here"), which is the last one. Elsewhere the heaviest branch goes straight on, so that n snapshots beside the main line
never need more than log2(n) + 1 lanes.

It follows that a row in lane n is passed by exactly one line in each of the lanes 0 to n - 1.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class RowKind(Enum):
    """What stands in a row: the machine before its first snapshot, a snapshot, or the machine as it is now."""

    START = "start"
    SNAPSHOT = "snapshot"
    HERE = "here"


@dataclass(frozen=True, slots=True)
class Row(Generic[Key]):
    """One row of the drawing, top to bottom.

    `key` is None for START and HERE. `level` counts the snapshots above it, itself included. `from_above`: a line
    comes down in its own lane; `turns_in`: a line comes from the lane to the left. `goes_on`: a line leaves downwards in
    its own lane. `after_here`: the line in lane 0 below this row leads from the present position to "you are here" only.
    """

    kind: RowKind
    key: Key | None
    lane: int
    level: int
    from_above: bool
    turns_in: bool
    goes_on: bool
    on_main_line: bool
    after_here: bool


def lay_out(parents: Iterable[tuple[Key, Key | None]], current: Key | None) -> list[Row[Key]]:
    """The rows of a machine's tree.

    `parents` are (snapshot, its parent) with parents before children and siblings in the order they are to be drawn; a
    parent of None, or one that is not listed, makes a root. `current` is the snapshot the machine stems from, None when it
    stems from none. START is drawn only where more than one line begins.
    """
    above: dict[Key, Key | None] = {}
    for key, parent in parents:
        above[key] = parent if parent in above else None
    return _Drawing(above, current if current in above else None).rows()


class _Drawing(Generic[Key]):
    """One pass over a tree, without recursion, since a chain may be deeper than Python's stack."""

    def __init__(self, above: dict[Key, Key | None], current: Key | None) -> None:
        self.current = current
        self.children: dict[Key | None, list[Key]] = {None: [], **{key: [] for key in above}}
        for key, parent in above.items():
            self.children[parent].append(key)
        self.weight = _weights(above)
        self.main_line = _line_up(above, current)
        # What is still to be drawn, the next one last: key (None: "you are here"), lane, level, from_above, turns_in.
        self.waiting: list[tuple[Key | None, int, int, bool, bool]] = []
        self.here_passed = False

    def rows(self) -> list[Row[Key]]:
        """All rows, top to bottom."""
        drawn: list[Row[Key]] = []
        several_begin = len(self.children[None]) + (self.current is None) > 1
        if several_begin:
            self.here_passed = self.current is None
            drawn.append(Row(RowKind.START, None, 0, 0, False, False, True, True, self.here_passed))
        self._fork(None, lane=0, level=1, joined=several_begin)
        while self.waiting:
            key, lane, level, from_above, turns_in = self.waiting.pop()
            if key is None:
                drawn.append(Row(RowKind.HERE, None, 0, level, from_above, False, False, True, True))
            else:
                drawn.append(self._snapshot(key, lane, level, from_above, turns_in))
                self._fork(key, lane=lane, level=level + 1, joined=True)
        return drawn

    def _snapshot(self, key: Key, lane: int, level: int, from_above: bool, turns_in: bool) -> Row[Key]:
        is_current = key == self.current
        self.here_passed = self.here_passed or is_current
        return Row(
            kind=RowKind.SNAPSHOT,
            key=key,
            lane=lane,
            level=level,
            from_above=from_above,
            turns_in=turns_in,
            goes_on=bool(self.children[key]) or is_current,
            on_main_line=key in self.main_line,
            after_here=self.here_passed,
        )

    def _fork(self, key: Key | None, *, lane: int, level: int, joined: bool) -> None:
        """Let wait what hangs below a row. `joined`: there is a row above for its lines to come from."""
        children = self.children[key]
        straight: Key | None = None
        if key != self.current:
            if not children:
                return
            straight = max(children, key=lambda child: (child in self.main_line, self.weight[child]))
        self.waiting.append((straight, lane, level, joined, False))
        sides = [child for child in children if child != straight]
        self.waiting += [(child, lane + 1, level, False, True) for child in reversed(sides)]


def _weights(above: dict[Key, Key | None]) -> dict[Key, int]:
    """How many snapshots each branch holds, its first one included."""
    weight = dict.fromkeys(above, 1)
    for key in reversed(above):
        parent = above[key]
        if parent is not None:
            weight[parent] += weight[key]
    return weight


def _line_up(above: dict[Key, Key | None], key: Key | None) -> set[Key]:
    """The snapshot and all above it."""
    line: set[Key] = set()
    while key is not None:
        line.add(key)
        key = above[key]
    return line

"""Draws the lines and the node of one row of the tree: a small SVG beside each name.

Attributes and classes only, since the content security policy allows no inline style. A row may be as high as its text
needs: the lines that leave downwards are drawn longer than any row, and each drawing is cut off at its own edge.
"""

from functools import lru_cache

from django.utils.safestring import SafeString, mark_safe

from snapshots.choices import SnapshotState, SnapshotType
from snapshots.models import VMSnapshot
from snapshots.reading.tree_layout import Row, RowKind

LANE_WIDTH = 20
FIRST_LANE = 16
NODE_HEIGHT = 22
FAR = "v2e3"

IN_BETWEEN = (SnapshotState.ALLOCATED, SnapshotState.CREATING, SnapshotState.REVERTING, SnapshotState.EXPUNGING)


def drawing(row: Row[int], snapshot: VMSnapshot | None) -> SafeString:
    """The SVG of a row. `snapshot` is the one that stands there, None for "you are here" and the start."""
    look = row.kind.value if snapshot is None else "memory" if snapshot.type == SnapshotType.DISK_AND_MEMORY else "disk"
    mood = ""
    if snapshot is not None:
        if snapshot.state in IN_BETWEEN:
            mood = "moving"
        elif snapshot.state == SnapshotState.ERROR:
            mood = "failed"
        elif not snapshot.counts:
            mood = "elsewhere"
    return _drawing(
        row.lane, row.from_above, row.turns_in, row.goes_on, row.on_main_line, row.after_here, row.kind, look, mood
    )


@lru_cache(maxsize=4096)
def _drawing(
    lane: int,
    from_above: bool,
    turns_in: bool,
    goes_on: bool,
    on_main_line: bool,
    after_here: bool,
    kind: RowKind,
    look: str,
    mood: str,
) -> SafeString:
    x = FIRST_LANE + LANE_WIDTH * lane
    lines: dict[str, str] = {"side": "", "main": "", "dashed": ""}
    for passed in range(lane):
        lines["side" if passed else "dashed" if after_here else "main"] += f"M{FIRST_LANE + LANE_WIDTH * passed} 0{FAR}"
    own = "main" if on_main_line else "side"
    if from_above:
        lines["dashed" if kind is RowKind.HERE else own] += f"M{x} 0V{NODE_HEIGHT}"
    if turns_in:
        lines["side"] += f"M{x - LANE_WIDTH} 0V6q0 {NODE_HEIGHT - 6} {LANE_WIDTH} {NODE_HEIGHT - 6}"
    if goes_on:
        lines["dashed" if after_here and lane == 0 else own] += f"M{x} {NODE_HEIGHT}{FAR}"
    paths = "".join(f'<path class="{name}" d="{d}"/>' for name, d in lines.items() if d)
    width = x + FIRST_LANE
    svg = f'<svg class="lanes {mood}" width="{width}" aria-hidden="true">{paths}{_node(look, x, own)}</svg>'
    return mark_safe(svg)  # noqa: S308  # only numbers and fixed words are put together here


def _node(look: str, x: int, line: str) -> str:
    y = NODE_HEIGHT
    if look == "here":
        return f'<circle class="here" cx="{x}" cy="{y}" r="5"/>'
    if look == "start":
        return f'<circle class="start" cx="{x}" cy="{y}" r="3"/>'
    if look == "memory":
        # A disc with a chip in it: disks and what was in memory.
        return (
            f'<circle class="node on-{line}" cx="{x}" cy="{y}" r="8"/><path class="chip" d="M{x - 3} {y - 3}h6v6h-6z"/>'
        )
    return f'<circle class="node on-{line}" cx="{x}" cy="{y}" r="8"/><circle class="hub" cx="{x}" cy="{y}" r="2"/>'

"""The rows of the drawn tree as the template needs them, made ready here so that a thousand rows stay quick."""

from dataclasses import dataclass

from django.utils import timezone
from django.utils.safestring import SafeString

from snapshots.choices import Origin, SnapshotState, SnapshotType
from snapshots.models import VMSnapshot
from snapshots.reading.machine_page import MachinePage
from snapshots.web.tree_drawing import drawing


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One row. `id` is empty for "you are here" and for the start; `said` is what stands below the name, `mark` says that
    it was made elsewhere, adopted, or lost; `scheduled`, that a schedule took it and will delete it. What is not text costs
    time to make text of in a template: `level` and `selected` are text."""

    id: str
    svg: SafeString
    level: str
    name: str
    said: str = ""
    state: str = ""
    mark: str = ""
    current: bool = False
    selected: str = "false"
    scheduled: bool = False

    @property
    def marked(self) -> bool:
        """Whether anything stands beside the name, as it seldom does."""
        return self.current or self.state != "" or self.mark != ""


def tree_rows(page: MachinePage) -> list[TreeRow]:
    """All rows of the machine's tree, top to bottom."""
    selected_pk = page.selected.pk if page.selected is not None else None
    zone = timezone.get_current_timezone()
    made = []
    for row in page.rows:
        snapshot = page.by_pk[row.key] if row.key is not None else None
        svg = drawing(row, snapshot)
        if snapshot is None:
            made.append(TreeRow("", svg, str(row.level), row.kind.value))
            continue
        local = snapshot.created_at.astimezone(zone)
        made.append(
            TreeRow(
                id=str(snapshot.uuid),
                svg=svg,
                level=str(row.level),
                name=snapshot.name,
                said=f"{local.day} {local:%b %Y, %H:%M %Z} · {_said(snapshot)}",
                state="" if snapshot.state == SnapshotState.READY or snapshot.lost else snapshot.get_state_display(),
                mark=_mark(snapshot),
                current=snapshot.current,
                selected="true" if snapshot.pk == selected_pk else "false",
                scheduled=snapshot.schedule_id is not None,
            )
        )
    return made


def _mark(snapshot: VMSnapshot) -> str:
    """How the tree here and the hypervisor's differ, or did, about it."""
    if snapshot.lost:
        return "lost"
    if not snapshot.counts:
        return "made elsewhere"
    return "" if snapshot.origin == Origin.VMSNAP else "adopted"


def _said(snapshot: VMSnapshot) -> str:
    return "disks and memory" if snapshot.type == SnapshotType.DISK_AND_MEMORY else "disks"

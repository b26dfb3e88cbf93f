"""What a hypervisor's forest means for the rows of a machine: which row is which snapshot, under which name, below which.

Reads and writes nothing: `tree_resync` and `tree_planting` enter with rows they have read, and write what is found here.
Because both the question "does anything differ?" and the writing start from the same comparison, they cannot disagree.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from hypervisors.records import SnapshotForest, SnapshotRecord
from snapshots.choices import GONE, Origin, SnapshotState, SnapshotType
from snapshots.models import VMSnapshot

NAMELESS = "(no name)"
NAME_LENGTH = 255
# Room for a number behind a name of full length.
NUMBERED_LENGTH = 240

NOT_YET_TAKEN = (SnapshotState.ALLOCATED, SnapshotState.CREATING)

APPEARED = "It was taken outside this product."
STANDS_ELSEWHERE = "The machine stands at another VM snapshot than was known here."


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which the hypervisor's tree and ours differed, as an event says it. `kind` is "appeared", "vanished",
    "removed_elsewhere", "returned", "moved", "renamed" or "current"."""

    kind: str
    snapshot_uuid: object
    snapshot_name: str
    detail: str


class SnapshotRow(NamedTuple):
    """What a comparison needs of a row. A reading of thousands of machines compares these, since whole rows cost many
    times as much to make."""

    machine_id: int
    pk: int
    uuid: UUID
    parent_id: int | None
    native_id: str
    name: str
    description: str
    type: str
    state: str
    current: bool
    origin: str
    adopted_at: datetime | None
    created_at: datetime
    measured_bytes: int | None
    error_code: str
    error_detail: str

    @property
    def is_anchor(self) -> bool:
        """As `VMSnapshot.is_anchor`."""
        return self.parent_id is None

    @property
    def counts(self) -> bool:
        """As `VMSnapshot.counts`."""
        return self.origin == Origin.VMSNAP or self.adopted_at is not None


Row = TypeVar("Row", VMSnapshot, SnapshotRow)


@dataclass(frozen=True, slots=True)
class Place(Generic[Row]):
    """One snapshot of the hypervisor and its row, None when it has none yet. `parent_id` is the native id of a snapshot
    that is listed too, None for a root; `name` is how it is to be called here."""

    record: SnapshotRecord
    row: Row | None
    parent_id: str | None
    name: str

    def same(self) -> bool:
        """Whether `changes` would find nothing. Asked of thousands at each reading, so it makes nothing on the way."""
        row, record = self.row, self.record
        return row is not None and (
            row.name == self.name
            and row.native_id == record.native_id
            and row.description == record.description
            and row.measured_bytes == record.measured_bytes
            and row.created_at == record.created_at
            and row.type == record.kind.value
            and row.state != SnapshotState.ERROR
            and row.state not in NOT_YET_TAKEN
            and row.error_code == ""
            and row.error_detail == ""
        )

    def changes(self) -> dict[str, Any]:
        """The columns of the row that say something else than the hypervisor, with what they have to say."""
        row, record = self.row, self.record
        if row is None:
            return {}
        values: dict[str, Any] = {
            "native_id": record.native_id,
            "name": self.name,
            "description": record.description,
            "type": SnapshotType(record.kind.value),
            "measured_bytes": record.measured_bytes,
            "created_at": record.created_at,
            # It is there, so what was said of its loss or failure, also before a job took hold of it, is not so.
            "error_code": "",
            "error_detail": "",
        }
        if row.state == SnapshotState.ERROR or row.state in NOT_YET_TAKEN:
            values["state"] = SnapshotState.READY
        return {column: value for column, value in values.items() if getattr(row, column) != value}


def new_row(place: Place[VMSnapshot], anchor: VMSnapshot) -> VMSnapshot:
    """A row for a snapshot that has none yet, made elsewhere, right below the anchor for now. Not saved."""
    record = place.record
    return VMSnapshot(
        machine_id=anchor.machine_id,
        parent_id=anchor.pk,
        tree_id=anchor.machine_id,
        level=1,
        native_id=record.native_id,
        name=place.name,
        description=record.description,
        type=SnapshotType(record.kind.value),
        state=SnapshotState.READY,
        origin=Origin.ELSEWHERE,
        created_at=record.created_at,
        measured_bytes=record.measured_bytes,
    )


@dataclass(frozen=True, slots=True)
class Comparison(Generic[Row]):
    """A machine's rows beside its forest. `lost` are ours whose snapshot was there and is not any more, `not_ours` those
    made elsewhere and never adopted that are gone; `current_id` is the native id of the snapshot the machine stands at,
    None for the anchor."""

    anchor: Row
    places: list[Place[Row]]
    lost: list[Row]
    not_ours: list[Row]
    current_id: str | None

    def differs(self) -> bool:
        """Whether any row would have to be made, changed, moved or given up."""
        if self.lost or self.not_ours:
            return True
        pks: dict[str | None, int] = {None: self.anchor.pk}
        for place in self.places:
            if place.row is None or not place.same() or place.row.parent_id != pks[place.parent_id]:
                return True
            pks[place.record.native_id] = place.row.pk
        stands_at = self.current_row()
        return stands_at is None or not stands_at.current

    def current_row(self) -> Row | None:
        """The row the machine stands at; None when that snapshot has no row yet."""
        if self.current_id is None:
            return self.anchor
        return next(place.row for place in self.places if place.record.native_id == self.current_id)


def compare(rows: Iterable[Row], forest: SnapshotForest) -> Comparison[Row]:
    """Lay all rows of one machine (anchor included) beside what its hypervisor lists, parents before children."""
    real: list[Row] = []
    anchor: Row | None = None
    for row in rows:
        if row.is_anchor:
            anchor = row
        else:
            real.append(row)
    if anchor is None:
        raise ValueError("A machine's rows are compared together with its anchor.")
    matches = _match(real, forest)
    matched = {row.pk for row in matches.values()}
    others = [row for row in real if row.pk not in matched]
    not_ours = [row for row in others if not row.counts]
    ours = [row for row in others if row.counts]
    names = _names(forest, matches, {row.name for row in ours})
    places: list[Place[Row]] = []
    listed: set[str | None] = set()
    for record in forest.snapshots:
        # A parent the hypervisor names but does not list leaves the snapshot at the root, where it can be seen.
        parent_id = record.parent_id if record.parent_id in listed else None
        places.append(Place(record, matches.get(record.native_id), parent_id, names[record.native_id]))
        listed.add(record.native_id)
    lost = [row for row in ours if _was_there(row)]
    return Comparison(anchor, places, lost, not_ours, forest.current_id if forest.current_id in listed else None)


def _was_there(row: VMSnapshot | SnapshotRow) -> bool:
    """Whether the row was that of a snapshot on the hypervisor, as far as was known until now."""
    if row.state == SnapshotState.ERROR:
        return row.native_id != "" and row.error_code != GONE
    return row.state not in NOT_YET_TAKEN


def _match(rows: list[Row], forest: SnapshotForest) -> dict[str, Row]:
    """Rows by the native id of their snapshot: the row that has that id, else the one whose token it carries, else, where
    the native ids were forgotten because the machine is at another endpoint now, the one of that time and name. A row
    stands for one snapshot only, although a copy made elsewhere may carry the same token."""
    by_native = {row.native_id: row for row in rows if row.native_id}
    matches = {
        record.native_id: by_native[record.native_id] for record in forest.snapshots if record.native_id in by_native
    }
    if len(matches) == len(forest.snapshots):
        return matches
    used = {row.pk for row in matches.values()}
    by_token = {str(row.uuid): row for row in rows if row.pk not in used}
    for record in forest.snapshots:
        if record.native_id not in matches and record.token is not None and record.token in by_token:
            matches[record.native_id] = by_token.pop(record.token)
    forgotten = [row for row in by_token.values() if row.native_id == "" and _lay_on_a_hypervisor(row)]
    for record in forest.snapshots if forgotten else ():
        if record.native_id in matches:
            continue
        for row in forgotten:
            if row.created_at == record.created_at and _is_called(row.name, _plain(record.name)):
                matches[record.native_id] = row
                forgotten.remove(row)
                break
    return matches


def _lay_on_a_hypervisor(row: VMSnapshot | SnapshotRow) -> bool:
    return row.error_code == GONE or row.state not in (SnapshotState.ERROR, *NOT_YET_TAKEN)


def _names(forest: SnapshotForest, matches: dict[str, Row], taken: set[str]) -> dict[str, str]:
    """How each snapshot is to be called here, by native id. Names are unique in a machine here, while some hypervisors
    allow equal ones: whoever has its name keeps it, the others are numbered. `taken` are names of other rows."""
    plain_names = {record.native_id: _plain(record.name) for record in forest.snapshots}
    unequal = len(set(plain_names.values())) == len(plain_names) and taken.isdisjoint(plain_names.values())
    if unequal and all(key in matches and matches[key].name == name for key, name in plain_names.items()):
        return plain_names  # as nearly always: each has its own name, and has it already
    taken = set(taken)
    names: dict[str, str] = {}
    open_records: list[SnapshotRecord] = []
    for record in forest.snapshots:
        row = matches.get(record.native_id)
        if row is not None and row.name == _plain(record.name) and row.name not in taken:
            names[record.native_id] = row.name
            taken.add(row.name)
        else:
            open_records.append(record)
    if not open_records:
        return names
    unnamed: list[SnapshotRecord] = []
    for record in open_records:
        row = matches.get(record.native_id)
        plain = _plain(record.name)
        if row is not None and plain in taken and row.name not in taken and _is_numbered(row.name, plain):
            names[record.native_id] = row.name
            taken.add(row.name)
        else:
            unnamed.append(record)
    for record in unnamed:
        names[record.native_id] = name = _free(_plain(record.name), taken)
        taken.add(name)
    return names


def _plain(theirs: str) -> str:
    """Their name as it fits here, while no other row has it."""
    return theirs[:NAME_LENGTH] or NAMELESS


def _is_called(ours: str, plain: str) -> bool:
    return ours == plain or _is_numbered(ours, plain)


def _is_numbered(ours: str, plain: str) -> bool:
    start = f"{plain[:NUMBERED_LENGTH]} ("
    return ours.startswith(start) and ours.endswith(")") and ours[len(start) : -1].isdecimal()


def _free(plain: str, taken: set[str]) -> str:
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain[:NUMBERED_LENGTH]} ({number})", number + 1
    return name

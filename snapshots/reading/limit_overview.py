"""Who is near a limit: the accounts and domains a person sees, the fullest first."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db.models import BigIntegerField, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce

from snapshots.access import Person
from snapshots.choices import UNLIMITED, LimitKind
from snapshots.limit_levels import Place, default_of
from snapshots.models import Limit
from snapshots.reading.limit_lists import places


@dataclass(frozen=True, slots=True)
class NearLimit:
    """A shared limit with what is in use of it. `level` is "account" or "domain", `inside` the domain an account is in.
    `share` is 1.0 when it is used up; of a limit of nothing it is infinite once something is in use."""

    level: str
    uuid: UUID
    name: str
    inside: str
    kind: LimitKind
    used: int
    limit: int

    @property
    def share(self) -> float:
        """How much of it is in use."""
        if self.limit:
            return self.used / self.limit
        return float("inf") if self.used else 1.0

    @property
    def percent(self) -> int | None:
        """The share in percent; None of a limit of nothing."""
        return round(100 * self.share) if self.limit else None


def near_limits(person: Person, most: int) -> list[NearLimit]:
    """The fullest limits among those the person sees, at most so many. Two queries."""
    near = [row for place in (Place.ACCOUNT, Place.DOMAIN) for row in _limited(person, place)]
    return sorted(near, key=lambda row: (-row.share, row.level, row.name))[:most]


def _limited(person: Person, place: Place) -> Iterator[NearLimit]:
    inside = "account__domain__name" if place == Place.ACCOUNT else "domain__parent__name"
    rows = (
        places(person)
        .filter(**{f"{place}__isnull": False})
        .annotate(most_snapshots=_limit(place, LimitKind.SNAPSHOTS), most_bytes=_limit(place, LimitKind.BYTES))
        .exclude(most_snapshots=UNLIMITED, most_bytes=UNLIMITED)
    )
    columns = (
        f"{place}__uuid",
        f"{place}__name",
        inside,
        "snapshots",
        "most_snapshots",
        "estimated_bytes",
        "most_bytes",
    )
    for uuid, name, above, snapshots, most_snapshots, size, most_bytes in rows.values_list(*columns):
        for kind, used, limit in (
            (LimitKind.SNAPSHOTS, snapshots, most_snapshots),
            (LimitKind.BYTES, size, most_bytes),
        ):
            if limit != UNLIMITED:
                yield NearLimit(place.value, uuid, name, above or "", kind, used, limit)


def _limit(place: Place, kind: LimitKind) -> Coalesce:
    own = Limit.objects.filter(Q(**{place.value: OuterRef(place.value)}), kind=kind).order_by()
    return Coalesce(Subquery(own.values("value")[:1]), Value(default_of(kind, place)), output_field=BigIntegerField())

"""The limits REST shows: what holds at every account and domain a person sees, what is used, and where it comes from."""

from collections.abc import Sequence

from django.db.models import Exists, OuterRef, Q, QuerySet, Value

from snapshots.access import Person, administered_domains, is_root_admin, visible_accounts, visible_domains
from snapshots.choices import UNLIMITED
from snapshots.limit_levels import LimitHere, Place, limits_at
from snapshots.models import Account, Domain, LimitUse


def places(person: Person) -> QuerySet[LimitUse]:
    """The use of every account and domain the person sees, with what it is of, and whether they are `theirs`: accounts, and
    domains that they administer."""
    rows = LimitUse.objects.select_related("account__domain", "domain").order_by()
    if is_root_admin(person):
        return rows.annotate(theirs=Value(True))
    seen = Q(account__in=visible_accounts(person).values("pk")) | Q(domain__in=visible_domains(person).values("pk"))
    administered = Exists(administered_domains(person).filter(pk=OuterRef("domain")).order_by())
    return rows.filter(seen).annotate(theirs=Q(account__isnull=False) | administered)


def place_of(use: LimitUse) -> Account | Domain:
    """What the use is of."""
    place = use.account or use.domain
    assert place is not None  # noqa: S101  # a constraint of the table
    return place


def add_limits(rows: Sequence[LimitUse], person: Person) -> None:
    """Give each of these rows of `places` its `on`, its `place` and its `limits`, and these the public id of where each
    comes from. Three queries for any number of rows."""
    found = limits_at([place_of(row) for row in rows], person)
    sources = {limit.effective.source for limits in found.values() for limit in limits}
    ids = {
        (place, key): uuid
        for place, model in ((Place.ACCOUNT, Account), (Place.DOMAIN, Domain))
        for key, uuid in model._default_manager.filter(
            pk__in=[source.key for source in sources if source.place == place]
        ).values_list("pk", "uuid")
    }
    for row in rows:
        row.on = place_of(row)  # type: ignore[attr-defined]  # what REST shows beside the row's own columns
        row.place = Place.DOMAIN if row.account is None else Place.ACCOUNT  # type: ignore[attr-defined]  # likewise
        row.limits = [  # type: ignore[attr-defined]  # likewise
            {
                "kind": limit.kind,
                "value": limit.own,
                "effective": limit.effective.value,
                "used": _shown_use(row, limit),
                "source": {
                    "place": limit.effective.source.place,
                    "id": ids.get((limit.effective.source.place, limit.effective.source.key or 0))
                    if limit.effective.source.seen
                    else None,
                    "name": limit.effective.source.name if limit.effective.source.seen else "",
                },
            }
            for limit in found[row.on]  # type: ignore[attr-defined]  # set above
        ]


def _shown_use(row: LimitUse, limit: LimitHere) -> int | None:
    """What is in use of a domain is what others use, too: those who do not administer it see it only where it leaves them
    less room."""
    theirs: bool = row.theirs  # type: ignore[attr-defined]  # by places
    return limit.used if theirs or limit.effective.value != UNLIMITED else None

"""Who may set which limit, and what follows for those below.

An account's limits are set by admins of its domain, a domain's by admins of the domain above, a root domain's by root
admins. Nobody sets those of their own domain, nor of an account they are a member of, unless they are root admins. A limit
never exceeds what holds above it: where one is lowered, those below it that were set higher are lowered with it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q

from snapshots.access import Actor, Person, administered_domains, is_root_admin, visible_accounts, visible_domains
from snapshots.choices import UNLIMITED, LimitKind
from snapshots.limit_levels import Setting, limits_at
from snapshots.models import Account, Domain, Limit, Membership
from snapshots.naming import size_in_words
from snapshots.refusals import Forbidden, Invalid, NotVisible
from snapshots.services import events
from snapshots.services.kept_places import lock_trees

MOST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LimitSet:
    """What came of setting a limit: the row (None when there is none any more), and the rows below that were lowered."""

    limit: Limit | None
    lowered: list[Limit]


@transaction.atomic
def set_limit(actor: Actor, *, on: Account | Domain, kind: LimitKind, value: int | None) -> LimitSet:
    """Set a limit, -1 for none at all; None takes the place's own away, so that the default or what holds above counts. One
    below what is in use is allowed and stops new ones. Raises `NotVisible`, `Forbidden`, and `Invalid`."""
    if value is not None:
        value = checked(value)
    on = _locked(on)
    _require_may_set(actor, on)
    if value is not None:
        _require_not_above(actor, on, kind, value)
    place = {"account": on} if isinstance(on, Account) else {"domain": on}
    before = Limit.objects.filter(kind=kind, **place).first()
    limit = None
    if value is not None:
        limit, _ = Limit.objects.update_or_create(kind=kind, **place, defaults={"value": value, "set_by": actor.user})
    elif before is not None:
        before.delete()
    events.record(
        actor,
        "limits.set",
        account=on if isinstance(on, Account) else None,
        detail=f"{kind.label} of {named(on)}: {_told(kind, value)}, was {_told(kind, before.value if before else None)}.",
    )
    lowered = lower_below(actor, on, [kind]) if isinstance(on, Domain) else []
    return LimitSet(limit, lowered)


def checked(value: object) -> int:
    """The value as it will be kept. Raises `Invalid` for everything but whole numbers from -1 to 2⁶³−1."""
    if isinstance(value, int) and not isinstance(value, bool) and UNLIMITED <= value <= MOST:
        return value
    sentence = f"A whole number from 0 to {MOST}, or -1 for no limit."
    raise Invalid(f"A limit is {sentence[:1].lower()}{sentence[1:]}", fields={"value": [sentence]})


def lower_below(actor: Actor, domain: Domain, kinds: Collection[LimitKind]) -> list[Limit]:
    """Lower what was set below this domain to what holds at it, with an event for each. Call with the tree of its domains
    locked."""
    holding = _holding_at(domain, None)
    most = {kind: holding[kind].value for kind in kinds if holding[kind].value != UNLIMITED}
    higher = Q(pk__in=())
    for kind, value in most.items():
        higher |= Q(kind=kind) & (Q(value=UNLIMITED) | Q(value__gt=value))
    below = Q(account__domain__path__startswith=domain.path) | (
        Q(domain__path__startswith=domain.path) & ~Q(domain=domain)
    )
    rows = Limit.objects.filter(below, higher).select_related("account", "domain").order_by("pk")
    return _lower(actor, list(rows), most, domain)


def _lower(actor: Actor, rows: list[Limit], to: Mapping[LimitKind, int], domain: Domain) -> list[Limit]:
    told = []
    for row in rows:
        kind = LimitKind(row.kind)
        on = row.account or row.domain
        assert on is not None  # noqa: S101  # a constraint of the table
        # Members of an account read it in its history, and see of the domains its own alone.
        above = "a domain above" if row.account and row.account.domain_id != domain.pk else named(domain)
        told.append(
            events.prepared(
                actor,
                "limits.lowered",
                account=row.account,
                detail=f"{kind.label} of {named(on)}: {_told(kind, to[kind])}, was {_told(kind, row.value)}, since no more "
                f"holds for {above}.",
            )
        )
        row.value = to[kind]
    Limit.objects.bulk_update(rows, ("value",), batch_size=500)
    events.record_all(told)
    return rows


def _holding_at(domain: Domain, person: Person | None) -> dict[LimitKind, Setting]:
    """What limits below this domain may not exceed, as far as this person sees it; None sees everything. One query."""
    return {here.kind: here.effective for here in limits_at([domain], person)[domain]}


def named(on: Account | Domain) -> str:
    """The place in a sentence."""
    return f"the {'account' if isinstance(on, Account) else 'domain'} {on.name}"


def _locked(on: Account | Domain) -> Account | Domain:
    """The place as it is once nobody can set or move anything around it. Raises `NotVisible` when it went."""
    lock_trees([on.domain if isinstance(on, Account) else on])
    fresh: Account | Domain | None
    if isinstance(on, Account):
        fresh = Account.objects.select_related("domain").filter(pk=on.pk).first()
    else:
        fresh = Domain.objects.select_related("parent").filter(pk=on.pk).first()
    if fresh is None:
        raise NotVisible("There is no such account." if isinstance(on, Account) else "There is no such domain.")
    return fresh


def _require_may_set(actor: Actor, on: Account | Domain) -> None:
    person = actor.user
    if person is None or is_root_admin(person):
        return
    if isinstance(on, Account):
        if not visible_accounts(person).filter(pk=on.pk).exists():
            raise NotVisible("There is no such account.")
        if not administered_domains(person).filter(pk=on.domain_id).exists():
            raise Forbidden(f"Only admins of the domain {on.domain.name} may set the limits of its accounts.")
        if Membership.objects.filter(user=person, account=on).exists():
            raise Forbidden(f"Nobody sets the limits of their own account. Ask another admin of {on.domain.name}.")
        return
    if not visible_domains(person).filter(pk=on.pk).exists():
        raise NotVisible("There is no such domain.")
    if on.parent_id is None or not administered_domains(person).filter(pk=on.parent_id).exists():
        raise Forbidden(
            f"The limits of the domain {on.name} are set by admins of the domain above it, or by root admins."
        )


def _require_not_above(actor: Actor, on: Account | Domain, kind: LimitKind, value: int) -> None:
    above = on.domain if isinstance(on, Account) else on.parent
    if above is None:
        return
    most = _holding_at(above, None)[kind].value
    if most == UNLIMITED or 0 <= value <= most:
        return
    shown = _holding_at(above, actor.user)[kind]
    if shown.value == most and shown.source.seen:
        sentence = f"At most {_told(kind, most)}, which is what holds for the domain {above.name}."
    else:
        sentence = f"It is more than what holds for the domain {above.name} by a limit above it."
    raise Invalid(
        f"The limit of {named(on)} may not exceed that of the domain above. {sentence}", fields={"value": [sentence]}
    )


def _told(kind: LimitKind, value: int | None) -> str:
    if value is None:
        return "not set"
    if value == UNLIMITED:
        return "no limit"
    return size_in_words(value) if kind == LimitKind.BYTES else str(value)

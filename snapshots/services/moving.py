"""Moving accounts and domains to another place in the tree of domains, with all that is in use and limited there.

What is in use goes along, whatever the limits at the new place: where it is more than they allow, that is told, and nothing
new is taken until there is room. Limits that were set higher than what holds there are lowered.
"""

from django.db import IntegrityError, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat, Substr

from snapshots import ledger
from snapshots.access import Actor, require_administer, require_root_admin
from snapshots.choices import LimitKind
from snapshots.limit_levels import Place, room_of
from snapshots.models import Account, Domain, Event, VirtualMachine
from snapshots.refusals import Invalid, NameTaken, NotVisible
from snapshots.services import events, limit_rules
from snapshots.services.kept_places import lock_trees
from snapshots.services.limit_setting import lower_below


@transaction.atomic
def move_account(actor: Actor, *, account: Account, domain: Domain) -> None:
    """Put an account with all it owns into another domain; admins of both may. Raises `NotVisible` (also when one
    of them went meanwhile), `Forbidden`, and `NameTaken`."""
    lock_trees([account.domain, domain])
    domain = _fresh(domain)
    account, machines = _lock_account(account.pk)
    old = account.domain
    require_administer(actor, old)
    require_administer(actor, domain)
    if old == domain:
        return
    ledger.move_use([account.pk], old.ancestor_ids, domain.ancestor_ids)
    account.domain = domain
    try:
        with transaction.atomic():
            account.save(update_fields=["domain"])
    except IntegrityError:
        raise NameTaken(f"The domain {domain.name} has an account named “{account.name}” already.") from None
    # Usage names the domain: from now on it is the new one.
    ledger.settle(machines)
    detail = f"Account {account.name}: from {old.name} to {domain.name}."
    events.record(actor, "tenancy.account.moved", account=account, detail=detail)
    lower_below(actor, domain, list(LimitKind))
    tell_if_passed(actor, account)


@transaction.atomic
def move_domain(actor: Actor, *, domain: Domain, parent: Domain | None) -> None:
    """Put a domain and all below it under another one; root admins may. Raises `Invalid` for a place inside itself,
    `NotVisible` when one of them went meanwhile, and `NameTaken`."""
    require_root_admin(actor)
    lock_trees([row for row in (domain, parent) if row is not None])
    domain, parent = _fresh(domain), None if parent is None else _fresh(parent)
    if parent is not None and parent.path.startswith(domain.path):
        raise Invalid(f"{domain.name} cannot be put below itself.", fields={"parent": ["Inside the domain itself."]})
    accounts = list(Account.objects.filter(domain__path__startswith=domain.path).order_by("pk"))
    above = [] if parent is None else parent.ancestor_ids
    ledger.move_use([account.pk for account in accounts], domain.ancestor_ids[:-1], above)
    old, new = domain.path, f"{parent.path if parent else '/'}{domain.pk}/"
    try:
        with transaction.atomic():
            Domain.objects.filter(pk=domain.pk).update(parent=parent)
    except IntegrityError:
        raise NameTaken(f"There is a domain named “{domain.name}” there already.") from None
    Domain.objects.filter(path__startswith=old).update(path=Concat(Value(new), Substr(F("path"), len(old) + 1)))
    events.record(actor, "tenancy.domain.moved", detail=f"Domain {domain.name}.")
    if parent is not None:
        lower_below(actor, parent, list(LimitKind))
        for account in accounts[:1]:
            tell_if_passed(actor, account, of_domain=domain)


def tell_if_passed(actor: Actor, account: Account, *, of_domain: Domain | None = None) -> None:
    """An event where what is in use is more than the limits allow that hold for this account now, told as its members may
    read it; with `of_domain`, for that one and the domains above it only, and for root admins."""
    account = Account.objects.select_related("domain").get(pk=account.pk)
    room = room_of(account, None)
    if of_domain is None:
        room = room.for_members()
    above = None if of_domain is None else set(Domain.objects.get(pk=of_domain.pk).ancestor_ids)
    passed = [
        level
        for level in room.shared
        if level.limited
        and level.used > level.limit
        and (above is None or (level.place == Place.DOMAIN and level.key in above))
    ]
    if passed:
        told = limit_rules.together(limit_rules.in_use(room, level) for level in passed)
        events.record(
            actor,
            "limits.passed",
            level=Event.Level.WARNING,
            account=account if of_domain is None else None,
            detail=f"{told} Nothing new is taken until there is room.",
        )


def _fresh(domain: Domain) -> Domain:
    """The domain as it is now that its tree is locked: nobody moves or deletes it any more."""
    found = Domain.objects.filter(pk=domain.pk).first()
    if found is None:
        raise NotVisible("There is no such domain.")
    return found


def _lock_account(account_pk: int) -> tuple[Account, list[int]]:
    """The account and the keys of all its machines, these locked first and then its use, so that none joins or leaves.

    One may have joined while the use was waited for. It cannot be locked then, since machines come before the use of
    accounts: everything is let go of and begun anew. Each time somebody else has finished handing over.
    """
    while True:
        with transaction.atomic():
            machines = VirtualMachine.objects.filter(account=account_pk).order_by("pk")
            keys = list(machines.select_for_update(no_key=True).values_list("pk", flat=True))
            # Without its key: whoever holds the use may yet have to make sure that the account is there.
            if Account.objects.select_for_update(no_key=True).filter(pk=account_pk).first() is None:
                raise NotVisible("There is no such account.")
            ledger.lock_use([account_pk])
            # Read now: while its use is locked, the account and the domains above it stay where they are.
            account = Account.objects.select_related("domain").get(pk=account_pk)
            if set(machines.values_list("pk", flat=True)) <= set(keys):
                return account, keys
            transaction.set_rollback(True)

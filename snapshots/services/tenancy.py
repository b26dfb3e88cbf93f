"""Who there is and who owns what: domains, accounts, users, roles, tokens, and the assignment of machines. (Accounts and
domains are moved in `moving`.)

Domain admins act below their own domains, root admins everywhere. Raises `NotVisible` and `Forbidden` accordingly,
`Invalid` for values, `NameTaken` for names in use.
"""

from collections.abc import Collection
from datetime import timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from snapshots import ledger
from snapshots.access import Actor, is_root_admin, require_administer, require_root_admin
from snapshots.choices import ACTIVE_JOB_STATES, Role, TokenScope
from snapshots.models import (
    Account,
    ApiToken,
    Domain,
    ImportRule,
    Job,
    LimitUse,
    Membership,
    Schedule,
    User,
    VirtualMachine,
    Volume,
)
from snapshots.naming import some_of
from snapshots.refusals import Forbidden, Invalid, InvalidState, NameTaken, NotVisible
from snapshots.services import events
from snapshots.services.kept_places import hold_account, hold_domain, lock_trees
from snapshots.services.moving import tell_if_passed
from snapshots.services.snapshot_rules import busy_refusal, clean_name
from snapshots.tree import lock_machine

TOKEN_DAYS_MOST = 3650
NAMED_MOST = 5  # how many of the things in the way a refusal names


@transaction.atomic
def create_domain(actor: Actor, *, name: str, parent: Domain | None = None) -> Domain:
    """A new domain below `parent`; root domains are made by root admins only."""
    name = clean_name(name)
    if parent is None:
        require_root_admin(actor)
    else:
        parent = _locked_domain(parent)
        require_administer(actor, parent)
    # The path holds the row's own key, which is not known before the insert.
    domain = Domain(name=name, parent=parent, path=f"new/{parent.pk if parent else ''}/{name}"[:1024])
    _save_new(domain, f"There is a domain named “{name}” here already.")
    domain.path = f"{parent.path if parent else '/'}{domain.pk}/"
    domain.save(update_fields=["path"])
    LimitUse.objects.create(domain=domain)
    events.record(actor, "tenancy.domain.created", detail=f"Domain {name}.")
    return domain


@transaction.atomic
def create_account(actor: Actor, *, name: str, domain: Domain) -> Account:
    """A new account in the domain."""
    domain = _locked_domain(domain)
    require_administer(actor, domain)
    name = clean_name(name)
    account = Account(name=name, domain=domain)
    _save_new(account, f"The domain {domain.name} has an account named “{name}” already.")
    LimitUse.objects.create(account=account)
    events.record(actor, "tenancy.account.created", detail=f"Account {name}.", account=account)
    return account


@transaction.atomic
def rename(actor: Actor, *, thing: Domain | Account, name: str) -> None:
    """Give a domain or an account another name."""
    require_administer(actor, thing if isinstance(thing, Domain) else thing.domain)
    name = clean_name(name)
    old, thing.name = thing.name, name
    try:
        with transaction.atomic():
            thing.save(update_fields=["name"])
    except IntegrityError:
        raise NameTaken(f"The name “{name}” is in use here already.") from None
    kind = "domain" if isinstance(thing, Domain) else "account"
    events.record(actor, f"tenancy.{kind}.renamed", detail=f"{old} is now {name}.")


@transaction.atomic
def delete_domain(actor: Actor, *, domain: Domain) -> None:
    """Delete an empty domain, with the roles given on it. Raises `InvalidState` while domains or accounts are in it."""
    domain = _locked_domain(domain)
    if domain.parent is None:
        require_root_admin(actor)
    else:
        require_administer(actor, domain.parent)
    _refuse_unless_empty(
        domain,
        [child.name for child in domain.children.all()[:NAMED_MOST]]
        + [account.name for account in domain.accounts.all()[:NAMED_MOST]],
        domain.children.count() + domain.accounts.count(),
    )
    events.record(actor, "tenancy.domain.deleted", detail=f"Domain {domain.name}.")
    hold_domain(domain, to_delete=True).delete()


@transaction.atomic
def delete_account(actor: Actor, *, account: Account) -> None:
    """Delete an account that owns nothing, with the roles given on it. Raises `InvalidState` while it owns machines or
    volumes, or an import rule gives it machines."""
    require_administer(actor, account.domain)
    account = hold_account(account, to_delete=True)
    volumes = Volume.objects.filter(account=account, machine=None)
    rules = ImportRule.objects.filter(account=account)
    _refuse_unless_empty(
        account,
        [machine.name for machine in account.machines.all()[:NAMED_MOST]]
        + [volume.name for volume in volumes[:NAMED_MOST]]
        + [f"the import rule “{rule.words}”" for rule in rules[:NAMED_MOST]],
        account.machines.count() + volumes.count() + rules.count(),
    )
    events.record(actor, "tenancy.account.deleted", detail=f"Account {account.name} of {account.domain.name}.")
    account.delete()


def _locked_domain(domain: Domain) -> Domain:
    """The domain as it is once nobody can move or delete it, nor anything around it. Raises `NotVisible` when it went."""
    lock_trees([domain])
    found = Domain.objects.select_related("parent").filter(pk=domain.pk).first()
    if found is None:
        raise NotVisible("There is no such domain.")
    return found


def _refuse_unless_empty(thing: Domain | Account, names: list[str], count: int) -> None:
    if count:
        raise InvalidState(f"{thing.name} still holds {some_of(names, NAMED_MOST, count)}. Move or delete that first.")


@transaction.atomic
def create_user(
    actor: Actor, *, username: str, password: str, domain: Domain | None = None, any_password: bool = False
) -> User:
    """A new user. Domain admins name the domain they act for; root admins need none.

    `any_password` takes a weak password too: for who runs this installation and chose it there.
    """
    if domain is None:
        require_root_admin(actor)
    else:
        require_administer(actor, domain)
    user = User(username=username)
    try:
        user.full_clean(exclude=["password"])
        if not any_password:
            validate_password(password, user)
    except ValidationError as error:
        fields = error.message_dict if hasattr(error, "error_dict") else {"password": error.messages}
        raise Invalid("The user cannot be made: " + " ".join(error.messages), fields=fields) from None
    user.set_password(password)
    user.save(force_insert=True)
    events.record(actor, "tenancy.user.created", detail=f"User {username}.")
    return user


@transaction.atomic
def set_password(actor: Actor, *, user: User, password: str, any_password: bool = False) -> None:
    """Give a user another password, which ends their sessions. Root admins only; for `any_password` see `create_user`."""
    require_root_admin(actor)
    if not any_password:
        try:
            validate_password(password, user)
        except ValidationError as error:
            detail = "The password cannot be used: " + " ".join(error.messages)
            raise Invalid(detail, fields={"password": error.messages, "new_password": error.messages}) from None
    user.set_password(password)
    user.save(update_fields=["password"])
    events.record(actor, "tenancy.user.password_set", detail=f"User {user.get_username()}.")


@transaction.atomic
def set_active(actor: Actor, *, user: User, active: bool) -> None:
    """Let a user sign in, or no longer: sessions and tokens stop at once. Root admins only, and nobody for themselves."""
    require_root_admin(actor)
    if actor.user is not None and actor.user.pk == user.pk and not active:
        raise Forbidden("Nobody switches themselves off. Ask another admin.")
    user.is_active = active
    user.save(update_fields=["is_active"])
    events.record(
        actor,
        "tenancy.user.activated" if active else "tenancy.user.deactivated",
        detail=f"User {user.get_username()}.",
    )


@transaction.atomic
def grant_role(
    actor: Actor, *, user: User, role: Role, account: Account | None = None, domain: Domain | None = None
) -> Membership:
    """Give a user a role, in place of the one held there before. Nobody changes their own roles."""
    _require_may_change_roles(actor, user, role, account, domain)
    if (account is None) == (role in (Role.READER, Role.OPERATOR)) or (domain is None) == (role == Role.DOMAIN_ADMIN):
        raise Invalid(f"The role {role.label} does not fit what it is given on.")
    if account is not None:
        account = hold_account(account)
    if domain is not None:
        domain = hold_domain(domain)
    membership, _ = Membership.objects.update_or_create(
        user=user, account=account, domain=domain, defaults={"role": role}
    )
    events.record(actor, "tenancy.role.granted", detail=str(membership), account=account)
    return membership


@transaction.atomic
def revoke_role(actor: Actor, *, membership: Membership) -> None:
    """Take a role away. Nobody changes their own roles."""
    _require_may_change_roles(actor, membership.user, Role(membership.role), membership.account, membership.domain)
    detail = str(membership)
    account = membership.account
    membership.delete()
    events.record(actor, "tenancy.role.revoked", detail=detail, account=account)


@transaction.atomic
def assign_machine(actor: Actor, *, machine: VirtualMachine, account: Account | None) -> None:
    """Give a machine and its volumes to an account, or to none: either way it is decided, and import rules leave it
    alone from then on. Raises `VMBusy` while a job is under way on it."""
    require_root_admin(actor)
    machine = lock_machine(machine.pk)
    busy = Job.objects.filter(machine=machine, state__in=ACTIVE_JOB_STATES).select_related("requested_by").first()
    if busy is not None:
        raise busy_refusal(busy)
    machine.account = account  # The event goes by the new owner, also when that is nobody.
    hand_over(actor, [machine], account, f"now belongs to {account.name if account else 'no account'}.")


def hand_over(actor: Actor, machines: Collection[VirtualMachine], account: Account | None, words: str) -> None:
    """Write down that these machines and their volumes are the account's, or nobody's, with an event for each that ends in
    these words, and one where more is in use now than the account or a domain above may use. Call inside a transaction
    that holds the machines' locks, of those on which no job is under way. Raises `NotVisible` when the account went."""
    if account is not None:
        account = hold_account(account)
    keys = [machine.pk for machine in machines]
    owners = {machine.booked_account_id for machine in machines} | {account.pk if account else None}
    # What is billed names the domain: while their use is locked the accounts do not move.
    ledger.lock_use({owner for owner in owners if owner is not None})
    VirtualMachine.objects.filter(pk__in=keys).update(account=account, assigned_at=timezone.now())
    Volume.objects.filter(machine__in=keys).update(account=account)
    # Why something was missed may name the account, and what it may use.
    Schedule.objects.filter(machine__in=keys).exclude(missed="").update(missed="")
    ledger.settle(keys)
    events.record_all(
        events.prepared(actor, "machine.assigned", machine=machine, account=account, detail=f"{machine.name} {words}")
        for machine in machines
    )
    if account is not None:
        tell_if_passed(actor, account)


@transaction.atomic
def assign_volume(actor: Actor, *, volume: Volume, account: Account | None) -> None:
    """Give a loose volume to an account, or to none. Raises `InvalidState` for an attached one: it belongs to its
    machine's account."""
    require_root_admin(actor)
    volume = Volume.objects.select_for_update().get(pk=volume.pk)
    if volume.machine_id is not None:
        raise InvalidState(f"{volume.name} is attached; it belongs to its machine's account.")
    if account is not None:
        account = hold_account(account)
    Volume.objects.filter(pk=volume.pk).update(account=account)
    detail = f"{volume.name} now belongs to {account.name if account else 'no account'}."
    events.record(actor, "volume.assigned", account=account, hypervisor_id=volume.hypervisor_id, detail=detail)


@transaction.atomic
def create_token(
    actor: Actor, *, user: User, name: str, scope: TokenScope = TokenScope.READ, days: int = 90
) -> tuple[ApiToken, str]:
    """A new API token of the user, and its text, which cannot be had again. Everybody makes their own only."""
    if actor.user is not None and actor.user.pk != user.pk:
        raise Forbidden("Tokens are made by their users themselves.")
    if not 1 <= days <= TOKEN_DAYS_MOST:
        raise Invalid(
            f"A token lasts between 1 and {TOKEN_DAYS_MOST} days.", fields={"days": [f"1 to {TOKEN_DAYS_MOST}."]}
        )
    token, text = ApiToken.objects.create(user=user, expiry=timedelta(days=days), name=clean_name(name), scope=scope)
    events.record(actor, "token.created", detail=f"Token {token.name} of {user.get_username()}, {scope.label}.")
    return token, text


@transaction.atomic
def revoke_token(actor: Actor, *, token: ApiToken) -> None:
    """End a token at once. Everybody ends their own; root admins may end any."""
    if actor.user is not None and actor.user.pk != token.user_id and not is_root_admin(actor.user):
        raise NotVisible("There is no such token.")
    events.record(actor, "token.revoked", detail=f"Token {token.name} of {token.user.get_username()}.")
    token.delete()


def _require_may_change_roles(
    actor: Actor, user: User, role: Role, account: Account | None, domain: Domain | None
) -> None:
    if actor.user is not None and actor.user.pk == user.pk:
        raise Forbidden("Nobody changes their own roles. Ask another admin.")
    if role == Role.ROOT_ADMIN:
        require_root_admin(actor)
    elif account is not None:
        require_administer(actor, account.domain)
    elif domain is not None:
        require_administer(actor, domain)


def _save_new(row: Domain | Account, taken: str) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise NameTaken(taken, fields={"name": [taken]}) from None

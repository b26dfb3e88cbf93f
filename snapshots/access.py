"""Who sees and may change what: the only room that knows roles.

Everything people see comes through one of the `visible_…` querysets here. What someone does not see does not exist for
them: unknown and forbidden look the same. A verb that a person who sees a thing may still not use raises `Forbidden`.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import CharField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet

from hypervisors.models import Hypervisor
from snapshots.choices import Role, Trigger
from snapshots.models import (
    Account,
    ApiToken,
    Domain,
    Event,
    Job,
    Membership,
    Schedule,
    StoragePool,
    UsageMonth,
    UsageRecord,
    User,
    VirtualMachine,
    VMSnapshot,
    Volume,
)
from snapshots.refusals import Forbidden, NotVisible

Person = User | AnonymousUser


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is asking, through which door, from where. `user` is None when the product itself acts."""

    user: User | None
    trigger: Trigger
    from_address: str | None = None


SYSTEM = Actor(user=None, trigger=Trigger.SYSTEM)


def remember_role(person: Person) -> None:
    """Keep the answers of `is_root_admin` and `is_admin` on this object, so that one request asks once.

    For doors only, whose user object is read afresh for each request and forgotten after it.
    """
    if isinstance(person, User) and not hasattr(person, "_admin_known"):
        roles = _admin_roles(person)
        person._root_admin_known = Role.ROOT_ADMIN in roles  # type: ignore[attr-defined]  # a memo, not a column
        person._admin_known = bool(roles)  # type: ignore[attr-defined]  # a memo, not a column


def is_root_admin(person: Person) -> bool:
    """Whether the person may do everything everywhere."""
    if not isinstance(person, User) or not person.is_active:
        return False
    known: bool | None = getattr(person, "_root_admin_known", None)
    if known is not None:
        return known
    return person.is_superuser or Membership.objects.filter(user=person, role=Role.ROOT_ADMIN).exists()


def is_admin(person: Person) -> bool:
    """Whether the person administers anything: everything, or some domain."""
    if not isinstance(person, User):
        return False
    known: bool | None = getattr(person, "_admin_known", None)
    return bool(_admin_roles(person)) if known is None else known


def _admin_roles(user: User) -> set[str]:
    if not user.is_active:
        return set()
    if user.is_superuser:
        return {Role.ROOT_ADMIN}
    held = Membership.objects.filter(user=user, role__in=(Role.ROOT_ADMIN, Role.DOMAIN_ADMIN))
    return set(held.values_list("role", flat=True))


def _administered_above(user: User, path: str) -> Exists:
    """Whether the user is domain admin of the domain whose path stands in the outer column `path`, or of one above."""
    return Exists(
        Membership.objects.filter(user=user, role=Role.DOMAIN_ADMIN)
        .alias(wanted_path=ExpressionWrapper(OuterRef(path), output_field=CharField()))
        .filter(wanted_path__startswith=F("domain__path"))
    )


def visible_domains(person: Person) -> QuerySet[Domain]:
    """Domains the person administers, and those their accounts are in."""
    if not isinstance(person, User) or not person.is_active:
        return Domain.objects.none()
    if is_root_admin(person):
        return Domain.objects.all()
    return Domain.objects.filter(
        _administered_above(person, "path")
        | Exists(Membership.objects.filter(user=person, account__domain=OuterRef("pk")))
    )


def administered_domains(person: Person) -> QuerySet[Domain]:
    """Domains the person administers, those below included."""
    if not isinstance(person, User) or not person.is_active:
        return Domain.objects.none()
    return Domain.objects.all() if is_root_admin(person) else Domain.objects.filter(_administered_above(person, "path"))


def visible_accounts(person: Person) -> QuerySet[Account]:
    """Accounts the person is a member of or administers."""
    if not isinstance(person, User) or not person.is_active:
        return Account.objects.none()
    if is_root_admin(person):
        return Account.objects.all()
    return Account.objects.filter(
        Exists(Membership.objects.filter(user=person, account=OuterRef("pk")))
        | _administered_above(person, "domain__path")
    )


def operable_accounts(person: Person) -> QuerySet[Account]:
    """Accounts in which the person may act on machines."""
    if not isinstance(person, User) or not person.is_active:
        return Account.objects.none()
    if is_root_admin(person):
        return Account.objects.all()
    return Account.objects.filter(
        Exists(Membership.objects.filter(user=person, account=OuterRef("pk"), role=Role.OPERATOR))
        | _administered_above(person, "domain__path")
    )


def administered_machines(person: Person) -> QuerySet[VirtualMachine]:
    """Machines of accounts in domains the person administers; all of them, unassigned ones too, for root admins."""
    condition = _of_administered_accounts(person)
    return VirtualMachine.objects.all() if condition is None else VirtualMachine.objects.filter(condition)


def administered_events(person: Person) -> QuerySet[Event]:
    """Events of accounts in domains the person administers; all of them for root admins."""
    condition = _of_administered_accounts(person)
    return Event.objects.all() if condition is None else Event.objects.filter(condition)


def _of_administered_accounts(person: Person) -> Q | None:
    """The condition that `account` is in a domain the person administers; None for root admins."""
    if not isinstance(person, User) or not person.is_active:
        return Q(pk__in=())
    if is_root_admin(person):
        return None
    return Q(account__in=Account.objects.filter(_administered_above(person, "domain__path")).values("pk"))


def _of_visible_accounts(person: Person, account: str) -> Q | None:
    """The condition that the column `account` names an account the person sees; None for root admins, who see all."""
    if is_root_admin(person):
        return None
    return Q(**{f"{account}__in": visible_accounts(person).values("pk")})


def visible_machines(person: Person) -> QuerySet[VirtualMachine]:
    """Machines of visible accounts; unassigned ones are seen by root admins only."""
    condition = _of_visible_accounts(person, "account")
    return VirtualMachine.objects.all() if condition is None else VirtualMachine.objects.filter(condition)


def visible_snapshots(person: Person) -> Any:
    """Real VM snapshots (never the hidden anchors) of visible machines."""
    condition = _of_visible_accounts(person, "machine__account")
    rows = VMSnapshot.objects.real()
    return rows if condition is None else rows.filter(condition)


def visible_schedules(person: Person) -> QuerySet[Schedule]:
    """Schedules of visible machines."""
    condition = _of_visible_accounts(person, "machine__account")
    return Schedule.objects.all() if condition is None else Schedule.objects.filter(condition)


def visible_volumes(person: Person) -> QuerySet[Volume]:
    """Volumes of visible machines, and loose ones that belong to a visible account."""
    if is_root_admin(person):
        return Volume.objects.all()
    # Both sides ask the volume's own columns, so that indexes find the few; through a join all volumes would be looked at.
    machines = visible_machines(person).values("pk")
    accounts = visible_accounts(person).values("pk")
    return Volume.objects.filter(Q(machine__in=machines) | Q(machine=None, account__in=accounts))


def visible_jobs(person: Person) -> QuerySet[Job]:
    """Jobs on visible machines; jobs on whole endpoints are seen by root admins only."""
    condition = _of_visible_accounts(person, "machine__account")
    return Job.objects.all() if condition is None else Job.objects.filter(condition)


def visible_events(person: Person) -> QuerySet[Event]:
    """Events of visible accounts; those of no account are seen by root admins only."""
    condition = _of_visible_accounts(person, "account")
    return Event.objects.all() if condition is None else Event.objects.filter(condition)


def visible_hypervisors(person: Person) -> QuerySet[Hypervisor]:
    """Endpoints that hold a visible machine; all of them for root admins."""
    if is_root_admin(person):
        return Hypervisor.objects.all()
    return Hypervisor.objects.filter(Exists(visible_machines(person).filter(hypervisor=OuterRef("pk"))))


def visible_pools(person: Person) -> QuerySet[StoragePool]:
    """Pools that hold a visible volume; all of them for root admins."""
    if is_root_admin(person):
        return StoragePool.objects.all()
    return StoragePool.objects.filter(Exists(visible_volumes(person).filter(pool=OuterRef("pk"))))


def visible_usage_records(person: Person) -> QuerySet[UsageRecord]:
    """Usage of visible accounts; that of accounts which are no more is seen by the admins of the domain they were in, and
    by root admins."""
    if is_root_admin(person):
        return UsageRecord.objects.all()
    seen = Q(account_uuid__in=visible_accounts(person).values("uuid"))
    if isinstance(person, User) and is_admin(person):
        gone = ~Exists(Account.objects.filter(uuid=OuterRef("account_uuid")))
        seen |= Q(gone, domain_uuid__in=administered_domains(person).values("uuid"))
    return UsageRecord.objects.filter(seen)


def visible_usage_months(person: Person) -> QuerySet[UsageMonth]:
    """Sums by month of visible accounts, all of them for root admins. They name no domain: what an account used that is no
    more, admins of its domain see in the records."""
    if is_root_admin(person):
        return UsageMonth.objects.all()
    return UsageMonth.objects.filter(account_uuid__in=visible_accounts(person).values("uuid"))


def visible_tokens(person: Person) -> QuerySet[ApiToken]:
    """One's own API tokens, and nobody else's, whatever the role."""
    if not isinstance(person, User) or not person.is_active:
        rows: QuerySet[ApiToken] = ApiToken.objects.none()
    else:
        rows = ApiToken.objects.filter(user=person)
    return rows


def may_operate(person: Person, owned: VirtualMachine | Volume) -> bool:
    """Whether the person may act on the machine (take, revert, delete, start) or on the loose volume (attach)."""
    if is_root_admin(person):
        return True
    return owned.account_id is not None and operable_accounts(person).filter(pk=owned.account_id).exists()


def require_operate(actor: Actor, machine: VirtualMachine) -> None:
    """Raise `NotVisible` when the actor does not see the machine, `Forbidden` when they may only look.

    The product itself may.
    """
    if actor.user is None or may_operate(actor.user, machine):
        return
    if not visible_machines(actor.user).filter(pk=machine.pk).exists():
        raise NotVisible("There is no such virtual machine.")
    raise looking_only(machine)


def looking_only(machine: VirtualMachine) -> Forbidden:
    """The refusal for those who see a machine but may not act on it."""
    return Forbidden(
        f"You may look at {machine.name} but not change it. Ask an admin of its domain for the operator role."
    )


def require_root_admin(actor: Actor) -> None:
    """Raise `Forbidden` unless the actor is a root admin or the product itself."""
    if actor.user is not None and not is_root_admin(actor.user):
        raise Forbidden("Only root admins may do this.")


def require_administer(actor: Actor, domain: Domain) -> None:
    """Raise unless the actor administers this domain (or one above it)."""
    if actor.user is None or is_root_admin(actor.user):
        return
    administered = (
        actor.user.is_active
        and Membership.objects.filter(user=actor.user, role=Role.DOMAIN_ADMIN, domain__in=domain.ancestor_ids).exists()
    )
    if not administered:
        if not visible_domains(actor.user).filter(pk=domain.pk).exists():
            raise NotVisible("There is no such domain.")
        raise Forbidden(f"Only admins of the domain {domain.name} may do this.")

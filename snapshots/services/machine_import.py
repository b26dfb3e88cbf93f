"""Sharing out what hypervisors hold: giving machines to accounts by hand, many at once, and by rule. Root admins only.

A rule decides about machines whose owner nobody has decided yet, and about no others: one that was given away or taken
away stays as that left it. What no rule fits is looked at again at each reading, so that a new rule catches it.
Raises `Forbidden`, `NotVisible`, `Invalid`, `LimitExceeded`.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from django.db import transaction
from django.db.models import Max, Q, QuerySet

from hypervisors.models import Hypervisor
from snapshots.access import SYSTEM, Actor, require_root_admin
from snapshots.choices import ACTIVE_JOB_STATES
from snapshots.models import Account, ImportRule, Job, VirtualMachine, Volume
from snapshots.refusals import Invalid, LimitExceeded, NotVisible
from snapshots.services import events
from snapshots.services.import_matching import MatchedMachine, Rules, seen_by_rules
from snapshots.services.kept_places import hold_account
from snapshots.services.snapshot_rules import busy_refusal
from snapshots.services.tenancy import hand_over

MACHINES_AT_ONCE = 500
RULES_MOST = 100
# How many machines one transaction of a rule's work holds: none is kept waiting long.
BATCH = 200


@dataclass(frozen=True, slots=True)
class Given:
    """What became of a request for many machines. `left` are those that stayed as they were, each with the reason;
    `already` belonged there before."""

    machines: list[VirtualMachine] = field(default_factory=list)
    already: list[VirtualMachine] = field(default_factory=list)
    left: list[tuple[VirtualMachine, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Preview:
    """What rules would do now. `fitting` are the machines each rule would give away, by the rule's primary key (0 for a
    rule that is not stored yet), by name; `undecided` is how many machines there are to decide about."""

    fitting: dict[int, list[VirtualMachine]]
    undecided: int


class RuleValues(TypedDict, total=False):
    """What a rule is made of."""

    account: Account
    hypervisor: Hypervisor | None
    name_pattern: str
    folder_pattern: str
    pool_pattern: str
    tag_pattern: str


# The patterns of a rule, with how long each may be.
PATTERNS = {"name_pattern": 255, "folder_pattern": 1024, "pool_pattern": 255, "tag_pattern": 255}


def undecided_machines() -> QuerySet[VirtualMachine]:
    """The machines rules decide about: nobody's, there, and never given or taken away."""
    return VirtualMachine.objects.filter(account=None, assigned_at=None, missing_since=None)


# By hand


@transaction.atomic
def assign_machines(actor: Actor, *, machines: Collection[VirtualMachine], account: Account | None) -> Given:
    """Give up to `MACHINES_AT_ONCE` machines and their volumes to an account, or to none. Machines on which a job is
    under way stay as they are; the others are not kept back by that."""
    require_root_admin(actor)
    if len(machines) > MACHINES_AT_ONCE:
        raise LimitExceeded(
            f"{len(machines)} machines are too many at once; at most {MACHINES_AT_ONCE} are possible. "
            "Choose fewer, or make an import rule.",
            limit=MACHINES_AT_ONCE,
        )

    def already(machine: VirtualMachine) -> bool:
        return machine.account_id == (account.pk if account else None) and machine.assigned_at is not None

    owner = account.name if account else "no account"
    return _give(actor, [machine.pk for machine in machines], account, already, f"now belongs to {owner}.")


def _give(
    actor: Actor,
    machine_pks: Collection[int],
    account: Account | None,
    already: Callable[[VirtualMachine], bool],
    words: str,
) -> Given:
    """Inside a transaction: the machines that are not `already` decided so, and free, go to the account. Queries do not
    grow with their number."""
    locked = VirtualMachine.objects.select_for_update(no_key=True).filter(pk__in=machine_pks).order_by("pk")
    given = Given()
    rows = list(locked)
    working = Job.objects.filter(machine__in=rows, state__in=ACTIVE_JOB_STATES).select_related("requested_by")
    busy = {job.machine_id: job for job in working}
    for machine in rows:
        if already(machine):
            given.already.append(machine)
        elif machine.pk in busy:
            given.left.append((machine, busy_refusal(busy[machine.pk]).detail))
        else:
            given.machines.append(machine)
    hand_over(actor, given.machines, account, words)
    return given


# Rules


@transaction.atomic
def add_rule(actor: Actor, **values: Unpack[RuleValues]) -> ImportRule:
    """A new rule, tried after all others. It works from the next reading on, or when `apply_rules_now` is called."""
    require_root_admin(actor)
    cleaned = _to_keep(values)
    if ImportRule.objects.count() >= RULES_MOST:
        raise LimitExceeded(
            f"There are {RULES_MOST} import rules, which is as many as there can be. Delete one that is no longer needed.",
            limit=RULES_MOST,
        )
    last = ImportRule.objects.aggregate(last=Max("position"))["last"]
    rule = ImportRule.objects.create(position=0 if last is None else last + 1, **cleaned)
    _record(actor, "added", rule)
    return rule


@transaction.atomic
def change_rule(actor: Actor, *, rule: ImportRule, **values: Unpack[RuleValues]) -> ImportRule:
    """Another condition or account for a rule. Machines it gave away before stay where they are."""
    require_root_admin(actor)
    rule = _locked(rule)
    for name, value in _to_keep(values).items():
        setattr(rule, name, value)
    rule.save()
    _record(actor, "changed", rule)
    return rule


@transaction.atomic
def delete_rule(actor: Actor, *, rule: ImportRule) -> None:
    """Forget a rule. Machines it gave away stay where they are."""
    require_root_admin(actor)
    rule = _locked(rule)
    _record(actor, "deleted", rule)
    rule.delete()


@transaction.atomic
def move_rule(actor: Actor, *, rule: ImportRule, up: bool) -> None:
    """Try a rule before the one above it, or after the one below it. The first and the last stay where they are."""
    require_root_admin(actor)
    rules = list(ImportRule.objects.select_for_update().order_by("position", "pk"))
    place = next((number for number, row in enumerate(rules) if row.pk == rule.pk), None)
    if place is None:
        raise NotVisible("There is no such import rule.")
    other = place - 1 if up else place + 1
    if not 0 <= other < len(rules):
        return
    rules[place], rules[other] = rules[other], rules[place]
    for number, row in enumerate(rules):
        row.position = number
    ImportRule.objects.bulk_update(rules, ["position"])
    _record(actor, "moved", rule, f" It is tried as number {other + 1} now.")


def _locked(rule: ImportRule) -> ImportRule:
    row = ImportRule.objects.select_for_update().filter(pk=rule.pk).first()
    if row is None:
        raise NotVisible("There is no such import rule.")
    return row


def _to_keep(values: RuleValues) -> dict[str, Any]:
    """The values as they are kept, of an account that stays. Raises `Invalid` and `NotVisible`."""
    cleaned = _cleaned(values)
    return {**cleaned, "account": hold_account(cleaned["account"])}


def _cleaned(values: RuleValues) -> dict[str, Any]:
    """The values as they are kept. Raises `Invalid`."""
    cleaned: dict[str, Any] = {name: _pattern(name, str(values.get(name, ""))) for name in PATTERNS}
    if not any(cleaned.values()):
        sentence = "Give at least one pattern: * alone fits every name."
        raise Invalid(sentence, fields={"name_pattern": [sentence]})
    return {**cleaned, "account": values["account"], "hypervisor": values.get("hypervisor")}


def _pattern(name: str, text: str) -> str:
    cleaned = unicodedata.normalize("NFC", text).strip()
    if len(cleaned) > PATTERNS[name]:
        sentence = f"It has {len(cleaned)} characters; at most {PATTERNS[name]} are possible."
        raise Invalid(sentence, fields={name: [sentence]})
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in cleaned):
        sentence = "Control characters are not possible."
        raise Invalid(sentence, fields={name: [sentence]})
    return cleaned


def _record(actor: Actor, what: str, rule: ImportRule, more: str = "") -> None:
    place = f" on {rule.hypervisor.name}" if rule.hypervisor else ""
    events.record(
        actor,
        f"import_rule.{what}",
        account=rule.account,
        hypervisor_id=rule.hypervisor_id,
        detail=f"{rule.words}{place}: to {rule.account.name}.{more}",
    )


# What rules do


def preview_rules(actor: Actor, draft: RuleValues | None = None) -> Preview:
    """What the rules would give away now, or what a rule that is not stored yet would on its own (under the key 0).
    Raises `Invalid` for a draft that could not be stored."""
    require_root_admin(actor)
    rules = list(_rules()) if draft is None else [ImportRule(pk=0, **_cleaned(draft))]
    fitting: dict[int, list[VirtualMachine]] = {rule.pk: [] for rule in rules}
    matcher, machines = Rules(rules), undecided_machines()
    seen = _as_rules_see(machines.order_by("name", "pk"))
    for machine, matched in seen:
        rule = matcher.first_fitting(matched)
        if rule is not None:
            fitting[rule.pk].append(machine)
    return Preview(fitting, len(seen))


def apply_rules_now(actor: Actor) -> int:
    """Apply all rules to all machines whose owner nobody has decided, without waiting for a reading. Answers how many
    machines were given away; those on which a job is under way have to wait for the next reading."""
    require_root_admin(actor)
    return _apply(actor, list(_rules()), undecided_machines())


def apply_rules(hypervisor_pk: int) -> None:
    """After a reading: apply the rules to the endpoint's machines whose owner nobody has decided, each in a short
    transaction with some others."""
    if rules := list(_rules().filter(Q(hypervisor=None) | Q(hypervisor=hypervisor_pk))):
        _apply(SYSTEM, rules, undecided_machines().filter(hypervisor=hypervisor_pk))


def _apply(actor: Actor, rules: Sequence[ImportRule], machines: QuerySet[VirtualMachine]) -> int:
    matcher = Rules(rules)
    decided: dict[ImportRule, list[int]] = defaultdict(list)
    for machine, matched in _as_rules_see(machines.order_by("pk")):
        rule = matcher.first_fitting(matched)
        if rule is not None:
            decided[rule].append(machine.pk)
    count = 0
    for rule, pks in decided.items():
        words = f"now belongs to {rule.account.name}, by the import rule “{rule.words}”."
        for start in range(0, len(pks), BATCH):
            try:
                with transaction.atomic():
                    # Whoever decided since this was read has the last word.
                    given = _give(actor, pks[start : start + BATCH], rule.account, _is_decided, words)
            except NotVisible:
                break  # The account was deleted since, and the rule before it.
            count += len(given.machines)
    return count


def _is_decided(machine: VirtualMachine) -> bool:
    return machine.account_id is not None or machine.assigned_at is not None


def _rules() -> QuerySet[ImportRule]:
    return ImportRule.objects.select_related("account__domain", "hypervisor").order_by("position", "pk")


def _as_rules_see(machines: QuerySet[VirtualMachine]) -> list[tuple[VirtualMachine, MatchedMachine]]:
    """Two queries. The machines come with the columns that rules look at and no others."""
    pools: dict[int, set[str]] = defaultdict(set)
    held = Volume.objects.filter(machine__in=machines.order_by(), pool__isnull=False)
    for machine_pk, name in held.values_list("machine_id", "pool__name"):
        pools[machine_pk].add(name)
    rows = machines.only("uuid", "hypervisor_id", "name", "folder", "resource_pool", "tags")
    return [(machine, seen_by_rules(machine, pools[machine.pk])) for machine in rows]

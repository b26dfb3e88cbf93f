"""How full a pool may become: set by root admins, for one pool at a time."""

from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from snapshots.access import Actor, require_root_admin
from snapshots.models import PoolPolicy, StoragePool
from snapshots.pool_room import policy_in_force
from snapshots.refusals import Invalid
from snapshots.services import events
from snapshots.services.capacity_rules import lock_pools

OVERCOMMIT_MOST = Decimal("1000")


@transaction.atomic
def set_policy(
    actor: Actor,
    *,
    pool: StoragePool,
    warning_percent: int | None,
    threshold_percent: int | None,
    overcommit: Decimal | None,
) -> PoolPolicy:
    """Say from where on a pool warns and refuses, in percent of its size × overcommit; None is the default of the
    installation. Raises `Forbidden` and `Invalid`."""
    require_root_admin(actor)
    _require_percent("warning_percent", warning_percent)
    _require_percent("threshold_percent", threshold_percent)
    if overcommit is not None and not (overcommit.is_finite() and 0 < overcommit <= OVERCOMMIT_MOST):
        raise _invalid("overcommit", f"More than 0, and {OVERCOMMIT_MOST} at most.")
    if overcommit is not None and overcommit != round(overcommit, 2):
        raise _invalid("overcommit", "Two digits after the point at most.")
    policy = lock_pools([pool.pk])[pool.pk]
    before = policy_in_force(policy)
    policy.warning_percent, policy.threshold_percent = warning_percent, threshold_percent
    policy.overcommit = overcommit
    after = policy_in_force(policy)
    if warning_percent is not None and warning_percent > after["threshold_percent"]:
        raise _invalid("warning_percent", f"Not above the threshold, which is {after['threshold_percent']} %.")
    policy.set_by, policy.set_at = actor.user, timezone.now()
    policy.save()
    events.record(
        actor,
        "storage_pool.policy_set",
        detail=f"{pool.name}: {_words(after)}. Before: {_words(before)}.",
        hypervisor_id=pool.hypervisor_id,
    )
    return policy


def _require_percent(name: str, value: int | None) -> None:
    if value is not None and not 1 <= value <= 100:
        raise _invalid(name, "A whole number from 1 to 100.")


def _invalid(name: str, sentence: str) -> Invalid:
    return Invalid(sentence, fields={name: [sentence]})


def _words(policy: dict[str, object]) -> str:
    return "warns above {warning_percent} %, refuses above {threshold_percent} %, overcommit {overcommit}".format(
        **policy
    )

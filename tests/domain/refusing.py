"""What every refusal promises: a stable code, a sentence, and that nothing has happened, here or on the hypervisor."""

from collections.abc import Callable
from typing import Any

import pytest

from hypervisors.drivers.simulated.world import World
from snapshots.models import Account, Domain, Event, IdempotencyKey, Job, Membership, VirtualMachine, VMSnapshot, Volume
from snapshots.refusals import Refusal

ROWS = (VMSnapshot, Job, VirtualMachine, Volume, Event, IdempotencyKey, Account, Domain, Membership)


def all_rows() -> list[Any]:
    """Everything that could have been changed."""
    return [list(model._default_manager.order_by("pk").values()) for model in ROWS]


def assert_refused(world: World | None, code: str, request: Callable[[], object]) -> Refusal:
    """The request is refused with this code and a sentence, and nothing has changed; answers the refusal."""
    before = all_rows()
    if world is not None:
        world.forget_calls()
    with pytest.raises(Refusal) as caught:
        request()
    assert caught.value.code == code
    assert caught.value.detail.endswith((".", "…"))
    assert all_rows() == before
    if world is not None:
        assert world.calls() == {}, "the hypervisor was not asked"
    return caught.value


def assert_limited(world: World, request: Callable[[], object]) -> Refusal:
    """A limit refuses the request, and nothing has changed; answers the refusal."""
    return assert_refused(world, "limit_exceeded", request)

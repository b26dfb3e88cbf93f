"""Every way in which the product itself says no, each with a stable code and a sentence for the user.

A refusal is raised before anything changed and before a hypervisor is touched. Doors translate it: REST to
problem+json, pages to a message. The sentence names the rule, the thing that blocks, and the way out.
"""

from typing import Any


class Refusal(Exception):
    """Base of all refusals. `detail` is plain text for the user; `extra` are machine-readable facts for REST."""

    code = "refused"
    title = "Refused"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


def reason(refusal: Refusal | None) -> str:
    """Why something is refused, in words; empty when nothing stands against it."""
    return "" if refusal is None else refusal.detail


class NotVisible(Refusal):
    """Unknown, or not for this person: both look the same."""

    code = "not_found"
    title = "Not found"


class Forbidden(Refusal):
    """The person sees the thing but may not do this to it."""

    code = "forbidden"
    title = "Not allowed"


class Invalid(Refusal):
    """A value is missing or wrong. `extra["fields"]` maps field names to sentences."""

    code = "invalid"
    title = "Not valid"


class NameTaken(Refusal):
    """Something else of its kind has this name already where it is to stand: a VM snapshot or a schedule of the machine, a
    domain, an account, a user."""

    code = "name_taken"
    title = "The name is taken"


class VMBusy(Refusal):
    """Another job is under way on the machine. `extra["job"]` is its public id."""

    code = "vm_busy"
    title = "The machine is busy"


class InvalidState(Refusal):
    """The machine or the VM snapshot is not in a state that allows this."""

    code = "invalid_state"
    title = "Not possible in this state"


class NotSupported(Refusal):
    """The hypervisor, or this machine on it, cannot do this."""

    code = "not_supported"
    title = "Not supported"


class VolumesLocked(Refusal):
    """Volumes cannot be attached or detached while the machine has VM snapshots."""

    code = "volumes_locked"
    title = "Volumes are locked by VM snapshots"


class LimitExceeded(Refusal):
    """A limit would be passed. The sentence names the level that refused."""

    code = "limit_exceeded"
    title = "Limit reached"


class CapacityExceeded(Refusal):
    """A storage pool would become fuller than it may be. The sentence has the figures."""

    code = "capacity_exceeded"
    title = "The storage pool is too full"


class KeyReused(Refusal):
    """The Idempotency-Key was used before for another request."""

    code = "idempotency_key_reused"
    title = "Idempotency-Key used for another request"

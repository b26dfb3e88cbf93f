"""Makes a repeated request harmless: the same key leads to the same job.

A key is kept for the setting IDEMPOTENCY_KEEP_HOURS. Requests that were refused keep no key, so they can be tried again.
"""

import hashlib
from collections.abc import Callable

from django.db import IntegrityError, transaction

from snapshots.access import Actor
from snapshots.models import IdempotencyKey, Job
from snapshots.refusals import Invalid, KeyReused, Refusal

KEY_LENGTH = 255


def digest_of(method: str, path: str, body: bytes) -> str:
    """What makes two requests the same request."""
    return hashlib.sha256(b"\0".join((method.encode(), path.encode(), body))).hexdigest()


def once(actor: Actor, key: str | None, request_digest: str, request: Callable[[], Job]) -> Job:
    """The job that `request` opens, or the one that the same request with this key opened before.

    Raises `Invalid` for a key of the wrong length, `KeyReused` when the key was used for another request, and whatever
    `request` raises.
    """
    if key is None or actor.user is None:
        return request()
    if not 0 < len(key) <= KEY_LENGTH:
        raise Invalid(f"An Idempotency-Key has 1 to {KEY_LENGTH} characters.")
    try:
        with transaction.atomic():
            if (earlier := _earlier(actor, key, request_digest)) is not None:
                return earlier
            job = request()
            IdempotencyKey.objects.create(user=actor.user, key=key, request_digest=request_digest, job=job)
            return job
    except (IntegrityError, Refusal) as error:
        # The same request came in twice at once and the other one was first; ours has been rolled back. It shows as a
        # key that is there by now, or as a machine held by the very job that the other one opened.
        earlier = None if isinstance(error, KeyReused) else _earlier(actor, key, request_digest)
        if earlier is None:
            raise
        return earlier


def _earlier(actor: Actor, key: str, request_digest: str) -> Job | None:
    found = IdempotencyKey.objects.filter(user=actor.user, key=key).select_related("job").first()
    if found is None:
        return None
    if found.request_digest != request_digest:
        raise KeyReused("This Idempotency-Key was used for another request. Use a new one for each new request.")
    return found.job

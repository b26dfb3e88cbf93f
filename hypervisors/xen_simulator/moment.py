"""Times as XenAPI writes them."""

from datetime import UTC, datetime


def now() -> str:
    """This moment: 20260101T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y%m%dT%H:%M:%SZ")

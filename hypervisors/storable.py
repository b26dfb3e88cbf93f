"""Brings what a hypervisor says within what can be kept and shown. `records` and `errors` enter, so that nothing a driver
hands over can make a database, a page or a sum fail, whoever wrote it.

A name may hold what no database takes: XML cannot carry it, but drivers also read text in other wrappings, which other
administrators can write. The bounds are far above what real hypervisors say.
"""

import re
from datetime import UTC, datetime

MOST_BYTES = 2**56
"""A size above this, or below zero, is not one: columns hold 64 bits, and so do sums of many."""

NAME_LENGTH = 1024
TEXT_LENGTH = 16_384
MOST_TAGS = 200

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# Far from the end of the calendar, where a conversion to another time zone or a day more overflows.
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
# Control characters, halves of characters, non-characters.
_NOT_IN_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_NOT_IN_A_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_REPLACEMENT = "\ufffd"


def line(text: str, most: int = NAME_LENGTH) -> str:
    """The text in one line: what cannot be kept is replaced by U+FFFD, and what is too long cut off."""
    if len(text) <= most and text.isprintable():
        return text
    return _NOT_IN_A_LINE.sub(_REPLACEMENT, text[:most])


def lines(text: str, most: int = TEXT_LENGTH) -> str:
    """As `line`, for texts that may have several lines."""
    if len(text) <= most and text.isprintable():
        return text
    return _NOT_IN_A_TEXT.sub(_REPLACEMENT, text[:most])


def size(told: int | None) -> int | None:
    """A number of bytes; None for one that cannot be."""
    return told if told is not None and 0 <= told <= MOST_BYTES else None


def time(told: datetime) -> datetime:
    """A time in UTC, where a calendar has room on both sides. One that does not say its zone is taken for UTC."""
    aware = told if told.tzinfo is not None else told.replace(tzinfo=UTC)
    # Compared before it is converted, which overflows at the ends of the calendar.
    return min(max(aware, _EARLIEST), _LATEST).astimezone(UTC)


def usable_id(native_id: str, most: int) -> bool:
    """Whether something can be known by this id: it has to be kept and given back unchanged."""
    if not 0 < len(native_id) <= most:
        return False
    return native_id.isprintable() or ("\x00" not in native_id and not re.search("[\ud800-\udfff]", native_id))

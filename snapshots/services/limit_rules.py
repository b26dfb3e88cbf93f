"""Whether there is room for more VM snapshots, and the words in which a limit refuses. Reads the given objects only: the
services and the pages ask the same (`snapshot_rules`, `limits`)."""

from collections.abc import Iterable
from itertools import takewhile

from snapshots.choices import LimitKind
from snapshots.limit_levels import Level, Place, Room, Wanted
from snapshots.models import VirtualMachine
from snapshots.naming import size_in_words
from snapshots.refusals import LimitExceeded


def stopping(machine: VirtualMachine, room: Room, wanted: Wanted) -> list[Level]:
    """The limits that this would pass, nearest first."""
    return [level for level in room.levels(machine.name, machine.counted) if level.stops(wanted)]


def why_not_another(machine: VirtualMachine, room: Room, wanted: Wanted = Wanted()) -> LimitExceeded | None:  # noqa: B008  # a tuple
    """Whether there is room for this on the machine: its own maximum, its account's, and those of all domains above. The
    refusal tells of the nearest limit in the way."""
    in_the_way = stopping(machine, room, wanted)
    return refusal_of(machine, room, in_the_way[0], wanted) if in_the_way else None


def refusal_of(machine: VirtualMachine, room: Room, level: Level, wanted: Wanted) -> LimitExceeded:
    """Names the level, the figures and who can raise it. Of a domain that the person may not see it tells nothing but that
    there is one."""
    told = figures(machine, room, level, wanted)
    if not level.seen:
        return LimitExceeded(
            f"{told} Delete a VM snapshot that is no longer needed, or ask an admin of that domain.",
            level=Place.DOMAIN.value,
            kind=level.kind.value,
        )
    raised_by = who_can_raise(room, level)
    return LimitExceeded(
        f"{told} Delete one that is no longer needed, or ask {raised_by} to raise the limit.",
        level=level.place.value,
        name=level.name,
        kind=level.kind.value,
        limit=level.limit,
        used=level.used,
        wanted=wanted.of(level.kind),
        raised_by=raised_by,
    )


def figures(machine: VirtualMachine, room: Room, level: Level, wanted: Wanted) -> str:
    """What is allowed, in use and asked for, as a sentence; of a domain that is not seen only that there is one."""
    if not level.seen:
        return _used_up_above(room)
    if level.kind == LimitKind.BYTES:
        return (
            f"The VM snapshots of {_owner(level)} are estimated to hold {size_in_words(level.used)} and may hold "
            f"{size_in_words(level.limit)}; this would add {size_in_words(wanted.estimated_bytes)}."
        )
    if level.place == Place.MACHINE:
        has = f"{machine.name} has {_counted_in_words(machine)}"
    else:
        has = f"{_sentence(_owner(level))} has {_number(level.used)}"
    too_many = f", so there is no room for {wanted.snapshots}" if wanted.snapshots > 1 else ""
    return f"{has} and may have {level.limit}{too_many}."


def in_use(room: Room, level: Level) -> str:
    """What is in use of a shared limit and what is allowed, as a sentence; of a domain that is not seen only that there is
    one."""
    if not level.seen:
        return _used_up_above(room)
    if level.kind == LimitKind.BYTES:
        return (
            f"The VM snapshots of {_owner(level)} are estimated to hold {size_in_words(level.used)} and may hold "
            f"{size_in_words(level.limit)}."
        )
    return f"{_sentence(_owner(level))} has {_number(level.used)} and may have {level.limit}."


def who_can_raise(room: Room, level: Level) -> str:
    """Whom to ask, in words."""
    above = room.above(level)
    if above is None:
        return "a root admin"
    return f"an admin of the domain {above.name}" if above.seen else "an admin of a domain above"


def together(sentences: Iterable[str]) -> str:
    """What several limits say, for the history; what is the same of two of them once."""
    return " ".join(dict.fromkeys(sentences))


def _used_up_above(room: Room) -> str:
    return f"A domain above {_highest_seen(room)} has used up a limit of its own."


def _owner(level: Level) -> str:
    return f"the {level.place} {level.name}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _number(count: int) -> str:
    return f"{count} VM snapshot{'' if count == 1 else 's'}"


def _counted_in_words(machine: VirtualMachine) -> str:
    count = machine.counted
    if count == machine.snapshot_count:
        return _number(count)
    counting = "VM snapshot that counts" if count == 1 else "VM snapshots that count"
    if machine.unadopted_count:
        return f"{count} {counting} (those made elsewhere do once they are adopted)"
    return f"{count} {counting}"


def _highest_seen(room: Room) -> str:
    """The highest place that the person sees, as far as the way up is seen: "the domain engineering"."""
    seen = list(takewhile(lambda level: level.seen, room.shared))
    return _owner(seen[-1]) if seen else "this machine's account"

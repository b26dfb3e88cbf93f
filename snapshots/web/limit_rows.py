"""What pages tell of limits before anything is clicked: what is used of each, and what stands in the way of one thing."""

from dataclasses import dataclass

from snapshots.choices import LimitKind
from snapshots.limit_levels import Level, Wanted
from snapshots.naming import size_in_words
from snapshots.reading.machine_page import MachinePage
from snapshots.refusals import LimitExceeded, reason
from snapshots.services import limit_rules
from snapshots.services.limits import may_exceed


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit in a dialog: whose it is, and what is used of it, in words. `percent` is None where there is no limit;
    `full`: nothing more goes in."""

    place: str
    name: str
    used: str
    limit: str
    percent: int | None
    full: bool


@dataclass(frozen=True, slots=True)
class InTheWay:
    """What limits say to something: the refusal that the request would meet, None when it fits, and whether this person
    may choose to go beyond."""

    refusal: LimitExceeded | None = None
    may_exceed: bool = False

    @property
    def why_not(self) -> str:
        """The refusal in words."""
        return reason(self.refusal)

    @property
    def stops(self) -> LimitExceeded | None:
        """The refusal, unless the person may go beyond."""
        return None if self.may_exceed else self.refusal

    @property
    def beyond(self) -> str:
        """The refusal in words, if the person may go beyond."""
        return self.why_not if self.may_exceed else ""


def in_the_way(page: MachinePage, wanted: Wanted) -> InTheWay:
    """What the limits say to this on the machine. No query while it fits."""
    levels = limit_rules.stopping(page.machine, page.room, wanted)
    if not levels:
        return InTheWay()
    refusal = limit_rules.refusal_of(page.machine, page.room, levels[0], wanted)
    return InTheWay(refusal, page.may_operate and may_exceed(page.person, levels))


def limit_rows(page: MachinePage) -> list[LimitRow]:
    """The machine's own limit, the account's, and those of the tightest domain the person sees."""
    of_machine, *shared = page.room.levels(page.machine.name, page.machine.counted)
    of_account = [level for level in shared if level.place == "account"]
    return [_row(level) for level in (of_machine, *of_account, *page.room.tightest_domains())]


def _row(level: Level) -> LimitRow:
    of_bytes = level.kind == LimitKind.BYTES
    words = size_in_words if of_bytes else str
    noun = "estimated" if of_bytes else "VM snapshots"
    if not level.limited:
        used = f"{words(level.used)} {noun}" if of_bytes or level.used != 1 else "1 VM snapshot"
        return LimitRow(level.place, level.name, used, "", None, False)
    percent = min(round(100 * level.share), 100)
    return LimitRow(
        level.place,
        level.name,
        words(level.used),
        f"{words(level.limit)} {noun}",
        percent,
        level.used >= level.limit,
    )

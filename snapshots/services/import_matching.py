"""Which import rule fits which machine: patterns, and the first rule that fits. `machine_import` enters, nobody else.

Reads nothing by itself. A pattern holds `*` and `?` and nothing else that is special; it is compared with whole texts,
in whatever case and Unicode form they come. Matching takes no longer than the lengths of pattern and text multiplied,
however many stars there are.
"""

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from snapshots.models import ImportRule, VirtualMachine

Fits = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class MatchedMachine:
    """What rules look at, each text in the form that patterns are compared with. `pools` are the machine's resource pool
    and the storage pools of its volumes."""

    hypervisor_id: int
    name: str
    folder: str
    pools: tuple[str, ...]
    tags: tuple[str, ...]


def seen_by_rules(machine: VirtualMachine, storage_pools: Iterable[str]) -> MatchedMachine:
    """The machine as rules look at it, with the names of its storage pools."""
    return MatchedMachine(
        hypervisor_id=machine.hypervisor_id,
        name=_plain(machine.name),
        folder=_plain(machine.folder),
        pools=tuple(_plain(name) for name in (machine.resource_pool, *storage_pools) if name),
        tags=tuple(_plain(tag) for tag in machine.tags),
    )


def matcher(pattern: str) -> Fits:
    """Whether a text that went through `seen_by_rules` fits the pattern as a whole. An empty pattern fits everything."""
    if not pattern:
        return lambda text: True
    # `[` opens a set for fnmatch, which is no promise of ours. What fnmatch makes never tries a star twice.
    compiled = re.compile(fnmatch.translate(_plain(pattern).replace("[", "[[]")))
    return lambda text: compiled.match(text) is not None


class Rules:
    """Rules in the order in which they are tried."""

    def __init__(self, rules: Sequence[ImportRule]) -> None:
        self._rules = [(rule, _asks(rule)) for rule in rules]

    def first_fitting(self, machine: MatchedMachine) -> ImportRule | None:
        """The rule that decides about the machine, None when none fits."""
        return next((rule for rule, fits in self._rules if fits(machine)), None)


def _asks(rule: ImportRule) -> Callable[[MatchedMachine], bool]:
    name, folder = matcher(rule.name_pattern), matcher(rule.folder_pattern)
    pool, tag = matcher(rule.pool_pattern), matcher(rule.tag_pattern)

    def fits(machine: MatchedMachine) -> bool:
        return (
            rule.hypervisor_id in (None, machine.hypervisor_id)
            and name(machine.name)
            and folder(machine.folder)
            and (not rule.pool_pattern or any(pool(text) for text in machine.pools))
            and (not rule.tag_pattern or any(tag(text) for text in machine.tags))
        )

    return fits


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()

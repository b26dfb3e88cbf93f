"""What dialogs tell of storage pools before anything is clicked: how full they would be, and whether that is too full."""

from collections.abc import Sequence
from dataclasses import dataclass

from snapshots.reading.pool_effects import PoolEffect
from snapshots.refusals import CapacityExceeded
from snapshots.services.capacity_rules import why_not_fit


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One pool in a dialog, in whole percent of what may be allocated there, None while its size is not known. `after` are
    the ways to take a VM snapshot, with how full each would make it."""

    name: str
    percent: int | None
    warning_percent: int
    threshold_percent: int
    after: list[tuple[str, int | None, str]]

    @property
    def most(self) -> int:
        """How full the fullest way makes it."""
        return max((percent for _, percent, _ in self.after if percent is not None), default=0)


def pool_rows(effects: Sequence[PoolEffect], ways: Sequence[tuple[str, bool]]) -> list[PoolRow]:
    """The pools, with what each way does to them: its words, and whether it keeps memory."""
    return [
        PoolRow(
            effect.room.pool.name,
            effect.room.percent,
            effect.room.warning_percent,
            effect.room.threshold_percent,
            [
                (
                    words,
                    effect.room.percent_with(_growth(effect, memory)),
                    effect.room.state_with(_growth(effect, memory)),
                )
                for words, memory in ways
            ],
        )
        for effect in effects
    ]


def too_full(effects: Sequence[PoolEffect], *, memory: bool) -> CapacityExceeded | None:
    """The refusal that taking a VM snapshot would meet, of the first pool in the way."""
    refusals = (why_not_fit(effect.room, _growth(effect, memory)) for effect in effects)
    return next((refusal for refusal in refusals if refusal is not None), None)


def _growth(effect: PoolEffect, memory: bool) -> int:
    return effect.memory_growth if memory else effect.disk_growth

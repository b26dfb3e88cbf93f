"""Times what is to be compared in turns, and collects the figures into one table.

Taking turns matters: whatever else the computer does meanwhile falls on all sides alike.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Timing:
    """Durations of one thing, in milliseconds: by the clock, and of this process's own processor time."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        """The median by the clock."""
        return statistics.median(self.clock)

    @property
    def p95(self) -> float:
        """What 95 of 100 do not pass, by the clock."""
        return statistics.quantiles(self.clock, n=20)[-1]

    @property
    def processor_p50(self) -> float:
        """The median of the processor time."""
        return statistics.median(self.processor)


def in_turns(things: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Time each thing once per round."""
    timings = {name: Timing() for name in things}
    for _ in range(rounds):
        for name, thing in things.items():
            clock, processor = time.perf_counter(), time.process_time()
            thing()
            timings[name].clock.append((time.perf_counter() - clock) * 1000)
            timings[name].processor.append((time.process_time() - processor) * 1000)
    return timings


@dataclass
class Report:
    """Lines of the table. `missed` counts bars that were not met."""

    lines: list[tuple[str, str, str, str]] = field(default_factory=list)
    missed: int = 0

    def heading(self, text: str) -> None:
        """A line above a group."""
        self.lines += [("", "", "", ""), (text, "", "", "")]

    def add(self, what: str, value: float, unit: str, *, under: float | None = None) -> None:
        """A figure; a bar is met when the figure is under it."""
        verdict = ""
        if under is not None:
            met = value < under
            verdict = "met" if met else "MISSED"
            self.missed += not met
        number = f"{value:.0f}" if value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
        self.lines.append((f"  {what}", f"{number} {unit}", "" if under is None else f"under {under:g}", verdict))

    def timed(self, what: str, timing: Timing, *, under: float | None = None) -> None:
        """The figures of one timing; the bar is for the median."""
        self.add(f"{what}: p50", timing.p50, "ms", under=under)
        self.add("  p95", timing.p95, "ms")
        self.add("  processor time, p50", timing.processor_p50, "ms")

    def same(self, what: str, one: float, other: float) -> None:
        """Two figures that have to be equal."""
        met = one == other
        self.missed += not met
        self.lines.append((f"  {what}", f"{one:g} and {other:g}", "the same", "met" if met else "MISSED"))

    def note(self, what: str) -> None:
        """A line without a figure, such as why something could not be measured."""
        self.lines.append((f"  {what}", "", "", ""))

    def print(self) -> None:
        """Everything since the last time."""
        for what, value, bar, verdict in self.lines:
            print(f"{what:<68} {value:>12} {bar:>12}  {verdict}".rstrip(), flush=True)
        self.lines.clear()

"""Faults on request: what shall go wrong, with which call, at which step of its work.

Rules are given through the control door (`control`), never through XenAPI itself. Each is spent after so many times. A
call passes here when its work begins (the step "") and at each named step within; the door passes here when it answers.
"""

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from hypervisors.xen_simulator.errors import XenFailure
from hypervisors.xen_simulator.model import ASYNC

AT_STEPS = frozenset({"refuse", "delay", "hold", "never_end", "die"})
AT_ANSWER = frozenset({"lose_answer", "garbage", "truncated", "huge", "drip", "redirect", "die_before_answer"})
OF_TASKS = frozenset({"forget_task"})


class Cancellable:
    """What a rule that waits asks meanwhile; a call is one."""

    def raise_if_cancelled(self) -> None:
        """Raise TASK_CANCELLED when that was asked for."""


@dataclass
class Rule:
    """One fault. `times` None: until cleared. `step` None: at the beginning of the work."""

    number: int
    kind: str
    message: str
    step: str | None = None
    times: int | None = 1
    code: str = ""
    params: tuple[str, ...] = ()
    seconds: float = 0.0
    held: int = 0
    released: bool = False

    def meant(self, message: str, called: str) -> bool:
        """Whether the rule is about this call: "VM.snapshot" means Async.VM.snapshot too, not the other way round."""
        return self.message in (called, message, "*")


@dataclass
class Faults:
    """All rules, and the log of what was called."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    rules: list[Rule] = field(default_factory=list)
    calls: list[tuple[str, str, int]] = field(default_factory=list)
    redirect: str = ""
    _next: int = 1

    def add(self, kind: str, message: str, **more: Any) -> int:
        """Add a rule and return its number."""
        with self.changed:
            rule = Rule(self._next, kind, message, **more)
            self._next += 1
            self.rules.append(rule)
            return rule.number

    def clear(self) -> None:
        """Forget all rules and the log; who is held goes on."""
        with self.changed:
            for rule in self.rules:
                rule.released = True
            self.rules.clear()
            self.calls.clear()
            self.redirect = ""
            self.changed.notify_all()

    def note(self, called: str, user: str, params: int) -> None:
        """Log a call: its name, who called, how many parameters besides the session. The latest 10,000 are kept."""
        with self.changed:
            self.calls.append((called, user, params))
            del self.calls[:-10_000]

    def take(self, kinds: frozenset[str], called: str, step: str | None) -> Rule | None:
        """The first rule that is due here, spent once."""
        message = called.removeprefix(ASYNC)
        with self.changed:
            for rule in self.rules:
                if rule.kind in kinds and rule.step == step and rule.meant(message, called) and rule.times != 0:
                    if rule.times is not None:
                        rule.times -= 1
                    return rule
        return None

    def pass_step(self, called: str, step: str | None, waiting: Cancellable) -> None:
        """Let happen what is due at this step. Raises what a rule says."""
        while (rule := self.take(AT_STEPS, called, step)) is not None:
            match rule.kind:
                case "refuse":
                    raise XenFailure(rule.code, *rule.params)
                case "delay":
                    self._wait(rule, waiting, time.monotonic() + rule.seconds)
                case "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "hold" | "never_end":
                    self._wait(rule, waiting, None)

    def _wait(self, rule: Rule, waiting: Cancellable, deadline: float | None) -> None:
        """Stay here until released, cancelled or late."""
        with self.changed:
            rule.held += 1
            self.changed.notify_all()
            try:
                while not rule.released and (deadline is None or time.monotonic() < deadline):
                    left = 0.1 if deadline is None else min(0.1, deadline - time.monotonic())
                    self.changed.wait(max(left, 0.0))  # a cancellation rings elsewhere: look for it now and then
                    waiting.raise_if_cancelled()
            finally:
                rule.held -= 1
                self.changed.notify_all()

    def release(self, number: int) -> None:
        """Let go on who is held by a rule, and end the rule."""
        with self.changed:
            for rule in self.rules:
                if rule.number == number:
                    rule.released = True
                    rule.times = 0
            self.changed.notify_all()

    def wait_held(self, number: int, seconds: float) -> bool:
        """Wait until somebody is held by a rule; whether that came to be."""
        with self.changed:
            return self.changed.wait_for(
                lambda: any(rule.number == number and rule.held for rule in self.rules), timeout=seconds
            )

"""Long work on a XenServer pool: begun as a task, looked at until it ends, and the task put away.

What takes long is always asked for asynchronously: a plain call would hang for as long as the work takes, and for up to
two hours when something else is at work on the machine, because XenServer then waits instead of refusing. The time a
caller has is kept here; the server knows nothing of it.

A finished task is forgotten by the server after an hour, or sooner when it has many. One that is forgotten before its end
was seen leaves the outcome open.
"""

import html
import logging
import re
import time
from dataclasses import dataclass
from typing import Any

from hypervisors.driver import Watch
from hypervisors.drivers.xenserver.answers import Keep
from hypervisors.drivers.xenserver.errors import told
from hypervisors.drivers.xenserver.records import Record
from hypervisors.drivers.xenserver.session import Session
from hypervisors.errors import (
    Cancelled,
    ConnectionLost,
    HypervisorError,
    NotFound,
    TimedOut,
    Unreachable,
    outcome_unknown,
)

log = logging.getLogger(__name__)

_KEEP = Keep(2, frozenset({"status", "progress", "result", "error_info", "allowed_operations"}))
_UNFINISHED = ("pending", "cancelling")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_VALUE = re.compile(r"\s*<value>(.*)</value>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of an action: how it is told to the watch, from which to which percent, until when it may take
    (a time of `time.monotonic`), and whether it can be stopped on request."""

    watch: Watch
    until: float
    phase: str
    first: int = 0
    last: int = 100
    can_stop: bool = False

    def tell(self, done: float) -> None:
        """Report how far it has come, from 0.0 to 1.0."""
        part = min(1.0, max(0.0, done))
        self.watch.report(self.first + int((self.last - self.first) * part), self.phase)


def carry_out(session: Session, span: Span, message: str, *params: Any) -> str:
    """Have `Class.message` done as a task and see it end. Returns its result, a reference or an empty text.

    Raises what the task failed with; `Cancelled`; `TimedOut` at the span's end, although the task goes on; and an error
    with an unknown outcome when the server has lost the task.
    """
    span.tell(0.0)
    task = str(session.change(f"Async.{message}", *params, until=span.until))
    record = _seen_to_end(session, span, task)
    _put_away(session, task)
    if record["status"] == "cancelled":
        raise Cancelled("It was stopped on request.")
    if record["status"] == "success":
        span.tell(1.0)
        return _result(str(record["result"]))
    error = told(record["error_info"])
    if isinstance(error, Unreachable):
        # Some host could not be asked half-way: what it had done by then is not known.
        error.outcome_known = False
    raise error


def _seen_to_end(session: Session, span: Span, task: str) -> Record:
    pause = _FIRST_PAUSE
    asked_to_stop = False
    while True:
        try:
            record: Record = session.read("task.get_record", task, keep=_KEEP, until=span.until, after_change=True)
        except NotFound as error:
            raise outcome_unknown("XenServer no longer knows the task that it was carrying out.") from error
        except ConnectionLost as error:
            if time.monotonic() >= span.until:
                raise TimedOut(_TOO_LONG) from error
            raise
        if record["status"] not in _UNFINISHED:
            return record
        span.tell(float(record["progress"]))
        if span.can_stop and not asked_to_stop and span.watch.cancel_requested():
            asked_to_stop = _asked_to_stop(session, span, task, record)
        if time.monotonic() + pause > span.until:
            raise TimedOut(_TOO_LONG)
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * 1.5)


_TOO_LONG = "XenServer has not finished in the time allowed; it may still be working on it."


def _asked_to_stop(session: Session, span: Span, task: str, record: Record) -> bool:
    """Ask for the task to be cancelled if it can be now. It is a request: the task ends when the work notices."""
    if "cancel" not in record["allowed_operations"]:
        return False
    try:
        session.change("task.cancel", task, until=span.until)
    except (Unreachable, TimedOut):
        raise
    except HypervisorError as refused:
        log.info("The task could not be cancelled any more: %s", refused)
    return True


def _put_away(session: Session, task: str) -> None:
    """Destroy a task whose outcome was read. That it fails takes nothing from the outcome."""
    try:
        session.change("task.destroy", task, until=time.monotonic() + session.timeout)
    except HypervisorError as error:
        log.info("A finished task could not be destroyed: %s", error)


def _result(text: str) -> str:
    """The value in a task's result, which is written as XML."""
    wrapped = _VALUE.fullmatch(text)
    return html.unescape(wrapped[1]) if wrapped else ""

"""Switching machines on and off, and waiting until they are."""

import time
from collections.abc import Callable

from hypervisors.driver import Watch
from hypervisors.drivers.vmware.connection import Connection
from hypervisors.drivers.vmware.machines import POWER, QUESTION, REACHED, power_state, question_text
from hypervisors.drivers.vmware.properties import Seen
from hypervisors.drivers.vmware.reading import read_machine_paths
from hypervisors.drivers.vmware.tasks import Work
from hypervisors.errors import OutOfReach, Rejected, TimedOut
from hypervisors.records import PowerState

ASK_AGAIN_SECONDS = 30.0
_PATHS = (POWER, REACHED, QUESTION)
NO_HOST = "vCenter cannot reach the host on which the machine is, so its power state is not known."


def look(connection: Connection, machine_id: str, until: float, after_change: bool = False) -> Seen:
    """The machine's power state and question. Raises `NotFound`."""
    return connection.read(lambda: read_machine_paths(connection, machine_id, _PATHS), until, after_change)


def start(connection: Connection, machine_id: str, watch: Watch) -> None:
    """Start the machine, or resume it where it is suspended, and see it run."""
    until = time.monotonic() + watch.deadline_seconds
    seen = look(connection, machine_id, connection.until(until))
    _refuse_unknown(seen)
    if power_state(seen) is PowerState.RUNNING:
        return
    switch_on(connection, machine_id, seen, Work(connection, seen.managed, watch, until, "Starting the machine"))
    watch.report(100, "The machine runs")


def stop(connection: Connection, machine_id: str, force: bool, watch: Watch) -> None:
    """Ask the guest to shut down, or cut the power, and see the machine off."""
    until = time.monotonic() + watch.deadline_seconds
    seen = look(connection, machine_id, connection.until(until))
    _refuse_unknown(seen)
    now = power_state(seen)
    if now is PowerState.STOPPED:
        return
    if force:
        switch_off(connection, machine_id, seen, Work(connection, seen.managed, watch, until, "Cutting the power"))
    elif now is not PowerState.RUNNING:
        raise Rejected("A suspended machine cannot shut down by itself. Resume it first, or stop it by force.")
    else:
        _ask_until_off(connection, machine_id, seen, watch, until)
    watch.report(100, "The machine is off")


def switch_on(connection: Connection, machine_id: str, seen: Seen, work: Work) -> None:
    """Power on, unless it came on by itself in between."""
    _switch(connection, machine_id, seen.managed.PowerOn, work, PowerState.RUNNING)


def switch_off(connection: Connection, machine_id: str, seen: Seen, work: Work) -> None:
    """Power off, unless it went off by itself in between."""
    _switch(connection, machine_id, seen.managed.PowerOff, work, PowerState.STOPPED)


def _switch(
    connection: Connection, machine_id: str, call: Callable[[], object], work: Work, wanted: PowerState
) -> None:
    try:
        work.carry_out(call)
    except Rejected:
        if power_state(look(connection, machine_id, work.until, after_change=True)) is not wanted:
            raise
    _wait_for(connection, machine_id, wanted, work.until)


def _ask_until_off(connection: Connection, machine_id: str, seen: Seen, watch: Watch, until: float) -> None:
    """Ask the guest, and again from time to time: one that was still starting may not have heard it."""
    watch.report(0, "Asking the guest to shut down")
    while True:
        again_at = min(until, time.monotonic() + ASK_AGAIN_SECONDS)
        try:
            connection.change(seen.managed.ShutdownGuest, until)
        except Rejected:
            if power_state(look(connection, machine_id, until, after_change=True)) is not PowerState.STOPPED:
                raise
        try:
            _wait_for(connection, machine_id, PowerState.STOPPED, again_at)
        except TimedOut as late:
            if again_at < until and not watch.cancel_requested():
                continue
            raise TimedOut(
                "The guest has not shut down in the time allowed. It may still do so, or be stopped by force."
            ) from late
        return


def _wait_for(connection: Connection, machine_id: str, wanted: PowerState, until: float) -> None:
    pause = 0.05
    while True:
        seen = look(connection, machine_id, max(until, time.monotonic() + 1.0), after_change=True)
        if power_state(seen) is wanted:
            return
        if time.monotonic() + pause > until:
            asked = question_text(seen.get(QUESTION))
            waits = f" vSphere waits for an answer about it: {asked}" if asked else ""
            raise TimedOut(f"The machine has not changed its power state in the time allowed.{waits}")
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)


def _refuse_unknown(seen: Seen) -> None:
    if power_state(seen) is PowerState.UNKNOWN:
        raise OutOfReach(NO_HOST)

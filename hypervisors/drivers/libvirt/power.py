"""Switching machines on and off. Waiting is by asking the state, ten times a second at first and then twice: libvirt's
events would need an event loop of this process to be alive, and an event missed would be a wait without end."""

import time
from collections.abc import Callable
from typing import Any

import libvirt

from hypervisors.driver import Watch
from hypervisors.drivers.libvirt.connection import Connection
from hypervisors.drivers.libvirt.machine_xml import power_state
from hypervisors.drivers.libvirt.reading import machine
from hypervisors.errors import NotFound, OutOfSpace, Rejected, TimedOut
from hypervisors.records import PowerState

ASK_AGAIN_SECONDS = 15.0


def state_of(opened: Any, machine_id: str) -> tuple[int, int]:
    """libvirt's numbers for the machine's state and the reason of it."""
    state, reason = machine(opened, machine_id).state()
    return int(state), int(reason)


def start(connection: Connection, machine_id: str, watch: Watch) -> None:
    """Start, resume or wake the machine, and see it run."""
    until = time.monotonic() + watch.deadline_seconds
    state, _ = connection.read(lambda opened: state_of(opened, machine_id), until)
    if power_state(state) is PowerState.RUNNING:
        return
    watch.report(0, "Starting the machine")
    connection.change(lambda opened: _start(machine(opened, machine_id), state), until)
    cannot_write = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
    seen = wait_until(connection, machine_id, lambda seen: seen[0] != state or seen == cannot_write, until)
    if seen == cannot_write:
        raise OutOfSpace("The machine stopped again at once: it cannot write to its disk. Most often its pool is full.")
    if power_state(seen[0]) is not PowerState.RUNNING:
        raise Rejected("The machine was started, but does not run.")
    watch.report(100, "The machine runs")


def _start(handle: Any, state: int) -> None:
    if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        handle.pMWakeup()
    elif state == libvirt.VIR_DOMAIN_PAUSED:
        handle.resume()
    elif state == libvirt.VIR_DOMAIN_SHUTOFF:
        handle.create()
    else:
        raise Rejected("The machine has crashed and was kept for inspection. Stop it by force first.")


def stop(connection: Connection, machine_id: str, force: bool, watch: Watch) -> None:
    """Ask the guest to shut down, or cut the power, and see it off."""
    until = time.monotonic() + watch.deadline_seconds
    state, _ = connection.read(lambda opened: state_of(opened, machine_id), until)
    if state == libvirt.VIR_DOMAIN_SHUTOFF:
        return
    if not force and power_state(state) is not PowerState.RUNNING:
        raise Rejected("A suspended machine cannot shut down by itself. Resume it first, or stop it by force.")
    watch.report(0, "Cutting the power" if force else "Asking the guest to shut down")
    try:
        if force:
            connection.change(lambda opened: _stop(machine(opened, machine_id), force), until)
            wait_until(connection, machine_id, _is_off, until)
        else:
            _ask_until_off(connection, machine_id, watch, until)
    except NotFound:
        return  # A transient machine is gone once it is off.
    watch.report(100, "The machine is off")


def _is_off(seen: tuple[int, int]) -> bool:
    return bool(seen[0] == libvirt.VIR_DOMAIN_SHUTOFF)


def _ask_until_off(connection: Connection, machine_id: str, watch: Watch, until: float) -> None:
    """Press the power button, and again from time to time: a guest that was still starting has not heard it."""
    while True:
        connection.change(lambda opened: _stop(machine(opened, machine_id), force=False), until)
        again_at = time.monotonic() + ASK_AGAIN_SECONDS
        try:
            wait_until(connection, machine_id, _is_off, min(until, again_at))
        except TimedOut as late:
            if again_at < until and not watch.cancel_requested():
                continue
            raise TimedOut(
                "The guest has not shut down in the time allowed. It may still do so, or be stopped by force."
            ) from late
        return


def _stop(handle: Any, force: bool) -> None:
    try:
        if force:
            handle.destroy()
        else:
            handle.shutdown()
    except libvirt.libvirtError as error:
        # It went off by itself in between: that is what was wanted.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or handle.isActive():
            raise


def wait_until(
    connection: Connection, machine_id: str, reached: Callable[[tuple[int, int]], bool], until: float
) -> tuple[int, int]:
    """Ask for the machine's state and its reason until they are what `reached` wants. Raises `TimedOut`."""
    pause = 0.1
    while True:
        seen = connection.read(lambda opened: state_of(opened, machine_id), until, after_change=True)
        if reached(seen):
            return seen
        if time.monotonic() + pause > until:
            raise TimedOut("The machine has not changed its state in the time allowed.")
        time.sleep(pause)
        pause = min(0.5, pause * 1.5)

"""Switching machines on and off."""

import time

from hypervisors.driver import Watch
from hypervisors.drivers.xenserver.abilities import abilities
from hypervisors.drivers.xenserver.reading import power_state, read_for_one, work_on
from hypervisors.drivers.xenserver.records import Record, read_one
from hypervisors.drivers.xenserver.session import Session
from hypervisors.drivers.xenserver.tasks import Span, carry_out
from hypervisors.errors import Busy, NotFound, Rejected, TimedOut, Unsupported
from hypervisors.records import PowerState

NOT_SHUT_DOWN = "The guest has not shut down in the time allowed. It may still do so, or be stopped by force."


def refuse_busy(*records: Record) -> None:
    """Raise `Busy` when XenServer is at work on one of these: it would let us wait for up to two hours."""
    work = work_on(*records)
    if work is not None:
        raise Busy(f"{work}. Try again when that has ended.")


def start(session: Session, machine_id: str, watch: Watch) -> None:
    """Start, resume or unpause the machine, and see it run. Raises as the contract's `start`."""
    until = time.monotonic() + watch.deadline_seconds
    ref, contents = read_for_one(session, machine_id, until)
    machine = contents.machines[ref]
    if power_state(machine) is PowerState.RUNNING:
        return
    can = abilities(contents, machine).start
    if not can.allowed:
        raise Unsupported(can.reason)
    refuse_busy(machine)
    bring_up(session, ref, machine, Span(watch, until, ""))


def bring_up(session: Session, ref: str, machine: Record, span: Span) -> None:
    """Start, resume or unpause a machine that does not run, by what its record says."""
    state = machine["power_state"]
    if state == "Suspended":
        _carry_out(session, span, "Resuming the machine", "VM.resume", ref, False, False)
    elif state == "Paused":
        _carry_out(session, span, "Letting the machine go on", "VM.unpause", ref)
    elif state == "Halted":
        _carry_out(session, span, "Starting the machine", "VM.start", ref, False, False)
    else:
        raise Rejected(f"XenServer tells a power state that is not known here: {state}.")


def stop(session: Session, machine_id: str, force: bool, watch: Watch) -> None:
    """Ask the guest to shut down, or cut the power, and see the machine off. Raises as the contract's `stop`."""
    until = time.monotonic() + watch.deadline_seconds
    ref, contents = read_for_one(session, machine_id, until)
    machine = contents.machines[ref]
    state = power_state(machine)
    if state is PowerState.STOPPED:
        return
    can = abilities(contents, machine).stop
    if not can.allowed:
        raise Unsupported(can.reason)
    if not force and state is not PowerState.RUNNING:
        raise Rejected("A suspended machine cannot shut down by itself. Resume it first, or stop it by force.")
    refuse_busy(machine)
    span = Span(watch, until, "")
    if force:
        cut_power(session, ref, span)
        return
    try:
        _carry_out(session, span, "Asking the guest to shut down", "VM.clean_shutdown", ref)
    except TimedOut as late:
        late.reword(NOT_SHUT_DOWN)
        raise
    except Rejected:
        if not _is_off(session, ref):
            raise


def cut_power(session: Session, ref: str, span: Span) -> None:
    """Switch a machine off; what it holds in memory, also of a suspended one, is gone."""
    try:
        _carry_out(session, span, "Cutting the power", "VM.hard_shutdown", ref)
    except Rejected:
        if not _is_off(session, ref):
            raise


def _carry_out(session: Session, span: Span, phase: str, message: str, *params: object) -> None:
    carry_out(session, Span(span.watch, span.until, phase, span.first, span.last), message, *params)


def _is_off(session: Session, ref: str) -> bool:
    """Whether a machine that XenServer would not stop had gone off by itself, which is what was wanted."""
    try:
        record = read_one(session, "VM", ref, after_change=True)
    except NotFound:
        return True
    return bool(record["power_state"] == "Halted")

"""Attaching and detaching disks, for good: the place of a disk in a machine is a record (VBD) of its own in XenServer,
which is plugged into the machine while that runs.

Volumes attached here are not marked as the machine's own (`owner`), so that deleting the machine in other tools leaves
their data.
"""

import time

from hypervisors.driver import Unwatched, Watch
from hypervisors.drivers.xenserver.abilities import abilities
from hypervisors.drivers.xenserver.errors import already_done
from hypervisors.drivers.xenserver.marks import VOLUME, mark_disk, volume_mark
from hypervisors.drivers.xenserver.power import refuse_busy
from hypervisors.drivers.xenserver.reading import (
    all_volume_ids,
    is_loose,
    read_for_one,
    read_machine,
    some_volume_ids,
)
from hypervisors.drivers.xenserver.records import Record, read_everything, read_one
from hypervisors.drivers.xenserver.session import Session
from hypervisors.drivers.xenserver.tasks import Span, carry_out
from hypervisors.errors import Busy, HypervisorError, NotFound, Rejected, TimedOut, Unsupported
from hypervisors.records import VolumeRecord

_NO_VOLUME = "There is no such volume in the pool."


def attach(session: Session, machine_id: str, volume_id: str, until: float) -> VolumeRecord:
    """Attach a loose volume in the next free place. Raises as the contract's `attach_volume`."""
    ref, contents = read_for_one(session, machine_id, until)
    machine = contents.machines[ref]
    can = abilities(contents, machine).attach
    if not can.allowed:
        raise Unsupported(can.reason)
    refuse_busy(machine)
    disk_ref, disk = _find_volume(session, volume_id, until)
    if disk["VBDs"]:
        raise Busy("The volume is attached to a machine already.")
    if not is_loose(disk):
        raise Unsupported("It is a disk that cannot be attached: a snapshot's, a read-only one, or XenServer's own.")
    slot = str(session.change("VBD.create", _slot(ref, disk_ref), until=until))
    if machine["power_state"] == "Running":
        try:
            span = Span(Unwatched(), until, "Attaching the volume")
            carry_out(session, span, "VBD.plug", slot)
        except HypervisorError as error:
            if error.outcome_known:
                _take_back(session, slot, error)
            raise
    with already_done():
        if volume_id != disk["uuid"]:
            mark_disk(session, disk, disk_ref, VOLUME, volume_mark(volume_id, machine_id), until)
        volumes = {volume.native_id: volume for volume in read_machine(session, machine_id).volumes}
    if volume_id not in volumes:
        raise NotFound("The volume was attached and is already gone again.")
    return volumes[volume_id]


def _slot(machine_ref: str, disk_ref: str) -> dict[str, object]:
    return {
        "VM": machine_ref,
        "VDI": disk_ref,
        "userdevice": "autodetect",
        "bootable": False,
        "mode": "RW",
        "type": "Disk",
        "unpluggable": True,
        "empty": False,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }


def _find_volume(session: Session, volume_id: str, until: float) -> tuple[str, Record]:
    """The disk of a volume: the one of this uuid, else the one that bears this id. Raises `NotFound`."""
    try:
        ref = str(session.read("VDI.get_by_uuid", volume_id, until=until))
        return ref, read_one(session, "VDI", ref, until)
    except NotFound:
        contents = read_everything(session)
    for ref, known in all_volume_ids(contents).items():
        if known == volume_id:
            return ref, contents.disks[ref]
    raise NotFound(_NO_VOLUME)


def _take_back(session: Session, slot: str, error: HypervisorError) -> None:
    """The guest did not take the disk: nothing of the attempt stays."""
    try:
        session.change("VBD.destroy", slot, until=time.monotonic() + session.timeout)
    except HypervisorError as trouble:
        error.reword(f"{error.detail} The volume could not be taken out again: {trouble.detail}")
        error.outcome_known = False


def detach(session: Session, machine_id: str, volume_id: str, watch: Watch) -> None:
    """Detach a disk: first out of the running machine, and when the guest has let go of it, its place. Raises as the
    contract's `detach_volume`."""
    until = time.monotonic() + watch.deadline_seconds
    ref, contents = read_for_one(session, machine_id, until)
    machine = contents.machines[ref]
    can = abilities(contents, machine).detach
    if not can.allowed:
        raise Unsupported(can.reason)
    ids = some_volume_ids(session, contents, until)
    places = {slot_ref: contents.slots[slot_ref] for slot_ref in machine["VBDs"] if slot_ref in contents.slots}
    found = [(slot_ref, slot) for slot_ref, slot in places.items() if ids.get(slot["VDI"]) == volume_id]
    if not found:
        raise NotFound("The volume is not attached to this machine.")
    slot_ref, slot = found[0]
    refuse_busy(machine)
    watch.report(0, "Detaching the volume")
    if slot["currently_attached"] and machine["power_state"] != "Halted":
        _unplug(session, slot_ref, Span(watch, until, "Waiting for the guest to let go of the volume", 0, 90))
    session.change("VBD.destroy", slot_ref, until=until)
    disk = contents.disks[slot["VDI"]]
    if volume_id != disk["uuid"]:
        with already_done():
            mark_disk(session, disk, slot["VDI"], VOLUME, volume_mark(volume_id), until)
    watch.report(100, "The volume is detached")


def _unplug(session: Session, slot_ref: str, span: Span) -> None:
    try:
        carry_out(session, span, "VBD.unplug", slot_ref)
    except TimedOut as late:
        late.reword("The guest has not let go of the volume in the time allowed; it may still be attached.")
        raise
    except Rejected:
        if read_one(session, "VBD", slot_ref, after_change=True)["currently_attached"]:
            raise

"""The rules of a simulated hypervisor on a machine's power, volumes and disks, a pair for each operation as in `rules`,
which alone enters."""

from hypervisors.drivers.simulated import facts
from hypervisors.drivers.simulated.change import Change, require
from hypervisors.errors import Busy, NotFound, Rejected
from hypervisors.records import PowerState


def check_start(change: Change) -> None:
    """The machine may be started."""
    require(change.abilities(), "start")


def apply_start(change: Change) -> None:
    """A suspended machine goes on counting, a stopped one begins anew."""
    if change.machine["power"] == PowerState.RUNNING:
        return
    ticks = change.machine["ticks"] if change.machine["power"] == PowerState.SUSPENDED else 0.0
    change.db.execute(
        "UPDATE machine SET power = ?, ticks = ? WHERE seq = ?", (PowerState.RUNNING, ticks, change.machine["seq"])
    )


def check_stop(change: Change) -> None:
    """The machine may be stopped."""
    require(change.abilities(), "stop")


def apply_stop(change: Change) -> None:
    """The machine is off and its memory gone."""
    change.db.execute(
        "UPDATE machine SET power = ?, ticks = 0 WHERE seq = ?", (PowerState.STOPPED, change.machine["seq"])
    )


def check_attach(change: Change) -> None:
    """Raises `NotFound`, `Busy`, `Rejected` or `Unsupported` unless the volume is there, loose, and may be attached."""
    require(change.abilities(), "attach")
    volume = change.db.execute("SELECT * FROM volume WHERE native_id = ?", (change.arguments["volume_id"],)).fetchone()
    if volume is None:
        raise NotFound("The volume is not on this hypervisor any more.")
    if volume["machine_id"] == change.machine["native_id"]:
        raise Busy("The volume is attached to this machine already.")
    if volume["machine_id"] is not None:
        raise Busy("The volume is attached to another machine. Detach it there first.")
    if len(facts.volumes_of(change.db, change.machine["native_id"])) >= len(facts.TARGETS):
        raise Rejected(f"The machine has {len(facts.TARGETS)} volumes already, which is as many as it can have.")


def apply_attach(change: Change) -> str:
    """The volume takes the machine's first free target."""
    taken = {volume["target"] for volume in facts.volumes_of(change.db, change.machine["native_id"])}
    target = next(target for target in facts.TARGETS if target not in taken)
    change.db.execute(
        "UPDATE volume SET machine_id = ?, target = ? WHERE native_id = ?",
        (change.machine["native_id"], target, change.arguments["volume_id"]),
    )
    return str(change.arguments["volume_id"])


def check_detach(change: Change) -> None:
    """Raises `NotFound`, `Rejected` or `Unsupported` unless the volume is this machine's and may be detached."""
    require(change.abilities(), "detach")
    volume = change.db.execute(
        "SELECT * FROM volume WHERE native_id = ? AND machine_id = ?",
        (change.arguments["volume_id"], change.machine["native_id"]),
    ).fetchone()
    if volume is None:
        raise NotFound("The volume is not attached to this machine any more.")
    if volume["target"] == facts.TARGETS[0]:
        raise Rejected("The machine starts from this volume. It cannot be detached.")


def apply_detach(change: Change) -> None:
    """The volume is loose and keeps its data."""
    change.db.execute(
        "UPDATE volume SET machine_id = NULL, target = '' WHERE native_id = ?", (change.arguments["volume_id"],)
    )


def check_consolidate(change: Change) -> None:
    """There is something to merge."""
    require(change.abilities(), "consolidate")


def apply_consolidate(change: Change) -> None:
    """Nothing is left behind any more."""
    change.db.execute("UPDATE machine SET needs_consolidation = 0 WHERE seq = ?", (change.machine["seq"],))

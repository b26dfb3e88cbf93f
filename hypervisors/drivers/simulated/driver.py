"""The shipped hypervisor that is none: machines, snapshot trees, sizes and delays as on a real one, faults on request.

For demonstrations on computers without QEMU, for tests and for benchmarks. Its pages are labelled as simulated. What
it holds lives in one file per endpoint, so that the web process, workers and tests see the same world; `World` in
`world` makes such files and changes them from outside.

Login: `address` is the world's name (letters, digits, `-` and `_`). `options`: `state_dir`, the folder of the files
(required); `create`, "yes" to make a world with a few machines when there is none of that name. User name and
password are compared when the world has been given some.
"""

import json
import re
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from hypervisors.driver import HypervisorDriver, Login, Unwatched, Watch
from hypervisors.drivers.simulated import facts, rules
from hypervisors.drivers.simulated.change import Arguments
from hypervisors.drivers.simulated.changes import changes_since, next_due
from hypervisors.drivers.simulated.faults import ERRORS, Faults, count_call, take_faults
from hypervisors.drivers.simulated.records import machine_record, snapshot_record, volume_record
from hypervisors.drivers.simulated.store import Store
from hypervisors.drivers.simulated.world import make_world, password_matches
from hypervisors.errors import Cancelled, ConnectionLost, HypervisorError, LoginRefused, TimedOut, Unreachable
from hypervisors.records import (
    Changes,
    HostRecord,
    MachineRecord,
    PoolRecord,
    PowerAfterRevert,
    PowerState,
    SnapshotForest,
    SnapshotRecord,
    SnapshotRequest,
    VolumeRecord,
)

LOOK_EVERY_SECONDS = 0.05
"""How often a waiting call looks whether it is done, cancelled or cut off."""


class SimulatedDriver(HypervisorDriver):
    """One connection to a simulated hypervisor."""

    tells_changes = True

    def __init__(self, login: Login) -> None:
        self._login = login
        self._name = login.address
        self._open = True
        self._store = Store(_file_of(login), login.timeout_seconds)
        try:
            with self._reading("connect") as db:
                _admit(db, login)
        except HypervisorError:
            self.close()
            raise

    def close(self) -> None:
        self._open = False
        self._store.close()

    # Reading

    def describe(self) -> HostRecord:
        with self._reading("describe") as db:
            host = db.execute("SELECT * FROM host").fetchone()
            return HostRecord(host["native_id"], host["name"], host["product"], host["version"])

    def list_pools(self) -> list[PoolRecord]:
        with self._reading("list_pools") as db:
            used = facts.pool_used_bytes(db)
            return [
                PoolRecord(
                    native_id=pool["native_id"],
                    name=pool["name"],
                    kind=pool["kind"],
                    total_bytes=pool["total_bytes"] if pool["active"] else None,
                    free_bytes=facts.pool_free_bytes(pool, used) if pool["active"] else None,
                    active=bool(pool["active"]),
                )
                for pool in db.execute("SELECT * FROM pool ORDER BY name").fetchall()
            ]

    def list_machines(self) -> list[MachineRecord]:
        with self._reading("list_machines") as db:
            volumes: dict[str, list[sqlite3.Row]] = {}
            for volume in db.execute(
                "SELECT * FROM volume WHERE machine_id IS NOT NULL ORDER BY length(target), target"
            ):
                volumes.setdefault(volume["machine_id"], []).append(volume)
            return [
                machine_record(machine, volumes.get(machine["native_id"], []))
                for machine in db.execute("SELECT * FROM machine ORDER BY seq")
            ]

    def read_machine(self, machine_id: str) -> MachineRecord:
        with self._reading("read_machine", machine_id) as db:
            return machine_record(facts.find_machine(db, machine_id), facts.volumes_of(db, machine_id))

    def list_loose_volumes(self) -> list[VolumeRecord]:
        with self._reading("list_loose_volumes") as db:
            return [
                volume_record(volume)
                for volume in db.execute("SELECT * FROM volume WHERE machine_id IS NULL ORDER BY seq")
            ]

    def list_forests(self, machine_ids: Collection[str] | None = None) -> dict[str, SnapshotForest]:
        chosen = None if machine_ids is None else json.dumps(list(machine_ids))
        with self._reading("list_forests") as db:
            where = "" if chosen is None else "WHERE native_id IN (SELECT value FROM json_each(?))"
            values = () if chosen is None else (chosen,)
            machines = db.execute(f"SELECT native_id, current_id FROM machine {where}", values).fetchall()  # noqa: S608 - fixed texts
            snapshots: dict[str, list[SnapshotRecord]] = {machine["native_id"]: [] for machine in machines}
            # A parent is always older than its children, also after a deletion has moved them up.
            where = where.replace("native_id", "machine_id")
            for row in db.execute(f"SELECT * FROM snapshot {where} ORDER BY machine_id, seq", values):  # noqa: S608 - fixed texts
                snapshots[row["machine_id"]].append(snapshot_record(row))
            return {
                machine["native_id"]: SnapshotForest(tuple(snapshots[machine["native_id"]]), machine["current_id"])
                for machine in machines
            }

    def operation_in_flight(self, machine_id: str) -> str | None:
        with self._reading("operation_in_flight", machine_id) as db:
            facts.find_machine(db, machine_id)
            operation = rules.in_flight(db, machine_id)
            return rules.OPERATIONS[operation["name"]].words if operation else None

    def wait_for_changes(self, cursor: str, wait_seconds: float) -> Changes:
        end = time.monotonic() + wait_seconds
        with self._reading("wait_for_changes") as db:
            # Before the look: what changes after it makes it another number.
            version = self._store.version()
            found, due = changes_since(db, cursor), next_due(db)
        while found.machine_ids == frozenset() and not found.pools:
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(LOOK_EVERY_SECONDS, left))
            if self._store.version() == version and (due is None or due > time.time()):
                continue
            with self._turn() as (db, _):
                version = self._store.version()
                found, due = changes_since(db, cursor), next_due(db)
        return found

    # Changing

    def create_snapshot(self, machine_id: str, request: SnapshotRequest, watch: Watch) -> SnapshotRecord:
        arguments: Arguments = {
            "token": request.token,
            "name": request.name,
            "description": request.description,
            "memory": request.memory,
            "quiesce": request.quiesce,
        }
        native_id = self._change("create_snapshot", machine_id, arguments, watch)
        try:
            with self._turn() as (db, _):
                return snapshot_record(facts.find_snapshot(db, machine_id, native_id or ""))
        except Unreachable as lost:
            raise ConnectionLost(lost.detail) from lost

    def revert_to(self, machine_id: str, snapshot_id: str, power: PowerAfterRevert, watch: Watch) -> None:
        self._change("revert_to", machine_id, {"snapshot_id": snapshot_id, "power": PowerAfterRevert(power)}, watch)

    def delete_snapshot(self, machine_id: str, snapshot_id: str, watch: Watch) -> None:
        self._change("delete_snapshot", machine_id, {"snapshot_id": snapshot_id}, watch)

    def delete_with_descendants(self, machine_id: str, snapshot_id: str, watch: Watch) -> None:
        self._change("delete_with_descendants", machine_id, {"snapshot_id": snapshot_id}, watch)

    def delete_all(self, machine_id: str, watch: Watch) -> None:
        self._change("delete_all", machine_id, {}, watch)

    def rename_snapshot(self, machine_id: str, snapshot_id: str, name: str, description: str) -> None:
        arguments: Arguments = {"snapshot_id": snapshot_id, "name": name, "description": description}
        self._change("rename_snapshot", machine_id, arguments, self._unwatched())

    def start(self, machine_id: str, watch: Watch) -> None:
        self._change("start", machine_id, {}, watch)

    def stop(self, machine_id: str, force: bool, watch: Watch) -> None:
        if not force and self._guest_is_deaf(machine_id):
            self._wait_for_shutdown(machine_id, watch)
        self._change("stop", machine_id, {}, watch)

    def attach_volume(self, machine_id: str, volume_id: str) -> VolumeRecord:
        self._change("attach_volume", machine_id, {"volume_id": volume_id}, self._unwatched())
        try:
            with self._turn() as (db, _):
                return volume_record(
                    db.execute("SELECT * FROM volume WHERE native_id = ?", (volume_id,)).fetchone(),
                    facts.find_machine(db, machine_id),
                )
        except Unreachable as lost:
            raise ConnectionLost(lost.detail) from lost

    def detach_volume(self, machine_id: str, volume_id: str, watch: Watch) -> None:
        self._change("detach_volume", machine_id, {"volume_id": volume_id}, watch)

    def consolidate_disks(self, machine_id: str, watch: Watch) -> None:
        self._change("consolidate_disks", machine_id, {}, watch)

    # The way of a call

    @contextmanager
    def _turn(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """A turn at a hypervisor that answers. Raises `Unreachable`."""
        if not self._open:
            raise Unreachable("The connection has been closed.")
        with rules.turn(self._store) as (db, now):
            if db.execute("SELECT down FROM host").fetchone()["down"]:
                raise Unreachable(f"The simulated hypervisor “{self._name}” does not answer.")
            yield db, now

    def _strike(self, db: sqlite3.Connection, operation: str, machine_id: str | None) -> Faults:
        """Count the call and let a refusal happen; answers the other faults."""
        count_call(db, operation)
        faults = take_faults(db, operation, machine_id)
        if faults.refusal:
            raise faults.refusal
        return faults

    @contextmanager
    def _reading(self, operation: str, machine_id: str | None = None) -> Iterator[sqlite3.Connection]:
        """A turn for a read, with the faults that strike it."""
        with self._turn() as (db, _):
            faults = self._strike(db, operation, machine_id)
            if faults == Faults():
                yield db
                return
        allowed = self._login.timeout_seconds
        time.sleep(min(faults.delay_seconds, allowed))
        if faults.delay_seconds >= allowed or faults.late_seconds is not None:
            raise TimedOut(f"The simulated hypervisor “{self._name}” did not answer within {allowed:g} seconds.")
        if faults.unanswered:
            self._cut_off()
        with self._turn() as (db, _):
            yield db

    def _change(self, name: str, machine_id: str, arguments: Arguments, watch: Watch) -> str | None:
        """Carry out one change as the faults will have it; answers what the rules answer."""
        began = time.monotonic()
        words = rules.OPERATIONS[name].words
        cancelled = watch.cancel_requested()
        with self._turn() as (db, now):
            faults = self._strike(db, name, machine_id)
            machine = facts.find_machine(db, machine_id)
            rules.refuse_when_busy(db, machine_id)
            rules.check(db, name, machine_id, arguments)
            can_cancel = facts.abilities(db, machine).cancel.allowed
            if cancelled and can_cancel:
                raise Cancelled("Cancelled before it began.")
            wait = faults.delay_seconds + (faults.late_seconds or 0.0)
            if wait or faults.late_seconds is not None:
                operation = rules.begin(db, name, machine_id, arguments, now, now + wait)
                result = None
            else:
                operation = None
                result = rules.apply(db, name, machine_id, arguments, now)
        if faults.late_seconds is not None:
            self._give_up(words)
        if operation is not None:
            result = self._wait(operation, words, began, can_cancel, watch)
        if faults.unanswered:
            self._cut_off()
        watch.report(100, words)
        return result

    def _wait(self, operation: int, words: str, began: float, can_cancel: bool, watch: Watch) -> str | None:
        """Wait until the operation is done; answers its result or raises how it failed."""
        while True:
            cancel = can_cancel and watch.cancel_requested()
            try:
                with self._turn() as (db, now):
                    row = db.execute("SELECT * FROM operation WHERE seq = ?", (operation,)).fetchone()
                    if row is None:
                        raise Cancelled("Somebody stopped it on the hypervisor.")
                    if row["state"] != "running" or cancel:
                        db.execute("DELETE FROM operation WHERE seq = ?", (operation,))
            except Unreachable as lost:
                raise ConnectionLost(lost.detail) from lost
            if row["state"] == "failed":
                raise ERRORS[row["error"]](row["detail"])
            if row["state"] == "done":
                return str(row["result"]) if row["result"] is not None else None
            if cancel:
                raise Cancelled("Cancelled; the machine is as it was before.")
            left = began + watch.deadline_seconds - time.monotonic()
            if left <= 0:
                self._give_up(words)
            watch.report(int(100 * (now - row["began_at"]) / max(row["due_at"] - row["began_at"], 0.001)), words)
            time.sleep(max(0.001, min(LOOK_EVERY_SECONDS, left, row["due_at"] - now)))

    def _guest_is_deaf(self, machine_id: str) -> bool:
        """Whether the guest would not hear of a shutdown."""
        with self._turn() as (db, _):
            machine = facts.find_machine(db, machine_id)
            return machine["power"] == PowerState.SUSPENDED or (
                machine["power"] == PowerState.RUNNING and bool(machine["ignores_shutdown"])
            )

    def _wait_for_shutdown(self, machine_id: str, watch: Watch) -> None:
        """Wait for a guest that does not hear, in case somebody else stops it. Raises `TimedOut`, `Cancelled`."""
        with self._turn() as (db, _):
            self._strike(db, "stop", machine_id)
            rules.refuse_when_busy(db, machine_id)
            rules.check(db, "stop", machine_id, {})
        end = time.monotonic() + watch.deadline_seconds
        while self._guest_is_deaf(machine_id):
            if watch.cancel_requested():
                raise Cancelled("The guest was asked to shut down and may still do so.")
            left = end - time.monotonic()
            if left <= 0:
                raise TimedOut("The guest was asked to shut down and did not. It still runs; stop it with force.")
            time.sleep(min(LOOK_EVERY_SECONDS, left))

    def _give_up(self, words: str) -> NoReturn:
        raise TimedOut(f"The simulated hypervisor “{self._name}” did not finish {words} in time. It may still do so.")

    def _cut_off(self) -> NoReturn:
        raise ConnectionLost(f"The connection to the simulated hypervisor “{self._name}” broke before it answered.")

    def _unwatched(self) -> Watch:
        """The watch of calls that have none: they last no longer than a read."""
        return Unwatched(self._login.timeout_seconds)


def _file_of(login: Login) -> Path:
    """The file that the login means, made when that is asked for. Raises `Unreachable`."""
    options = dict(login.options)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", login.address):
        raise Unreachable("The name of a simulated hypervisor has up to 64 letters, digits, “-” and “_”, nothing else.")
    if not options.get("state_dir"):
        raise Unreachable("No folder for simulated hypervisors is configured (option “state_dir”).")
    path = Path(options["state_dir"]) / f"{login.address}.sqlite3"
    if options.get("create") == "yes" and not path.exists():
        with suppress(FileExistsError):  # another process was faster, which is as good
            make_world(path)
    return path


def _admit(db: sqlite3.Connection, login: Login) -> None:
    """Raises `LoginRefused` when the world wants a user name and password and these are others."""
    host = db.execute("SELECT username, password_digest FROM host").fetchone()
    if not host["password_digest"]:
        return
    right = password_matches(login.password, host["password_digest"])
    if not (right and login.username == host["username"]):
        raise LoginRefused("User name or password is wrong.")

"""Machines for tests, and what tests look at."""

from typing import Any

from hypervisors.xen_simulator.process import XenSimulator
from tests.xen_simulator.client import result_of

MIB = 1 << 20
NULL = "OpaqueRef:NULL"


class Ground:
    """Makes machines in a simulator and looks at them through XenAPI."""

    def __init__(self, xen: XenSimulator, api: Any) -> None:
        self.xen = xen
        self.api = api

    def machine(self, name: str = "machine", *, disks: int = 1, power: str = "Halted", **more: Any) -> str:
        """A machine; returns its reference."""
        repository = {"repository": "Local storage", "size": 256 * MIB, "written": 64 * 1024}
        entry = {"name": name, "power": power, "memory": 64 * MIB, "disks": [repository] * disks, **more}
        return self.xen.control.add_machine(entry)["vm"]

    def do(self, message: str, *params: Any) -> str:
        """Call it asynchronously and wait for the result. Raises XenAPI.Failure with what the task failed of."""
        return result_of(self.api, getattr(self.api, f"Async.{message}")(*params))

    def disks(self, vm: str) -> dict[str, str]:
        """The machine's disks by their place."""
        found = {}
        for vbd in self.api.VM.get_VBDs(vm):
            record = self.api.VBD.get_record(vbd)
            if record["type"] == "Disk":
                found[record["userdevice"]] = record["VDI"]
        return found

    def disk_uuid(self, vm: str, place: str = "0") -> str:
        """The uuid of one of its disks."""
        return str(self.api.VDI.get_uuid(self.disks(vm)[place]))

    def repository(self, name: str = "Local storage") -> str:
        """A repository by its name."""
        return str(self.api.SR.get_by_name_label(name)[0])

    def tree(self, vm: str) -> tuple[dict[str, str | None], str | None]:
        """Parents by names, and where the machine stands."""
        records = {ref: self.api.VM.get_record(ref) for ref in self.api.VM.get_snapshots(vm)}

        def name(ref: str) -> str | None:
            return None if ref == NULL else str(records[ref]["name_label"])

        parents = {record["name_label"]: name(record["parent"]) for record in records.values()}
        return parents, name(self.api.VM.get_parent(vm))

    def step(self, vm: str, verb: str, name: str) -> None:
        """Carry out one step of a transition."""
        api = self.api
        match verb:
            case "snapshot" | "checkpoint":
                self.do(f"VM.{verb}", vm, name)
            case "revert" | "destroy":
                self.do(f"VM.{verb}", self.snapshot(vm, name))
            case "start":
                api.VM.start(vm, False, False)
            case "pause" | "suspend":
                getattr(api, f"VM.{verb}")(vm)
            case "halt":
                api.VM.hard_shutdown(vm)
            case "revert the machine":
                api.VM.revert(vm)
            case "destroy the machine":
                api.VM.destroy(vm)
            case "snapshot of":
                api.VM.snapshot(self.snapshot(vm, name), "below a snapshot")
            case "start of":
                api.VM.start(self.snapshot(vm, name), False, False)
            case _:
                raise AssertionError(verb)

    def snapshot(self, vm: str, name: str) -> str:
        """A snapshot of the machine by its name."""
        return next(ref for ref in self.api.VM.get_snapshots(vm) if self.api.VM.get_name_label(ref) == name)

"""What every part of the contract suite stands on: the fixtures a driver's tests provide, and the watch
and the clock they use.

Only the `contract` modules and the tests of drivers enter.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

import pytest

from hypervisors.capabilities import Ability
from hypervisors.driver import HypervisorDriver, Login
from hypervisors.errors import Unsupported
from hypervisors.records import PowerAfterRevert, PowerState, SnapshotForest, SnapshotRecord, SnapshotRequest

NOBODY = "00000000-dead-4000-8000-000000000000"
"""An id that no hypervisor has given to anything."""

HARD_NAMES = {
    "markup": """&<"'>&amp;]]></name>""",
    "right-to-left": "لقطة قبل الترقية \u202eabc\u202c",
    "255 letters": "n" * 255,
    "255 letters outside the basic plane": "𝔵" * 255,
    "path": "../../etc/passwd",
    "shell": "$(reboot); `reboot` | %s {0} \\",
    "spaces around": "  two before, two after  ",
    "emoji with joiner": "👩‍💻 gelb, größer",
    "a combining accent": "e\u0301te\u0301",
    "looks like an option": "--halt",
}


@dataclass
class Watching:
    """A watch that remembers what it was told."""

    deadline_seconds: float = 60.0
    cancel: bool = False
    reports: list[tuple[int, str]] = field(default_factory=list)

    def report(self, percent: int, phase: str) -> None:
        self.reports.append((percent, phase))

    def cancel_requested(self) -> bool:
        return self.cancel


class Clock:
    """Stands for the module `time` in a driver; a test puts it forward instead of waiting."""

    ahead = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


class Elsewhere(Protocol):
    """Another administrator at the same hypervisor, who does not use the driver."""

    def take(self, machine_id: str, name: str) -> None:
        """Take a snapshot below the current one."""

    def delete(self, machine_id: str, snapshot_id: str) -> None:
        """Delete the snapshot of this native id."""


@dataclass(frozen=True)
class Subject:
    """A machine whose snapshots can be taken, and how."""

    machine_id: str
    memory: bool


def token() -> str:
    return str(uuid4())


def request(
    name: str = "a snapshot", description: str = "", memory: bool = False, quiesce: bool = False
) -> SnapshotRequest:
    return SnapshotRequest(token=token(), name=name, description=description, memory=memory, quiesce=quiesce)


def shape(forest: SnapshotForest) -> dict[str, str | None]:
    """Each snapshot's name and its parent's. Names must be different."""
    by_id = forest.by_id()
    return {s.name: by_id[s.parent_id].name if s.parent_id else None for s in forest.snapshots}


def current(forest: SnapshotForest) -> str | None:
    return forest.by_id()[forest.current_id].name if forest.current_id else None


class Ground:
    """The fixtures of a contract suite; a driver's tests override those of the first part."""

    driver_class: type[HypervisorDriver]

    # What a subclass provides

    @pytest.fixture
    def login(self) -> Login:
        """A login that works."""
        raise NotImplementedError

    @pytest.fixture
    def stopped_machine(self) -> str:
        """The native id of a machine that is off and may be started."""
        raise NotImplementedError

    @pytest.fixture
    def running_machine(self) -> str:
        """The native id of a machine that runs and may be stopped."""
        raise NotImplementedError

    @pytest.fixture
    def elsewhere(self) -> Elsewhere:
        """Another administrator."""
        raise NotImplementedError

    @pytest.fixture
    def unreachable_login(self) -> Login:
        """A login for an address where no hypervisor is."""
        raise NotImplementedError

    # What the tests stand on

    @pytest.fixture
    def connect(self, login: Login) -> Iterator[Callable[[], HypervisorDriver]]:
        drivers: list[HypervisorDriver] = []

        def connected() -> HypervisorDriver:
            drivers.append(self.driver_class(login))
            return drivers[-1]

        yield connected
        for driver in drivers:
            driver.close()

    @pytest.fixture
    def driver(
        self, connect: Callable[[], HypervisorDriver], stopped_machine: str, running_machine: str
    ) -> Iterator[HypervisorDriver]:
        driver = connect()
        self.tidy(driver, stopped_machine, running_machine)
        yield driver
        # On a connection of its own: the test may have closed the other one.
        self.tidy(connect(), stopped_machine, running_machine)

    def tidy(self, driver: HypervisorDriver, stopped_machine: str, running_machine: str) -> None:
        for machine_id, wanted in (
            (stopped_machine, PowerState.STOPPED),
            (running_machine, PowerState.RUNNING),
        ):
            for snapshot in reversed(driver.list_forests([machine_id])[machine_id].snapshots):
                driver.delete_snapshot(machine_id, snapshot.native_id, Watching())
            if driver.read_machine(machine_id).power_state != wanted:
                if wanted == PowerState.STOPPED:
                    driver.stop(machine_id, True, Watching())
                else:
                    driver.start(machine_id, Watching())

    @pytest.fixture
    def subject(self, driver: HypervisorDriver, stopped_machine: str, running_machine: str) -> Subject:
        """The cheapest way to a tree: disks of a stopped machine if that can be, else memory of a running one."""
        if driver.read_machine(stopped_machine).capabilities.disk_when_stopped.allowed:
            return Subject(stopped_machine, memory=False)
        ability = driver.read_machine(running_machine).capabilities.memory
        if not ability.allowed:
            pytest.skip(f"no machine here can have snapshots: {ability.reason}")
        return Subject(running_machine, memory=True)

    def take(self, driver: HypervisorDriver, subject: Subject, name: str, description: str = "") -> SnapshotRecord:
        return driver.create_snapshot(
            subject.machine_id, request(name, description=description, memory=subject.memory), Watching()
        )

    def revert(
        self,
        driver: HypervisorDriver,
        subject: Subject,
        snapshot: SnapshotRecord,
        power: PowerAfterRevert = PowerAfterRevert.AS_SNAPSHOT,
    ) -> None:
        driver.revert_to(subject.machine_id, snapshot.native_id, power, Watching())

    def forest(self, driver: HypervisorDriver, machine_id: str) -> SnapshotForest:
        return driver.list_forests([machine_id])[machine_id]

    def refused_for_want_of(self, ability: Ability, attempt: Callable[[], object]) -> bool:
        """Whether the ability is missing; if so, that the driver refuses with its reason has been seen."""
        if ability.allowed:
            return False
        with pytest.raises(Unsupported) as refusal:
            attempt()
        assert refusal.value.detail == ability.reason
        assert ability.reason
        return True

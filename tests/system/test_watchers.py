"""The process that watches hypervisors: what is done elsewhere shows, whoever watches, and whatever goes away."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from hypervisors.drivers.simulated.world import World
from tests import deeds
from tests.installation import PROJECT, Installation
from tests.server_processes import STOP_SECONDS, NotInstalled, end_with_parent, wait_until
from tests.services_for_tests import PostgreSQL

pytestmark = pytest.mark.system

SOON = 180
SETTINGS = {"WATCH_LOST_AFTER_SECONDS": 3600, "HYPERVISOR_TIMEOUT_SECONDS": 10}
"""Nobody is taken for dead because the computer is busy; the test itself says when so much time has passed."""


class WatchProcess:
    """`manage.py watch_hypervisors` in a process of its own."""

    def __init__(self, installation: Installation) -> None:
        self.log = installation.folder / f"watcher-{uuid4().hex[:8]}.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VMSNAP_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "watch_hypervisors"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=PROJECT,
                env={**kept, **installation.environment},
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL. Harmless when it has ended."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def has_said(self, text: str, times: int = 1) -> bool:
        return self.log.read_text(errors="replace").count(text) >= times


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with closing(Installation(tmp_path_factory.mktemp("watched"), **SETTINGS)) as made:
        yield made


@pytest.fixture
def cloud(installation: Installation) -> Iterator[str]:
    """A simulated hypervisor with one machine; switched off afterwards, so that the next test's process leaves it."""
    name: str = installation.ask(deeds.build, 1)
    yield name
    installation.ask(deeds.switch, name, False)


@pytest.fixture
def world(installation: Installation, cloud: str) -> World:
    return World(Path(installation.ask(deeds.world_path, cloud)))


@pytest.fixture
def begin(installation: Installation) -> Iterator[Callable[[], WatchProcess]]:
    begun: list[WatchProcess] = []

    def one_more() -> WatchProcess:
        begun.append(WatchProcess(installation))
        return begun[-1]

    yield one_more
    for process in begun:
        process.kill()


def take_elsewhere(world: World, name: str) -> None:
    world.take_elsewhere(world.machine_id("m0"), name)


def test_what_is_done_elsewhere_shows_and_the_process_ends_when_asked(installation, cloud, world, begin):
    watcher = begin()
    # What happens before it has asked once is left to a reading of everything, which nobody carries out here.
    wait_until(lambda: watcher.has_said(f"Watching {cloud}"), SOON, "it has asked once")
    assert installation.ask(deeds.is_watched_by, cloud, watcher.pid)
    take_elsewhere(world, "elsewhere")
    installation.wait_for(SOON, "the snapshot shows", deeds.has_snapshot, cloud, "elsewhere")
    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.process.wait(SOON) == 0
    # The endpoint is free for others at once.
    assert installation.ask(deeds.endpoint_facts, cloud)["watcher"] == ""


def test_of_two_processes_one_watches_and_the_other_takes_over_when_it_is_killed(installation, cloud, world, begin):
    first = begin()
    installation.wait_for(SOON, "the first watches", deeds.is_watched_by, cloud, first.pid)
    wait_until(lambda: world.calls()["wait_for_changes"], SOON, "it asks for changes")
    second = begin()
    wait_until(lambda: second.has_said("Watching 0 of the 1"), SOON, "the second has looked")
    assert installation.ask(deeds.is_watched_by, cloud, first.pid)
    assert not second.has_said(f"Watching {cloud}")
    first.kill()
    take_elsewhere(world, "while nobody watched")
    assert installation.ask(deeds.is_watched_by, cloud, first.pid)
    installation.ask(deeds.miss_watcher, cloud)
    installation.wait_for(SOON, "the second takes over", deeds.is_watched_by, cloud, second.pid)
    wait_until(lambda: second.has_said(f"Watching {cloud}"), SOON, "it has asked once")
    take_elsewhere(world, "after it took over")
    installation.wait_for(SOON, "what is told now shows", deeds.has_snapshot, cloud, "after it took over")
    assert installation.ask(deeds.has_snapshot, cloud, "while nobody watched")


def test_an_endpoint_that_goes_down_and_comes_back_is_watched_again(installation, cloud, world, begin):
    watcher = begin()
    wait_until(lambda: watcher.has_said(f"Watching {cloud}"), SOON, "it watches")
    world.set_down(True)
    installation.wait_for(SOON, "that it is away is written", deeds.endpoint_is, cloud, "unreachable")
    world.set_down(False)
    installation.wait_for(SOON, "that it is back is written", deeds.endpoint_is, cloud, "reachable")
    take_elsewhere(world, "after its return")
    installation.wait_for(SOON, "the snapshot shows", deeds.has_snapshot, cloud, "after its return")


def test_endpoints_that_are_added_switched_off_and_on_are_noticed(installation, cloud, world, begin):
    watcher = begin()
    wait_until(lambda: watcher.has_said(f"Watching {cloud}"), SOON, "it has asked once")
    other = installation.ask(deeds.build, 1)
    installation.wait_for(SOON, "it watches the new one too", deeds.is_watched_by, other, watcher.pid)
    for each in (cloud, other):
        installation.ask(deeds.switch, each, False)
        installation.wait_for(SOON, "it leaves it", deeds.is_watched_by_nobody, each)
    assert not installation.ask(deeds.endpoint_is, cloud, "unreachable")
    installation.ask(deeds.switch, cloud, True)
    wait_until(lambda: watcher.has_said(f"Watching {cloud}", times=2), SOON, "it has asked once more")
    assert installation.ask(deeds.is_watched_by, cloud, watcher.pid)
    take_elsewhere(world, "switched on")
    installation.wait_for(SOON, "the snapshot shows", deeds.has_snapshot, cloud, "switched on")


def test_a_database_that_goes_away_and_comes_back_is_written_to_again(tmp_path):
    try:
        server = PostgreSQL()
    except NotInstalled as reason:
        pytest.skip(str(reason))
    with server, closing(Installation(tmp_path, database_url=server.new_database(), **SETTINGS)) as installation:
        cloud = installation.ask(deeds.build, 1)
        world = World(Path(installation.ask(deeds.world_path, cloud)))
        watcher = WatchProcess(installation)
        try:
            wait_until(lambda: watcher.has_said(f"Watching {cloud}"), SOON, "it watches")
            server.stop()
            take_elsewhere(world, "while the database was away")
            wait_until(lambda: watcher.has_said("cannot be written now"), SOON, "it has tried to write")
            server.start()
            installation.ask(deeds.reconnect)
            installation.wait_for(
                SOON, "what was told is written", deeds.has_snapshot, cloud, "while the database was away"
            )
        finally:
            watcher.kill()

"""What the libvirt driver does when the daemon or QEMU is silent, dies, or answers too late. Real processes, stopped
and killed by their numbers, in a lab of this file's own."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.libvirt.driver import LibvirtDriver
from hypervisors.errors import ConnectionLost, HypervisorError, TimedOut, Unreachable
from hypervisors.lab import DiskSpec, Lab, MachineSpec
from hypervisors.records import PowerAfterRevert, PowerState, SnapshotRequest

from ..contract import Watching

pytestmark = pytest.mark.lab

MIB = 1 << 20
PATIENCE = 60.0
"""Seconds after which a condition that should come true counts as a failure."""


@pytest.fixture(scope="module")
def victim(driver_lab: Lab) -> str:
    """A running machine's id."""
    driver_lab.add(MachineSpec("victim", (DiskSpec("system", 16 * MIB), DiskSpec("data", 16 * MIB))))
    driver_lab.wait_for_tick("victim")
    return driver_lab.virsh("domuuid", "victim").strip()


@pytest.fixture
def impatient(driver_lab: Lab) -> Login:
    return Login(driver_lab.uri, timeout_seconds=4)


@pytest.fixture
def driver(driver_lab: Lab, victim: str) -> Iterator[LibvirtDriver]:
    with LibvirtDriver(Login(driver_lab.uri)) as patient:
        for snapshot in reversed(patient.list_forests([victim])[victim].snapshots):
            patient.delete_snapshot(victim, snapshot.native_id, Watching())
        yield patient


def asked(memory: bool = True) -> SnapshotRequest:
    return SnapshotRequest(token=str(uuid4()), name="in danger", memory=memory)


def daemon(lab: Lab) -> int:
    return int((lab.layout.folder / "run" / "libvirtd.pid").read_text())


def qemu(lab: Lab, name: str) -> int:
    return int((lab.layout.folder / "run" / "libvirt" / "qemu" / "run" / f"{name}.pid").read_text())


@contextmanager
def frozen(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def in_the_background(work: Callable[[], object]) -> "Future[object]":
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


# Connecting


def test_a_daemon_that_is_silent_is_unreachable(driver_lab: Lab, impatient: Login) -> None:
    with frozen(daemon(driver_lab)), pytest.raises(Unreachable) as refusal:
        LibvirtDriver(impatient)
    assert refusal.value.outcome_known


def test_a_host_that_swallows_everything_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        address = f"qemu+tcp://127.0.0.1:{hole.getsockname()[1]}/system"
        with pytest.raises(Unreachable) as refusal:
            LibvirtDriver(Login(address, timeout_seconds=1))
    assert "did not answer" in refusal.value.detail


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable):
        LibvirtDriver(Login(f"qemu+tcp://127.0.0.1:{port}/system", timeout_seconds=5))


# Reading


def test_a_read_of_a_silent_daemon_times_out_and_works_again_when_it_speaks(
    driver_lab: Lab, victim: str, impatient: Login
) -> None:
    with LibvirtDriver(impatient) as driver:
        with frozen(daemon(driver_lab)), pytest.raises(TimedOut):
            driver.list_machines()
        assert victim in {machine.native_id for machine in driver.list_machines()}


def test_a_read_reconnects_after_the_daemon_was_killed_and_came_back(driver_lab: Lab, victim: str) -> None:
    with LibvirtDriver(Login(driver_lab.uri)) as driver:
        before = driver.read_machine(victim)
        os.kill(daemon(driver_lab), signal.SIGKILL)
        until(lambda: not driver_lab.is_up)
        driver_lab.up([])
        assert driver.read_machine(victim).native_id == before.native_id


def test_a_read_without_a_daemon_is_unreachable(driver_lab: Lab, victim: str) -> None:
    with LibvirtDriver(Login(driver_lab.uri)) as driver:
        driver_lab.stop_libvirtd()
        try:
            with pytest.raises(Unreachable):
                driver.read_machine(victim)
        finally:
            driver_lab.up([])
        assert driver.read_machine(victim).power_state == PowerState.RUNNING


def test_closing_a_driver_of_a_silent_daemon_ends(driver_lab: Lab, impatient: Login) -> None:
    driver = LibvirtDriver(impatient)
    with frozen(daemon(driver_lab)):
        driver.close()


def test_abandoned_calls_leave_no_thread_behind(driver_lab: Lab, impatient: Login) -> None:
    with LibvirtDriver(impatient) as driver, frozen(daemon(driver_lab)):
        with pytest.raises(TimedOut):
            driver.describe()
        # Keepalive breaks the connection although the daemon stays silent.
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "libvirt call"])


# Changing


def test_a_snapshot_that_takes_too_long_times_out_and_is_found_when_it_is_done(
    driver_lab: Lab, driver: LibvirtDriver, victim: str
) -> None:
    request = asked()
    with LibvirtDriver(Login(driver_lab.uri)) as other:
        with frozen(qemu(driver_lab, "victim")):
            with pytest.raises(TimedOut) as late:
                driver.create_snapshot(victim, request, Watching(deadline_seconds=1))
            assert not late.value.outcome_known
            assert other.operation_in_flight(victim)
            assert driver.operation_in_flight(victim)
        until(lambda: other.operation_in_flight(victim) is None)
        forest = other.list_forests([victim])[victim]
        assert [snapshot.token for snapshot in forest.snapshots] == [request.token]


def test_other_reads_go_on_while_a_machine_is_worked_on(driver_lab: Lab, driver: LibvirtDriver, victim: str) -> None:
    with LibvirtDriver(Login(driver_lab.uri, timeout_seconds=5)) as other:
        with frozen(qemu(driver_lab, "victim")):
            with pytest.raises(TimedOut):
                driver.create_snapshot(victim, asked(), Watching(deadline_seconds=1))
            machine = other.read_machine(victim)
            assert machine.power_state in (PowerState.RUNNING, PowerState.SUSPENDED)
            assert [volume.capacity_bytes for volume in machine.volumes] == [16 * MIB, 16 * MIB]
            assert victim in other.list_forests()
        until(lambda: other.operation_in_flight(victim) is None)


def test_a_delete_that_takes_too_long_is_seen_in_flight(driver_lab: Lab, driver: LibvirtDriver, victim: str) -> None:
    taken = driver.create_snapshot(victim, asked(), Watching())
    with frozen(qemu(driver_lab, "victim")):
        with pytest.raises(TimedOut):
            driver.delete_snapshot(victim, taken.native_id, Watching(deadline_seconds=1))
        assert driver.operation_in_flight(victim)
    until(lambda: driver.operation_in_flight(victim) is None)
    assert driver.list_forests([victim])[victim].snapshots == ()


def test_a_revert_under_way_is_seen_in_flight(driver_lab: Lab, driver: LibvirtDriver, victim: str) -> None:
    taken = driver.create_snapshot(victim, asked(), Watching())
    with LibvirtDriver(Login(driver_lab.uri)) as other:
        # A process that does not run does not end either: libvirt has to wait for it before it can begin the new one.
        with frozen(qemu(driver_lab, "victim")):
            work = in_the_background(
                lambda: driver.revert_to(victim, taken.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
            )
            until(lambda: other.operation_in_flight(victim) is not None)
            assert not work.done()
        work.result(PATIENCE)
        assert other.operation_in_flight(victim) is None
        assert other.read_machine(victim).power_state == PowerState.RUNNING


def test_a_daemon_that_dies_during_a_snapshot_leaves_the_outcome_unknown(
    driver_lab: Lab, driver: LibvirtDriver, victim: str
) -> None:
    request = asked()
    with LibvirtDriver(Login(driver_lab.uri)) as other, frozen(qemu(driver_lab, "victim")):
        work = in_the_background(lambda: driver.create_snapshot(victim, request, Watching()))
        until(lambda: other.operation_in_flight(victim) is not None)
        os.kill(daemon(driver_lab), signal.SIGKILL)
        with pytest.raises(ConnectionLost) as lost:
            work.result(PATIENCE)
        assert not lost.value.outcome_known
    until(lambda: not driver_lab.is_up)
    driver_lab.up([])
    until(lambda: driver.operation_in_flight(victim) is None)
    found = driver.list_forests([victim])[victim].by_token(request.token)
    again = driver.create_snapshot(victim, asked(), Watching())
    assert again.parent_id == (found.native_id if found else None)


def test_a_change_whose_answer_is_lost_is_sent_once(driver_lab: Lab, driver: LibvirtDriver, victim: str) -> None:
    request = asked()
    with frozen(daemon(driver_lab)), pytest.raises(HypervisorError) as unknown:
        driver.create_snapshot(victim, request, Watching(deadline_seconds=1))
    assert isinstance(unknown.value, TimedOut | Unreachable)
    until(lambda: driver.operation_in_flight(victim) is None)
    assert len(driver.list_forests([victim])[victim].snapshots) <= 1


# Processes


def _refusals_seen(inherited: LibvirtDriver, login: Login, answers: "multiprocessing.Queue[list[str]]") -> None:
    refusals = []
    for attempt in (inherited.describe, lambda: LibvirtDriver(login)):
        try:
            attempt()
        except Unreachable as refusal:
            refusals.append(refusal.detail)
    answers.put(refusals)


def test_a_process_forked_from_one_that_used_libvirt_is_refused_before_it_can_hang(
    driver_lab: Lab, driver: LibvirtDriver
) -> None:
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[list[str]] = context.Queue()
    child = context.Process(target=_refusals_seen, args=(driver, Login(driver_lab.uri), answers))
    child.start()
    refusals = answers.get(timeout=PATIENCE)
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert len(refusals) == 2
    assert all("forked" in detail for detail in refusals)
    assert driver.describe().native_id


PREFORK = """
    import multiprocessing, os, sys
    from hypervisors.driver import Login
    from hypervisors.drivers.libvirt import connection
    from hypervisors.drivers.libvirt.driver import LibvirtDriver

    def child(address):
        with LibvirtDriver(Login(address)) as driver:
            names = [machine.name for machine in driver.list_machines()]
        print(connection._loop_process == os.getpid(), *names, flush=True)

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(sys.argv[1],)) for _ in range(2)]
    [each.start() for each in children]
    [each.join() for each in children]
    sys.exit(max(each.exitcode for each in children))
"""


def test_children_of_a_parent_that_never_connected_have_an_event_loop_each(driver_lab: Lab, victim: str) -> None:
    del victim
    root = Path(__file__).parents[3]
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PREFORK), driver_lab.uri],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.splitlines() == ["True victim", "True victim"]

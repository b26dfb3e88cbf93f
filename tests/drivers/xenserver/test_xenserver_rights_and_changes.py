"""What a login may do, and what is told of changes."""

import pytest

from hypervisors import errors
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.xen_simulator.process import XenSimulator

from .ground import WAIT_SECONDS, Meanwhile, take
from .pool import (
    ElsewhereInThePool,
    add_machine,
    client_of,
    login_to,
)


def test_the_local_administrator_lacks_nothing(driver: XenServerDriver) -> None:
    assert driver.missing_privileges() == ()


@pytest.mark.parametrize(
    ("account", "lacks", "has"),
    [
        ("viewer", "vm.start (role vm-operator)", ""),
        ("operator", "vm.destroy (role vm-admin)", "vm.start"),
        ("vmadmin", "vm.snapshot (role vm-power-admin)", "vm.destroy"),
    ],
)
def test_what_a_login_lacks_is_named_with_the_role_that_has_it(
    pool: XenSimulator, account: str, lacks: str, has: str
) -> None:
    login = login_to(pool, username=account, password=pool.accounts[account].password)
    with XenServerDriver(login) as driver:
        missing = driver.missing_privileges()
        assert lacks in missing
        assert not has or not any(line.startswith(f"{has} ") for line in missing)


def test_a_login_without_the_right_is_told_which_one(pool: XenSimulator, machine: str) -> None:
    login = login_to(pool, username="vmadmin", password=pool.accounts["vmadmin"].password)
    with XenServerDriver(login) as driver, pytest.raises(errors.LoginRefused, match=r"vm\.snapshot"):
        take(driver, machine)


def test_a_login_that_may_only_look_reads_everything(pool: XenSimulator, machine: str) -> None:
    login = login_to(pool, username="viewer", password=pool.accounts["viewer"].password)
    with XenServerDriver(login) as driver:
        assert machine in driver.read_inventory().forests
        assert driver.wait_for_changes("", 0.0).machine_ids is None


def test_a_server_that_was_restarted_tells_everything_anew(pool: XenSimulator, machine: str) -> None:
    with XenServerDriver(login_to(pool)) as driver:
        cursor = driver.wait_for_changes("", 0.0).cursor
        pool.restart()
        changes = driver.wait_for_changes(cursor, 0.0)
        told = changes.machine_ids
        take(driver, machine)
        following = driver.wait_for_changes(changes.cursor, WAIT_SECONDS)
        assert told is None or following.machine_ids == {machine}


def test_a_session_that_ends_between_two_questions_loses_no_change(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    cursor = driver.wait_for_changes("", 0.0).cursor
    ElsewhereInThePool(pool).take(machine, "while nobody was logged in")
    pool.control.expire_sessions()
    assert driver.wait_for_changes(cursor, WAIT_SECONDS).machine_ids == {machine}


def test_a_session_that_ends_while_a_question_waits_is_renewed(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    cursor = driver.wait_for_changes("", 0.0).cursor
    held = pool.control.hold("event.from")
    waiting = Meanwhile(lambda: driver.wait_for_changes(cursor, WAIT_SECONDS))
    assert pool.control.wait_held(held)
    pool.control.expire_sessions()
    ElsewhereInThePool(pool).take(machine, "meanwhile")
    pool.control.release(held)
    assert waiting.result().machine_ids == {machine}


def test_a_token_that_the_server_cannot_read_starts_over(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    cursor = driver.wait_for_changes("", 0.0).cursor
    pool.control.refuse("event.from", "EVENT_FROM_TOKEN_PARSE_FAILURE", ["token"])
    assert driver.wait_for_changes(cursor, 0.0).machine_ids is None


def test_deletions_that_the_server_no_longer_remembers_are_noticed_by_counting(
    pool: XenSimulator, driver: XenServerDriver
) -> None:
    """It remembers the last 512 objects that were deleted."""
    machine = add_machine(pool, disks=[], snapshots=600)
    cursor = driver.wait_for_changes("", 0.0).cursor
    pool.control.vanish(machine, snapshots=True)
    assert driver.wait_for_changes(cursor, 0.0).machine_ids is None


def test_what_runs_on_by_itself_is_no_change(pool: XenSimulator, driver: XenServerDriver, running: str) -> None:
    cursor = driver.wait_for_changes("", 0.0).cursor
    api = client_of(pool).xenapi
    ref = api.VM.get_by_uuid(running)
    (volume,) = driver.read_machine(running).volumes
    pool.control.write(volume.native_id, 0, b"more and more")
    api.VM.set_xenstore_data(ref, {"vm-data/noise": "1"})
    api.SR.scan(api.VDI.get_SR(api.VDI.get_by_uuid(volume.native_id)))
    changes = driver.wait_for_changes(cursor, 0.0)
    assert (changes.machine_ids, changes.pools) == (frozenset(), False)

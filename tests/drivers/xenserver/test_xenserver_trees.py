"""Trees as other administrators leave them, and reverting within them."""

import pytest

from hypervisors import errors
from hypervisors.drivers.xenserver.driver import XenServerDriver
from hypervisors.records import PowerAfterRevert
from hypervisors.xen_simulator.process import XenSimulator

from ..contract import Watching
from .ground import AS_IT_WAS, forest, take
from .pool import (
    ElsewhereInThePool,
    add_machine,
    client_of,
)


def test_snapshots_of_the_same_name_are_told_apart(pool: XenSimulator, driver: XenServerDriver, machine: str) -> None:
    somebody = ElsewhereInThePool(pool)
    for _ in range(3):
        somebody.take(machine, "nightly")
    first, second, third = forest(driver, machine).snapshots
    driver.delete_snapshot(machine, second.native_id, Watching())
    left = forest(driver, machine)
    assert [snapshot.native_id for snapshot in left.snapshots] == [first.native_id, third.native_id]
    assert left.snapshots[1].parent_id == first.native_id
    assert left.current_id == third.native_id


def test_a_thousand_snapshots_in_one_tree_are_read_in_few_calls(pool: XenSimulator, driver: XenServerDriver) -> None:
    machine = add_machine(pool, disks=[], snapshots=1000)
    pool.control.clear()
    seen = forest(driver, machine)
    assert len(pool.control.calls()) < 10
    assert len(seen.snapshots) == 1000
    assert [s.parent_id for s in seen.snapshots] == [None, *(s.native_id for s in seen.snapshots[:-1])]
    assert seen.current_id == seen.snapshots[-1].native_id
    made = take(driver, machine, "one more")
    assert made.parent_id == seen.current_id
    assert driver.list_forests()[machine].current_id == made.native_id
    pool.control.vanish(machine, snapshots=True)


def test_snapshots_of_a_machine_that_is_gone_are_in_no_tree(
    pool: XenSimulator, driver: XenServerDriver, machine: str
) -> None:
    take(driver, machine)
    pool.control.vanish(machine)
    inventory = driver.read_inventory()
    assert machine not in inventory.forests
    assert inventory.forests.keys() == {record.native_id for record in inventory.machines}


def test_a_revert_keeps_the_names_and_the_folder_by_which_people_find_the_machine(
    pool: XenSimulator, driver: XenServerDriver
) -> None:
    machine = add_machine(pool, name="old name", description="old", folder="/old")
    snapshot = take(driver, machine)
    api = client_of(pool).xenapi
    ref = api.VM.get_by_uuid(machine)
    api.VM.set_name_label(ref, "new name")
    api.VM.set_name_description(ref, "new")
    api.VM.remove_from_other_config(ref, "folder")
    driver.revert_to(machine, snapshot.native_id, AS_IT_WAS, Watching())
    after = driver.read_machine(machine)
    assert (after.name, after.folder) == ("new name", "")
    assert api.VM.get_name_description(ref) == "new"


def test_the_second_step_of_a_revert_is_told_as_a_phase_of_its_own(
    pool: XenSimulator, driver: XenServerDriver, running: str
) -> None:
    snapshot = take(driver, running, memory=True)
    watch = Watching()
    driver.revert_to(running, snapshot.native_id, AS_IT_WAS, watch)
    phases = list(dict.fromkeys(phase for _, phase in watch.reports))
    assert phases == [
        "Switching the machine off, then reverting it",
        "Resuming the machine",
        "The machine is reverted",
    ]
    percents = [percent for percent, _ in watch.reports]
    assert percents == sorted(percents)


@pytest.mark.parametrize(
    ("message", "power"), [("VM.start", PowerAfterRevert.RUNNING), ("VM.set_name_label", AS_IT_WAS)]
)
def test_a_revert_whose_later_step_fails_says_that_it_is_done_so_far(
    pool: XenSimulator, driver: XenServerDriver, machine: str, message: str, power: PowerAfterRevert
) -> None:
    snapshot = take(driver, machine)
    api = client_of(pool).xenapi
    api.VM.set_name_label(api.VM.get_by_uuid(machine), "another name")
    pool.control.refuse(message, "NO_HOSTS_AVAILABLE")
    with pytest.raises(errors.Rejected, match="The machine is reverted") as refusal:
        driver.revert_to(machine, snapshot.native_id, power, Watching())
    assert not refusal.value.outcome_known
    assert forest(driver, machine).current_id == snapshot.native_id


def test_a_revert_that_xenserver_could_not_finish_warns_of_the_machine_and_tells_its_power_state(
    pool: XenSimulator, driver: XenServerDriver, running: str
) -> None:
    snapshot = take(driver, running)
    pool.control.refuse("VM.revert", "SR_FULL", ["1", "0"], step="clone-0")
    with pytest.raises(errors.Rejected, match=r"incomplete.*The machine is now stopped") as refusal:
        driver.revert_to(running, snapshot.native_id, AS_IT_WAS, Watching())
    assert not refusal.value.outcome_known

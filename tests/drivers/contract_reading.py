"""Promises about connecting and reading."""

from collections.abc import Callable

import pytest

from hypervisors.driver import HypervisorDriver, Login
from hypervisors.errors import HypervisorError, LoginRefused, NotFound, Unreachable
from hypervisors.records import PowerAfterRevert, PowerState, SnapshotForest

from .contract_ground import NOBODY, Ground, Subject, Watching, request

CALLS_FOR_NOBODY: dict[str, Callable[[HypervisorDriver], object]] = {
    "read": lambda driver: driver.read_machine(NOBODY),
    "in flight": lambda driver: driver.operation_in_flight(NOBODY),
    "create": lambda driver: driver.create_snapshot(NOBODY, request(), Watching()),
    "revert": lambda driver: driver.revert_to(NOBODY, NOBODY, PowerAfterRevert.AS_SNAPSHOT, Watching()),
    "delete": lambda driver: driver.delete_snapshot(NOBODY, NOBODY, Watching()),
    "delete below": lambda driver: driver.delete_with_descendants(NOBODY, NOBODY, Watching()),
    "delete all": lambda driver: driver.delete_all(NOBODY, Watching()),
    "rename": lambda driver: driver.rename_snapshot(NOBODY, NOBODY, "name", ""),
    "start": lambda driver: driver.start(NOBODY, Watching()),
    "stop by force": lambda driver: driver.stop(NOBODY, True, Watching()),
    "stop": lambda driver: driver.stop(NOBODY, False, Watching()),
    "attach": lambda driver: driver.attach_volume(NOBODY, NOBODY),
    "detach": lambda driver: driver.detach_volume(NOBODY, NOBODY, Watching()),
}


class Reading(Ground):
    """An endpoint, its pools, machines, volumes and forests, as they are."""

    # Connecting

    def test_closing_twice_is_safe(self, connect: Callable[[], HypervisorDriver]) -> None:
        driver = connect()
        driver.close()
        driver.close()

    def test_leaving_the_block_closes_the_driver(self, login: Login) -> None:
        with self.driver_class(login) as driver:
            assert driver.describe().native_id
        with pytest.raises(HypervisorError):
            driver.describe()

    def test_an_address_without_a_hypervisor_is_unreachable(self, unreachable_login: Login) -> None:
        with pytest.raises(Unreachable) as refusal:
            self.driver_class(unreachable_login)
        assert refusal.value.detail

    # Reading

    def test_the_endpoint_names_itself_the_same_way_every_time(self, connect: Callable[[], HypervisorDriver]) -> None:
        host = connect().describe()
        assert host.native_id
        assert host.product
        assert host.version
        assert connect().describe() == host

    def test_pools_have_sizes_while_they_are_active(self, driver: HypervisorDriver) -> None:
        pools = driver.list_pools()
        assert len({pool.native_id for pool in pools}) == len(pools)
        for pool in pools:
            assert pool.name
            if pool.active:
                assert pool.total_bytes is not None
                assert pool.free_bytes is not None
                assert 0 <= pool.free_bytes <= pool.total_bytes
            else:
                assert (pool.total_bytes, pool.free_bytes) == (None, None)

    def test_machines_are_listed_with_power_state_and_volumes(
        self, driver: HypervisorDriver, stopped_machine: str, running_machine: str
    ) -> None:
        machines = {machine.native_id: machine for machine in driver.list_machines()}
        assert machines[stopped_machine].power_state == PowerState.STOPPED
        assert machines[running_machine].power_state == PowerState.RUNNING
        pools = {pool.native_id for pool in driver.list_pools()}
        for machine in machines.values():
            assert machine.name
            assert machine.memory_bytes > 0
            assert len({volume.target for volume in machine.volumes}) == len(machine.volumes)
            for volume in machine.volumes:
                assert volume.target
                assert volume.capacity_bytes >= 0
                assert volume.pool_id is None or volume.pool_id in pools

    def test_what_cannot_be_done_says_why(self, driver: HypervisorDriver) -> None:
        for machine in driver.list_machines():
            for name, ability in machine.capabilities.as_json().items():
                assert bool(ability["reason"]) != ability["allowed"], name

    def test_one_machine_reads_as_it_is_listed(
        self, driver: HypervisorDriver, stopped_machine: str, running_machine: str
    ) -> None:
        listed = {machine.native_id: machine for machine in driver.list_machines()}
        assert driver.read_machine(stopped_machine) == listed[stopped_machine]
        one, other = driver.read_machine(running_machine), listed[running_machine]
        assert (one.name, one.power_state, one.memory_bytes, one.capabilities) == (
            other.name,
            other.power_state,
            other.memory_bytes,
            other.capabilities,
        )
        # What its disks occupy may have changed meanwhile.
        assert [volume.native_id for volume in one.volumes] == [volume.native_id for volume in other.volumes]

    def test_loose_volumes_are_attached_to_no_machine(self, driver: HypervisorDriver) -> None:
        attached = {volume.native_id for machine in driver.list_machines() for volume in machine.volumes}
        for volume in driver.list_loose_volumes():
            assert volume.native_id not in attached
            assert volume.target == ""

    def test_forests_of_all_machines_have_an_entry_for_each(self, driver: HypervisorDriver) -> None:
        assert driver.list_forests().keys() == {machine.native_id for machine in driver.list_machines()}

    def test_forests_are_those_asked_for_and_none_for_a_machine_that_is_gone(
        self, driver: HypervisorDriver, stopped_machine: str
    ) -> None:
        assert driver.list_forests([stopped_machine, NOBODY]) == {stopped_machine: SnapshotForest()}
        assert driver.list_forests([]) == {}

    def test_nothing_is_in_flight_on_an_idle_machine(
        self, driver: HypervisorDriver, stopped_machine: str, running_machine: str
    ) -> None:
        assert driver.operation_in_flight(stopped_machine) is None
        assert driver.operation_in_flight(running_machine) is None

    def test_the_inventory_is_what_the_single_reads_say(self, driver: HypervisorDriver, subject: Subject) -> None:
        self.take(driver, subject, "in the inventory")
        inventory = driver.read_inventory()
        assert inventory.host == driver.describe()
        assert {pool.native_id for pool in inventory.pools} == {pool.native_id for pool in driver.list_pools()}
        assert {m.native_id for m in inventory.machines} == {m.native_id for m in driver.list_machines()}
        assert set(inventory.loose_volumes) == set(driver.list_loose_volumes())
        assert inventory.forests == driver.list_forests()

    @pytest.mark.parametrize("call", CALLS_FOR_NOBODY.values(), ids=CALLS_FOR_NOBODY.keys())
    def test_a_machine_that_is_gone_is_not_found(
        self, driver: HypervisorDriver, call: Callable[[HypervisorDriver], object]
    ) -> None:
        with pytest.raises(NotFound) as refusal:
            call(driver)
        assert refusal.value.detail


class AsksForALogin(Ground):
    """For a hypervisor that lets only some in."""

    @pytest.fixture
    def refused_login(self) -> Login:
        """A login that this hypervisor refuses."""
        raise NotImplementedError

    def test_a_wrong_login_is_refused(self, refused_login: Login) -> None:
        with pytest.raises(LoginRefused) as refusal:
            self.driver_class(refused_login)
        assert refused_login.password not in refusal.value.detail

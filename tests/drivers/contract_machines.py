"""Promises about power and volumes."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from hypervisors.driver import HypervisorDriver
from hypervisors.errors import Busy, NotFound, Unsupported
from hypervisors.records import PowerState, VolumeRecord

from .contract_ground import NOBODY, Ground, Watching


class Machines(Ground):
    """Starting, stopping, attaching, detaching."""

    # Power

    def test_a_machine_starts_and_is_stopped_by_force(self, driver: HypervisorDriver, stopped_machine: str) -> None:
        can = driver.read_machine(stopped_machine).capabilities
        if self.refused_for_want_of(can.start, lambda: driver.start(stopped_machine, Watching())):
            return
        driver.start(stopped_machine, Watching())
        assert driver.read_machine(stopped_machine).power_state == PowerState.RUNNING
        driver.stop(stopped_machine, True, Watching())
        assert driver.read_machine(stopped_machine).power_state == PowerState.STOPPED

    def test_starting_what_runs_and_stopping_what_is_off_does_nothing(
        self, driver: HypervisorDriver, stopped_machine: str, running_machine: str
    ) -> None:
        driver.start(running_machine, Watching())
        assert driver.read_machine(running_machine).power_state == PowerState.RUNNING
        for force in (False, True):
            driver.stop(stopped_machine, force, Watching())
            assert driver.read_machine(stopped_machine).power_state == PowerState.STOPPED

    # Volumes

    def test_a_volume_that_is_gone_is_not_found(self, driver: HypervisorDriver, stopped_machine: str) -> None:
        can = driver.read_machine(stopped_machine).capabilities
        with pytest.raises(NotFound if can.attach.allowed else Unsupported):
            driver.attach_volume(stopped_machine, NOBODY)
        with pytest.raises(NotFound if can.detach.allowed else Unsupported):
            driver.detach_volume(stopped_machine, NOBODY, Watching())


class HasLooseVolumes(Ground):
    """For a hypervisor with volumes that no machine has."""

    @pytest.fixture
    def loose(self, driver: HypervisorDriver, stopped_machine: str) -> Iterator[VolumeRecord]:
        volumes = driver.list_loose_volumes()
        assert volumes
        yield volumes[0]
        with suppress(NotFound, Unsupported):  # it is loose already, or cannot be made so
            driver.detach_volume(stopped_machine, volumes[0].native_id, Watching())

    def test_a_loose_volume_is_attached_and_comes_loose_again(
        self, driver: HypervisorDriver, stopped_machine: str, loose: VolumeRecord
    ) -> None:
        can = driver.read_machine(stopped_machine).capabilities
        if self.refused_for_want_of(can.attach, lambda: driver.attach_volume(stopped_machine, loose.native_id)):
            return
        had = driver.read_machine(stopped_machine).volumes
        attached = driver.attach_volume(stopped_machine, loose.native_id)
        assert attached.native_id == loose.native_id
        assert attached.target not in {"", *(volume.target for volume in had)}
        assert set(driver.read_machine(stopped_machine).volumes) == {*had, attached}
        assert loose.native_id not in {volume.native_id for volume in driver.list_loose_volumes()}
        driver.detach_volume(stopped_machine, loose.native_id, Watching())
        assert set(driver.read_machine(stopped_machine).volumes) == set(had)
        assert loose in driver.list_loose_volumes()

    def test_a_volume_that_is_attached_elsewhere_is_busy(
        self, driver: HypervisorDriver, stopped_machine: str, running_machine: str, loose: VolumeRecord
    ) -> None:
        ability = driver.read_machine(stopped_machine).capabilities.attach
        if self.refused_for_want_of(ability, lambda: driver.attach_volume(stopped_machine, loose.native_id)):
            return
        driver.attach_volume(stopped_machine, loose.native_id)
        with pytest.raises(Busy):
            driver.attach_volume(running_machine, loose.native_id)
        with pytest.raises(NotFound):
            driver.detach_volume(running_machine, loose.native_id, Watching())
        assert loose.native_id in {volume.native_id for volume in driver.read_machine(stopped_machine).volumes}

"""How the vSphere driver is told what changed when things go wrong, and what beyond snapshots it is told of. That it loses
and repeats nothing is the contract's part."""

import ssl

import pytest

from hypervisors.driver import Login
from hypervisors.drivers.vmware.driver import VMwareDriver
from hypervisors.errors import HypervisorError, LoginRefused, Unreachable
from hypervisors.records import Changes
from tests.vsphere_simulator.server import VsphereSimulator
from tests.vsphere_simulator.world import LooseDisk, Machine, World

from ..contract import Watching, request
from .hostile_vsphere import KEEP, HostileServer, answer, envelope, reference
from .vsphere_ground import login_to, named, needs_simulator

WORLD = World(
    machines=(Machine("web", running=True), Machine("db")), loose_disks=(LooseDisk("[LocalDS_0] spare/spare.vmdk"),)
)


@pytest.fixture
def begun(driver: VMwareDriver) -> Changes:
    """Everything there is to hear was heard."""
    changes = driver.wait_for_changes("", 0)
    assert changes.machine_ids is None
    return changes


@needs_simulator
class TestOverTheSimulator:
    def test_a_session_that_ended_means_that_everything_is_read(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        server.end_sessions()
        again = driver.wait_for_changes(begun.cursor, 20)
        assert (again.machine_ids, again.pools) == (None, True)
        assert again.cursor != begun.cursor
        driver.create_snapshot(named(driver, "web"), request(), Watching())
        assert driver.wait_for_changes(again.cursor, 20).machine_ids == {named(driver, "web")}

    def test_a_session_that_ends_while_waiting_is_begun_anew(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        server.fail("WaitForUpdatesEx", "NotAuthenticated", at_call=True)
        assert driver.wait_for_changes(begun.cursor, 20).machine_ids is None

    def test_a_version_that_the_server_lost_means_that_everything_is_read(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        server.fail("WaitForUpdatesEx", "InvalidCollectorVersion", at_call=True)
        assert driver.wait_for_changes(begun.cursor, 20).machine_ids is None

    def test_a_filter_that_is_gone_is_made_anew(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        server.fail("WaitForUpdatesEx", "ManagedObjectNotFound", at_call=True)
        assert driver.wait_for_changes(begun.cursor, 20).machine_ids is None

    def test_a_server_started_anew_means_that_everything_is_read(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        server.restart()
        assert driver.wait_for_changes(begun.cursor, 20).machine_ids is None

    def test_a_server_that_is_away_is_unreachable(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        server.kill()
        with pytest.raises(Unreachable) as away:
            driver.wait_for_changes(begun.cursor, 0)
        assert away.value.outcome_known
        server.start()

    def test_a_password_that_was_changed_is_a_refused_login(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        server.end_sessions()
        server.fail("Login", "InvalidLogin", at_call=True, times=0)
        with pytest.raises(LoginRefused):
            driver.wait_for_changes(begun.cursor, 0)

    def test_the_answer_of_another_driver_object_is_no_cursor_of_this_one(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        with VMwareDriver(login_to(server)) as other:
            assert other.wait_for_changes(begun.cursor, 0).machine_ids is None

    def test_questions_and_consolidation_are_told(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        web, db = named(driver, "web"), named(driver, "db")
        server.ask("web", "Well?")
        told = driver.wait_for_changes(begun.cursor, 20)
        assert told.machine_ids == {web}
        server.set_needs_consolidation("db", needed=True)
        told = driver.wait_for_changes(told.cursor, 20)
        assert told.machine_ids == {db}

    def test_attaching_tells_the_machine_and_that_loose_volumes_changed(
        self, driver: VMwareDriver, begun: Changes
    ) -> None:
        db = named(driver, "db")
        (loose,) = driver.list_loose_volumes()
        driver.attach_volume(db, loose.native_id)
        told = driver.wait_for_changes(begun.cursor, 20)
        assert (told.machine_ids, told.pools) == ({db}, True)

    def test_a_datastore_that_fills_is_told_as_a_change_of_pools(
        self, server: VsphereSimulator, driver: VMwareDriver, begun: Changes
    ) -> None:
        server.set_free_space("LocalDS_0", 1 << 30)
        told = driver.wait_for_changes(begun.cursor, 20)
        assert (told.machine_ids, told.pools) == (frozenset(), True)

    def test_the_filter_and_the_session_are_given_back(self, server: VsphereSimulator) -> None:
        before = server.sessions()
        with VMwareDriver(login_to(server)) as driver:
            driver.wait_for_changes("", 0)
        assert server.sessions() == before


# Against a server whose answers the test writes


VM = "50000000-0000-4000-8000-000000000001"


def updates(version: str, *objects: str, truncated: bool = False) -> bytes:
    """An answer of WaitForUpdatesEx."""
    return answer(
        envelope(
            f'<WaitForUpdatesExResponse xmlns="urn:vim25"><returnval><version>{version}</version>'
            '<filterSet><filter type="PropertyFilter">filter</filter>'
            + "".join(f"<objectSet>{one}</objectSet>" for one in objects)
            + f"</filterSet><truncated>{str(truncated).lower()}</truncated></returnval></WaitForUpdatesExResponse>"
        )
    )


def update(kind: str, managed: str, value: str, path: str = "", new: str = "") -> str:
    change = f'<changeSet><name>{path}</name><op>assign</op><val xsi:type="xsd:string">{new}</val></changeSet>'
    return f'<kind>{kind}</kind><obj type="{managed}">{value}</obj>{change if path else ""}'


ENTERS = update("enter", "VirtualMachine", "vm-1", "summary.config.instanceUuid", VM)
NOTHING = answer(envelope('<WaitForUpdatesExResponse xmlns="urn:vim25"></WaitForUpdatesExResponse>'))


class Scripted:
    """Answers WaitForUpdatesEx with one answer after the other."""

    def __init__(self, server: HostileServer, *answers: bytes) -> None:
        self._server, self._answers = server, list(answers)
        server.answers["WaitForUpdatesEx"] = self._next

    def _next(self, client: ssl.SSLSocket) -> object:
        client.sendall(self._answers.pop(0))
        return KEEP


@pytest.fixture
def odd(odd: HostileServer) -> HostileServer:
    """It lets filters be made and destroyed."""
    odd.answers["CreateFilter"] = answer(envelope(reference("CreateFilter", "PropertyFilter", "filter")))
    odd.answers["DestroyPropertyFilter"] = answer(envelope('<DestroyPropertyFilterResponse xmlns="urn:vim25"/>'))
    return odd


class TestOddAnswers:
    def test_a_truncated_answer_is_asked_on_at_once(self, odd: HostileServer, odd_driver: VMwareDriver) -> None:
        Scripted(odd, updates("1", ENTERS, truncated=True), updates("2"))
        begun = odd_driver.wait_for_changes("", 0)
        assert begun.machine_ids is None
        Scripted(
            odd,
            updates("3", update("modify", "VirtualMachine", "vm-1"), truncated=True),
            updates("4", update("enter", "VirtualMachine", "vm-2")),
        )
        told = odd_driver.wait_for_changes(begun.cursor, 60)
        assert told.machine_ids == {VM, "vm-2"}

    def test_a_machine_that_left_is_named_as_it_was(self, odd: HostileServer, odd_driver: VMwareDriver) -> None:
        Scripted(odd, updates("1", ENTERS))
        begun = odd_driver.wait_for_changes("", 0)
        Scripted(odd, updates("2", update("leave", "VirtualMachine", "vm-1")))
        told = odd_driver.wait_for_changes(begun.cursor, 60)
        assert (told.machine_ids, told.pools) == ({VM}, True)

    def test_when_the_first_of_two_with_one_uuid_leaves_both_names_are_told(
        self, odd: HostileServer, odd_driver: VMwareDriver
    ) -> None:
        copy = update("enter", "VirtualMachine", "vm-2", "summary.config.instanceUuid", VM)
        Scripted(odd, updates("1", ENTERS, copy))
        begun = odd_driver.wait_for_changes("", 0)
        Scripted(odd, updates("2", update("leave", "VirtualMachine", "vm-1")))
        assert odd_driver.wait_for_changes(begun.cursor, 60).machine_ids == {VM, f"{VM}/vm-2"}

    @pytest.mark.parametrize("kind", ["Folder", "Datacenter", "ResourcePool"])
    def test_a_folder_with_another_name_means_that_everything_is_read(
        self, odd: HostileServer, odd_driver: VMwareDriver, kind: str
    ) -> None:
        Scripted(odd, updates("1", ENTERS))
        begun = odd_driver.wait_for_changes("", 0)
        Scripted(odd, updates("2", update("modify", kind, "one", "name", "other")))
        assert odd_driver.wait_for_changes(begun.cursor, 60).machine_ids is None

    def test_a_new_folder_alone_is_nothing_to_tell(self, odd: HostileServer, odd_driver: VMwareDriver) -> None:
        Scripted(odd, updates("1", ENTERS))
        begun = odd_driver.wait_for_changes("", 0)
        Scripted(odd, updates("2", update("enter", "Folder", "group-v9", "name", "new")), NOTHING, NOTHING, NOTHING)
        told = odd_driver.wait_for_changes(begun.cursor, 0.15)
        assert (told.machine_ids, told.pools) == (frozenset(), False)
        assert told.cursor != begun.cursor

    def test_an_answer_that_never_ends_is_bounded_by_the_time(
        self, odd: HostileServer, odd_driver: VMwareDriver
    ) -> None:
        odd_driver._connection._login = Login(odd.address, "u", "p", timeout_seconds=0.5)
        odd.answers["WaitForUpdatesEx"] = updates("1", ENTERS, truncated=True)
        with pytest.raises(HypervisorError):
            odd_driver.wait_for_changes("", 0)

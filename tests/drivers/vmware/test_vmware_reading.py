"""Reading through the vSphere driver: what it finds, in how many calls, and what it leaves out."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pyVmomi import vim

from hypervisors.drivers.vmware import properties
from hypervisors.drivers.vmware.driver import VMwareDriver
from hypervisors.drivers.vmware.soap import Stub
from hypervisors.errors import HypervisorError, LoginRefused, NotFound
from hypervisors.records import PowerAfterRevert
from tests.vsphere_simulator.server import VsphereSimulator
from tests.vsphere_simulator.world import GIB, Datastore, LooseDisk, Machine, World

from ..contract import Watching, request, shape
from .hostile_vsphere import HostileServer, answer, envelope, reference
from .vsphere_ground import Administrator, administrator_at, named, needs_simulator

WORLD = World(
    machines=(
        Machine(
            "web",
            running=True,
            disk_bytes=(4 * GIB, GIB),
            folder="web/production",
            pool="gold",
            fields={"owner": "Dora"},
        ),
        Machine("db", memory_mib=1024, snapshots=2),
        Machine("plain", disk_bytes=()),
    ),
    loose_disks=(LooseDisk("[LocalDS_1] spare/spare.vmdk"),),
    datastores=(Datastore(100 * GIB, 40 * GIB), Datastore(50 * GIB, 50 * GIB)),
)


@pytest.fixture
def server(lasting_server: VsphereSimulator) -> VsphereSimulator:
    return lasting_server


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the driver's calls by method from here on."""
    counted: Counter[str] = Counter()
    invoke = Stub.InvokeMethod

    def counting(stub: Any, managed: Any, info: Any, arguments: Any, outerStub: Any = None) -> Any:
        counted[info.wsdlName] += 1
        return invoke(stub, managed, info, arguments, outerStub)

    monkeypatch.setattr(Stub, "InvokeMethod", counting)
    return counted


@needs_simulator
class TestWhatIsFound:
    def test_the_endpoint_says_what_it_is(self, driver: VMwareDriver) -> None:
        host = driver.describe()
        assert (host.product, host.name, host.simulator) == ("VMware vCenter Server", "127.0.0.1", True)
        assert host.version.startswith("6.5")

    def test_machines_tell_where_they_are_filed_and_how_they_are_marked(self, driver: VMwareDriver) -> None:
        machines = {machine.name: machine for machine in driver.list_machines()}
        web, db = machines["web"], machines["db"]
        assert (web.folder, web.resource_pool, web.tags) == ("/DC0/vm/web/production", "gold", ("owner=Dora",))
        assert (db.folder, db.tags) == ("/DC0/vm", ())
        assert (web.memory_bytes, db.memory_bytes) == (512 << 20, 1 << 30)
        assert (web.question, web.needs_consolidation) == ("", False)
        assert machines["plain"].volumes == ()

    def test_volumes_name_their_pool_place_and_size(self, driver: VMwareDriver) -> None:
        pools = {pool.native_id: pool.name for pool in driver.list_pools()}
        volumes = driver.read_machine(named(driver, "web")).volumes
        assert [(volume.target, volume.capacity_bytes) for volume in volumes] == [
            ("scsi0:0", 4 * GIB),
            ("scsi0:1", GIB),
        ]
        assert {pools[volume.pool_id or ""] for volume in volumes} == {"LocalDS_0"}

    def test_pools_have_the_datastores_sizes(self, server: VsphereSimulator, driver: VMwareDriver) -> None:
        server.set_free_space("LocalDS_0", 40 * GIB)
        pools = {pool.name: pool for pool in driver.list_pools()}
        assert (pools["LocalDS_0"].total_bytes, pools["LocalDS_0"].free_bytes) == (100 * GIB, 40 * GIB)
        server.set_accessible("LocalDS_1", accessible=False)
        away = {pool.name: pool for pool in driver.list_pools()}["LocalDS_1"]
        assert (away.active, away.total_bytes, away.free_bytes) == (False, None, None)
        assert driver.list_loose_volumes() == []
        server.set_accessible("LocalDS_1", accessible=True)

    def test_snapshots_have_sizes(self, driver: VMwareDriver) -> None:
        db = named(driver, "db")
        assert all(snapshot.measured_bytes for snapshot in driver.list_forests([db])[db].snapshots)

    def test_files_of_snapshots_are_no_loose_volumes(self, driver: VMwareDriver) -> None:
        """Nor those on branches that no machine stands on: writing to one would ruin what builds on it."""
        db = named(driver, "db")
        root = driver.list_forests([db])[db].snapshots[0]
        free = {volume.native_id for volume in driver.list_loose_volumes()}
        driver.create_snapshot(db, request("a branch"), Watching())
        driver.revert_to(db, root.native_id, PowerAfterRevert.AS_SNAPSHOT, Watching())
        assert {volume.native_id for volume in driver.list_loose_volumes()} == free
        assert len(free) == 1

    def test_names_with_slashes_are_shown_as_people_wrote_them(
        self, server: VsphereSimulator, driver: VMwareDriver
    ) -> None:
        with administrator_at(server) as administrator:
            made = administrator.make("50%25 a%2fb")
            try:
                assert driver.read_machine(made).name == "50% a/b"
            finally:
                administrator.destroy(made)

    def test_a_template_is_no_machine(self, server: VsphereSimulator, driver: VMwareDriver) -> None:
        with administrator_at(server) as administrator:
            made = administrator.make("a template")
            administrator.machine(made).MarkAsTemplate()
            try:
                assert made not in {machine.native_id for machine in driver.list_machines()}
                assert made not in driver.list_forests()
                with pytest.raises(NotFound):
                    driver.read_machine(made)
            finally:
                _destroy_template(administrator, made)

    def test_two_machines_with_the_same_uuid_are_told_apart(
        self, server: VsphereSimulator, driver: VMwareDriver
    ) -> None:
        db = named(driver, "db")
        with administrator_at(server) as administrator:
            made = administrator.make("a copy")
            copy = administrator.machine(made)
            administrator.wait(copy.Reconfigure(vim.vm.ConfigSpec(instanceUuid=db)))
            try:
                names = {machine.native_id: machine.name for machine in driver.list_machines()}
                assert names[db] == "db"
                assert names[f"{db}/{copy._GetMoId()}"] == "a copy"
                assert driver.list_forests().keys() == names.keys()
            finally:
                administrator.wait(copy.Destroy())


def _destroy_template(administrator: Administrator, made: str) -> None:
    machine = administrator.machine(made)
    pool = administrator.found(vim.ResourcePool)[0]
    machine.MarkAsVirtualMachine(pool, None)
    administrator.destroy(made)


@needs_simulator
class TestInHowManyCalls:
    READ_INVENTORY = Counter(
        {
            "CreateContainerView": 1,
            "RetrievePropertiesEx": 2,  # everything, and how the searches of the datastores stand
            "SearchDatastoreSubFolders_Task": 2,  # one per datastore
        }
    )

    def test_reading_everything_takes_the_same_calls_whatever_there_is(
        self, server: VsphereSimulator, driver: VMwareDriver, calls: Counter[str]
    ) -> None:
        driver.read_inventory()
        assert calls == self.READ_INVENTORY
        for number in range(20):
            server.add_machine(Machine(f"more {number}", snapshots=3))
        calls.clear()
        inventory = driver.read_inventory()
        assert len(inventory.machines) == 23
        assert calls == self.READ_INVENTORY - Counter(["CreateContainerView"])
        for number in range(20):
            server.delete_machine(f"more {number}")

    @pytest.mark.parametrize(
        ("read", "expected"),
        [
            (lambda d, m: d.list_machines(), {"CreateContainerView": 1, "RetrievePropertiesEx": 1}),
            (lambda d, m: d.list_pools(), {"CreateContainerView": 1, "RetrievePropertiesEx": 1}),
            (lambda d, m: d.list_forests(), {"CreateContainerView": 1, "RetrievePropertiesEx": 1}),
            (lambda d, m: d.describe(), {}),
        ],
        ids=["machines", "pools", "forests", "the endpoint"],
    )
    def test_bulk_reads_take_one(
        self,
        driver: VMwareDriver,
        calls: Counter[str],
        read: Callable[[VMwareDriver, str], object],
        expected: dict[str, int],
    ) -> None:
        read(driver, "")
        assert calls == expected

    def test_many_forests_by_name_take_as_many_calls_as_a_few(self, driver: VMwareDriver, calls: Counter[str]) -> None:
        ids = [machine.native_id for machine in driver.list_machines()]
        calls.clear()
        unknown = [f"00000000-0000-4000-8000-{number:012}" for number in range(40)]
        assert driver.list_forests([*ids, *unknown]).keys() == set(ids)
        assert calls == {"RetrievePropertiesEx": 2}

    def test_an_answer_in_pages_is_the_same_as_in_one(
        self, driver: VMwareDriver, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = driver.read_inventory()
        monkeypatch.setattr(properties, "PAGE_OBJECTS", 2)
        assert driver.read_inventory() == whole
        assert calls["ContinueRetrievePropertiesEx"] > 3


@needs_simulator
class TestPrivileges:
    def test_nothing_is_missing_for_an_administrator(self, driver: VMwareDriver) -> None:
        assert driver.missing_privileges() == ()

    def test_what_is_missing_is_named(self, server: VsphereSimulator, driver: VMwareDriver) -> None:
        server.take_privileges("VirtualMachine.State.RevertToSnapshot", "Datastore.Browse")
        try:
            assert driver.missing_privileges() == ("Datastore.Browse", "VirtualMachine.State.RevertToSnapshot")
        finally:
            server.clear()

    def test_a_datastore_that_may_not_be_searched_shows_no_loose_volumes(
        self, server: VsphereSimulator, driver: VMwareDriver
    ) -> None:
        server.fail("SearchDatastoreSubFolders_Task", "NoPermission", at_call=True, times=2)
        assert driver.list_loose_volumes() == []
        assert driver.list_loose_volumes() != []


# Against a server that says what the simulator cannot


VM = "50000000-0000-4000-8000-000000000001"


def objects(*parts: str) -> bytes:
    """An answer of RetrievePropertiesEx."""
    return answer(
        envelope(
            '<RetrievePropertiesExResponse xmlns="urn:vim25"><returnval>'
            + "".join(f"<objects>{part}</objects>" for part in parts)
            + "</returnval></RetrievePropertiesExResponse>"
        )
    )


def value(path: str, kind: str, text: str) -> str:
    return f'<propSet><name>{path}</name><val xsi:type="{kind}">{text}</val></propSet>'


def missing(path: str, fault: str) -> str:
    return (
        f'<missingSet><path>{path}</path><fault><fault xsi:type="{fault}">'
        f'<object type="VirtualMachine">vm-1</object><privilegeId>System.Read</privilegeId></fault></fault></missingSet>'
    )


ITSELF = f'<obj type="VirtualMachine">vm-1</obj>{value("summary.config.instanceUuid", "xsd:string", VM)}'


class TestOddAnswers:
    @pytest.fixture(autouse=True)
    def _known(self, odd: HostileServer) -> None:
        odd.answers["FindAllByUuid"] = answer(envelope(reference("FindAllByUuid", "VirtualMachine", "vm-1")))

    def test_a_tree_of_a_thousand_levels_is_read_whole(self, odd: HostileServer, odd_driver: VMwareDriver) -> None:
        node = (
            '<snapshot type="VirtualMachineSnapshot">snapshot-{0}</snapshot><vm type="VirtualMachine">vm-1</vm>'
            "<name>s{0}</name>"
            "<description/><id>1</id><createTime>2026-01-01T00:00:00Z</createTime><state>poweredOff</state>"
            "<quiesced>false</quiesced>"
        )
        tree = "".join(f"<childSnapshotList>{node.format(n)}" for n in range(1, 1000)) + "</childSnapshotList>" * 999
        info = (
            '<currentSnapshot type="VirtualMachineSnapshot">snapshot-999</currentSnapshot>'
            f"<rootSnapshotList>{node.format(0)}{tree}</rootSnapshotList>"
        )
        odd.answers["RetrievePropertiesEx"] = objects(ITSELF + value("snapshot", "VirtualMachineSnapshotInfo", info))
        forest = odd_driver.list_forests([VM])[VM]
        assert len(forest.snapshots) == 1000
        assert forest.current_id == "snapshot-999"
        assert shape(forest)["s999"] == "s998"

    def test_what_may_not_be_read_is_not_taken_for_what_is_not_there(
        self, odd: HostileServer, odd_driver: VMwareDriver, caplog: pytest.LogCaptureFixture
    ) -> None:
        odd.answers["RetrievePropertiesEx"] = objects(ITSELF + missing("snapshot", "NoPermission"))
        assert odd_driver.list_forests() == {}
        assert odd_driver.list_machines() == []
        assert "cannot be read" in caplog.text
        with pytest.raises(LoginRefused) as refusal:
            odd_driver.list_forests([VM])
        assert "System.Read" in refusal.value.detail

    def test_a_session_that_ended_shows_in_the_missing_set_on_some_servers(
        self, odd: HostileServer, odd_driver: VMwareDriver
    ) -> None:
        odd.answers["RetrievePropertiesEx"] = objects(ITSELF + missing("snapshot", "NotAuthenticated"))
        with pytest.raises(LoginRefused):
            odd_driver.list_forests()
        assert odd.requests.count("Login") == 2

    def test_a_path_that_an_old_server_does_not_know_is_not_set(
        self, odd: HostileServer, odd_driver: VMwareDriver
    ) -> None:
        unknown = (
            '<missingSet><path>capability.poweredOffSnapshotsSupported</path><fault><fault xsi:type="InvalidProperty">'
            "<name>x</name></fault></fault></missingSet>"
        )
        odd.answers["RetrievePropertiesEx"] = objects(ITSELF + unknown)
        (machine,) = odd_driver.list_machines()
        assert machine.capabilities.disk_when_stopped.allowed

    @pytest.mark.parametrize(
        "wrong",
        [
            value("snapshot", "xsd:string", "no tree"),
            value("config.hardware.device", "xsd:int", "7"),
            value("layoutEx.file", "xsd:string", "no files"),
            value("summary.config.memorySizeMB", "xsd:string", "much"),
            value("customValue", "xsd:boolean", "true"),
        ],
    )
    def test_values_of_the_wrong_type_are_one_of_our_errors(
        self, odd: HostileServer, odd_driver: VMwareDriver, wrong: str
    ) -> None:
        odd.answers["RetrievePropertiesEx"] = objects(ITSELF + wrong)
        with pytest.raises(HypervisorError) as refusal:
            odd_driver.read_inventory()
        assert "cannot be used" in refusal.value.detail
        assert refusal.value.outcome_known

    def test_an_esxi_host_without_an_id_goes_by_its_address(self, odd: HostileServer, odd_driver: VMwareDriver) -> None:
        assert odd_driver.describe().native_id == f"127.0.0.1:{odd.port}"

    def test_a_page_without_end_token_or_objects_is_an_empty_answer(
        self, odd: HostileServer, odd_driver: VMwareDriver
    ) -> None:
        odd.answers["RetrievePropertiesEx"] = answer(
            envelope('<RetrievePropertiesExResponse xmlns="urn:vim25"></RetrievePropertiesExResponse>')
        )
        assert odd_driver.list_machines() == []
        assert odd_driver.list_pools() == []


def test_whole_objects_are_never_fetched(odd: HostileServer, odd_driver: VMwareDriver) -> None:
    """One call each, and some servers break the connection where such a property is not set."""
    machine = odd_driver._connection.managed(vim.VirtualMachine, "vm-1")
    before = list(odd.requests)
    with pytest.raises(TypeError):
        machine.config  # noqa: B018  # reading is what is tried
    assert odd.requests == before

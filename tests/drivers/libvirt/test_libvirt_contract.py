"""The libvirt driver keeps the contract: over libvirt's own test driver, and over real machines of the lab."""

from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest
from lxml import etree

from hypervisors.driver import Login
from hypervisors.drivers.libvirt.driver import LibvirtDriver
from hypervisors.lab import Lab

from ..contract import AsksForALogin, DriverContract, Elsewhere, GuestsCount, HasLooseVolumes

MOCK = "test:///default"
MOCK_WITH_LOGIN = """<node><auth><user password="s3cret">dora</user></auth></node>"""


class ElsewhereAtTheMock:
    """Takes and deletes through libvirt itself."""

    def __init__(self, opened: libvirt.virConnect) -> None:
        self._opened = opened

    def take(self, machine_id: str, name: str) -> None:
        root = etree.Element("domainsnapshot")
        etree.SubElement(root, "name").text = name
        self._opened.lookupByUUIDString(machine_id).snapshotCreateXML(etree.tostring(root, encoding="unicode"), 0)

    def delete(self, machine_id: str, snapshot_id: str) -> None:
        self._opened.lookupByUUIDString(machine_id).snapshotLookupByName(snapshot_id).delete()


class TestTheContractOverLibvirtsTestDriver(DriverContract, AsksForALogin):
    driver_class = LibvirtDriver

    @pytest.fixture
    def mock(self) -> Iterator[libvirt.virConnect]:
        """A connection that keeps the mock's world alive: that ends with the last connection of the process."""
        opened = libvirt.open(MOCK)
        if "test-off" not in [handle.name() for handle in opened.listAllDomains()]:
            root = etree.fromstring(opened.lookupByName("test").XMLDesc())
            root.find("name").text = "test-off"
            root.remove(root.find("uuid"))
            opened.defineXML(etree.tostring(root, encoding="unicode"))
        yield opened
        opened.close()

    @pytest.fixture
    def login(self, mock: libvirt.virConnect) -> Login:
        return Login(MOCK)

    @pytest.fixture
    def running_machine(self, mock: libvirt.virConnect) -> str:
        return str(mock.lookupByName("test").UUIDString())

    @pytest.fixture
    def stopped_machine(self, mock: libvirt.virConnect) -> str:
        return str(mock.lookupByName("test-off").UUIDString())

    @pytest.fixture
    def elsewhere(self, mock: libvirt.virConnect) -> Elsewhere:
        return ElsewhereAtTheMock(mock)

    @pytest.fixture
    def unreachable_login(self, tmp_path: Path) -> Login:
        return Login(f"qemu+unix:///session?socket={tmp_path}/nobody-listens")

    @pytest.fixture
    def refused_login(self, tmp_path: Path) -> Login:
        (tmp_path / "node.xml").write_text(MOCK_WITH_LOGIN)
        return Login(f"test://{tmp_path}/node.xml", username="dora", password="wrong")


class ElsewhereInTheLab:
    """Takes and deletes with virsh."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def take(self, machine_id: str, name: str) -> None:
        self._lab.virsh("snapshot-create-as", machine_id, name)

    def delete(self, machine_id: str, snapshot_id: str) -> None:
        self._lab.virsh("snapshot-delete", machine_id, snapshot_id)


@pytest.mark.lab
class TestTheContractOverTheLab(DriverContract, GuestsCount, HasLooseVolumes):
    driver_class = LibvirtDriver

    @pytest.fixture
    def login(self, driver_lab: Lab) -> Login:
        if "loose.qcow2" not in driver_lab.virsh("vol-list", "default"):
            driver_lab.virsh("vol-create-as", "default", "loose.qcow2", "4M", "--format", "qcow2")
        return Login(driver_lab.uri)

    @pytest.fixture
    def running_machine(self, driver_lab: Lab) -> str:
        driver_lab.up(["web-1"])
        return driver_lab.virsh("domuuid", "web-1").strip()

    @pytest.fixture
    def stopped_machine(self, driver_lab: Lab) -> str:
        driver_lab.up(["batch-1"])
        return driver_lab.virsh("domuuid", "batch-1").strip()

    @pytest.fixture
    def elsewhere(self, driver_lab: Lab) -> Elsewhere:
        return ElsewhereInTheLab(driver_lab)

    @pytest.fixture
    def unreachable_login(self, tmp_path: Path) -> Login:
        return Login(f"qemu+unix:///session?socket={tmp_path}/nobody-listens")

    @pytest.fixture
    def counter(self, driver_lab: Lab) -> Callable[[str], int]:
        def counted(machine_id: str) -> int:
            """The next number it says: what stands on the console is from before a revert."""
            name = driver_lab.virsh("domname", machine_id).strip()
            return int(
                driver_lab.wait_for_console(name, r"^tick (\d+)\n", start=len(driver_lab.console(name))).group(1)
            )

        return counted

    @pytest.fixture
    def let_run(self, driver_lab: Lab) -> Callable[[str], None]:
        def ran(machine_id: str) -> None:
            name = driver_lab.virsh("domname", machine_id).strip()
            driver_lab.wait_for_console(name, r"^(tick \d+\n){5}", start=len(driver_lab.console(name)))

        return ran

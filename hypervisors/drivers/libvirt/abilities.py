"""What can be done with one machine on one libvirt, and the sentence for whatever cannot.

Rules that depend on libvirt's version name it, so that the sentence tells what an upgrade would bring. External
snapshots (files of their own, needed for raw disks, quiescing, and disks without memory of a running machine) are not
used by this driver at all: libvirt learned to revert them only in 9.9, and a snapshot that cannot be reverted must
never be taken. Version facts: https://libvirt.org/news.html
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lxml import etree

from hypervisors.capabilities import NOTHING_TO_CONSOLIDATE, YES, Ability, Capabilities, no
from hypervisors.drivers.libvirt.machine_xml import Disk, disks_of

# NEWS of 10.9.0 allows internal snapshots with UEFI when its variables are in a qcow2 file; reverting them was put
# right in 10.10.0. Before 9.2 a stopped machine was let through, but its variables were not in the snapshot.
_UEFI_SINCE = 10_010_000

_NO_EXTERNAL = (
    "libvirt would have to put the snapshot into files of its own (an external snapshot), and libvirt before 9.9 "
    "cannot revert those; this product does not use them on KVM yet."
)
_NO_CANCEL = "QEMU cannot stop an internal snapshot, revert or delete once it has begun."


@dataclass(frozen=True, slots=True)
class Host:
    """The facts about an endpoint that decide: libvirt's version as a number, and whether it is the mock driver."""

    version: int
    is_mock: bool

    @property
    def version_text(self) -> str:
        return f"{self.version // 1_000_000}.{self.version // 1000 % 1000}.{self.version % 1000}"


def abilities(root: etree._Element, persistent: bool, host: Host) -> Capabilities:
    """The abilities of the machine with this definition."""
    cancel, consolidate = no(_NO_CANCEL), no(NOTHING_TO_CONSOLIDATE)
    if host.is_mock:
        mock = no("libvirt's test driver cannot do this.")
        return Capabilities(
            disk_when_running=mock, quiesce=mock, attach=mock, detach=mock, cancel=cancel, consolidate=consolidate
        )
    disks = disks_of(root)
    held = _whole_machine(root, disks, persistent, host)
    return Capabilities(
        disk_when_running=no(f"A running machine needs its memory in the snapshot: without it, {_NO_EXTERNAL}"),
        disk_when_stopped=held,
        memory=_memory(root) if held.allowed else held,
        quiesce=no(f"{_agent(root)}For disks of a running machine {_NO_EXTERNAL}"),
        cancel=cancel,
        consolidate=consolidate,
    )


def _whole_machine(root: etree._Element, disks: Sequence[Disk], persistent: bool, host: Host) -> Ability:
    """Whether everything that a snapshot has to hold can be held inside the disks."""
    if not persistent:
        return no("The machine is transient: libvirt forgets it, and its snapshots, as soon as it stops.")
    written = [disk for disk in disks if not disk.read_only]
    if not written:
        return no("The machine has no disk that could hold a snapshot.")
    for disk in written:
        if disk.format != "qcow2":
            return no(
                f"Disk {disk.target} ({disk.file_name}) has the format {disk.format}; only qcow2 holds snapshots inside. "
                "Convert it with qemu-img convert -O qcow2 while the machine is off."
            )
        if disk.shared:
            return no(f"Disk {disk.target} ({disk.file_name}) is shared with other machines.")
        if disk.kind == "network":
            return no(
                f"Disk {disk.target} ({disk.file_name}) is on a network protocol, where libvirt takes no snapshot."
            )
        if disk.element.find("transient") is not None:
            return no(f"Disk {disk.target} ({disk.file_name}) throws its changes away when the machine stops.")
    return _firmware(root, host)


def _firmware(root: etree._Element, host: Host) -> Ability:
    loader = root.find("os/loader")
    os_element = root.find("os")
    pflash = loader is not None and loader.get("type") == "pflash"
    automatic = os_element is not None and os_element.get("firmware") == "efi"
    if not pflash and not automatic:
        return YES
    if host.version < _UEFI_SINCE:
        return no(
            f"The machine starts by UEFI firmware in flash memory, and libvirt {host.version_text} cannot keep that in "
            "a snapshot; libvirt 10.10 can when the firmware's variables are in a qcow2 file."
        )
    variables = root.find("os/nvram")
    if variables is None or variables.get("format", "raw") != "qcow2":
        return no("The variables of the machine's UEFI firmware are in a raw file; libvirt needs them in a qcow2 file.")
    return YES


def _memory(root: etree._Element) -> Ability:
    if root.find("devices/hostdev") is not None or root.find("devices/interface[@type='hostdev']") is not None:
        return no(
            "A device of the host is passed through to the machine, and its state cannot be saved with the memory."
        )
    for shared in root.iterfind("devices/filesystem"):
        driver = shared.find("driver")
        if driver is not None and driver.get("type") == "virtiofs":
            return no("A folder of the host is shared through virtiofs, and its state cannot be saved with the memory.")
    for feature in root.iterfind("cpu/feature[@name='invtsc']"):
        if feature.get("policy", "require") in ("require", "force"):
            return no("The machine's processor has an invariant clock (invtsc), which cannot be saved with the memory.")
    return YES


def _agent(root: etree._Element) -> str:
    channel = root.find("devices/channel/target[@name='org.qemu.guest_agent.0']")
    return "" if channel is not None else "The machine has no channel for the QEMU guest agent. "

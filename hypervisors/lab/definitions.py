"""The XML with which the lab's machines and pools are defined; built as elements, never as text.

Format: https://libvirt.org/formatdomain.html and https://libvirt.org/formatstorage.html
"""

import uuid

from lxml import etree

from hypervisors.lab.layout import Layout
from hypervisors.lab.machines import MachineSpec, PoolSpec

# Any fixed namespace would do; this one is RFC 4122's for URLs.
_NAMESPACE = uuid.NAMESPACE_URL


def _element(tag: str, *content: str | etree._Element, **attributes: str) -> etree._Element:
    """An element with texts and elements in it (lxml's own builder has no types)."""
    element = etree.Element(tag, attributes)
    for part in content:
        if isinstance(part, str):
            element.text = part
        else:
            element.append(part)
    return element


def machine_uuid(layout: Layout, name: str) -> uuid.UUID:
    """The machine's UUID, the same each time this lab defines it, so that a redefined machine stays itself."""
    return uuid.uuid5(_NAMESPACE, f"{layout.data_folder}#{name}")


def host_uuid(layout: Layout) -> uuid.UUID:
    """The host's UUID as the lab's libvirtd tells it: without one it would make up a new one at each start."""
    return uuid.uuid5(_NAMESPACE, str(layout.data_folder))


def machine_xml(layout: Layout, machine: MachineSpec, kvm: bool) -> bytes:
    """A machine without network and screen: serial console with a log file, virtio disks, ACPI power button."""
    words = f"console=ttyS0 quiet loglevel=3 nokaslr mitigations=off panic=-1 vmsnap_name={machine.name}"
    words += f" vmsnap_write={'tick' if machine.writes_each_tick else 'boot'}"
    devices = _element(
        "devices",
        _element("emulator", "/usr/bin/qemu-system-x86_64"),
        *(_disk(layout, machine, number) for number in range(len(machine.disks))),
        _element("controller", type="usb", model="none"),
        _element("serial", _element("log", file=str(layout.consoles / f"{machine.name}.log"), append="on"), type="pty"),
        _element("console", _element("target", type="serial", port="0"), type="pty"),
        _element("video", _element("model", type="none")),
        _element("memballoon", model="none"),
    )
    if machine.agent:
        devices.append(
            _element(
                "channel",
                # A path of our own: libvirt's would not fit into a socket's 107 bytes.
                _element("source", mode="bind", path=str(layout.runtime / f"{machine.name}.agent")),
                _element("target", type="virtio", name="org.qemu.guest_agent.0"),
                type="unix",
            )
        )
    features = _element("features", _element("acpi"))
    if not kvm:
        # QEMU would take up to 1 GiB of memory per machine for translated code.
        features.append(_element("tcg", _element("tb-cache", "32", unit="MiB")))
    domain = _element(
        "domain",
        _element("name", machine.name),
        _element("uuid", str(machine_uuid(layout, machine.name))),
        _element("memory", str(machine.memory), unit="bytes"),
        _element("vcpu", "1"),
        _element(
            "os",
            _element("type", "hvm", arch="x86_64", machine="pc"),
            _element("kernel", str(layout.boot / "kernel")),
            _element("initrd", str(layout.boot / ("initramfs-agent" if machine.agent else "initramfs"))),
            _element("cmdline", words),
        ),
        features,
        _element("on_poweroff", "destroy"),
        _element("on_reboot", "restart"),
        _element("on_crash", "destroy"),
        devices,
        type="kvm" if kvm else "qemu",
    )
    return etree.tostring(domain, pretty_print=True)


def _disk(layout: Layout, machine: MachineSpec, number: int) -> etree._Element:
    disk = machine.disks[number]
    path = layout.pool_folder(disk.pool) / machine.volume_name(disk)
    return _element(
        "disk",
        _element("driver", name="qemu", type=disk.format),
        _element("source", file=str(path)),
        _element("target", dev=f"vd{'abcdefgh'[number]}", bus="virtio"),
        type="file",
        device="disk",
    )


def pool_xml(layout: Layout, pool: PoolSpec) -> bytes:
    """A directory pool in the lab's folder."""
    target = _element("target", _element("path", str(layout.pool_folder(pool.name))))
    return etree.tostring(_element("pool", _element("name", pool.name), target, type="dir"), pretty_print=True)

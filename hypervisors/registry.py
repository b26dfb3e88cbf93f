"""Which kinds of hypervisor there are, and the driver class of each, imported on first use.

A missing optional library cannot stop the site: `load_driver` then raises `DriverMissing` with the way to install it,
and `why_unavailable` says the same in words for a form.
"""

from dataclasses import dataclass
from importlib import import_module

from hypervisors.driver import HypervisorDriver
from hypervisors.errors import DriverMissing


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of hypervisor. `address_hint` shows the form of its address; pages label `simulated` ones as such.
    `speaks_tls`: the driver checks the server's certificate by itself, so the endpoint has settings for it, and its address
    is a server's; that of the others has the form of `address_form`, an expression for all of it, which `address_rule` says
    in words. `redirects`: its server may send a login on to another host."""

    label: str
    dotted_path: str
    library: str
    install_hint: str
    address_hint: str
    address_form: str = ".*"
    address_rule: str = ""
    simulated: bool = False
    speaks_tls: bool = False
    redirects: bool = False


KINDS: dict[str, Kind] = {
    "libvirt": Kind(
        label="KVM (libvirt)",
        dotted_path="hypervisors.drivers.libvirt.driver.LibvirtDriver",
        library="libvirt",
        install_hint="Install libvirt-dev and pkg-config from the distribution, then this product's extra `kvm`.",
        address_hint="qemu:///system or qemu+tls://host.example/system",
        address_form=r"[A-Za-z][A-Za-z0-9+.-]*:///?.*",
        address_rule=(
            "A libvirt address is a URI with a scheme. It has the form qemu:///system or qemu+tls://host.example/system."
        ),
    ),
    "vmware": Kind(
        label="VMware vSphere",
        dotted_path="hypervisors.drivers.vmware.driver.VMwareDriver",
        library="pyVmomi",
        install_hint="Install this product's extra `vmware`.",
        address_hint="vcenter.example or https://esxi.example:443, a vCenter or a standalone ESXi host",
        speaks_tls=True,
    ),
    "xenserver": Kind(
        label="XenServer / XCP-ng",
        dotted_path="hypervisors.drivers.xenserver.driver.XenServerDriver",
        library="XenAPI",
        install_hint="Install this product's extra `xen`.",
        address_hint="xen-1.example or https://xen-1.example:443, the pool's coordinator",
        speaks_tls=True,
        redirects=True,
    ),
    "simulated": Kind(
        label="Simulated",
        dotted_path="hypervisors.drivers.simulated.driver.SimulatedDriver",
        library="",
        install_hint="",
        address_hint="the name of its state file in the data folder, for example demo",
        address_form=r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
        address_rule="The name has up to 64 letters, digits, “-” and “_”, nothing else.",
        simulated=True,
    ),
}


def load_driver(kind: str) -> type[HypervisorDriver]:
    """The driver class for a kind. Raises `DriverMissing` when the kind or its library is not there."""
    try:
        entry = KINDS[kind]
    except KeyError:
        raise DriverMissing(f"There is no driver for hypervisors of kind “{kind}”.") from None
    module_path, class_name = entry.dotted_path.rsplit(".", 1)
    try:
        module = import_module(module_path)
    except ModuleNotFoundError as missing:
        if missing.name != entry.library:
            raise
        raise DriverMissing(f"The library “{entry.library}” is not installed. {entry.install_hint}") from missing
    driver: type[HypervisorDriver] = getattr(module, class_name)
    return driver


def why_unavailable(kind: str) -> str:
    """Words for a form when the kind's driver cannot be loaded, else an empty text."""
    try:
        load_driver(kind)
    except DriverMissing as missing:
        return missing.detail
    return ""

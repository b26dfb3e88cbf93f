"""The lab: real QEMU machines under a private libvirt daemon, for the demo, the tests and the bench.

Why this room exists: snapshots of whole machines can only be shown and proven on real machines, and a computer's own
libvirt daemon and its machines are nobody's playground. The lab therefore brings its own libvirtd and virtlogd in
session mode, run by an unprivileged user, with every folder they write inside the data folder.

Who may enter: management commands, the demo's start, tests and the bench. Nothing in the product's services knows the
lab: to them it is one more libvirt endpoint with an address. No Django is imported here, so `python -m hypervisors.lab`
works before the product is configured.

    from hypervisors.lab import Lab
    lab = Lab(data_folder)
    lab.up(["web-1", "batch-1"])      # all machines when none are named
    lab.uri                            # for libvirt.open() or virsh -c
    lab.wait_for_tick("web-1")         # the machine's own counter, read from its serial console
    lab.down()
"""

from hypervisors.lab.errors import LabError, LabUnavailable
from hypervisors.lab.lab import Lab, LabFacts
from hypervisors.lab.machines import MACHINES, POOLS, DiskSpec, MachineSpec

__all__ = ["MACHINES", "POOLS", "DiskSpec", "Lab", "LabError", "LabFacts", "LabUnavailable", "MachineSpec"]

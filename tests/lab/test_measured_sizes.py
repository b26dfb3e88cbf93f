"""What is measured of VM snapshots of real machines is what `qemu-img info` says of their disks."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hypervisors.lab import Lab
from hypervisors.lab.machines import MIB, DiskSpec, MachineSpec
from snapshots.access import SYSTEM
from snapshots.models import MachineAllocation, StoragePool, VirtualMachine, VMSnapshot
from snapshots.pool_room import rooms_of
from snapshots.services import endpoints
from snapshots.services.capacity_samples import sample
from tests.builders import run, take

pytestmark = [
    pytest.mark.lab,
    pytest.mark.django_db,
    pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed"),
]


def info(path: str) -> Any:
    """What qemu-img says of a disk that is in use."""
    command = ["qemu-img", "info", "--force-share", "--output=json", path]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def disks_of(lab: Lab, name: str) -> list[str]:
    return re.findall(r"<source file='([^']+)'", lab.virsh("dumpxml", name))


def test_measured_and_allocated_sizes_agree_with_qemu_img(lab: Lab) -> None:
    name = f"measured-{os.getpid()}"
    lab.add(MachineSpec(name, (DiskSpec("system", 16 * MIB), DiskSpec("data", 32 * MIB))))
    lab.start(name)
    lab.wait_for_tick(name)
    hypervisor = endpoints.add_endpoint(SYSTEM, name="lab", kind="libvirt", address=lab.uri)
    run(endpoints.request_sync(SYSTEM, hypervisor=hypervisor))
    machine = VirtualMachine.objects.get(name=name)
    with_memory = take(machine, "with memory", memory=True)
    run(endpoints.request_sync(SYSTEM, hypervisor=hypervisor))

    told = [info(path) for path in disks_of(lab, name)]
    volumes = sum(disk["virtual-size"] for disk in told)
    state_sizes = [entry["vm-state-size"] for disk in told for entry in disk.get("snapshots", [])]
    row = VMSnapshot.objects.get(pk=with_memory.pk)
    assert row.measured_bytes == sum(state_sizes) > 0
    allocation = MachineAllocation.objects.get(machine=machine)
    assert (allocation.volume_bytes, allocation.measured_bytes) == (volumes, row.measured_bytes)
    assert allocation.estimated_bytes == machine.memory_bytes

    sample()
    pool = StoragePool.objects.get(pk=allocation.pool_id)
    room = rooms_of([pool])[pool.pk]
    held = pool.samples.get()
    assert (held.volume_bytes, held.measured_bytes) == (room.volume_bytes, room.measured_bytes)
    assert held.total_bytes == shutil.disk_usage(Path(disks_of(lab, name)[0]).parent).total

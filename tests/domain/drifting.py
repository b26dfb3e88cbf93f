"""What happens to VM snapshots elsewhere, and what is known of it here: for the tests of drift and of adoption."""

from hypervisors.models import Hypervisor
from snapshots.models import Event, VirtualMachine, VMSnapshot
from tests.builders import Cloud
from tests.domain.scenes import read_again


def made_elsewhere(cloud: Cloud, machine: VirtualMachine, name: str) -> VMSnapshot:
    cloud.world.take_elsewhere(machine.native_id, name)
    cloud.sync()
    found: VMSnapshot = VMSnapshot.objects.get(machine=machine, name=name)
    return found


def lose(cloud: Cloud, row: VMSnapshot) -> VMSnapshot:
    """Somebody deletes it elsewhere, and that is found out."""
    cloud.world.delete_elsewhere(row.machine.native_id, row.native_id)
    read_again(cloud)
    row.refresh_from_db()
    return row


def switch_adoption(cloud: Cloud, on: bool) -> None:
    Hypervisor.objects.filter(pk=cloud.hypervisor.pk).update(adopt_automatically=on)


def counts(machine: VirtualMachine) -> tuple[int, int, int]:
    row = VirtualMachine.objects.get(pk=machine.pk)
    return row.snapshot_count, row.unadopted_count, row.lost_count


def told(machine: VirtualMachine, beginning: str = "snapshot.") -> list[str]:
    """What was written down about the machine, oldest first."""
    found = Event.objects.filter(machine=machine, action__startswith=beginning).order_by("pk")
    return list(found.values_list("action", flat=True))

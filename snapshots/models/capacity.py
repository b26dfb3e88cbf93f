"""How storage is allocated: what the VM snapshots of each machine are estimated to occupy in each pool."""

from django.db import models
from django.db.models import Q

from snapshots.models.inventory import StoragePool, VirtualMachine


class MachineAllocation(models.Model):
    """What one machine has in one pool, in bytes. `volume_bytes` is the allocated size of its volumes there, `disk_bytes`
    and `memory_bytes` are the two parts of the estimate of its VM snapshots (memory lies in the pool of its first volume),
    `measured_bytes` is what the hypervisor measures of them, in the same pool, None where it measures nothing. `pool` is
    None for volumes whose pool is not known. Kept by `ledger`."""

    machine = models.ForeignKey(VirtualMachine, on_delete=models.CASCADE, related_name="allocations")
    pool = models.ForeignKey(StoragePool, null=True, on_delete=models.CASCADE, related_name="allocations")
    volume_bytes = models.BigIntegerField(default=0)
    disk_bytes = models.BigIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    measured_bytes = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("machine", "pool"), condition=Q(pool__isnull=False), name="one_allocation_per_machine_and_pool"
            ),
            models.UniqueConstraint(
                fields=("machine",), condition=Q(pool=None), name="one_allocation_per_machine_without_pool"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.machine} in {self.pool}"

    @property
    def estimated_bytes(self) -> int:
        """The estimate of the VM snapshots, both parts."""
        return self.disk_bytes + self.memory_bytes

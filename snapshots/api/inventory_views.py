"""`volumes/`, `hypervisors/` and `storage-pools/`."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view

from hypervisors.models import Hypervisor
from snapshots.access import Actor
from snapshots.api.base_views import ActionView, ApiView, DetailView, ListView
from snapshots.api.filters import HypervisorFilters, PoolFilters, VolumeFilters
from snapshots.api.inputs import AttachInput
from snapshots.api.openapi import action_schema
from snapshots.api.outputs import HypervisorOutput, Output, PoolOutput, VolumeOutput
from snapshots.models import Job, Volume
from snapshots.reading import rest_lists
from snapshots.reading.capacity_report import add_allocation
from snapshots.refusals import NotVisible
from snapshots.services import endpoints, machine_actions

VOLUMES, HYPERVISORS, POOLS = ["volumes"], ["hypervisors"], ["storage pools"]


class OfVolume(ApiView):
    """Below `volumes/`."""

    rows_of = staticmethod(rest_lists.volumes)
    noun = "volume"
    output: type[Output] = VolumeOutput


@extend_schema_view(get=extend_schema(tags=VOLUMES, summary="List volumes", operation_id="list_volumes"))
class VolumeList(OfVolume, ListView):
    """Volumes of the machines you see, and loose ones of your accounts."""

    filterset_class = VolumeFilters
    orderings = ("name", "capacity_bytes")


@extend_schema_view(get=extend_schema(tags=VOLUMES, summary="Read a volume", operation_id="read_volume"))
class VolumeDetail(OfVolume, DetailView):
    """A volume."""


@extend_schema_view(post=action_schema("Attach a volume", "attach_volume", AttachInput, tags=VOLUMES))
class VolumeAttach(OfVolume, ActionView):
    """Attach a loose volume to a machine, for good."""

    input = AttachInput

    def ask(self, actor: Actor, row: Volume, values: dict[str, Any]) -> Job:
        machine = rest_lists.machines(self.request.user).filter(uuid=values["virtual_machine"]).first()
        if machine is None:
            raise NotVisible("There is no such virtual machine.")
        return machine_actions.request_attach(actor, volume=row, machine=machine)


@extend_schema_view(post=action_schema("Detach a volume", "detach_volume", tags=VOLUMES))
class VolumeDetach(OfVolume, ActionView):
    """Detach a volume from its machine; its data stay."""

    def ask(self, actor: Actor, row: Volume, values: dict[str, Any]) -> Job:
        return machine_actions.request_detach(actor, volume=row)


class OfHypervisor(ApiView):
    """Below `hypervisors/`."""

    rows_of = staticmethod(rest_lists.hypervisors)
    noun = "hypervisor"
    output: type[Output] = HypervisorOutput


@extend_schema_view(get=extend_schema(tags=HYPERVISORS, summary="List hypervisors", operation_id="list_hypervisors"))
class HypervisorList(OfHypervisor, ListView):
    """Endpoints that hold a machine you see; root admins see all."""

    filterset_class = HypervisorFilters
    orderings = ("name", "created_at")


@extend_schema_view(get=extend_schema(tags=HYPERVISORS, summary="Read a hypervisor", operation_id="read_hypervisor"))
class HypervisorDetail(OfHypervisor, DetailView):
    """A hypervisor."""


@extend_schema_view(
    post=action_schema("Read everything from a hypervisor (root admins)", "sync_hypervisor", tags=HYPERVISORS)
)
class HypervisorSync(OfHypervisor, ActionView):
    """Read everything the endpoint holds. While it is being read already, that job is the answer."""

    def ask(self, actor: Actor, row: Hypervisor, values: dict[str, Any]) -> Job:
        return endpoints.request_sync(actor, hypervisor=row)


class OfPool(ApiView):
    """Below `storage-pools/`."""

    rows_of = staticmethod(rest_lists.pools)
    noun = "storage pool"
    output: type[Output] = PoolOutput


@extend_schema_view(get=extend_schema(tags=POOLS, summary="List storage pools", operation_id="list_storage_pools"))
class PoolList(OfPool, ListView):
    """Pools that hold a volume you see; root admins see all."""

    filterset_class = PoolFilters
    orderings = ("name",)

    def complete(self, page: Any) -> None:
        add_allocation(self.request.user, page)


@extend_schema_view(get=extend_schema(tags=POOLS, summary="Read a storage pool", operation_id="read_storage_pool"))
class PoolDetail(OfPool, DetailView):
    """A storage pool."""

    def complete(self, row: Any) -> None:
        add_allocation(self.request.user, [row])

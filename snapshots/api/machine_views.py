"""`virtual-machines/` and what can be asked of a machine."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from snapshots.access import Actor, visible_machines
from snapshots.api.base_views import ActionView, ApiView, DetailView, ListView
from snapshots.api.filters import MachineFilters, SnapshotFilters
from snapshots.api.inputs import NoInput, SnapshotInput, StopInput
from snapshots.api.openapi import action_schema
from snapshots.api.outputs import MachineOutput, Output, SnapshotOutput, TreeHeadOutput, TreeOutput
from snapshots.api.tree_json import nested_json
from snapshots.models import Job, VirtualMachine
from snapshots.reading import rest_lists
from snapshots.services import machine_actions, snapshot_actions

TAGS = ["virtual machines"]


class OfMachine(ApiView):
    """Below `virtual-machines/{id}/`."""

    rows_of = staticmethod(rest_lists.machines)
    acted_on = staticmethod(visible_machines)
    noun = "virtual machine"


@extend_schema_view(get=extend_schema(tags=TAGS, summary="List virtual machines", operation_id="list_virtual_machines"))
class MachineList(OfMachine, ListView):
    """The virtual machines you see."""

    output: type[Output] = MachineOutput
    filterset_class = MachineFilters
    orderings = ("name", "created_at", "memory_bytes", "power_state", "snapshot_count")


@extend_schema_view(get=extend_schema(tags=TAGS, summary="Read a virtual machine", operation_id="read_virtual_machine"))
class MachineDetail(OfMachine, DetailView):
    """A virtual machine."""

    output: type[Output] = MachineOutput


@extend_schema_view(
    get=extend_schema(
        tags=TAGS, summary="List the VM snapshots of a virtual machine", operation_id="list_virtual_machine_snapshots"
    ),
    post=action_schema("Take a VM snapshot", "take_snapshot", SnapshotInput, tags=TAGS, filters=False),
    delete=action_schema(
        "Delete all VM snapshots of a virtual machine", "delete_all_snapshots", tags=TAGS, filters=False
    ),
)
class MachineSnapshots(OfMachine, ListView):
    """The VM snapshots of one machine. The new one's id is the `snapshot` of the job."""

    output: type[Output] = SnapshotOutput
    filterset_class = SnapshotFilters
    orderings = ("-created_at", "name", "state", "type")

    def listed(self) -> Any:
        return rest_lists.snapshots(self.request.user).filter(machine_id=self.row().pk)

    def complete(self, page: Any) -> None:
        rest_lists.add_estimates(page)

    def post(self, request: Request, **_: Any) -> Response:
        """Take a VM snapshot below the current one."""
        self.refuse_parameters()
        return self.job_of(
            SnapshotInput,
            lambda actor, machine, values: snapshot_actions.request_create(actor, machine=machine, **values),
        )

    def delete(self, request: Request, **_: Any) -> Response:
        """Delete all of them, those made elsewhere and the rows of lost ones too. One that appears on the hypervisor before
        the job begins lets it fail, with nothing deleted."""
        self.refuse_parameters()
        return self.job_of(
            NoInput, lambda actor, machine, _: snapshot_actions.request_delete_all(actor, machine=machine)
        )


class MachineTree(OfMachine):
    """The tree of one machine."""

    output: type[Output] = TreeOutput

    @extend_schema(tags=TAGS, summary="Read the tree of VM snapshots", operation_id="read_virtual_machine_tree")
    def get(self, request: Request, **_: Any) -> HttpResponse:
        """All VM snapshots nested below one another, with the current marker and sizes."""
        self.refuse_parameters()
        tree = rest_lists.tree_of(request.user, self.row())
        shown = SnapshotOutput([row for _, row in tree.rows], many=True).data
        nodes = zip((depth for depth, _ in tree.rows), shown, strict=True)
        return HttpResponse(nested_json(TreeHeadOutput(tree).data, nodes), content_type="application/json")


@extend_schema_view(post=action_schema("Start a virtual machine", "start_virtual_machine", tags=TAGS))
class MachineStart(OfMachine, ActionView):
    """Start (or resume) the machine."""

    def ask(self, actor: Actor, row: VirtualMachine, values: dict[str, Any]) -> Job:
        return machine_actions.request_start(actor, machine=row)


@extend_schema_view(post=action_schema("Stop a virtual machine", "stop_virtual_machine", StopInput, tags=TAGS))
class MachineStop(OfMachine, ActionView):
    """Stop the machine."""

    input = StopInput

    def ask(self, actor: Actor, row: VirtualMachine, values: dict[str, Any]) -> Job:
        return machine_actions.request_stop(actor, machine=row, **values)


@extend_schema_view(post=action_schema("Read a virtual machine from its hypervisor", "sync_virtual_machine", tags=TAGS))
class MachineSync(OfMachine, ActionView):
    """Read the machine and its tree from its hypervisor again."""

    def ask(self, actor: Actor, row: VirtualMachine, values: dict[str, Any]) -> Job:
        return machine_actions.request_sync(actor, machine=row)


@extend_schema_view(
    post=action_schema("Consolidate the disks of a virtual machine", "consolidate_virtual_machine", tags=TAGS)
)
class MachineConsolidate(OfMachine, ActionView):
    """Merge what removed VM snapshots left behind on the storage, where `needs_consolidation` says so."""

    def ask(self, actor: Actor, row: VirtualMachine, values: dict[str, Any]) -> Job:
        return machine_actions.request_consolidate(actor, machine=row)

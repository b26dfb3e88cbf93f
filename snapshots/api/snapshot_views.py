"""`snapshots/`: all VM snapshots you see, and what can be asked of one."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from hypervisors.records import PowerAfterRevert
from snapshots.access import Actor, visible_snapshots
from snapshots.api.authentication import actor_of
from snapshots.api.base_views import ActionView, ApiView, DetailView, ListView
from snapshots.api.filters import AllSnapshotFilters
from snapshots.api.inputs import AdoptInput, NoInput, RevertInput, SnapshotChangeInput
from snapshots.api.openapi import action_schema
from snapshots.api.outputs import Output, SnapshotOutput
from snapshots.models import Job, VMSnapshot
from snapshots.reading import rest_lists
from snapshots.refusals import Invalid
from snapshots.services import drift_actions, snapshot_actions
from snapshots.services.schedules import keep_snapshot

TAGS = ["VM snapshots"]
DESCENDANTS = OpenApiParameter(
    "descendants", bool, description="Delete everything below it too. Otherwise its children move to its parent."
)


class OfSnapshot(ApiView):
    """Below `snapshots/{id}/`."""

    rows_of = staticmethod(rest_lists.snapshots)
    acted_on = staticmethod(visible_snapshots)
    noun = "VM snapshot"
    output: type[Output] = SnapshotOutput


@extend_schema_view(get=extend_schema(tags=TAGS, summary="List VM snapshots", operation_id="list_snapshots"))
class SnapshotList(OfSnapshot, ListView):
    """The VM snapshots of all machines you see."""

    filterset_class = AllSnapshotFilters
    orderings = ("-created_at",)  # by name only within a machine: among a million no index serves it

    def complete(self, page: Any) -> None:
        rest_lists.add_estimates(page)


@extend_schema_view(
    get=extend_schema(tags=TAGS, summary="Read a VM snapshot", operation_id="read_snapshot"),
    patch=action_schema("Rename or describe a VM snapshot", "change_snapshot", SnapshotChangeInput, tags=TAGS),
    delete=action_schema("Delete a VM snapshot", "delete_snapshot", tags=TAGS, parameters=[DESCENDANTS]),
)
class SnapshotDetail(OfSnapshot, DetailView):
    """A VM snapshot."""

    def complete(self, row: VMSnapshot) -> None:
        rest_lists.add_estimates([row])

    def patch(self, request: Request, **_: Any) -> Response:
        """Change name, description or both."""
        self.refuse_parameters()
        return self.job_of(
            SnapshotChangeInput,
            lambda actor, row, values: snapshot_actions.request_rename(actor, snapshot=row, **values),
        )

    def delete(self, request: Request, **_: Any) -> Response:
        """Delete it alone, its children move to its parent; or with everything below it."""
        self.refuse_parameters("descendants")
        ask = snapshot_actions.request_delete_tree if self.with_descendants() else snapshot_actions.request_delete
        return self.job_of(NoInput, lambda actor, row, _: ask(actor, snapshot=row))

    def with_descendants(self) -> bool:
        """What the query says. Raises `Invalid` for anything but the two words."""
        given = self.request.query_params.get("descendants", "false")
        if given not in ("true", "false"):
            raise Invalid("descendants: Give true or false.", fields={"descendants": ["Give true or false."]})
        return given == "true"


@extend_schema_view(post=action_schema("Revert to a VM snapshot", "revert_to_snapshot", RevertInput, tags=TAGS))
class SnapshotRevert(OfSnapshot, ActionView):
    """Put the machine back to the snapshot. What runs now is lost, unless a safety snapshot is taken first."""

    input = RevertInput

    def ask(self, actor: Actor, row: VMSnapshot, values: dict[str, Any]) -> Job:
        power = values["power"]
        return snapshot_actions.request_revert(
            actor,
            snapshot=row,
            power=None if power is None else PowerAfterRevert(power),
            safety_snapshot=values["safety_snapshot"],
            exceed_limits=values["exceed_limits"],
        )


@extend_schema_view(
    post=extend_schema(
        tags=TAGS,
        summary="Adopt a VM snapshot made elsewhere",
        operation_id="adopt_snapshot",
        request=AdoptInput,
        responses={200: SnapshotOutput},
    )
)
class SnapshotAdopt(OfSnapshot):
    """Adoption of one that was made elsewhere."""

    def post(self, request: Request, **_: Any) -> Response:
        """Make it ours: it counts in limits and usage from now on, and is kept as lost should it vanish. Answers the VM
        snapshot; one that is adopted already stays as it is."""
        self.refuse_parameters()
        values = self.given(AdoptInput)
        drift_actions.adopt_snapshot(actor_of(request), snapshot=self.row(), exceed_limits=values["exceed_limits"])
        row = self.row()
        rest_lists.add_estimates([row])
        return Response(SnapshotOutput(row).data)


@extend_schema_view(
    post=extend_schema(
        tags=TAGS,
        summary="Keep a VM snapshot that a schedule took",
        operation_id="keep_snapshot",
        request=NoInput,
        responses={200: SnapshotOutput},
    )
)
class SnapshotKeep(OfSnapshot):
    """Keeping one for good that a schedule took."""

    def post(self, request: Request, **_: Any) -> Response:
        """Take it out of its schedule, which neither counts nor deletes it any more. Answers the VM snapshot; one that no
        schedule will delete is refused."""
        self.refuse_parameters()
        self.given(NoInput)
        keep_snapshot(actor_of(request), snapshot=self.target())
        row = self.row()
        rest_lists.add_estimates([row])
        return Response(SnapshotOutput(row).data)


@extend_schema_view(
    post=extend_schema(
        tags=TAGS,
        summary="Acknowledge that a VM snapshot is lost",
        operation_id="acknowledge_snapshot",
        request=NoInput,
        responses={204: None},
    )
)
class SnapshotAcknowledge(OfSnapshot):
    """Taking note of one that is lost."""

    def post(self, request: Request, **_: Any) -> Response:
        """Remove it here, its children move up. Asks no hypervisor, so it works while the machine is missing too."""
        self.refuse_parameters()
        self.given(NoInput)
        drift_actions.acknowledge_lost(actor_of(request), snapshot=self.row())
        return Response(status=204)

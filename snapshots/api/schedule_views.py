"""`schedules/`: when VM snapshots of machines are taken and how many are kept, and changing that. None of it needs a job,
since no hypervisor is asked."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from snapshots.api.authentication import actor_of
from snapshots.api.base_views import ApiView, DetailView, ListView
from snapshots.api.filters import AllScheduleFilters, ScheduleFilters
from snapshots.api.inputs import NoInput
from snapshots.api.machine_views import OfMachine
from snapshots.api.outputs import Output
from snapshots.api.schedule_shapes import ScheduleChangeInput, ScheduleInput, ScheduleOutput
from snapshots.models import Schedule
from snapshots.reading import rest_lists
from snapshots.services import schedules
from snapshots.services.schedule_rules import Terms

TAGS = ["schedules"]
ORDERINGS = ("name", "created_at", "frequency", "keep")
LOCATION = OpenApiParameter(
    "Location", str, OpenApiParameter.HEADER, response=[201], description="The address of the schedule."
)


class OfSchedule(ApiView):
    """Below `schedules/`."""

    rows_of = staticmethod(rest_lists.schedules)
    noun = "schedule"
    output: type[Output] = ScheduleOutput


@extend_schema_view(get=extend_schema(tags=TAGS, summary="List schedules", operation_id="list_schedules"))
class ScheduleList(OfSchedule, ListView):
    """The schedules of all machines you see."""

    filterset_class = AllScheduleFilters
    orderings = ORDERINGS

    def complete(self, page: Any) -> None:
        rest_lists.add_kept(page)


@extend_schema_view(
    get=extend_schema(
        tags=TAGS, summary="List the schedules of a virtual machine", operation_id="list_virtual_machine_schedules"
    ),
    post=extend_schema(
        tags=TAGS,
        summary="Make a schedule",
        operation_id="make_schedule",
        request=ScheduleInput,
        responses={201: ScheduleOutput},
        parameters=[LOCATION],
        filters=False,
    ),
)
class MachineSchedules(OfMachine, ListView):
    """The schedules of one machine."""

    output: type[Output] = ScheduleOutput
    filterset_class = ScheduleFilters
    orderings = ORDERINGS

    def listed(self) -> Any:
        return rest_lists.schedules(self.request.user).filter(machine_id=self.row().pk)

    def complete(self, page: Any) -> None:
        rest_lists.add_kept(page)

    def post(self, request: Request, **_: Any) -> Response:
        """Have VM snapshots of the machine taken again and again, and the newest of them kept. The first is taken at the
        next time that is due."""
        self.refuse_parameters()
        terms = Terms(**self.given(ScheduleInput))
        made = schedules.add_schedule(actor_of(request), machine=self.row(), terms=terms)
        row = rest_lists.schedules(request.user).get(pk=made.pk)
        rest_lists.add_kept([row])
        location = reverse("api:schedule", args=[row.uuid], request=request)
        return Response(ScheduleOutput(row).data, status=201, headers={"Location": location})


@extend_schema_view(
    get=extend_schema(tags=TAGS, summary="Read a schedule", operation_id="read_schedule"),
    patch=extend_schema(
        tags=TAGS,
        summary="Change, pause or resume a schedule",
        operation_id="change_schedule",
        request=ScheduleChangeInput,
        responses={200: ScheduleOutput},
    ),
    delete=extend_schema(tags=TAGS, summary="Delete a schedule", operation_id="delete_schedule", responses={204: None}),
)
class ScheduleDetail(OfSchedule, DetailView):
    """A schedule."""

    def complete(self, row: Schedule) -> None:
        rest_lists.add_kept([row])

    def patch(self, request: Request, **_: Any) -> Response:
        """Change what is given and leave the rest. While it is paused it takes and deletes nothing; what was due meanwhile
        is not made up for."""
        self.refuse_parameters()
        changes = self.given(ScheduleChangeInput)
        enabled = changes.pop("enabled", None)
        schedules.amend_schedule(actor_of(request), schedule=self.row(), changes=changes, enabled=enabled)
        row = self.row()
        self.complete(row)
        return Response(ScheduleOutput(row).data)

    def delete(self, request: Request, **_: Any) -> Response:
        """Delete it. The VM snapshots it took stay."""
        self.refuse_parameters()
        self.given(NoInput)
        schedules.delete_schedule(actor_of(request), schedule=self.row())
        return Response(status=204)

"""`storage-pools/{id}/capacity/`."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from snapshots.api.base_views import ApiView
from snapshots.api.capacity_outputs import PoolCapacityOutput
from snapshots.api.filters import moment_of
from snapshots.api.outputs import Output
from snapshots.choices import SampleStep
from snapshots.csv_answer import csv_answer
from snapshots.reading import rest_lists
from snapshots.reading.csv_lines import csv_lines
from snapshots.reading.pool_capacity import SAMPLE_COLUMNS, PoolCapacity, pool_capacity
from snapshots.refusals import Forbidden, Invalid

FORMATS = ("json", "csv")
PARAMETERS = [
    OpenApiParameter(
        "step", enum=SampleStep.values, default=SampleStep.HOUR, description="How far apart the samples are."
    ),
    OpenApiParameter(
        "at_after", OpenApiTypes.DATETIME, description="Samples of this time and later; a week ago if left out."
    ),
    OpenApiParameter("at_before", OpenApiTypes.DATETIME, description="Samples before this time."),
    OpenApiParameter("format", enum=FORMATS, default="json", description="`csv` answers the series alone, as a file."),
]


class PoolCapacityView(ApiView):
    """The capacity of one pool."""

    rows_of = staticmethod(rest_lists.pools)
    noun = "storage pool"
    output: type[Output] = PoolCapacityOutput

    @extend_schema(
        tags=["storage pools"],
        summary="Read the capacity of a storage pool",
        operation_id="read_storage_pool_capacity",
        parameters=PARAMETERS,
        responses={(200, "application/json"): PoolCapacityOutput, (200, "text/csv"): OpenApiTypes.STR},
    )
    def get(self, request: Request, **_: Any) -> Response | StreamingHttpResponse:
        """How full the pool is and what your machines hold there; for root admins also the series and the forecast."""
        self.refuse_parameters("step", "at_after", "at_before", "format")
        asked = request.query_params
        step = self._one_of("step", SampleStep.values, SampleStep.HOUR)
        form = self._one_of("format", FORMATS, "json")
        capacity = pool_capacity(
            request.user,
            self.row(),
            SampleStep(step),
            after=moment_of("at_after", asked.get("at_after", "")),
            before=moment_of("at_before", asked.get("at_before", "")),
        )
        if form == "csv":
            return _series_as_csv(capacity)
        return Response(self.get_serializer(capacity).data)

    def _one_of(self, name: str, choices: Any, default: str) -> str:
        value = self.request.query_params.get(name, default)
        if value not in choices:
            sentence = f"One of {', '.join(choices)}."
            raise Invalid(f"The query of the address is not valid: {name}.", fields={name: [sentence]})
        return str(value)


def _series_as_csv(capacity: PoolCapacity) -> StreamingHttpResponse:
    if capacity.series is None:
        raise Forbidden("What all hold together in a pool over time is shown to root admins.")
    rows = ([getattr(row, name) for name in SAMPLE_COLUMNS] for row in capacity.series)
    return csv_answer("capacity", csv_lines(SAMPLE_COLUMNS, rows))

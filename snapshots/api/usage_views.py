"""`usage-records/`: what was billed, in pages as JSON, or all of it at once as CSV."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request

from snapshots.api.base_views import ListView
from snapshots.api.filters import UsageRecordFilters
from snapshots.api.outputs import Output
from snapshots.api.pagination import Cursor
from snapshots.api.usage_outputs import UsageRecordOutput
from snapshots.csv_answer import csv_answer
from snapshots.reading import rest_lists
from snapshots.reading.csv_lines import csv_lines
from snapshots.reading.usage_table import COLUMNS, usage_line
from snapshots.refusals import Invalid

JSON, CSV = "application/json", "text/csv"
CHUNK = 2000
FORMAT = OpenApiParameter(
    "format",
    str,
    enum=["json", "csv"],
    description="`csv`: all records that match, not in pages, as one table. The same is asked for by `Accept: text/csv`.",
)


@extend_schema_view(
    get=extend_schema(
        tags=["usage records"],
        summary="List usage records",
        operation_id="list_usage_records",
        parameters=[FORMAT],
    )
)
class UsageRecordList(ListView):
    """Usage of the accounts you see, in closed periods. Records never change; corrections are records of a later period.

    As CSV a text that a spreadsheet would take for a formula has an apostrophe in front.
    """

    rows_of = staticmethod(rest_lists.usage_records)
    output: type[Output] = UsageRecordOutput
    filterset_class = UsageRecordFilters
    orderings = ("-start",)
    more_parameters = ("format",)

    def get(self, request: Request, **options: Any) -> Any:
        return self._as_csv(request) if wants_csv(request) else super().get(request, **options)

    def _as_csv(self, request: Request) -> StreamingHttpResponse:
        rows = self.filter_queryset(self.listed())
        ordering = Cursor.asked_ordering(request, self)
        rows = rows.order_by(ordering, f"{'-' if ordering.startswith('-') else ''}pk")
        return csv_answer("usage-records", csv_lines(COLUMNS, (usage_line(row).cells for row in rows.iterator(CHUNK))))


def wants_csv(request: Request) -> bool:
    """Whether CSV is asked for. Raises `Invalid` for another form than the two there are, and for pages of CSV."""
    form = request.query_params.get("format")
    if form not in (None, "json", "csv"):
        raise Invalid("format: json or csv.", fields={"format": ["json or csv."]})
    if form is None:
        form = "csv" if request._request.get_preferred_type([JSON, CSV]) == CSV else "json"
    if form == "csv":
        paged = {
            name: ["CSV does not come in pages."] for name in ("cursor", "page_size") if name in request.query_params
        }
        if paged:
            raise Invalid("CSV does not come in pages: leave out cursor and page_size.", fields=paged)
    return form == "csv"

"""The page of one's own usage, with the numbers of each chart as CSV, and the records behind it as CSV."""

from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from snapshots.csv_answer import csv_answer
from snapshots.reading.csv_lines import csv_lines
from snapshots.reading.rest_lists import with_periods
from snapshots.reading.usage_page import UsagePage, Use, month_records, usage_page
from snapshots.reading.usage_table import COLUMNS, usage_line
from snapshots.web.answers import as_csv, signed_in
from snapshots.web.forms import UsageForm
from snapshots.web.usage_charts import address, charts, machine_addresses, month_words

CHUNK = 2000


@signed_in
@require_GET
def show_usage(request: HttpRequest) -> HttpResponseBase:
    """What an account used, by month, machine and VM snapshot. With `?csv=` and a chart's key: its numbers."""
    page = usage_page(request.user, UsageForm(request.GET).query)
    drawn = [] if page.is_empty else charts(page)
    for chart in drawn:
        if request.GET.get("csv") == chart.key:
            return as_csv(chart)
    leads_to = machine_addresses(page)
    context = {
        "page": page,
        "month_words": month_words(page.month) if page.month else "",
        "months": list(_months(page)),
        "charts": drawn,
        "machines": [(machine, leads_to(machine)) for machine in page.machines],
        "records": address(page, "usage_csv", page.month),
        "machine_records": address(page, "usage_csv", page.month, page.machine),
        "everything": address(page, "usage_csv"),
        "open_use": _open(page),
    }
    return render(request, "usage/usage.html", context)


def _months(page: UsagePage) -> Any:
    """The months, the newest first, each with its address."""
    for month, use in reversed(page.months.items()):
        yield {
            "value": f"{month:%Y-%m}",
            "words": month_words(month),
            "use": use,
            "address": address(page, month=month),
            "chosen": month == page.month,
        }


def _open(page: UsagePage) -> Use:
    """What no period has billed yet."""
    found = Use()
    for use in page.months.values():
        found.open_primary = found.open_primary.plus(use.open_primary)
        found.open_volumes = found.open_volumes.plus(use.open_volumes)
    return found


@signed_in
@require_GET
def usage_csv(request: HttpRequest) -> StreamingHttpResponse:
    """The usage records of an account, of a month and a machine where these are given, in the columns of REST."""
    rows = with_periods(month_records(request.user, UsageForm(request.GET).query)).order_by("start", "pk")
    return csv_answer("usage", csv_lines(COLUMNS, (usage_line(row).cells for row in rows.iterator(CHUNK))))

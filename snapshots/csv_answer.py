"""A table as the answer to a request, for pages and REST alike."""

from collections.abc import Iterable

from django.http import StreamingHttpResponse


def csv_answer(name: str, lines: Iterable[str]) -> StreamingHttpResponse:
    """These lines of CSV, sent as they come, to be kept as the file `name`.csv."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)

"""The formats in which the admin writes and reads files. What spreadsheets open holds no text that they would take for a
formula; JSON holds everything as it is. A decimal number is one in a workbook, so that it counts in sums, and its digits
elsewhere."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from import_export.formats.base_formats import CSV, JSON, XLSX
from tablib import Dataset

from snapshots.reading.csv_lines import cell

WHOLE = re.compile(r"-?[0-9]+")


def _written(dataset: Dataset, write: Callable[[Any], Any]) -> Dataset:
    written = Dataset(headers=dataset.headers)
    for row in dataset:
        written.append([write(value) for value in row])
    return written


def _in_csv(value: Any) -> Any:
    return value if _is_number(value) else cell(value)


def _in_workbook(value: Any) -> Any:
    return value if isinstance(value, Decimal) else _in_csv(value)


def _in_json(value: Any) -> Any:
    return f"{value:f}" if isinstance(value, Decimal) else value


def _is_number(value: object) -> bool:
    """Whether it is a whole number written as text: large ones are, since a workbook would round them."""
    return isinstance(value, str) and WHOLE.fullmatch(value) is not None


class SafeCSV(CSV):
    """CSV for spreadsheets."""

    def export_data(self, dataset: Dataset, **kwargs: Any) -> Any:
        return super().export_data(_written(dataset, _in_csv), **kwargs)


class SafeXLSX(XLSX):
    """A workbook."""

    def export_data(self, dataset: Dataset, **kwargs: Any) -> Any:
        return super().export_data(_written(dataset, _in_workbook), **kwargs)


class ExactJSON(JSON):
    """JSON, which knows no decimal numbers."""

    def export_data(self, dataset: Dataset, **kwargs: Any) -> Any:
        return super().export_data(_written(dataset, _in_json), **kwargs)


FORMATS = (SafeCSV, SafeXLSX, ExactJSON)

"""The formats in which the admin writes and reads files. What spreadsheets open holds no text that they would take for a
formula; JSON holds everything as it is."""

import re
from typing import Any

from import_export.formats.base_formats import CSV, JSON, XLSX
from tablib import Dataset

from snapshots.reading.csv_lines import cell

WHOLE = re.compile(r"-?[0-9]+")


def without_formulas(dataset: Dataset) -> Dataset:
    """The same, with no text that a spreadsheet would take for a formula."""
    safe = Dataset(headers=dataset.headers)
    for row in dataset:
        safe.append([value if _is_number(value) else cell(value) for value in row])
    return safe


def _is_number(value: object) -> bool:
    """Whether it is a whole number written as text: large ones are, since a workbook would round them."""
    return isinstance(value, str) and WHOLE.fullmatch(value) is not None


class SafeCSV(CSV):
    """CSV for spreadsheets."""

    def export_data(self, dataset: Dataset, **kwargs: Any) -> Any:
        return super().export_data(without_formulas(dataset), **kwargs)


class SafeXLSX(XLSX):
    """A workbook."""

    def export_data(self, dataset: Dataset, **kwargs: Any) -> Any:
        return super().export_data(without_formulas(dataset), **kwargs)


FORMATS = (SafeCSV, SafeXLSX, JSON)

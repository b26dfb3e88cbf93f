"""CSV holds what the table holds, and no user's text becomes a formula in a spreadsheet."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from snapshots.reading.csv_lines import csv_lines


def read_back(*row: object) -> list[str]:
    (read,) = list(csv.reader(io.StringIO("".join(csv_lines(["a"], [row])))))[1:]
    return read


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x","y")'])
def test_a_text_that_a_spreadsheet_would_carry_out_is_marked_as_text(text: str) -> None:
    assert read_back(text) == [f"'{text}"]


@pytest.mark.parametrize("text", ["web, the “old” one", 'a "quoted" name', "two\nlines", "日本語 ✓", "a=b", ""])
def test_any_other_text_comes_back_as_it_was(text: str) -> None:
    assert read_back(text) == [text]


def test_numbers_stay_numbers_also_below_zero_and_times_say_their_zone() -> None:
    assert read_back(Decimal("-0.000000001")) == ["-0.000000001"]
    assert read_back(-5, 2**63, None, datetime(2026, 3, 1, tzinfo=UTC)) == [
        "-5",
        str(2**63),
        "",
        "2026-03-01T00:00:00Z",
    ]


def test_lines_are_made_one_by_one() -> None:
    endless = csv_lines(["n"], ([number] for number in iter(int, 1)))
    assert [next(endless), next(endless)] == ["n\r\n", "0\r\n"]

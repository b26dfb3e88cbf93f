"""What the charts of a page are drawn from, and the files beside them."""

import csv
import json
from typing import Any

from tests.doors.browser_client import Browser, Page


def numbers(page: Page, key: str) -> Any:
    """What a chart of the page is drawn from."""
    return json.loads(page.one(f'//script[@id="{key}-numbers"]').text_content())


def lines(person: Browser, path: str) -> list[list[str]]:
    """The lines of a file as CSV."""
    answer = person.client.get(path)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.reader(b"".join(answer).decode().splitlines()))

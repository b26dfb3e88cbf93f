"""The pages of schedules as the tests of several files read them."""

from typing import Any

from django.utils import timezone

from snapshots.models import Schedule, VirtualMachine
from tests.doors.browser_client import Browser, Page, machine_page, words

ASKED = {"name": "Weekly", "frequency": "weekly", "weekdays": ["7", "5"], "time": "04:30", "time_zone": "Europe/Berlin",
         "kind": "disk", "keep": "2"}  # fmt: skip
"""A form as people send it."""


def page_of(machine: VirtualMachine) -> str:
    """The address of the schedules of a machine."""
    return f"{machine_page(machine)}schedules/"


def adding(machine: VirtualMachine) -> str:
    """The address of the dialog that adds one."""
    return f"{page_of(machine)}add/"


def of(row: Schedule, action: str = "") -> str:
    """The address of an action on a schedule."""
    return f"/schedules/{row.uuid}/{action}"


def notices(page: Page) -> list[str]:
    """What the page tells of the last action."""
    return [words(line) for line in page.find('//main/p[starts-with(@class, "notice")]')]


def sent(browser: Browser, path: str, values: dict[str, Any] | None = None) -> Page:
    """Post, and look at the page that comes after it."""
    answer = browser.post(path, values)
    assert answer.status == 302, answer.text
    return browser.get(answer.response["Location"])


def line(page: Page, row: Schedule) -> str:
    """What the page says of a schedule."""
    return words(page.one(f'//li[@id="schedule-{row.uuid}"]'))


def due_now(row: Schedule) -> None:
    """As if its next time had come."""
    Schedule.objects.filter(pk=row.pk).update(next_at=timezone.now())


def error_of(page: Page, name: str) -> str:
    """What is said beside a field, where a screen reader finds it too: a group of check boxes says it for all of them."""
    control = page.find(f'//*[@aria-invalid="true"][@name="{name}" or @role="radiogroup" and .//*[@name="{name}"]]')[0]
    described = control.xpath("ancestor-or-self::*[@aria-describedby][1]")[0]
    return " ".join(words(page.one(f'//*[@id="{key}"]')) for key in described.get("aria-describedby").split())

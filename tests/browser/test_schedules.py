"""Scheduling VM snapshots of a machine in the browser: by keyboard, and seen on every page that tells of schedules."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NARROW, WIDE
from tests.browser.machine_page import open_machine, submit
from tests.browser.sweep import axe_finds, open_and_judge

pytestmark = [pytest.mark.browser, pytest.mark.lab]

MACHINE = "web-2"
HALF_A_DAY = timedelta(hours=12)


def test_a_nightly_schedule_is_added_by_keyboard_seen_paused_and_deleted(sign_in, picture):
    page = sign_in("alice")
    open_machine(page, MACHINE)
    _press(page, page.get_by_role("link", name="Schedule VM snapshots"))
    expect(page.get_by_text("No schedule yet")).to_be_visible()
    path = re.sub(r"^https?://[^/]*", "", page.url)
    _add(page, picture)
    assert page.url.endswith(path), "one is where one was"

    open_machine(page, MACHINE)
    page.get_by_role("link", name=re.compile("^next ")).click()
    schedule = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="Nightly"))
    expect(schedule.get_by_text("the newest 3")).to_be_visible()
    _judge_everywhere(sign_in, picture, path)

    _press(page, schedule.get_by_role("button", name="Pause Nightly"))
    expect(page.get_by_text("“Nightly” is paused")).to_be_visible()
    open_machine(page, MACHINE)
    expect(page.get_by_role("link", name="Schedule VM snapshots")).to_be_visible()
    page.goto("/schedules/?state=paused")
    expect(page.get_by_role("row").filter(has=page.get_by_role("link", name=MACHINE))).to_contain_text("Nightly")

    page.goto(path)
    _press(page, page.get_by_role("button", name="Delete Nightly"))
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("None of the VM snapshots it took is Ready.")).to_be_visible()
    assert axe_finds(page) == []
    submit(page, "Delete schedule")
    expect(page.get_by_text("No schedule yet")).to_be_visible()


def _press(page: Page, button) -> None:
    """What a person does who has no mouse."""
    button.focus()
    page.keyboard.press("Enter")


def _add(page: Page, picture) -> None:
    """Fill in the dialog, which shows only what belongs to the chosen frequency and leaves a name alone that was typed."""
    _press(page, page.get_by_role("button", name="Add a schedule"))
    dialog = page.get_by_role("dialog")
    name = dialog.get_by_label("Name")
    expect(name).to_be_focused()
    expect(name).to_have_value("Daily")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(name).to_have_value("Weekly")
    expect(dialog.get_by_role("checkbox", name="Sunday")).to_be_checked()
    expect(dialog.get_by_label("Time of day")).to_be_visible()
    for other in ("Day of the month", "How many hours apart", "Minutes past the hour"):
        expect(dialog.get_by_label(other)).to_be_hidden()
    picture(page, "weekly")
    assert axe_finds(page) == []
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("Nightly")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("radio", name="Daily")).to_be_checked()
    expect(dialog.get_by_role("checkbox", name="Sunday")).to_have_count(0)
    expect(name).to_have_value("Nightly")
    # Not now, whenever this runs.
    dialog.get_by_label("Time of day").fill(f"{datetime.now(UTC) + HALF_A_DAY:%H:%M}")
    keep = dialog.get_by_label("How many to keep")
    keep.fill("0")
    _press(page, dialog.get_by_role("button", name="Add schedule"))
    expect(dialog.get_by_text("Between 1 and 1000 VM snapshots can be kept.")).to_be_visible()
    expect(keep).to_be_focused()
    keep.fill("3")
    _press(page, dialog.get_by_role("button", name="Add schedule"))
    expect(page.get_by_text(re.compile("“Nightly” is added. It is due next on"))).to_be_visible()


def _judge_everywhere(sign_in, picture, path: str) -> None:
    """Every page of schedules while there is one, wide and narrow, light and dark."""
    pages = {"of the machine": path, "all": "/schedules/", "adding": f"{path}add/"}
    for viewport in (WIDE, NARROW):
        for dark in (False, True):
            page = sign_in("alice", viewport=viewport, dark=dark)
            for name, address in pages.items():
                open_and_judge(page, address)
                picture(page, f"{name}-{viewport['width']}-{'dark' if dark else 'light'}")

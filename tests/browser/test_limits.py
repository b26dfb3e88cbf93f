"""An admin sets a limit in the admin site, and the user's dialog shows it at once."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NARROW, WIDE
from tests.browser.machine_page import open_machine
from tests.browser.sweep import axe_finds

pytestmark = [pytest.mark.browser, pytest.mark.lab]

ACCOUNT = "Accounting"
MACHINE = "db-1"


def test_a_limit_set_in_the_admin_is_in_the_dialog_at_once(sign_in, picture):
    bob = sign_in("bob")
    open_machine(bob, MACHINE)
    _expect_limit(bob, "no limit")
    admin = sign_in("admin")
    _set_limit(admin, 5)
    _expect_limit(bob, "of 5 VM snapshots")
    for viewport in (WIDE, NARROW):
        for dark in (False, True):
            look = f"{viewport['width']}-{'dark' if dark else 'light'}"
            page = sign_in("bob", viewport=viewport, dark=dark)
            open_machine(page, MACHINE)
            _expect_limit(page, "of 5 VM snapshots")
            page.get_by_role("table", name="Limits").scroll_into_view_if_needed()
            picture(page, f"take-{look}")
            assert axe_finds(page) == []
    admin.goto("/admin/snapshots/limit/")
    picture(admin, "admin-list")
    admin.get_by_role("link", name="Who is near a limit").click()
    expect(admin.get_by_role("row", name=ACCOUNT)).to_be_visible()
    picture(admin, "admin-near")
    _take_away(admin)
    _expect_limit(bob, "no limit")


def _set_limit(admin: Page, value: int) -> None:
    admin.goto("/admin/snapshots/limit/add/")
    chosen = admin.locator("#id_account option", has_text=ACCOUNT)
    admin.locator("#id_account").select_option(chosen.get_attribute("value"))
    admin.locator("#id_kind").select_option("snapshots")
    admin.locator("#id_value").fill(str(value))
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.get_by_text("was added successfully")).to_be_visible()


def _take_away(admin: Page) -> None:
    admin.goto("/admin/snapshots/limit/")
    admin.get_by_role("link", name=f"the account {ACCOUNT}").click()
    admin.get_by_role("link", name="Delete").click()
    admin.get_by_role("button", name="Yes").click()
    expect(admin.get_by_text("was deleted successfully")).to_be_visible()


def _expect_limit(page: Page, words: str) -> None:
    """Open the dialog anew and look at the account's row."""
    dialog = page.get_by_role("dialog")
    if dialog.is_visible():
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Take").first.click()
    expect(dialog.get_by_role("row", name=f"Account {ACCOUNT}").first).to_contain_text(words)

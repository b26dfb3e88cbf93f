"""Every page, wide and narrow, light and dark: it can be used by keyboard and screen reader and fits its screen."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NARROW, WIDE
from tests.browser.readme_picture import Rest
from tests.browser.sweep import open_and_judge

pytestmark = [pytest.mark.browser, pytest.mark.lab]


@pytest.fixture(scope="module")
def addresses(product) -> dict[str, str]:
    """The pages by name: of a machine with a VM snapshot and a job behind it, so that these are on the pages to be seen."""
    rest = Rest(product)
    machine = rest.ask("/virtual-machines/?name=web-2")["results"][0]
    found, account = machine["id"], machine["account"]
    pool = rest.ask(f"/volumes/?virtual_machine={found}")["results"][0]["storage_pool"]
    job = rest.carry_out(f"/virtual-machines/{found}/snapshots/", {"name": "seen", "memory": True})
    return {
        "machines": "/",
        "jobs": "/jobs/",
        "usage": "/usage/",
        "account": "/account/",
        "machine": f"/machines/{found}/",
        "job": f"/jobs/{job['id']}/",
        "dashboard": "/dashboard/",
        "capacity": "/capacity/",
        "pool": f"/capacity/pools/{pool}/",
        "account capacity": f"/capacity/accounts/{account}/?range=day",
        "machine growth": f"/capacity/machines/{found}/",
        "stale": "/capacity/stale/",
        "schedules": "/schedules/",
        "machine's schedules": f"/machines/{found}/schedules/",
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page_fits_its_screen_and_has_nothing_that_bars_anybody(sign_in, picture, addresses, viewport, dark):
    page = sign_in("alice", viewport=viewport, dark=dark)
    for name, path in addresses.items():
        open_and_judge(page, path)
        picture(page, name)


def test_the_take_dialog_opens_keeps_the_focus_and_closes_by_keyboard(sign_in):
    page = sign_in("alice")
    page.get_by_role("link", name="web-1").first.click()
    take = page.get_by_role("button", name="Take").first
    take.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert dialog.evaluate("dialog => dialog.contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(take).to_be_focused()

"""Sharing out machines and adopting what was made elsewhere, by clicking, on a simulated hypervisor beside real ones."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from hypervisors.drivers.simulated.world import Machine, World, make_world
from hypervisors.records import PowerState
from tests.browser.conftest import NARROW, WIDE
from tests.browser.sweep import open_and_judge

pytestmark = [pytest.mark.browser, pytest.mark.lab]

NAME = "branch-office"
MACHINES = (
    Machine("imported-1", folder="/Shop/Web", resource_pool="Gold", tags=("team-shop",)),
    Machine("imported-2", folder="/Shop/Web", power=PowerState.STOPPED),
    Machine("imported-3", tags=("team-farm", "ci")),
    Machine("imported-4"),
)
LOOKS = 120


@pytest.fixture(scope="module")
def world(product) -> World:
    """A simulated hypervisor that the product does not know yet."""
    folder = product.folder / "simulated"
    folder.mkdir(exist_ok=True)
    return make_world(folder / f"{NAME}.sqlite3", MACHINES)


def test_machines_are_imported_by_clicking_and_what_was_made_elsewhere_is_adopted(sign_in, picture, world):
    """An admin connects a hypervisor, gives two machines to an account, makes a rule for a third; then somebody works on
    them with another tool, which the pages show, and it is adopted and acknowledged."""
    admin = sign_in("admin")
    _connect(admin)
    _assign_two(admin, picture)
    _make_a_rule(admin, picture)

    machine = world.machine_id("imported-1")
    world.take_elsewhere(machine, "nightly")
    world.take_elsewhere(machine, "weekly")
    world.leave_disks_behind(machine)
    alice = sign_in("alice")
    _open_machine(alice, "imported-1")
    path = re.sub(r"^https?://[^/]*", "", alice.url)
    _adopt_one(alice, picture)
    _consolidate(alice)

    world.delete_elsewhere(machine, next(pk for pk, name in world.snapshot_names(machine).items() if name == "nightly"))
    # A machine that nobody decided about waits on the page, so that there is something to see below.
    _decide_in_the_report(admin, picture)

    judged = ("/import/", "/import/?owner=all&q=imported", "/import/rules/", "/import/rules/add/", "/drift/", path)
    world.take_elsewhere(machine, "monthly")
    _reload_until(admin, "/drift/?q=imported-1", admin.get_by_role("button", name="Adopt monthly"))
    for viewport in (WIDE, NARROW):
        for dark in (False, True):
            page = sign_in("admin", viewport=viewport, dark=dark)
            for address in judged:
                open_and_judge(page, address)


def test_many_boxes_are_ticked_with_one_and_counted(sign_in, world):
    admin = sign_in("admin")
    _connect(admin)
    _reload_until(admin, "/import/?owner=all&q=imported", _rows(admin).nth(3))
    line = admin.locator("[data-counts]")
    expect(line).to_have_text("Select machines to give them to an account")
    every = admin.get_by_role("checkbox", name="Select all machines of this page")
    every.focus()
    admin.keyboard.press("Space")
    expect(line).to_have_text("4 machines selected")
    _rows(admin).first.get_by_role("checkbox").uncheck()
    expect(line).to_have_text("3 machines selected")
    assert every.evaluate("box => box.indeterminate")
    every.check()
    every.uncheck()
    expect(line).to_have_text("Select machines to give them to an account")


def _connect(admin: Page) -> None:
    """Make the endpoint known by the admin's form, unless it is, and have it read."""
    admin.goto("/admin/hypervisors/hypervisor/")
    link = admin.get_by_role("table").get_by_role("link", name=NAME, exact=True)
    if not link.count():
        admin.goto("/admin/hypervisors/hypervisor/add/")
        admin.get_by_label("Name", exact=False).first.fill(NAME)
        admin.get_by_label("Kind").select_option("simulated")
        admin.get_by_label("Address").fill(NAME)
        admin.get_by_role("button", name="Save", exact=True).click()
    link.click()
    admin.get_by_role("button", name="Read everything now").click()
    expect(admin.get_by_text("Asked for:")).to_be_visible()


def _assign_two(admin: Page, picture) -> None:
    _reload_until(admin, "/import/?q=imported", _rows(admin).nth(3))
    for name in ("imported-1", "imported-2"):
        admin.get_by_role("checkbox", name=f"Select {name}").check()
    expect(admin.get_by_text("2 machines selected")).to_be_visible()
    admin.get_by_label("Account for the selected machines").select_option(label="Web shop")
    picture(admin, "1-two-chosen")
    admin.get_by_role("button", name="Assign", exact=True).click()
    expect(admin.get_by_text("imported-1, imported-2 now belong to Web shop.")).to_be_visible()
    expect(_rows(admin)).to_have_count(2)
    expect(admin.get_by_role("searchbox")).to_have_value("imported")


def _make_a_rule(admin: Page, picture) -> None:
    admin.get_by_role("link", name="Import rules").click()
    admin.get_by_role("button", name="Add the first rule").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Tag").fill("team-*")
    dialog.get_by_label("Account that gets the machines").select_option(label="Build farm")
    dialog.get_by_role("button", name="Preview").click()
    expect(dialog.get_by_text("This rule fits 1 of the")).to_be_visible()
    expect(dialog.get_by_text("imported-3")).to_be_visible()
    picture(admin, "2-preview-of-a-rule")
    dialog.get_by_role("button", name="Add rule").click()
    expect(admin.get_by_text("The rule is added.")).to_be_visible()
    # The reading may come before the click: either way the machine goes to the account.
    now = admin.get_by_role("button", name="Apply now")
    if now.get_attribute("aria-disabled") is None:
        now.click()
    _reload_until(admin, "/import/?owner=all&q=imported-3", admin.get_by_role("cell", name="Build farm"))


def _open_machine(person: Page, name: str) -> None:
    person.goto(f"/?q={name}")
    person.get_by_role("link", name=name, exact=True).click()
    expect(person.get_by_role("heading", level=1, name=name)).to_be_visible()


def _adopt_one(alice: Page, picture) -> None:
    row = alice.get_by_role("treeitem").filter(has=alice.get_by_text("nightly", exact=True))
    expect(row.get_by_text("made elsewhere")).to_be_visible()
    expect(alice.get_by_text("2 marked “made elsewhere”")).to_be_visible()
    row.click()
    expect(alice.locator("#details").get_by_role("heading", name="nightly")).to_be_visible()
    picture(alice, "3-made-elsewhere")
    alice.get_by_role("button", name="Adopt", exact=True).click()
    expect(row.get_by_text("adopted", exact=True)).to_be_visible()
    expect(alice.get_by_text("1 marked “made elsewhere”")).to_be_visible()


def _consolidate(alice: Page) -> None:
    expect(alice.get_by_text("The disks need consolidation.")).to_be_visible()
    alice.get_by_role("button", name="Consolidate").click()
    expect(alice.get_by_text("The disks need consolidation.")).to_have_count(0)


def _decide_in_the_report(admin: Page, picture) -> None:
    acknowledge = admin.get_by_role("button", name="Acknowledge nightly")
    _reload_until(admin, "/drift/?q=imported-1", acknowledge)
    picture(admin, "4-report")
    admin.get_by_role("button", name="Adopt weekly").click()
    expect(admin.get_by_text("“weekly” is adopted")).to_be_visible()
    acknowledge.click()
    expect(admin.get_by_text("That “nightly” is lost was taken note of.")).to_be_visible()
    expect(acknowledge).to_have_count(0)


def _rows(page: Page) -> Locator:
    return (
        page.get_by_role("row")
        .filter(has=page.get_by_role("link", name=re.compile("^imported-")))
        .filter(has=page.get_by_role("checkbox"))
    )


def _reload_until(page: Page, path: str, wanted: Locator) -> None:
    """Open the page again and again until it shows this: the reading that finds it is at work meanwhile."""
    for _ in range(LOOKS):
        page.goto(path)
        if wanted.count():
            return
        page.wait_for_timeout(500)  # the pace of looking; the condition is what the page shows
    expect(wanted).to_be_visible(timeout=1)

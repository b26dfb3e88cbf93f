"""A machine's page as a person uses it: opens it, looks at its tree, takes, reverts, renames, deletes, starts and stops by
clicking. Each function returns once the page shows what came of it and no job is under way."""

import re

from playwright.sync_api import Locator, Page, expect

# Whoever clicks in the moment the page renews itself clicks on what just went, and clicks again.
CLICKS = 5
CLICK_MILLISECONDS = 12_000
LOOKS = 300


def open_machine(page: Page, name: str) -> str:
    """Open it from the list of machines, and return its uuid."""
    page.goto(f"/?q={name}")
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1, name=name, exact=True)).to_be_visible()
    return uuid_of(page)


def look_again(page: Page) -> None:
    """Have the open page look for news now, as it does by itself every few seconds. To open it anew would break off what it
    is just asking, which a browser complains about."""
    page.wait_for_timeout(300)  # the pace of looking; the condition is the caller's
    page.evaluate("htmx.trigger('#pulse', 'vmsnap:look')")


def look_until(page: Page, wanted: Locator) -> None:
    """Look again until the page shows this: what others do is found meanwhile."""
    for _ in range(LOOKS):
        if wanted.count():
            return
        look_again(page)
    expect(wanted).to_be_visible(timeout=1)


def uuid_of(page: Page) -> str:
    """The uuid of the machine whose page is open."""
    page.wait_for_url(re.compile(r"/machines/"))
    return re.search(r"/machines/([0-9a-f-]{36})/", page.url)[1]


def row(page: Page, name: str) -> Locator:
    """A VM snapshot's row in the drawn tree."""
    return (
        page.get_by_role("tree")
        .get_by_role("treeitem")
        .filter(has=page.get_by_text(name, exact=True))
        .and_(page.locator("[href]"))
    )


def idle(page: Page) -> None:
    """Until the machine has no job under way, as the page shows it."""
    expect(page.locator("#pulse progress")).to_have_count(0, timeout=60_000)


def open_dialog(page: Page, button: Locator) -> Locator:
    """Click on the button that opens a dialog, and return the dialog."""
    dialog = page.get_by_role("dialog")
    _click_until(button, dialog)
    return dialog


def _click_until(clicked: Locator, wanted: Locator) -> None:
    for _ in range(CLICKS - 1):
        clicked.click()
        try:
            expect(wanted).to_be_visible(timeout=CLICK_MILLISECONDS)
        except AssertionError:
            continue
        return
    clicked.click()
    expect(wanted).to_be_visible()


def submit(page: Page, name: str | re.Pattern[str]) -> None:
    """Press the button of the open dialog, which goes."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=name).last.click()
    expect(dialog).to_be_hidden()


def take(page: Page, name: str, *, kind: str = "") -> None:
    """Take a VM snapshot of the kind the dialog proposes, or of this one ("disk", "memory")."""
    dialog = open_dialog(page, page.get_by_role("button", name="Take").first)
    dialog.get_by_label("Name").fill(name)
    if kind:
        dialog.get_by_role("radio").and_(page.locator(f"[value={kind}]")).check()
    submit(page, "Take VM snapshot")
    row(page, name).wait_for()
    idle(page)
    is_current(page, name)


def is_current(page: Page, name: str) -> None:
    """Until the page shows that the machine stands there and nothing is under way."""
    expect(row(page, name).get_by_text("current", exact=True)).to_be_visible()
    idle(page)


def choose(page: Page, name: str) -> None:
    """Click on its row, unless that is chosen, and have its details."""
    chosen = page.locator("#details").get_by_role("heading", name=name, exact=True)
    if row(page, name).get_attribute("aria-selected") != "true":
        _click_until(row(page, name), chosen)
    expect(chosen).to_be_visible()


def revert(page: Page, name: str, *, afterwards: str = "") -> None:
    """Revert without a safety snapshot; `afterwards` chooses "Running" or "Stopped" where there is a choice."""
    choose(page, name)
    dialog = open_dialog(page, page.locator("#details").get_by_role("button", name="Revert"))
    dialog.get_by_label("Take a safety snapshot first").uncheck()
    if afterwards:
        dialog.get_by_role("radio", name=re.compile(f"^{afterwards}")).check()
    submit(page, "Revert")
    idle(page)
    is_current(page, name)


def rename(page: Page, name: str, new_name: str) -> None:
    """Give it another name."""
    choose(page, name)
    dialog = open_dialog(page, page.locator("#details").get_by_role("button", name="Rename"))
    dialog.get_by_label("Name").fill(new_name)
    submit(page, re.compile("Rename|Save"))
    row(page, new_name).wait_for()
    idle(page)


def delete(page: Page, name: str) -> None:
    """Delete this one only."""
    choose(page, name)
    open_dialog(page, page.locator("#details").get_by_role("button", name=re.compile("^Delete( VM snapshot)?$")).first)
    submit(page, re.compile("Delete"))
    until_gone(page, name)


def delete_with_descendants(page: Page, name: str, doomed: list[str]) -> None:
    """Delete it and what stems from it, once the dialog has named all of them."""
    choose(page, name)
    dialog = open_dialog(page, page.locator("#details").get_by_role("button", name=re.compile("below it")))
    for each in doomed:
        expect(dialog.get_by_text(each, exact=True).first).to_be_visible()
    submit(page, re.compile("Delete"))
    until_gone(page, name)


def delete_all(page: Page, doomed: list[str]) -> None:
    """Delete all VM snapshots of the machine, once the dialog has named them."""
    dialog = open_dialog(page, page.get_by_role("button", name=f"Delete all {len(doomed)}", exact=True))
    for each in doomed:
        expect(dialog.get_by_text(each, exact=True).first).to_be_visible()
    submit(page, "Delete all of them")
    for each in doomed:
        until_gone(page, each)


def until_gone(page: Page, name: str) -> None:
    """Until the tree does not show it any more."""
    expect(row(page, name)).to_have_count(0, timeout=60_000)
    idle(page)


def stop(page: Page) -> None:
    """Cut the power."""
    dialog = open_dialog(page, page.get_by_role("button", name="Stop", exact=True))
    dialog.get_by_role("radio", name="Cut the power").check()
    submit(page, "Stop machine")
    has_power(page, "Stopped")


def start(page: Page) -> None:
    """Switch it on."""
    page.get_by_role("button", name="Start", exact=True).click()
    has_power(page, "Running")


def has_power(page: Page, word: str) -> None:
    """Until the page shows this power state and nothing is under way."""
    expect(page.locator(".machine-title .power")).to_have_text(word)
    idle(page)


def adopt(page: Page, name: str) -> None:
    """Adopt what was made elsewhere, by one click."""
    choose(page, name)
    page.locator("#details").get_by_role("button", name="Adopt", exact=True).click()
    expect(row(page, name).get_by_text("adopted", exact=True)).to_be_visible()


def acknowledge(page: Page, name: str) -> None:
    """Take note that it is lost."""
    choose(page, name)
    page.locator("#details").get_by_role("button", name="Acknowledge", exact=True).click()
    until_gone(page, name)

"""What is demanded of every page, whatever is on it: it fits its screen, and nothing on it bars anybody."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect


def open_and_judge(page: Page, path: str) -> None:
    """Open the page and fail unless it fits its screen and has nothing that bars anybody, as far as axe can tell."""
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"{path} is {overflow} pixels wider than the screen"
    below = page.evaluate(
        "document.querySelector('footer').getBoundingClientRect().top"
        " - document.querySelector('main').getBoundingClientRect().bottom"
    )
    assert below >= 0, f"the footer of {path} lies over the content"
    barring = axe_finds(page)
    assert barring == [], f"{path}: {barring}"


def axe_finds(page: Page) -> list[tuple[str, list[str]]]:
    """What axe finds on the page as it is now: each rule, with the elements that break it."""
    found = Axe().run(page).response["violations"]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found]

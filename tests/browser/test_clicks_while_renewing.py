"""A machine's page renews itself. A click in just that moment is not lost. Held still: the answer to the click is kept back
until the page has had the news, whatever is faster."""

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.machine_page import choose, delete_with_descendants, open_machine, row, take

pytestmark = [pytest.mark.browser, pytest.mark.lab]


class HeldAnswer:
    """Keeps back the requests of a page to addresses like this one until `release`."""

    def __init__(self, page: Page, pattern: str) -> None:
        self._page = page
        self._pattern = pattern
        self._held: list[Route] = []
        page.route(pattern, self._keep)

    def _keep(self, route: Route) -> None:
        self._held.append(route)

    def wait(self) -> None:
        """Until one is kept back."""
        for _ in range(600):
            if self._held:
                return
            self._page.wait_for_timeout(100)  # the pace of looking; the condition is the request
        raise AssertionError(f"nobody asked for {self._pattern}")

    def release(self) -> None:
        for route in self._held:
            route.continue_()
        self._page.unroute(self._pattern)


@pytest.fixture
def page(sign_in) -> Page:
    """The page of a machine with two VM snapshots, the second chosen."""
    page = sign_in("dora")
    open_machine(page, "batch-1")
    take(page, "one")
    take(page, "two")
    yield page
    delete_with_descendants(page, "one", ["one", "two"])


def has_news(page: Page) -> None:
    """The page is told that something on it has changed, and asks for it and gets it."""
    page.evaluate("""() => {
      document.getElementById('machine').dataset.shown = 'before';
      document.getElementById('pulse').setAttribute('hx-vals', '{"stamp": "of long ago"}');
    }""")
    with page.expect_response("**/pulse/**") as told:
        page.evaluate("htmx.trigger('#pulse', 'vmsnap:look')")
    told.value.finished()


def is_renewed(page: Page) -> None:
    expect(page.locator("#machine[data-shown=before]")).to_have_count(0)


def test_a_dialog_opens_though_the_page_had_news_meanwhile_which_show_then(page):
    choose(page, "two")
    answer = HeldAnswer(page, "**/snapshots/*/delete/")
    page.locator("#details").get_by_role("button", name="Delete", exact=True).click()
    answer.wait()
    has_news(page)
    answer.release()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    is_renewed(page)
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()


def test_a_chosen_row_stays_chosen_though_the_page_had_news_meanwhile_which_show_then(page):
    answer = HeldAnswer(page, "**/machines/*/?snapshot=*")
    row(page, "one").click()
    answer.wait()
    has_news(page)
    answer.release()
    expect(page.locator("#details").get_by_role("heading", name="one", exact=True)).to_be_visible()
    is_renewed(page)
    expect(page.locator("#details").get_by_role("heading", name="one", exact=True)).to_be_visible()

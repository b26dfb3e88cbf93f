"""One Chromium for the browser tests of a file; a fresh, signed-in page for each."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browser.chromium import NoChromium, headless_chromium
from tests.browser.running_product import PASSWORD, ROOT, Product

PICTURES = ROOT / "test-output" / "screenshots"
WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 375, "height": 812}

SignIn = Callable[..., Page]

# How long a page may take to show what is expected. Long: what is tested is that it comes, on a busy computer too.
PATIENCE_MILLISECONDS = 60_000
expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium. It ends with the file: while it lives, Playwright's event loop runs in this thread, and Django
    refuses every query there, so that the tests of other files would fail."""
    try:
        with headless_chromium() as browser:
            yield browser
    except NoChromium as reason:
        pytest.skip(str(reason))


@pytest.fixture
def sign_in(product: Product, chromium: Browser) -> Iterator[SignIn]:
    """Opens a page, signed in as a person of the demo. What the page complains about, or asks of other hosts, fails the
    test."""
    contexts = []
    complaints: list[str] = []

    def open_page(person: str, *, viewport: dict[str, int] = WIDE, dark: bool = False) -> Page:
        context = chromium.new_context(
            base_url=product.address, viewport=viewport, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", lambda line: complaints.append(line.text) if _complains(line) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((product.address, "data:")) else complaints.append(asked.url),
        )
        page.goto("/sign-in/")
        page.get_by_label("User name").fill(person)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(re.compile(r"/$"))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page, str], Path]:
    """Keeps a screenshot of the page as test output."""

    def keep(page: Page, name: str) -> Path:
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{request.node.name}-{name}.png"
        # Hiding the text cursor would need an inline style, which our pages forbid.
        page.screenshot(path=path, full_page=True, caret="initial")
        return path

    return keep


def _complains(line: ConsoleMessage) -> bool:
    """Whether the browser says that something is wrong. A form that is refused is answered with 422, as it should be."""
    return line.type == "error" and "the server responded with a status of 422" not in line.text

"""Makes the README's pictures: `make picture`. Starts the demo, grows a tree on a real machine over REST, and takes the
machine's page with Chromium, in light and in dark."""

import json
import re
import sys
import time
import urllib.request
from typing import Any

from playwright.sync_api import Browser, expect

from tests.browser.chromium import headless_chromium
from tests.browser.running_product import PASSWORD, ROOT, Product, running_product

PICTURES = {"light": ROOT / "docs" / "machine.png", "dark": ROOT / "docs" / "machine-dark.png"}
VIEWPORT = {"width": 1440, "height": 900}
MACHINE = "web-1"
CHOSEN = "Before upgrade"
JOB_SECONDS = 120
# What is done, in this order: a VM snapshot to take with its description, or one to revert to.
STORY = [
    ("take", "Fresh install", "Base system, nothing configured"),
    ("take", "Shop configured", "Catalogue and mail set up"),
    ("take", "Before upgrade", "Shop 2.3, all orders done"),
    ("take", "After upgrade", "Shop 2.4, as the upgrade left it"),
    ("revert", "Before upgrade", ""),
    ("take", "Try new kernel", "Kernel 6.12 from backports"),
    ("take", "New kernel, tuned", "Larger socket buffers"),
    ("revert", "After upgrade", ""),
    ("take", "Shop 2.4 accepted", "Checked by the Web shop team"),
    ("revert", "Fresh install", ""),
    ("take", "Mail relay trial", ""),
    ("revert", "Shop 2.4 accepted", ""),
]


class Rest:
    """The product's REST API as alice uses it."""

    def __init__(self, product: Product) -> None:
        self._base = f"{product.address}/api/v1"
        self._token = product.manage("create_token", "alice")

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> dict[str, Any]:
        """GET, or POST when there is a body, unless another method is named."""
        asked = urllib.request.Request(  # noqa: S310  # our own address
            self._base + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Token {self._token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310  # our own address
            told: dict[str, Any] = json.load(answer)
        return told

    def carry_out(self, path: str, body: dict[str, Any] | None, method: str = "POST") -> dict[str, Any]:
        """Ask for an action and wait for its job, which must succeed."""
        job = self.ask(path, body, method)
        until = time.monotonic() + JOB_SECONDS
        while job["state"] in ("queued", "running"):
            assert time.monotonic() < until, job
            time.sleep(0.1)  # the pace of asking; the condition is the job's end
            job = self.ask(f"/jobs/{job['id']}/")
        assert job["state"] == "succeeded", job
        return job


def grow_tree(rest: Rest) -> str:
    """Carry out the story on the machine. Returns the machine's id."""
    found = rest.ask(f"/virtual-machines/?name={MACHINE}")["results"]
    assert found, f"alice sees no machine {MACHINE}"
    machine: str = found[0]["id"]
    taken: dict[str, str] = {}
    for action, name, description in STORY:
        if action == "take":
            body = {"name": name, "description": description, "memory": True}
            taken[name] = rest.carry_out(f"/virtual-machines/{machine}/snapshots/", body)["snapshot"]
        else:
            rest.carry_out(f"/snapshots/{taken[name]}/revert/", {"safety_snapshot": False})
    return machine


def take_picture(product: Product, browser: Browser, machine: str, scheme: str) -> None:
    """The machine's page in this colour scheme, as alice sees it on a wide screen."""
    context = browser.new_context(base_url=product.address, viewport=VIEWPORT, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"/sign-in/?next=/machines/{machine}/")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile(r"/machines/"))
    expect(page.locator("#pulse progress")).to_have_count(0)
    page.get_by_role("tree").get_by_text(CHOSEN, exact=True).click()
    expect(page.locator("#details").get_by_role("heading", name=CHOSEN, exact=True)).to_be_visible()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    # Hiding the text cursor would need an inline style, which our pages forbid.
    page.screenshot(path=PICTURES[scheme], caret="initial")
    context.close()


def main() -> int:
    """Make both pictures."""
    with running_product() as product, headless_chromium() as browser:
        if not product.lab.is_up:
            print(product.log.read_text(), "The picture needs the lab of real machines.", sep="\n", file=sys.stderr)
            return 1
        machine = grow_tree(Rest(product))
        for scheme, path in PICTURES.items():
            take_picture(product, browser, machine, scheme)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

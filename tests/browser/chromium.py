"""Finds and starts the Chromium of this computer, for the tests and for the README's pictures."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


class NoChromium(Exception):
    """There is none on this computer. The text says what to install."""


@contextmanager
def headless_chromium() -> Iterator[Browser]:
    """A Chromium without a window that asks nothing of other hosts: the computer's own, else the one that Playwright
    has installed. Raises `NoChromium`."""
    # Chromium's sandbox does not work for root; the pages are our own.
    rootly = ["--no-sandbox"] if os.geteuid() == 0 else []
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        program = next(filter(None, map(shutil.which, NAMES)), playwright.chromium.executable_path)
        if not Path(program).exists():
            raise NoChromium("no Chromium on this computer: install the package chromium")
        browser = playwright.chromium.launch(
            executable_path=program, args=[*rootly, *quiet, "--disable-gpu", "--disable-quic"]
        )
        yield browser
        browser.close()

"""Charts as they are drawn in Chromium: the SVG is there, follows the theme and the screen, leads somewhere, and bars
nobody. What the console says, blocked styles among it, fails each test (`sign_in`)."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NARROW, WIDE
from tests.browser.readme_picture import Rest
from tests.browser.sweep import open_and_judge

pytestmark = [pytest.mark.browser, pytest.mark.lab]


@pytest.fixture(scope="module")
def pool(product) -> Iterator[str]:
    """The page of a pool with a machine that has a VM snapshot, after a tick of the samples. The VM snapshot goes again:
    other tests look at the same machine."""
    rest = Rest(product)
    machine = rest.ask("/virtual-machines/?name=web-1")["results"][0]["id"]
    taken = rest.carry_out(f"/virtual-machines/{machine}/snapshots/", {"name": "charted", "memory": True})
    product.manage("shell", "-c", "from snapshots.services.capacity_samples import sample; sample()")
    found = rest.ask(f"/volumes/?virtual_machine={machine}")["results"][0]["storage_pool"]
    yield f"/capacity/pools/{found}/?range=day"
    rest.carry_out(f"/snapshots/{taken['snapshot']}/", None, "DELETE")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_pool_is_charted_wide_and_narrow_light_and_dark(sign_in, picture, pool, viewport, dark):
    page = sign_in("admin", viewport=viewport, dark=dark)
    open_and_judge(page, pool)
    charts = page.locator("[data-drawn]")
    expect(charts).to_have_count(3)
    for chart in charts.all():
        svg = chart.locator("svg")
        expect(svg).to_be_visible()
        assert svg.locator("path").count() > 3
        assert svg.bounding_box()["width"] <= viewport["width"]
        expect(chart).to_have_attribute("role", "img")
        assert chart.get_attribute("aria-label")
    names = ["Volumes", "VM snapshots, estimated", "Free by allocation", "Warning 80 %", "Threshold 90 %", "Size"]
    for name in names:
        expect(charts.first.get_by_text(name, exact=True)).to_be_visible()
    picture(page, "pool")


def test_a_chart_follows_the_theme_of_the_page_at_once(sign_in, pool):
    page = sign_in("admin")
    page.goto(pool)
    label = page.locator("[data-drawn]").first.get_by_text("Volumes", exact=True)
    light = label.evaluate("node => getComputedStyle(node).fill")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "light => getComputedStyle([...document.querySelectorAll('[data-drawn] text')]"
        ".find(node => node.textContent === 'Volumes')).fill !== light",
        arg=light,
    )


def test_a_chart_follows_the_width_of_the_page(sign_in, pool):
    page = sign_in("admin")
    page.goto(pool)
    svg = page.locator("[data-drawn] svg").first
    expect(svg).to_be_visible()
    before = svg.bounding_box()["width"]
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_function(
        "before => document.querySelector('[data-drawn] svg').getBoundingClientRect().width < before", arg=before
    )
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0


def test_the_map_of_space_leads_to_what_is_clicked(sign_in, pool):
    page = sign_in("alice")
    page.goto("/capacity/")
    chart = page.locator("[data-drawn]")
    expect(chart.locator("svg")).to_be_visible()
    chart.get_by_text("volumes", exact=True).first.click()
    assert page.url.endswith("/capacity/"), "volumes have no page of their own"
    account = json.loads(page.locator("#space-numbers").text_content())["nodes"][0]["children"][0]
    largest = account["children"][0]
    chart.get_by_text(largest["name"], exact=True).first.click()
    page.wait_for_url(f"**{largest['address']}")
    expect(page.get_by_role("heading", level=1)).to_have_text(largest["name"])


def test_the_numbers_of_a_chart_are_a_table_by_keyboard(sign_in, pool):
    page = sign_in("admin")
    page.goto(pool)
    summary = page.get_by_text("The numbers in a table").first
    summary.focus()
    page.keyboard.press("Enter")
    table = page.get_by_role("region", name="Numbers: Over time").get_by_role("table")
    expect(table).to_be_visible()
    expect(table.get_by_role("columnheader", name="Volumes", exact=True)).to_be_visible()


def test_the_numbers_of_a_chart_come_as_a_file(sign_in, pool):
    page = sign_in("admin")
    page.goto(pool)
    with page.expect_download() as started:
        page.get_by_role("link", name="CSV of Over time").click()
    assert started.value.suggested_filename == "pool-over-time.csv"
    assert started.value.path().read_text().startswith("Time,Volumes (bytes),")
